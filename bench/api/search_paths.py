"""The folders in which data sets, weights and the paths of a suite are searched.

Two environment variables list folders, separated as in ``PATH``; a third one holds the folder of the suite that is
being planned or run. Worker processes inherit these variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import click

from bench.core.errors import DataError

DATA = "BENCH_DATA"  # lists folders of data sets
WEIGHTS = "BENCH_WEIGHTS"  # lists folders of weights
_SUITE = "BENCH_SUITE_FOLDER"  # set by bench itself
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def prepend(variable: str, folder: Path | None) -> None:
    """Make a folder the first one that a variable lists, for this process and its workers. None changes nothing."""
    if folder is not None:
        before = os.environ.get(variable)
        os.environ[variable] = os.pathsep.join([str(folder.resolve()), *([before] if before else [])])


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    callback=lambda context, parameter, folder: prepend(DATA, folder),
    expose_value=False,
    metavar="DIR",
    help="Look for data sets in DIR first, then in $BENCH_DATA.",
)
"""The option ``--data-dir DIR`` of a click command, which sets where data sets are searched."""


def data_folders() -> list[Path]:
    """Return the folders in which data sets are searched, in this order: those of ``$BENCH_DATA``."""
    return [Path(text).expanduser() for text in os.environ.get(DATA, "").split(os.pathsep) if text]


def weights_folders() -> list[Path]:
    """Return the folders in which weights are searched, in this order.

    These are the folders of ``$BENCH_WEIGHTS``, then the subfolder ``weights`` of each folder of `data_folders`.
    """
    own = [Path(text).expanduser() for text in os.environ.get(WEIGHTS, "").split(os.pathsep) if text]
    return own + [folder / "weights" for folder in data_folders()]


def use_suite_folder(folder: Path) -> None:
    """Make relative paths of a suite start in its folder, for this process and its workers."""
    os.environ[_SUITE] = str(folder.resolve())


def places_named(text: str, what: str, folders: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return where a path from a suite may lie, in this order, with ``~`` and ``$VARIABLES`` replaced.

    A relative path lies in the folder of the suite, or else in one of ``folders``, or else in the working folder.
    ``what`` is the name of the parameter, for messages. Raises `DataError` naming a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise DataError(f"{what} = {text!r}: the variable {name} is not set; set it, or write the path itself")
        return os.environ[name]

    path, here = Path(_VARIABLE.sub(value, text)).expanduser(), Path.cwd()
    if path.is_absolute():
        return (path,)
    others = [*(folder / path for folder in folders), path]
    if not (suite_folder := os.environ.get(_SUITE)):
        return tuple(others)
    suite = Path(suite_folder)
    beside = suite / path
    first = beside.relative_to(here) if beside.is_relative_to(here) else beside
    return tuple(dict.fromkeys([first, *others]))


def expand(text: str, what: str) -> Path:
    """Return the path that a suite names: the first of `places_named` that exists, else the last of them.

    Raises `DataError` naming a variable that is not set.
    """
    places = places_named(text, what)
    return next((place for place in places if os.path.exists(place)), places[-1])
