"""Training faces as batches of tensors: from a file into which they were drawn once, or decoded on the fly.

A set that is small enough is drawn into a file that is then mapped into memory: uint8 `(n, h, w, 3)` (channels last, as
in the networks), sorted by identity, so that the first k identities are a prefix. The file's name contains the source's
fingerprint, and the file appears only when it is complete. A whole set is never decoded into memory.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import BenchError, ContractError, DataError, TrainingSet

from .checkpoints import replace
from .config import RunOptions
from .ranks import Ranks

_CHUNK = 512
_MOST_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class TrainData(ABC):
    """Training images with their labels int64 `(n,)`, ascending from 0."""

    labels: NDArray[np.int64]

    @property
    def identities(self) -> int:
        """The number of people."""
        return int(self.labels[-1]) + 1

    def prefix(self, identities: int) -> int:
        """Return the number of images of the first `identities` people."""
        return int(np.searchsorted(self.labels, identities))

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """The height and the width of the images."""

    @abstractmethod
    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images `rows` as a new tensor uint8 `(len(rows), 3, h, w)`."""


@dataclass(frozen=True, kw_only=True)
class MappedData(TrainData):
    """Training images as an array uint8 `(n, h, w, 3)`, often mapped from a file."""

    images: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the images."""
        return self.images.shape[1], self.images.shape[2]

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images `rows` as uint8 `(len(rows), 3, h, w)` in channels-last layout."""
        return torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class DecodedData(TrainData):
    """Training images that their source decodes for every batch."""

    source: TrainingSet

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the images."""
        return self.source.image_size

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images `rows` as uint8 `(len(rows), 3, h, w)`. Raises DataError, which names an unreadable
        file."""
        return torch.from_numpy(np.require(_images(self.source, rows), requirements=("C", "W")))


def open_data(
    source: TrainingSet, cache_dir: Path, options: RunOptions, ranks: Ranks, progress: Callable[[str], None]
) -> TrainData:
    """Return the images of `source`: drawn into `cache_dir` by the first process if they are few enough, else decoded
    on the fly."""
    labels = _labels(source)
    height, width = source.image_size
    gigabytes = len(labels) * height * width * 3 / 1e9
    if gigabytes > options.draw_up_to_gb:
        if ranks.first:
            progress(f"{len(labels)} images are decoded on the fly (drawn they would take {gigabytes:.1f} GB)")
        return DecodedData(source=source, labels=labels)
    if ranks.first:
        prepare(source, cache_dir, workers=threads(options, ranks), progress=progress)
    ranks.wait()
    return prepare(source, cache_dir)


def threads(options: RunOptions, ranks: Ranks) -> int:
    """Return the number of threads with which this process prepares images."""
    if options.workers:
        return options.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if ranks.world > 1 else 1
    return max(1, min(_MOST_WORKERS, cores // here))


def prepare(
    source: TrainingSet, cache_dir: Path, *, workers: int = 2, progress: Callable[[str], None] = print
) -> MappedData:
    """Return the images of `source` from a file in `cache_dir`, which is written if it does not exist.

    `workers` is the number of threads that draw; the images do not depend on it. If two processes prepare the same file
    at the same time, each writes its own, with equal contents, and the last rename wins.
    """
    labels = _labels(source)
    path = cache_dir / f"faces-{source.fingerprint()[:16]}.npy"
    if not path.exists():
        replace(path, lambda beside: _draw(source, len(labels), beside, workers, progress))
    return MappedData(images=np.load(path, mmap_mode="r", allow_pickle=False), labels=labels)


def _draw(source: TrainingSet, n: int, path: Path, workers: int, progress: Callable[[str], None]) -> None:
    chunks = [np.arange(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    height, width = source.image_size
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, height, width, 3))

    def draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        target[rows[0] : rows[-1] + 1] = _images(source, rows).transpose(0, 2, 3, 1)
        return rows

    with ThreadPoolExecutor(workers) as pool:
        for rows in pool.map(draw, chunks):
            if rows[0] // _CHUNK % 10 == 0:
                progress(f"drew {rows[0]} of {n} images")
    target.flush()


def _labels(source: TrainingSet) -> NDArray[np.int64]:
    """Return the labels of a training set. Raises DataError if there are none, ContractError unless they ascend from 0
    without gaps: the class matrix and the phases rely on that."""
    labels, who = source.labels(), type(source).__name__
    if len(labels) == 0:
        raise DataError(f"{who}: expected faces to train on, found none")
    if labels[0] != 0 or not np.isin(np.diff(labels), (0, 1)).all():
        raise ContractError(f"{who}: labels() must ascend from 0 without gaps")
    return labels


def _images(source: TrainingSet, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images `rows` of a training set, uint8 `(len(rows), 3, h, w)`. Raises DataError if they cannot be
    read, ContractError if they have another type or shape."""
    who, shape = type(source).__name__, (len(rows), 3, *source.image_size)
    try:
        images = source.images(rows)
    except BenchError:
        raise
    except Exception as error:
        raise DataError(f"{who}: images {rows.min()} to {rows.max()} cannot be read: {error}") from error
    if images.dtype != np.uint8 or images.shape != shape:
        raise ContractError(f"{who}: images() must return uint8 {shape}, got {images.dtype} {images.shape}")
    return images
