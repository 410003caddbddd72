"""Protections that are made outside of bench: by a program, or in a folder of pictures that somebody has protected.

What such a program writes is not trusted: the pictures that are expected, and nothing else, are read, from plain files
of limited size, with limits on their dimensions. The program itself runs with the rights of the user, so that a suite
with ``external-command`` must be trusted (``--trust``).

This module holds the declarations and imports no torch. `command` runs the program, and `pictures` reads and writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval, MinLen

from bench import Defense, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["ExternalCommand", "ExternalImages", "bench_defenses"]

Purpose = Literal["recognition", "appearance", "anonymity"]
INPUT, OUTPUT, FILES = "{input}", "{output}", "{files}"


class _External(Defense):
    """What both have in common. Which goal they have is a parameter, since only their author knows."""

    protects = frozenset({"probe", "gallery", "both"})
    trusts = "whoever wrote the program: bench does not see what it does"
    not_promised = "anything that its author does not promise"


@dataclass(frozen=True, kw_only=True)
class ExternalCommand(_External):
    """Runs a program that protects a folder of pictures.

    ``command`` is a list, of which no shell sees anything: the program and its arguments, in which ``{input}`` and
    ``{output}`` stand for two folders. The first holds the pictures of one batch as ``00000.png``, ``00001.png`` ...,
    8-bit RGB. The program must write a picture of the same size under the same name into the second, for each of them
    and nothing else, and end with 0 within ``timeout_s`` seconds. It runs in an empty folder, is called once for each
    batch, and must not depend on which pictures are in it. ``files`` is the file or folder that decides what it does,
    with its script and its weights, and ``{files}`` stands for it: results are computed again when one of these files,
    or the program, has changed. ``goal`` is what it is for, as in the contract of defenses.
    """

    promise = "what the author of the program promises"

    command: Annotated[tuple[str, ...], MinLen(1)]
    files: Path = Path()
    timeout_s: Annotated[float, Interval(gt=0, le=86_400)] = 600.0
    goal: Purpose = "anonymity"  # type: ignore[misc]  # A parameter, where other defenses have a class variable.

    def __post_init__(self) -> None:
        """Raise ValueError if the command does not name both folders."""
        for place in (INPUT, OUTPUT):
            if not any(place in argument for argument in self.command[1:]):
                raise ValueError(
                    f"command: expected an argument with {place}, found {shlex.join(self.command)!r}; it stands for "
                    f"the folder of the {'pictures' if place == INPUT else 'protected pictures'}"
                )

    @property
    def programs(self) -> Sequence[str]:  # type: ignore[override]  # It depends on a parameter.
        """The program itself, and the shell that ends it if this process is killed."""
        return (*self.command[:1], "sh")

    def foreign_code(self) -> str:
        """Return the command, which is code that the suite names."""
        return f"the program {shlex.join(self.command)}" + (f" with {self.files}" if self.files.parts else "")

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Have float ``(n, 3, h, w)`` RGB in [0, 1] protected. Raise `ContractError` if the program does not."""
        from bench_external.command import protected_by

        command = [argument.replace(FILES, str(self.files)) for argument in self.command]
        return Protected(images=protected_by(command, self.timeout_s, images, ctx))


@dataclass(frozen=True, kw_only=True)
class ExternalImages(_External):
    """Takes the protected pictures from a folder.

    The picture of the sample ``lfw/12/0`` is the file ``lfw/12/0.png`` below ``folder``: a PNG of the size of the
    faces. If a file of the folder changes, results are computed again. ``goal`` is what the protection is for, as in
    the contract of defenses. How to write the faces of a data set under these names is in ``docs/defenses.md``.
    """

    promise = "what whoever made the pictures promises"

    folder: Path
    goal: Purpose = "anonymity"  # type: ignore[misc]  # A parameter, where other defenses have a class variable.

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the pictures of the samples. Raise `MissingDataError` or `DataError` for one that is not there or
        cannot be used."""
        from bench_external.pictures import named, read

        made = [read(named(self.folder, str(sample)), self.folder, images[0]) for sample in ctx.sample_ids]
        return Protected(images=_stacked(made, images))


def _stacked(made: Sequence[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.stack(list(made)).to(images)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``external-command`` and ``external-images``."""
    return {"external-command": ExternalCommand, "external-images": ExternalImages}
