"""Training faces, rendered once into a file and read by mapping it into memory.

The file holds uint8 `(n, 112, 112, 3)` (channels last, as the networks compute), one identity after the other,
so that the first k identities are a prefix. It is keyed by everything that decides its pixels, and appears only
when it is complete.
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

IMAGE_SIZE = 112
_CHUNK = 512


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

    def key(self, generator: str) -> str:
        """Name of the rendered file: a digest of this specification and of the generator's fingerprint."""
        text = json.dumps({"spec": asdict(self), "generator": generator, "layout": 1}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _table(spec: DataSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Subject and shot number of every picture, two `(n,)` vectors."""
    subjects, shots, first = [], [], 0
    for count, per_person in spec.groups:
        subjects.append(np.repeat(np.arange(first, first + count), per_person))
        shots.append(np.tile(np.arange(per_person), count))
        first += count
    return np.concatenate(subjects).astype(np.int64), np.concatenate(shots).astype(np.int64)


def _chunk(
    spec: DataSpec, render: Render, subjects: NDArray[np.int64], shots: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Pictures uint8 `(n, 112, 112, 3)` of one chunk; age and style are pure functions of (subject, shot)."""
    out = np.empty((len(subjects), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    # Two numbers in [0, 1) per picture: additive recurrences with irrational steps spread them evenly.
    u = np.modf(subjects * 0.754877666 + shots * 0.569840291)[0]
    v = np.modf(subjects * 0.569840291 + shots * 0.754877666)[0]
    w = np.modf(subjects * 0.618033989 + shots * 0.414213562)[0]
    low, high = spec.age_range
    for frontal in (False, True):
        for free in (False, True):
            rows = np.flatnonzero(((u < spec.frontal_share) == frontal) & ((v < spec.free_age_share) == free))
            if not len(rows):
                continue
            extra: dict[str, Any] = {"style": "frontal" if frontal else "wild"}
            if free:
                extra["age"] = torch.from_numpy(low + (high - low) * w[rows]).float()
            images = render(spec.seed, torch.from_numpy(subjects[rows]), torch.from_numpy(shots[rows]), **extra)
            out[rows] = images.images.permute(0, 2, 3, 1).numpy()
    return out


def prepare(
    spec: DataSpec,
    render: Render,
    generator: str,
    cache_dir: Path,
    *,
    workers: int = 2,
    progress: Callable[[str], None] = print,
) -> TrainData:
    """The pictures of `spec`, rendered into `cache_dir` unless they are there already.

    `generator` names the renderer's exact version (for instance a digest of its source). `workers` threads draw;
    pictures do not depend on their number. Two processes may
    prepare the same file at once: each writes its own and the last rename wins, with equal contents.
    """
    subjects, shots = _table(spec)
    path = cache_dir / f"faces-{spec.key(generator)}.npy"
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        shape = (len(subjects), IMAGE_SIZE, IMAGE_SIZE, 3)
        try:
            target = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
            chunks = [slice(start, start + _CHUNK) for start in range(0, len(subjects), _CHUNK)]
            with ThreadPoolExecutor(workers) as pool:
                drawn = pool.map(lambda rows: _chunk(spec, render, subjects[rows], shots[rows]), chunks)
                for rows, pictures in zip(chunks, drawn, strict=True):
                    target[rows] = pictures
                    if rows.start // _CHUNK % 10 == 0:
                        progress(f"rendered {rows.start} of {len(subjects)} pictures")
            target.flush()
            del target
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return TrainData(images=np.load(path, mmap_mode="r", allow_pickle=False), labels=subjects)
