"""Array types, and how large arrays are worked through in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


Images = NDArray[np.uint8]


_CHUNK = 64  # images, or rows of a similarity matrix, at a time


def _slices(n: int, size: int = _CHUNK) -> Iterator[slice]:
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))
