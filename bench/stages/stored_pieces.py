"""Images that a stage makes batch by batch: few are kept in memory, many in a temporary file until they are stored."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.api.types import LazyImages
from bench.core.errors import StorageError

_IN_MEMORY = 32 << 20  # bytes


class StoredPieces:
    """Images uint8 ``(n, 3, h, w)`` that are added piece by piece; slices of them can be read.

    The file has no name, so that nothing is left of it when the process ends, however it ends.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.shape: tuple[int, ...] = (0,)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Add images; all have the same size. Raises `StorageError` if the disk is full."""
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(images).data)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot store images: {error.strerror}") from None
        self.shape = (self.shape[0] + len(images), *images.shape[1:])

    def streams(self) -> Mapping[str, LazyImages]:
        """Return the images as those of an artifact; empty if none was added."""
        return {"images": self} if len(self) else {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        if not isinstance(rows, slice):
            raise TypeError("expected a slice: stored pieces are read in order")
        start, stop, _ = rows.indices(len(self))
        each = math.prod(self.shape[1:])
        self._file.seek(start * each)
        data = self._file.read((stop - start) * each)
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape[1:])
