"""The values of metrics that describe a whole set of images, from the rows of a run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.store.reading import RunResults


@dataclass(frozen=True, kw_only=True)
class SetValue:
    """The value of a metric for ``n`` images of ``people``, with its interval or the reason why it has none."""

    value: float
    low: float | None
    high: float | None
    n: int
    people: int
    reason: str | None


def set_values(results: RunResults, keys: Sequence[str]) -> Mapping[tuple[Hashable, ...], SetValue]:
    """Return the value of each set of images by the values of the columns ``keys``."""
    results.require("sets")
    table = results.samples("sets")
    if table.empty:
        return {}
    found = zip(*(table[column].tolist() for column in keys), strict=True)
    return {key: _set_value(row) for key, row in zip(found, table.to_dict("records"), strict=True)}


def _set_value(row: Mapping[Any, Any]) -> SetValue:
    def known(name: str) -> Any:
        value = row.get(name)
        return None if value is None or value is pd.NA or value != value else value

    low, high = (None if known(name) is None else float(row[name]) for name in ("low", "high"))
    return SetValue(
        value=float(row["value"]),
        low=low,
        high=high,
        n=int(known("n") or 0),
        people=int(known("people") or 0),
        reason=known("reason"),
    )
