"""Numbers as columns of a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def nullable(values: NDArray[np.floating], kind: pa.DataType | None = None) -> pa.Array:
    """Return numbers ``(n,)`` as a column, by default of float64, with null in place of NaN."""
    undefined = np.isnan(values)
    return pa.array(np.where(undefined, 0, values), mask=undefined).cast(kind or pa.float64())
