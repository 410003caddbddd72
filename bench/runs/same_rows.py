"""Compares the rows of samples of a cell in two runs, number by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench.core.text import shortened
from bench.store.cell_rows import CellLabels, belongs
from bench.store.public_runs import PUBLIC_TABLES
from bench.store.reading import RunResults
from bench.store.schema import IDENTITY

# A run of some cells scores only the pictures that these need; the whole run may have further rows of these tables.
_SHARED = ("baselines", "people")


@dataclass
class RowComparison:
    """What was found about a cell: the number of rows, the largest difference of a number, and in words what does not
    agree."""

    rows: int = 0
    largest: float = 0.0
    texts: list[str] = field(default_factory=list)


def compared(cell: CellLabels, before: RunResults, now: RunResults, tolerance: float) -> RowComparison:
    """Compare the rows of a cell in a run (``before``) with those of another run that holds it (``now``), which are the
    expected ones. Numbers may differ by ``tolerance``, anything else not at all."""
    found = RowComparison()
    for name in PUBLIC_TABLES:
        for where in _where(name, cell):
            expected, given = (_rows(results, name, where) for results in (now, before))
            _compare(found, name, expected, given, tolerance)
    return found


def _where(name: str, cell: CellLabels) -> list[Mapping[str, Any]]:
    """Return the conditions that the rows of a table that belong to a cell meet, those of reconstructed pictures among
    them."""
    group, _ = IDENTITY[name]
    found: list[Mapping[str, Any]] = []
    for reconstructed in (False, True):
        labels = belongs(name, cell, reconstructed)
        where = {column: labels[column] for column in group}
        found += [where] if where not in found else []
    return found


def _rows(results: RunResults, name: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """Return rows by what tells them apart; a column in which they hold nothing is left out."""
    _, within = IDENTITY[name]
    frame = results.samples(name, where) if results.parts(name) else pd.DataFrame()
    full = [column for column in frame.columns if column in within or not frame[column].isna().all()]
    return frame.reindex(columns=[*within, *(name for name in full if name not in within)]).set_index(
        list(within), drop=False
    )


def _compare(found: RowComparison, name: str, expected: pd.DataFrame, given: pd.DataFrame, tolerance: float) -> None:
    found.rows += len(expected)
    if expected.empty and given.empty:
        return
    if not given.index.is_unique:
        found.texts.append(f"samples/{name}: expected rows that can be told apart, found some that cannot")
        return
    missing, more = (a.index.difference(b.index, sort=False) for a, b in ((expected, given), (given, expected)))
    if len(missing) or (len(more) and name not in _SHARED):
        here = f"expected {len(expected)} rows, found {len(given)}"
        found.texts.append(f"samples/{name}: {here}; {len(missing)} are missing and {len(more)} are not of this cell")
    both = expected.index.intersection(given.index, sort=False)
    one, other = expected.loc[both], given.loc[both]
    for column in dict.fromkeys([*expected.columns, *given.columns]):
        if column not in one or column not in other:
            if not len(more) or column in one:
                has = ("values", "none") if column in one else ("none", "values")
                found.texts.append(f"samples/{name}: {column}: expected {has[0]}, found {has[1]}")
            continue
        apart = _apart(one[column], other[column])
        finite = apart[np.isfinite(apart)]
        found.largest = max(found.largest, float(finite.max(initial=0.0)))
        wrong = np.flatnonzero(~(apart <= tolerance))
        if len(wrong):
            found.texts.append(_words(name, column, one, other, wrong))


def _apart(expected: pd.Series[Any], given: pd.Series[Any]) -> np.ndarray:
    """Return by how much the values of two columns differ: infinitely where they are not numbers, or only one is."""
    if all(pd.api.types.is_numeric_dtype(c) and not pd.api.types.is_bool_dtype(c) for c in (expected, given)):
        apart = np.abs(expected.to_numpy(float) - given.to_numpy(float))
        empty = expected.isna().to_numpy(), given.isna().to_numpy()
        return np.where(empty[0] & empty[1], 0.0, np.where(empty[0] | empty[1], np.inf, apart))
    same = (expected.astype(object) == given.astype(object)) | (expected.isna() & given.isna())
    return np.where(same.to_numpy(bool), 0.0, np.inf)


def _words(name: str, column: str, expected: pd.DataFrame, given: pd.DataFrame, wrong: np.ndarray) -> str:
    first = int(wrong[0])
    _, within = IDENTITY[name]
    row = ", ".join(f"{key} {shortened(str(expected[key].iloc[first]))}" for key in within)
    wanted, stands = (shortened(str(frame[column].iloc[first])) for frame in (expected, given))
    more = f"; {len(wrong)} of {len(expected)} rows differ" if len(wrong) > 1 else ""
    return f"samples/{name}: {row}: {column}: expected {wanted}, found {stands}{more}"
