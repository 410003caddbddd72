"""Search for the networks in a checkpoint: trainers save weights under many names, often beside an averaged copy.

All tensors of the file get dotted names, through nested dictionaries and lists. A network is a prefix under which every
tensor of a known network is found with its shape. So the keys of a wrapper need not be known, a file with several
networks is noticed, and no choice between them is silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bench import DataError
from bench_facenets.files.known_checkpoints import COUNTER

STATISTICS = (COUNTER, "running_mean", "running_var")
HEADS = frozenset(
    {
        *("head", "header", "heads", "kernel", "margin", "margin_softmax", "metric", "metric_fc", "arc", "arcface"),
        *("cosface", "sphereface", "adaface", "classifier", "loss", "loss_fn", "criterion", "logits", "partial_fc"),
    }
)
"""The first parts of the keys of classification heads, which do not belong to an embedding network."""
MAX_DEPTH = 8
MAX_ENTRIES = 1_000_000
TOP = "."  # The name of the network whose tensors are not in a dictionary of their own.
_AVERAGED = {"ema", "shadow", "averaged", "average", "avg", "swa", "polyak"}


@dataclass(frozen=True, kw_only=True)
class Names:
    """The tensors of a file by their dotted names, and for each name the dotted name of the dictionary it is in."""

    tensors: Mapping[str, Tensor]
    inside: Mapping[str, str]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network in a file: the ``prefix`` of its names, and its ``keys`` under it. ``partial``: the averaged parameters
    of a network, without the running statistics of its normalisation layers."""

    prefix: str
    keys: frozenset[str] = field(repr=False)
    partial: bool = False

    @property
    def name(self) -> str:
        """The value of ``weights_key`` that selects the network."""
        return self.prefix.rstrip(".") or TOP

    @property
    def averaged(self) -> bool:
        """Whether its names say that it is an average over the training."""
        return is_averaged(self.prefix)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The network that is used: its tensors under its own keys come from ``found``, the rest from ``base`` if it is
    partial. ``notes`` say what was chosen."""

    found: Found
    base: Found | None = None
    notes: tuple[str, ...] = ()


def names_in(path: Path, contents: Any) -> Names:
    """Return the names of all tensors of a file. Raises DataError if its dictionaries hold each other too often."""
    tensors: dict[str, Tensor] = {}
    inside: dict[str, str] = {}
    for steps, (where, key, value) in enumerate(_walk(contents, "", 0)):
        if steps > MAX_ENTRIES:
            raise DataError(f"{path}: expected a state dict, found more than {MAX_ENTRIES:,} entries")
        if isinstance(value, Tensor):
            name = f"{where}.{key}" if where else key
            tensors[name], inside[name] = value, where
    return Names(tensors=tensors, inside=inside)


def _walk(value: Any, where: str, depth: int) -> Iterator[tuple[str, str, Any]]:
    """Yield every entry of nested dictionaries and lists: where it is, its key, and its value."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in items:
        yield where, str(key), inner
        if isinstance(inner, Mapping | list | tuple) and depth < MAX_DEPTH:
            yield from _walk(inner, f"{where}.{key}" if where else str(key), depth + 1)


def is_averaged(name: str) -> bool:
    """Return whether a name is that of an average over the training, such as ``state_dict_ema``."""
    parts = [part for part in name.lower().split(".") if "exp_avg" not in part]
    words = [word for part in parts for word in re.split(r"[_\-]", part)]
    return any(word in _AVERAGED or (word.endswith("ema") and word != "schema") for word in words)


def networks(names: Names, wanted: Mapping[str, tuple[int, ...]], anchor: str) -> list[Found]:
    """Return the networks in a file that have exactly the ``wanted`` keys and shapes, besides heads.

    ``anchor`` is one of these keys, a parameter. Counters of batches may be missing.
    """
    prefixes = [name.removesuffix(anchor) for name in names.tensors if name == anchor or name.endswith(f".{anchor}")]
    found = []
    for prefix in dict.fromkeys(prefixes):
        missing = [key for key, shape in wanted.items() if not _has(names, prefix + key, shape)]
        missing = [key for key in missing if not key.endswith(COUNTER) or prefix + key in names.tensors]
        if any(prefix + key in names.tensors for key in missing) or _extra(names, prefix, wanted):
            continue
        if not missing:
            found.append(Found(prefix=prefix, keys=frozenset(wanted)))
        elif is_averaged(prefix) and all(key.endswith(STATISTICS) for key in missing):
            found.append(Found(prefix=prefix, keys=frozenset(wanted), partial=True))
    return found


def _has(names: Names, name: str, shape: tuple[int, ...]) -> bool:
    tensor = names.tensors.get(name)
    return tensor is not None and tuple(tensor.shape) == tuple(shape)


def _extra(names: Names, prefix: str, wanted: Mapping[str, Any]) -> bool:
    """Return whether the dictionaries with the wanted tensors have others under the prefix that are not those of a
    head."""
    used = {names.inside[prefix + key] for key in wanted if prefix + key in names.tensors}
    beside = [name for name, where in names.inside.items() if where in used and name.startswith(prefix)]
    others = [name.removeprefix(prefix) for name in beside]
    return any(k not in wanted and not k.endswith(COUNTER) and k.partition(".")[0] not in HEADS for k in others)


def choose(path: Path, found: Sequence[Found], key: str) -> Chosen | None:
    """Return the network that ``key`` names; without a key the only one, or the averaged one of two.

    None without networks. Raises DataError if the key names none of them, or if there are several and no rule.
    """
    whole = [each for each in found if not each.partial]
    listed = ", ".join(each.name for each in found)
    if key and found:
        chosen = [each for each in found if each.name == key or each.name.startswith(f"{key}.")]
        if not chosen:
            raise DataError(f"{path}: weights_key = {key!r}: expected a network of this file, found {listed}")
    else:
        chosen = list(found)
    averaged, raw = [e for e in chosen if e.averaged], [e for e in chosen if not e.averaged]
    if len(chosen) > 1 and not (len(averaged) == 1 and len(raw) <= 1):
        raise DataError(f"{path}: expected one network, found {listed}; set weights_key to the one that is meant")
    if not chosen:
        return None
    best = averaged[0] if averaged else raw[0]
    others = [each for each in whole if each is not best]
    if best.partial and len([each for each in others if not each.averaged]) != 1:
        return None
    notes = []
    if raw and averaged:
        notes.append(
            f"the file holds two networks, {raw[0].name} and its average over the training {best.name}: the average is "
            f'used; weights_key = "{raw[0].name}" takes the other'
        )
    base = next((each for each in others if not each.averaged), None) if best.partial else None
    if base is not None:
        notes.append(f"{best.name} has no running statistics of normalisation layers; those of {base.name} are used")
    return Chosen(found=best, base=base, notes=tuple(notes))


def unused_averages(names: Names, chosen: Chosen, wanted: int) -> tuple[str, ...]:
    """Return a note if the file also holds averaged weights that do not fit the network, such as a list without
    names."""
    if chosen.found.averaged:
        return ()
    counts: dict[str, int] = {}
    for name in names.tensors:
        if not name.startswith(chosen.found.prefix) or not chosen.found.prefix:
            parts = name.split(".")
            start = next((i for i in range(len(parts)) if is_averaged(parts[i]) and "optim" not in name.lower()), None)
            if start is not None:
                where = ".".join(parts[: start + 1])
                counts[where] = counts.get(where, 0) + 1
    many = {where: count for where, count in counts.items() if 3 * count > wanted}
    return tuple(
        f"the file also holds {count} tensors under {where!r}, perhaps an average over the training: their names do "
        "not fit the network, and they are not used"
        for where, count in many.items()
    )
