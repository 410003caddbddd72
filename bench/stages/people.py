"""The people whom the scored pictures show: what their data set knows of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.types import Faces


def people_table(faces: Faces) -> pa.Table | None:
    """Return one row per person and attribute of `Faces.attributes`; None if the data set knows none.

    ``label`` is the label of all pictures of the person, null if they differ, as with expressions. Numbers, such as
    ages, have the mean over the pictures as ``value`` instead. ``pictures`` is the number of labelled pictures.
    """
    people, person = np.unique(faces.subjects, return_inverse=True)
    rows: list[dict[str, Any]] = []
    for name, labels in faces.attributes.items():
        of_person = [labels[person == k] for k in range(len(people))]
        rows += [
            {"subject": int(s), "attribute": name, **_known(own)} for s, own in zip(people, of_person, strict=True)
        ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA) if rows else None


_SCHEMA = pa.schema(
    [
        ("subject", pa.int64()),
        ("attribute", pa.string()),
        ("label", pa.string()),
        ("value", pa.float64()),
        ("pictures", pa.int64()),
    ]
)


def _known(labels: NDArray[Any]) -> dict[str, Any]:
    """Return the columns that say what the labels of one person's pictures have in common."""
    if labels.dtype.kind in "fiu":
        numbers = labels[np.isfinite(labels)]
        return {"value": float(numbers.mean()) if len(numbers) else None, "pictures": len(numbers)}
    found = [str(label) for label in labels.tolist() if label is not None and str(label)]
    return {"label": found[0] if found and len(set(found)) == 1 else None, "pictures": len(found)}
