"""Training faces, drawn or read once into a file that is then mapped into memory.

The file holds uint8 `(n, h, w, 3)` (channels last, as the networks compute), one identity after the other, so that
the first k identities are a prefix. It is keyed by the source's fingerprint, and appears only when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import TrainingSet

_CHUNK = 512


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


def prepare(
    source: TrainingSet, cache_dir: Path, *, workers: int = 2, progress: Callable[[str], None] = print
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


def _draw(source: TrainingSet, n: int, path: Path, workers: int, progress: Callable[[str], None]) -> None:
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
