"""Array types of the metrics, and the pieces in which large arrays are processed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]

PIECE = 64  # images, or rows of a similarity matrix, that are processed at a time


def slices(n: int, size: int = PIECE) -> Iterator[slice]:
    """Yield consecutive slices that cover ``range(n)``, each of at most ``size`` indices."""
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))
