"""Loading of public checkpoints into this package's networks: wrappers are opened and prefixes stripped; the rest must
fit exactly.

A checkpoint is never loaded in part: either every tensor of the network comes from the file, or one DataError says what
does not fit. Entries that are not used, such as a classification head, are listed in ``ignored``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import DataError
from bench_facenets.files import formats, known_checkpoints
from bench_facenets.files.known_checkpoints import COUNTER, Layout, Shape
from bench_facenets.files.pixels import Channels, with_parameters

WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "net", "backbone", "network", "module")
PREFIXES = ("module.", "model.", "backbone.", "net.", "network.", "_orig_mod.")
HEADS = frozenset(
    {
        *("head", "header", "heads", "kernel", "margin", "margin_softmax", "metric", "metric_fc", "arc", "arcface"),
        *("cosface", "sphereface", "adaface", "classifier", "loss", "loss_fn", "criterion", "logits", "partial_fc"),
    }
)
"""The first parts of the keys of classification heads, which do not belong to an embedding network."""
MAX_VALUES = formats.MAX_BYTES // 4  # The limit for the values of all tensors together, in float32.
SHOWN = 4  # The number of keys that a message lists.


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to read the keys of a file: ``tensors`` after ``prefix`` is stripped and ``ignored`` is left out."""

    tensors: Mapping[str, Tensor]
    prefix: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of a file with a layout; ``fits`` if the file has exactly the layout's tensors and shapes.

    ``guessed``: the layout whose tensors the file has exactly, or None, with its ``alternatives``; ``nearest`` and
    ``share``: the layout with which it has most tensors in common. ``wrapper`` is the key that contained the weights,
    ``prefix`` was stripped from every key, ``ignored`` does not belong to the network. ``mismatched``: key, found and
    expected shape.
    """

    path: Path
    layout: Layout
    embedding_size: int
    guessed: Layout | None
    alternatives: tuple[Layout, ...]
    nearest: Layout
    share: float
    tensors: int
    parameters: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, Shape, Shape], ...]
    wrapper: str
    prefix: str
    ignored: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the file holds exactly the weights of the layout."""
        return not (self.missing or self.unexpected or self.mismatched)

    def problem(self) -> str:
        """Return a line that says what does not fit; empty if everything fits."""
        if self.fits:
            return ""
        shapes = [f"{key} {found} instead of {wanted}" for key, found, wanted in self.mismatched]
        parts = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", shapes))
        found = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in parts if keys)
        wanted = len(self.layout.tensors(self.embedding_size))
        if self.guessed is not None:
            hint = f"it is a checkpoint of the layout {self.guessed.name}, architecture {self.guessed.architecture!r}"
        else:
            hint = f"the nearest layout is {self.nearest.name}, with {self.share:.0%} of all tensors in common"
        return (
            f"{self.path}: expected the {wanted} tensors of {self.layout.name} (architecture "
            f"{self.layout.architecture!r}), found {self.tensors}, {found}; {hint}"
        )

    def ambiguity(self) -> str:
        """Return a line that names the other layouts with the same tensors; empty if there are none."""
        if self.guessed is None or not self.alternatives:
            return ""
        others = ", ".join(f"{other.name} ({other.pixels})" for other in self.alternatives)
        return (
            f"taken for {self.guessed.name} ({self.guessed.pixels}); the same tensors are also those of {others}: "
            "set channels, mean and std if it is one of these"
        )


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its weights: frozen, in evaluation mode, on the CPU. ``ambiguous``: see `Comparison.ambiguity`."""

    net: nn.Sequential
    layout: Layout
    embedding_size: int
    ignored: tuple[str, ...]
    ambiguous: str


def read_state_dict(path: Path | str, wanted: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the weights of a file under the keys of the network, on the CPU; floating-point numbers as float32.

    ``wanted``, the state dict of a network, decides which part of the keys is a prefix and which keys are a head.
    Without it, prefixes are stripped until a known layout fits, or as far as possible. Raises like `formats.read`, and
    DataError for values that are not finite and for a file with several networks or none.
    """
    if wanted is None:
        return dict(_read(Path(path)).view.tensors)
    keys = {key for key in wanted if not key.endswith(COUNTER)}
    found = _read(Path(path), lambda view: len(keys & view.tensors.keys()) / max(1, len(keys | view.tensors.keys())))
    return dict(found.view.tensors)


def load(path: Path | str, architecture: str, *, layout: Layout | None = None) -> Loaded:
    """Return the network of an architecture with the weights of a file; all of them must fit.

    ``layout`` decides if several layouts fit the file. A file written by ``bench train`` names its layout in its
    metadata. Raises like `read_state_dict`, DataError for weights that do not fit, and ValueError for an unknown
    architecture.
    """
    contents = _read(Path(path))
    found = _compare(contents, layout or architecture)
    if not found.fits or found.layout.architecture != architecture:
        default = known_checkpoints.default(architecture)
        raise DataError((found if not found.fits else _compare(contents, default)).problem())
    net = found.layout.build(found.embedding_size)
    wanted = net.state_dict()
    integers = [key for key, tensor in contents.view.tensors.items() if tensor.dtype != wanted[key].dtype]
    if integers:
        raise DataError(f"{path}: expected weights in floating point, found integers: {_some(integers)}")
    net.load_state_dict(dict(contents.view.tensors), strict=True, assign=True)
    stated = _stated_layout(contents, found.layout)
    return Loaded(
        net=net.requires_grad_(False),
        layout=stated or found.layout,
        embedding_size=found.embedding_size,
        ignored=found.ignored,
        ambiguous="" if layout or stated else found.ambiguity(),
    )


def compare(path: Path | str, layout: Layout | str) -> Comparison:
    """Compare a file with a layout, a layout's name, or the best layout of an architecture, for ``bench models check``.

    Raises like `read_state_dict`, and ValueError for an unknown name.
    """
    return _compare(_read(Path(path)), layout)


# ---- comparing -------------------------------------------------------------------------------------------------------


def _compare(contents: _Contents, expected: Layout | str) -> Comparison:
    view, path = contents.view, contents.path
    shapes = view.shapes
    guessed = known_checkpoints.guess(shapes, path.name)
    if isinstance(expected, Layout):
        layout = expected
    elif guessed is not None and guessed.architecture == expected:
        layout = guessed
    else:
        layout = known_checkpoints.find(expected)
    nearest, share = known_checkpoints.nearest(shapes)
    size = layout.embedding_size_in(shapes)
    wanted = layout.tensors(size)
    named = guessed is not None and known_checkpoints.published_as(guessed, path.name)
    return Comparison(
        path=path,
        layout=layout,
        embedding_size=size,
        guessed=guessed,
        alternatives=known_checkpoints.alternatives(guessed) if guessed and not named else (),
        nearest=nearest,
        share=share,
        tensors=len(shapes),
        parameters=sum(math.prod(shape) for key, shape in shapes.items() if not _is_statistic(key)),
        missing=tuple(key for key in wanted if key not in shapes and not key.endswith(COUNTER)),
        unexpected=tuple(key for key in shapes if key not in wanted),
        mismatched=tuple(
            (key, shapes[key], wanted[key]) for key in wanted if key in shapes and shapes[key] != wanted[key]
        ),
        wrapper=contents.wrapper,
        prefix=view.prefix,
        ignored=contents.ignored + view.ignored,
    )


def _is_statistic(key: str) -> bool:
    return key.endswith((COUNTER, "running_mean", "running_var"))


def _some(keys: Any) -> str:
    return ", ".join(list(keys)[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _stated_layout(contents: _Contents, layout: Layout) -> Layout | None:
    """Return the layout with the pixels in the file's metadata, as ``bench train`` writes them; None without them.

    Raises DataError for metadata in another form.
    """
    stated = {key: value for key, value in contents.metadata.items() if key.startswith("bench.")}
    if "bench.channels" not in stated:
        return None
    channels = stated["bench.channels"]
    try:
        if channels not in ("rgb", "bgr"):
            raise ValueError(f"bench.channels: expected rgb or bgr, got {channels!r}")
        order: Channels = "bgr" if channels == "bgr" else "rgb"
        mean, std = (tuple(map(float, json.loads(stated[f"bench.{name}"]))) for name in ("mean", "std"))
        pixels = with_parameters(layout.pixels, mean=mean, std=std, channels=order)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{contents.path}: metadata that bench did not write: {error!r}") from None
    return replace(layout, pixels=pixels, license="that of this training", source=f"bench train ({layout.name})")


# ---- from a file to views of its keys --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """The weights of a file in the best view; ``ignored``: entries that are not tensors."""

    path: Path
    view: View
    wrapper: str
    ignored: tuple[str, ...]
    metadata: Mapping[str, str]


def _read(path: Path, score: Callable[[View], float] | None = None) -> _Contents:
    found, metadata = formats.read(path)
    weights, wrapper = _unwrap(path, found)
    tensors = {key: value for key, value in weights.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        inside = f" under {wrapper!r}" if wrapper else ""
        raise DataError(f"{path}: expected a state dict, found no tensors{inside} ({_some(list(map(str, weights)))})")
    if len(tensors) > formats.MAX_TENSORS:
        raise DataError(f"{path}: expected at most {formats.MAX_TENSORS} tensors, found {len(tensors)}")
    if sum(tensor.numel() for tensor in tensors.values()) > MAX_VALUES:
        raise DataError(f"{path}: expected at most {MAX_VALUES:,} values, found tensors of more")
    *views, last = _views(View(tensors=tensors))
    best = max((last, *reversed(views)), key=score or (lambda view: known_checkpoints.nearest(view.shapes)[1]))
    if score is None and known_checkpoints.nearest(best.shapes)[1] == 0:
        best = last
    clean = {key: _clean(path, f"{best.prefix}{key}", tensor) for key, tensor in best.tensors.items()}
    return _Contents(
        path=path,
        view=replace(best, tensors=clean),
        wrapper=wrapper,
        ignored=tuple(str(key) for key in weights if key not in tensors),
        metadata=metadata,
    )


def _unwrap(path: Path, found: Any) -> tuple[Mapping[Any, Any], str]:
    """Return the innermost mapping under the usual keys, and the keys that lead to it. Raises DataError."""
    wrapper: list[str] = []
    for _ in range(4):
        if not isinstance(found, Mapping):
            what = "one tensor" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise DataError(f"{path}: expected a state dict, found {what}; save model.state_dict() with torch.save")
        inner = [key for key in WRAPPERS if isinstance(found.get(key), Mapping) and found[key]]
        if not inner:
            break
        if len(inner) > 1:
            raise DataError(f"{path}: expected one network, found {', '.join(inner)}; save the one that is meant")
        wrapper.append(inner[0])
        found = found[inner[0]]
    return found, ".".join(wrapper)


def _views(view: View) -> Iterator[View]:
    """Yield the keys as they are and without heads, then the same after each prefix that all keys share is stripped."""
    while True:
        yield view
        heads = tuple(key for key in view.tensors if key.partition(".")[0] in HEADS)
        if heads and len(heads) < len(view.tensors):
            kept = {key: tensor for key, tensor in view.tensors.items() if key not in heads}
            view = replace(view, tensors=kept, ignored=view.ignored + tuple(f"{view.prefix}{key}" for key in heads))
            yield view
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in view.tensors)), None)
        if prefix is None:
            return
        inner = {key.removeprefix(prefix): tensor for key, tensor in view.tensors.items()}
        view = replace(view, tensors=inner, prefix=view.prefix + prefix)


def _clean(path: Path, key: str, tensor: Tensor) -> Tensor:
    """Return a plain contiguous tensor, in float32 if it is floating-point. Raises DataError if it cannot be a weight:
    sparse, quantised, complex or not finite."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.dtype.is_complex:
        raise DataError(
            f"{path}: {key}: expected a dense tensor of real numbers, found {tensor.dtype}, {tensor.layout} on "
            f"{tensor.device}; save the network in float32"
        )
    tensor = tensor.detach()
    if key.endswith(COUNTER):
        return tensor.to(torch.int64)
    if not tensor.is_floating_point():
        return tensor.contiguous()
    tensor = tensor.to(torch.float32).contiguous()
    if not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise DataError(
            f"{path}: {key}: expected finite weights, found {count} of {tensor.numel()} NaN or infinite; this training "
            "diverged, or the file is damaged"
        )
    return tensor
