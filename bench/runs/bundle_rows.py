"""Whether the parts of a bundle agree with each other: its record, its cells, and the rows of samples of each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bench.core.text import shortened
from bench.runs.recorded_stages import rows_of_cells
from bench.store.cell_rows import CellLabels, belongs, labels_of_row
from bench.store.public_runs import PUBLIC_TABLES
from bench.store.reading import RunResults
from bench.store.run_record import RunCounts

_OF_CELLS = ("verification", "attributes", "up", "links")  # The tables of which each row names its cell.
MOST_TOLD = 100  # differences of one kind that are listed
_ENDED = ("ok", "failed", "timeout", "skipped")


def disagreements(results: RunResults) -> Iterator[str]:
    """Read every row of a run, and yield what in it does not agree: counts, statuses, cells without rows, rows of no
    cell, and rows with other labels than those of their cell.

    Raises `StorageError` for tables that cannot be read or hold impossible values.
    """
    statuses = Counter(results.cells["status"])
    yield from _wrong_counts(results, statuses)
    cells = {row["cell"]: labels_of_row(row) for row in rows_of_cells(results) if row["status"] == "ok"}
    yield from _strange_stages(results)
    without = set(cells)
    for name in PUBLIC_TABLES:
        if results.parts(name):
            yield from _strange_rows(results, name, cells, without)
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


def _strange_rows(results: RunResults, name: str, cells: Mapping[str, CellLabels], without: set[str]) -> Iterator[str]:
    """Read all rows of a table, and yield the labels in them that no cell has; remove from ``without`` the cells that
    have rows."""
    results.require(name)
    known = [belongs(name, cell, made) for cell in cells.values() for made in (False, True)]
    found: dict[tuple[Any, ...], None] = {}
    for batch in results.batches(name):
        columns = [column for column in (known[0] if known else ()) if column in batch]
        allowed = {tuple(_plain(labels[column]) for column in columns) for labels in known}
        if name in _OF_CELLS:
            without.difference_update(batch["cell"].unique())
        for row in batch[columns].drop_duplicates().itertuples(index=False, name=None):
            labels = tuple(map(_plain, row))
            if labels not in allowed and labels not in found and len(found) < MOST_TOLD:
                found[labels] = None
                text = ", ".join(
                    f"{column} {shortened(str(value))}" for column, value in zip(columns, labels, strict=True) if value
                )
                yield f"samples/{name}: expected rows of cells that ended well, found rows of {text or 'none'}"


def _plain(value: Any) -> Any:
    """Return a label as a key: nothing, NaN and the empty text are alike."""
    return "" if value is None or (not isinstance(value, str) and pd.isna(value)) else value
