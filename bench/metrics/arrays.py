"""Array types of the metrics, and the pieces in which large arrays are processed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]

PIECE = 64  # images, or rows of a similarity matrix, that are processed at a time


def slices(n: int, size: int = PIECE) -> Iterator[slice]:
    """Yield consecutive slices that cover ``range(n)``, each of at most ``size`` indices."""
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


def unit_rows(vectors: ArrayLike) -> Floats:
    """Scale every row of vectors ``(n, d)`` to length 1.

    Raises ValueError for other shapes and for rows that are zero or not finite.
    """
    values = np.asarray(vectors, np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected vectors (n, d), got {values.shape}")
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("expected finite vectors other than zero")
    unit: Floats = values / lengths
    return unit
