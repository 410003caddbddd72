"""Whether the parts of a bundle agree with each other: its record, its cells, and the rows of samples of each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bench.store.cell_rows import CellLabels, belongs, labels_of_row
from bench.store.public_runs import PUBLIC_TABLES
from bench.store.reading import RunResults
from bench.store.run_record import RunCounts

_OF_CELLS = ("verification", "attributes", "up", "links")  # The tables of which each row names its cell.
_ENDED = ("ok", "failed", "timeout", "skipped")


def disagreements(results: RunResults) -> Iterator[str]:
    """Read every row of a run, and yield what in it does not agree: counts, statuses, cells without rows, rows of no
    cell, and rows with other labels than those of their cell.

    Raises `StorageError` for tables that cannot be read or hold impossible values.
    """
    statuses = Counter(results.cells["status"])
    yield from _wrong_counts(results, statuses)
    rows: list[dict[str, Any]] = results.cells.to_dict("records")  # type: ignore[assignment]
    cells = {row["cell"]: labels_of_row(row) for row in rows if row["status"] == "ok"}
    yield from _strange_stages(results)
    without = set(cells)
    for name in PUBLIC_TABLES:
        if not results.parts(name):
            continue
        results.require(name)
        known = _Labels(name, cells)
        found: dict[tuple[Any, ...], None] = {}
        for batch in results.batches(name):
            columns = [column for column in known.columns if column in batch]
            found |= dict.fromkeys(batch[columns].drop_duplicates().itertuples(index=False, name=None))
            if name in _OF_CELLS:
                without.difference_update(batch["cell"].unique())
        yield from known.strange(columns, found)
    for cell in sorted(without):
        yield f"cell {cell}: expected rows, found none"


def _strange_stages(results: RunResults) -> Iterator[str]:
    """Yield how many stages of the run are not among those that it counts."""
    counted, found = (results.run.counts or RunCounts()).failed_stages, Counter(r["status"] for r in results.stages)
    bad = found["failed"] + found["timeout"]
    if counted != bad:
        yield f"run.json: counts.failed_stages: expected {bad}, as stages.parquet has, found {counted}"


def _wrong_counts(results: RunResults, statuses: Counter[str]) -> Iterator[str]:
    counts = results.run.counts or RunCounts()
    for status in _ENDED:
        recorded = getattr(counts, status)
        if recorded != statuses[status]:
            yield f"run.json: counts.{status}: expected {statuses[status]}, as cells.parquet has, found {recorded}"
    for status in sorted(statuses.keys() - set(_ENDED)):
        yield f"cells.parquet: status: expected cells that have ended, found {statuses[status]} that are {status}"
    ended = "incomplete" if statuses["failed"] + statuses["timeout"] else "complete"
    if results.run.status != ended:
        yield f"run.json: status: expected {ended}, as cells.parquet has it, found {results.run.status}"


class _Labels:
    """The labels that rows of a table may have, from the cells that ended well."""

    def __init__(self, name: str, cells: Mapping[str, CellLabels]) -> None:
        self.name = name
        self.rows = [belongs(name, cell, made) for cell in cells.values() for made in (False, True)]
        self.columns = list(self.rows[0]) if self.rows else []

    def strange(self, columns: list[str], found: Mapping[tuple[Any, ...], None]) -> Iterator[str]:
        """Yield the labels in rows that no cell has."""
        allowed = {tuple(_plain(row[column]) for column in columns) for row in self.rows}
        for labels in found:
            if tuple(map(_plain, labels)) not in allowed:
                text = ", ".join(f"{c} {v}" for c, v in zip(columns, labels, strict=True) if v not in ("", None))
                yield f"samples/{self.name}: expected rows of cells that ended well, found rows of {text}"


def _plain(value: Any) -> Any:
    """Return a label as a key: nothing, NaN and the empty text are alike."""
    return "" if value is None or (not isinstance(value, str) and pd.isna(value)) else value
