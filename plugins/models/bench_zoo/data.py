"""Training faces, drawn or read once into a file that is then mapped into memory.

The file holds uint8 `(n, h, w, 3)` (channels last, as the networks compute), one identity after the other, so that
the first k identities are a prefix. It is keyed by the source's fingerprint, and appears only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 512


class Source(Protocol):
    """Where training faces come from; the same shape as the host's `TrainingSet`."""

    def fingerprint(self) -> str:
        """A digest of everything that decides the pictures."""
        ...

    def labels(self) -> NDArray[np.int64]:
        """The identity of every picture, int64 `(n,)`, ascending from 0."""
        ...

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pictures `rows`: uint8 `(len(rows), 3, h, w)` RGB; the same rows give the same pictures."""
        ...


class RenderedLike(Protocol):
    """What a renderer returns: at least the pictures, uint8 `(n, 3, 112, 112)` RGB."""

    @property
    def images(self) -> Tensor: ...


Render = Callable[..., RenderedLike]
"""`render(seed, subjects (n,), shots (n,), *, age=None | (n,), style=str)`: pure in its arguments."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which faces a network is trained on."""

    seed: int
    """Seed of the world of people; must differ from those of the test protocols."""
    groups: tuple[tuple[int, int], ...]
    """(identities, pictures of each), in order: identities are numbered through the groups."""
    free_age_share: float = 0.5
    """Share of each person's pictures at a random age rather than near the usual one."""
    age_range: tuple[float, float] = (18.0, 78.0)
    """Bounds of the random ages, in years."""
    frontal_share: float = 0.2
    """Share of each person's pictures in the "frontal" style; the others are "wild"."""

    @property
    def identities(self) -> int:
        """Number of people."""
        return sum(n for n, _ in self.groups)

    @property
    def images(self) -> int:
        """Number of pictures."""
        return sum(n * shots for n, shots in self.groups)


@dataclass(frozen=True, kw_only=True)
class TrainData:
    """Pictures uint8 `(n, h, w, 3)` (often mapped from a file) and labels int64 `(n,)`, ascending from 0."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def prefix(self, identities: int) -> int:
        """Number of pictures that belong to the first `identities` people."""
        return int(np.searchsorted(self.labels, identities))

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Pictures `rows` as uint8 `(len(rows), 3, h, w)` in channels-last layout."""
        return torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class GeneratedSource:
    """Faces of a `DataSpec` by a renderer. `generator` names the renderer's exact version, e.g. a source digest."""

    spec: DataSpec
    render: Render
    generator: str

    def fingerprint(self) -> str:
        """A digest of the specification and the generator's version."""
        text = json.dumps({"spec": asdict(self.spec), "generator": self.generator, "rule": 1}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def labels(self) -> NDArray[np.int64]:
        """The identity of every picture, `(n,)`: the identities of the first group, then of the second, ..."""
        return self._table()[0]

    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Identity and shot number of every picture, two `(n,)` vectors."""
        subjects, shots, first = [], [], 0
        for count, per_person in self.spec.groups:
            subjects.append(np.repeat(np.arange(first, first + count), per_person))
            shots.append(np.tile(np.arange(per_person), count))
            first += count
        return np.concatenate(subjects).astype(np.int64), np.concatenate(shots).astype(np.int64)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pictures `rows`, uint8 `(len(rows), 3, h, w)`; age and style are pure functions of (subject, shot)."""
        subjects, shots = (column[rows] for column in self._table())
        out: NDArray[np.uint8] | None = None
        # Numbers in [0, 1) for each picture: additive recurrences with irrational steps spread them evenly.
        u = np.modf(subjects * 0.754877666 + shots * 0.569840291)[0]
        v = np.modf(subjects * 0.569840291 + shots * 0.754877666)[0]
        w = np.modf(subjects * 0.618033989 + shots * 0.414213562)[0]
        frontal, free = u < self.spec.frontal_share, v < self.spec.free_age_share
        low, high = self.spec.age_range
        for style, aged in (("wild", False), ("wild", True), ("frontal", False), ("frontal", True)):
            chosen = np.flatnonzero((frontal == (style == "frontal")) & (free == aged))
            if not len(chosen):
                continue
            age = torch.from_numpy(low + (high - low) * w[chosen]).float() if aged else None
            who, which = torch.from_numpy(subjects[chosen]), torch.from_numpy(shots[chosen])
            drawn = self.render(self.spec.seed, who, which, age=age, style=style).images.numpy()
            if out is None:
                out = np.empty((len(rows), *drawn.shape[1:]), np.uint8)
            out[chosen] = drawn
        if out is None:
            raise ValueError("rows: expected at least one picture, got none")
        return out

    def card(self) -> dict[str, Any]:
        """What a model card says about these faces."""
        return {
            **asdict(self.spec),
            "identities": self.spec.identities,
            "images": self.spec.images,
            "generator": self.generator,
        }


def prepare(
    source: Source, cache_dir: Path, *, workers: int = 2, progress: Callable[[str], None] = print
) -> TrainData:
    """The pictures of `source`, drawn into `cache_dir` unless they are there already.

    `workers` threads draw; pictures do not depend on their number. Two processes may prepare the same file at
    once: each writes its own and the last rename wins, with equal contents.
    """
    labels = source.labels()
    path = cache_dir / f"faces-{source.fingerprint()[:16]}.npy"
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _draw(source, len(labels), beside, workers, progress)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return TrainData(images=np.load(path, mmap_mode="r", allow_pickle=False), labels=labels)


def _draw(source: Source, n: int, path: Path, workers: int, progress: Callable[[str], None]) -> None:
    chunks = [np.arange(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    target: NDArray[np.uint8] | None = None
    with ThreadPoolExecutor(workers) as pool:
        for rows, pictures in zip(chunks, pool.map(source.images, chunks), strict=True):
            height, width = pictures.shape[2:]
            if target is None:
                shape = (n, height, width, 3)
                target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            target[rows[0] : rows[-1] + 1] = pictures.transpose(0, 2, 3, 1)
            if rows[0] // _CHUNK % 10 == 0:
                progress(f"drew {rows[0]} of {n} pictures")
    if target is not None:
        target.flush()  # type: ignore[attr-defined]
