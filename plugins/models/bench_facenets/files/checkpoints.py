"""Loading of public checkpoints into this package's networks: wrappers are opened and prefixes stripped; the rest must
fit exactly.

A checkpoint is never loaded in part: either every tensor of the network comes from the file, or one DataError says what
does not fit. Entries that are not used, such as a classification head, are listed in ``ignored``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import DataError
from bench_facenets.files import formats, known_checkpoints, unwrapping
from bench_facenets.files.known_checkpoints import COUNTER, Layout, Shape
from bench_facenets.files.pixels import Channels, with_parameters

WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "net", "backbone", "network", "module")
PREFIXES = ("module.", "model.", "backbone.", "net.", "network.", "_orig_mod.")
MAX_VALUES = formats.MAX_BYTES // 4  # The limit for the values of all tensors together, in float32.
SHOWN = 4  # The number of keys that a message lists.
TRIED = 8  # The number of dictionaries, those with most tensors, among which the nearest to a network is searched.
ALL_LAYOUTS: tuple[Layout, ...] = tuple(known_checkpoints.LAYOUTS.values())
SEEMS = 0.5  # The share of common tensors from which a message says where a network's weights seem to be.


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
        found = "; ".join(f"{len(keys)} {what}: {some(keys)}" for what, keys in parts if keys)
        where = f"{self.wrapper}.{self.prefix}".strip(".")
        place = seem_to_be(where) if self.share >= SEEMS else ""
        wanted = len(self.layout.tensors(self.embedding_size))
        if self.guessed is not None:
            hint = f"it is a checkpoint of the layout {self.guessed.name}, architecture {self.guessed.architecture!r}"
        else:
            hint = f"the nearest layout is {self.nearest.name}, with {self.share:.0%} of all tensors in common"
        return (
            f"{self.path}: expected the {wanted} tensors of {self.layout.name} (architecture "
            f"{self.layout.architecture!r}), found {self.tensors}, {found}; {hint}{place}"
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
    """A network with its weights: frozen, in evaluation mode, on the CPU. ``ambiguous``: see `Comparison.ambiguity`;
    ``notes``: which of several networks of the file it is."""

    net: nn.Sequential
    layout: Layout
    embedding_size: int
    ignored: tuple[str, ...]
    ambiguous: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a file under the keys of a network. ``where``: the keys that led to them; ``notes``: which of
    several networks of the file they are."""

    tensors: Mapping[str, Tensor]
    where: str
    notes: tuple[str, ...]


def read_weights(path: Path | str, wanted: Mapping[str, Tensor], weights_key: str = "") -> Weights:
    """Return the weights of a file under the keys of a network, on the CPU; floating-point numbers as float32.

    ``wanted``, the state dict of a network, decides which part of the keys is a prefix and which keys are a head;
    ``weights_key`` which of several networks is meant. Raises like `formats.read`, and DataError for values that are
    not finite and for a file with several networks or none.
    """
    contents = _read_for(Path(path), wanted, weights_key)
    where = f"{contents.wrapper}.{contents.view.prefix}".strip(".")
    notes = (*contents.notes, *left_aside(contents.view.ignored))
    return Weights(tensors=contents.view.tensors, where=where, notes=notes)


def load(path: Path | str, architecture: str, *, layout: Layout | None = None, weights_key: str = "") -> Loaded:
    """Return the network of an architecture with the weights of a file; all of them must fit.

    ``layout`` decides if several layouts fit the file, ``weights_key`` if the file holds several networks. A file
    written by ``bench train`` names its layout in its metadata. Raises like `read_weights`, DataError for weights that
    do not fit, and ValueError for an unknown architecture.
    """
    contents = _read(Path(path), _layouts(layout or architecture), weights_key)
    found = _compare(contents, layout or architecture)
    if not found.fits or found.layout.architecture != architecture:
        default = known_checkpoints.default(architecture)
        raise DataError((found if not found.fits else _compare(contents, default)).problem())
    net = found.layout.build(found.embedding_size)
    wanted = net.state_dict()
    integers = [key for key, tensor in contents.view.tensors.items() if tensor.dtype != wanted[key].dtype]
    if integers:
        raise DataError(f"{path}: expected weights in floating point, found integers: {some(integers)}")
    net.load_state_dict(dict(contents.view.tensors), strict=True, assign=True)
    stated = _stated_layout(contents, found.layout)
    return Loaded(
        net=net.requires_grad_(False),
        layout=stated or found.layout,
        embedding_size=found.embedding_size,
        ignored=found.ignored,
        ambiguous="" if layout or stated else found.ambiguity(),
        notes=contents.notes,
    )


def compare(path: Path | str, layout: Layout | str, weights_key: str = "") -> Comparison:
    """Compare a file with a layout, a layout's name, or the best layout of an architecture, for ``bench models check``.

    Raises like `read_weights`, and ValueError for an unknown name.
    """
    return _compare(_read(Path(path), _layouts(layout), weights_key), layout)


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


def left_aside(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the note on keys of a file that do not belong to the network; none if there are no such keys."""
    return (f"left aside in the file: {some(keys)}",) if keys else ()


def seem_to_be(where: str) -> str:
    """Return the end of a message that says under which keys of a file the weights may be; empty if they are not under
    any."""
    return f"; its weights seem to be under {where!r}" if where else ""


def some(keys: Any) -> str:
    """Return the first of some keys, and how many more there are."""
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
    """The weights of a file in the best view; ``ignored``: entries that are not tensors; ``notes`` for the user."""

    path: Path
    view: View
    wrapper: str
    ignored: tuple[str, ...]
    metadata: Mapping[str, str]
    notes: tuple[str, ...] = ()


def _layouts(expected: Layout | str) -> tuple[Layout, ...]:
    """Return the layouts that a file may have: those of the architecture, before all others. Raises ValueError."""
    layout = known_checkpoints.find(expected) if isinstance(expected, str) else expected
    return tuple(sorted(ALL_LAYOUTS, key=lambda other: other.architecture != layout.architecture))


def _read(path: Path, layouts: Sequence[Layout], weights_key: str = "") -> _Contents:
    """Read the network of one of some layouts; all layouts of the first architecture that fits are considered."""

    def networks(names: unwrapping.Names) -> list[unwrapping.Found]:
        found: dict[str, unwrapping.Found] = {}
        for layout in layouts:
            if found and layout.architecture != layouts[0].architecture:
                break
            anchor = layout.embedding_key
            sizes = {len(t) for n, t in names.tensors.items() if n.endswith(anchor) and t.ndim and len(t) <= 65536}
            for size in sorted(sizes):
                found |= {each.prefix: each for each in unwrapping.networks(names, layout.tensors(size), anchor)}
        return list(found.values())

    return _contents(path, networks, lambda view: known_checkpoints.nearest(view.shapes)[1], weights_key)


def _read_for(path: Path, wanted: Mapping[str, Tensor], weights_key: str) -> _Contents:
    """Read the network that has the state dict ``wanted``."""
    shapes = {key: tuple(tensor.shape) for key, tensor in wanted.items()}
    keys = {key for key in wanted if not key.endswith(COUNTER)}
    parameters = [key for key in wanted if not key.endswith(unwrapping.STATISTICS)]

    def networks(names: unwrapping.Names) -> list[unwrapping.Found]:
        return unwrapping.networks(names, shapes, max(parameters, key=len)) if parameters else []

    def score(view: View) -> float:
        return len(keys & view.tensors.keys()) / max(1, len(keys | view.tensors.keys()))

    return _contents(path, networks, score, weights_key)


def _contents(
    path: Path,
    networks: Callable[[unwrapping.Names], list[unwrapping.Found]],
    score: Callable[[View], float],
    weights_key: str,
) -> _Contents:
    """Return the network that fits, else what is nearest to one."""
    found, metadata = formats.read(path)
    if not isinstance(found, Mapping) and not (isinstance(found, list | tuple) and any(map(_is_mapping, found))):
        what = "one tensor" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise DataError(f"{path}: expected a state dict, found {what}; save model.state_dict() with torch.save")
    names = unwrapping.names_in(path, found)
    if not names.tensors:
        raise _no_tensors(path, found)
    chosen = unwrapping.choose(path, networks(names), weights_key)
    if chosen is None:
        notes: tuple[str, ...] = ()
        wrapper, view = _nearest(path, names, score, weights_key)
    else:
        wrapper, view = _chosen_view(names, chosen)
        unused = () if weights_key else unwrapping.unused_averages(names, chosen, len(view.tensors))
        notes = (*chosen.notes, *unused)
    if len(view.tensors) > formats.MAX_TENSORS:
        raise DataError(f"{path}: expected at most {formats.MAX_TENSORS} tensors, found {len(view.tensors)}")
    if sum(tensor.numel() for tensor in view.tensors.values()) > MAX_VALUES:
        raise DataError(f"{path}: expected at most {MAX_VALUES:,} values, found tensors of more")
    clean = {key: _clean(path, f"{view.prefix}{key}", tensor) for key, tensor in view.tensors.items()}
    return _Contents(
        path=path,
        view=replace(view, tensors=clean),
        wrapper=wrapper,
        ignored=_beside(found, wrapper),
        metadata=metadata,
        notes=notes,
    )


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _no_tensors(path: Path, found: Any) -> DataError:
    keys = list(found) if isinstance(found, Mapping) else []
    inner = next((key for key in keys if key in WRAPPERS and isinstance(found[key], Mapping) and found[key]), None)
    inside, shown = (f" under {inner!r}", list(found[inner])) if inner is not None else ("", keys)
    return DataError(f"{path}: expected a state dict, found no tensors{inside} ({some(list(map(str, shown)))})")


def _beside(found: Any, wrapper: str) -> tuple[str, ...]:
    """Return the keys beside the weights whose values are neither tensors nor hold any."""
    for part in wrapper.split(".") if wrapper else []:
        if isinstance(found, Mapping):
            found = next((value for key, value in found.items() if str(key) == part), {})
        else:
            found = found[int(part)]
    items = found.items() if isinstance(found, Mapping) else []
    return tuple(str(key) for key, value in items if not isinstance(value, Tensor | Mapping))


def _chosen_view(names: unwrapping.Names, chosen: unwrapping.Chosen) -> tuple[str, View]:
    """Return the wrapper and the view of a network in a file."""
    prefix, keys = chosen.found.prefix, chosen.found.keys
    own = names.under(prefix)
    tensors = (names.under(chosen.base.prefix) if chosen.base else {}) | own
    used = {names.inside[prefix + key] for key in own if key in keys}
    around = {where for where in used if where and prefix.startswith(f"{where}.")}
    wrapper = max(around, key=len, default="" if "" in used else prefix.rstrip("."))
    inner = prefix.removeprefix(f"{wrapper}.") if wrapper else prefix
    aside = [name for name, where in names.inside.items() if where in used and name.removeprefix(prefix) not in keys]
    return wrapper, View(
        tensors={key: tensor for key, tensor in tensors.items() if key in keys},
        prefix=inner,
        ignored=tuple(name.removeprefix(f"{wrapper}.") if wrapper else name for name in aside),
    )


def _nearest(path: Path, names: unwrapping.Names, score: Callable[[View], float], weights_key: str) -> tuple[str, View]:
    """Return the dictionary, and the view of it, that is nearest to a network. Raises DataError for a key that the file
    does not have."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, where in names.inside.items():
        groups.setdefault(where, {})[name.removeprefix(f"{where}.") if where else name] = names.tensors[name]
    largest = sorted(groups, key=lambda where: -len(groups[where]))
    if weights_key:
        below = [where for where in largest if where == weights_key or where.startswith(f"{weights_key}.")]
        if not below:
            raise DataError(
                f"{path}: weights_key = {weights_key!r}: expected a key of the file with weights, found weights under "
                f"{some([where or unwrapping.TOP for where in largest])}"
            )
        largest = below
    tried = []
    for where in largest[:TRIED]:
        *views, last = _views(View(tensors=groups[where]))
        tried += [(where, view) for view in (last, *reversed(views))]
    return max(tried, key=lambda each: score(each[1]))


def _views(view: View) -> Iterator[View]:
    """Yield the keys as they are and without heads, then the same after each prefix that all keys share is stripped."""
    while True:
        yield view
        heads = tuple(key for key in view.tensors if key.partition(".")[0] in unwrapping.HEADS)
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
