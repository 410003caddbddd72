"""Whether the parts of a bundle agree with each other: its record, its cells, and the rows of samples of each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import StorageError
from bench.core.paths import child
from bench.core.text import printable, shortened, shortened_repr
from bench.runs.recorded_stages import rows_of_cells
from bench.store.cell_rows import CellLabels, belongs, labels_of_row
from bench.store.public_runs import PUBLIC_TABLES, public_record
from bench.store.reading import RunResults
from bench.store.run_record import RECORD, RunCounts, RunRecord

_OF_CELLS = ("verification", "attributes", "up", "links")  # The tables of which each row names its cell.
MOST_TOLD = 100  # differences of one kind that are listed
_ENDED = ("ok", "failed", "timeout", "skipped")


def disagreements(results: RunResults) -> Iterator[str]:
    """Read every row of a run, and yield what in it does not agree: counts, statuses, versions, devices, cells without
    rows, rows of no cell, and rows with other labels than those of their cell.

    Raises `StorageError` for tables that cannot be read, and for impossible values and texts that cannot be printed.
    """
    yield from _strange_record(results.run)
    _require_printable(results.folder / "cells.parquet", results.cells)
    _require_printable(results.folder / "stages.parquet", pd.DataFrame(results.stages))
    yield from _wrong_counts(results, Counter(results.cells["status"]))
    yield from _wrong_cells(results)
    cells = {row["cell"]: labels_of_row(row) for row in rows_of_cells(results) if row["status"] == "ok"}
    yield from _strange_stages(results)
    without = set(cells)
    for name in PUBLIC_TABLES:
        if results.parts(name):
            yield from _strange_rows(results, name, cells, without)
    for cell in sorted(without):
        yield f"cell {cell}: expected rows, found none"


def _require_printable(path: Path, rows: pd.DataFrame) -> None:
    """Raise `StorageError` if a text in rows has characters that control a terminal or that nobody sees."""
    for column in rows.select_dtypes(exclude=["number", "bool"]):
        for value in set(rows[column]):
            for text in map(str, value if isinstance(value, tuple) else (value,)):
                if printable(text) != text:
                    expected = "texts without characters that control a terminal or that nobody sees"
                    raise StorageError(
                        f"{path}: {column}: expected {expected}, found {shortened_repr(text)}; get the bundle again "
                        "from who published it"
                    )


def _strange_record(record: RunRecord) -> Iterator[str]:
    """Yield what a record says that none in a bundle says, or that it says in another place otherwise."""
    public = public_record(record, lambda _, text: text)
    for name, value in vars(public).items():
        if getattr(record, name) != value:
            yield f"{RECORD}: {name}: expected what bench bundle leaves of it, found something else"
    if record.device == "cpu" and record.device_name != record.machine.processor:
        found = f"found {shortened(str(record.device_name))}"
        yield f"{RECORD}: device_name: expected {shortened(str(record.machine.processor))}, its processor, {found}"


def _wrong_cells(results: RunResults) -> Iterator[str]:
    """Yield which version of the suite, and which device, cells name that their record does not."""
    run = results.run
    for column, name, expected in (
        ("suite_version", "suite.version", run.suite.version),
        ("device", "device", run.device),
    ):
        for value in results.cells[column].unique():
            if _plain(value) != _plain(expected):
                found = f"found {shortened(str(value))}"
                yield f"cells.parquet: {column}: expected {shortened(str(expected))}, as {RECORD} has ({name}), {found}"


def _strange_stages(results: RunResults) -> Iterator[str]:
    """Yield how many stages of the run are not among those that it counts."""
    counted, found = (results.run.counts or RunCounts()).failed_stages, Counter(r["status"] for r in results.stages)
    bad = found["failed"] + found["timeout"]
    if counted != bad:
        yield f"{RECORD}: counts.failed_stages: expected {bad}, as stages.parquet has, found {counted}"


def _wrong_counts(results: RunResults, statuses: Counter[str]) -> Iterator[str]:
    counts = results.run.counts or RunCounts()
    if counts.cells != len(results.cells) or counts.queued:
        expected = f"expected {len(results.cells)}, as cells.parquet has, none of them queued"
        yield f"{RECORD}: counts.cells: {expected}, found {counts.cells}, {counts.queued} of them queued"
    for status in _ENDED:
        recorded = getattr(counts, status)
        if recorded != statuses[status]:
            yield f"{RECORD}: counts.{status}: expected {statuses[status]}, as cells.parquet has, found {recorded}"
    for status in sorted(statuses.keys() - set(_ENDED)):
        yield f"cells.parquet: status: expected cells that have ended, found {statuses[status]} that are {status}"
    ended = "incomplete" if statuses["failed"] + statuses["timeout"] else "complete"
    if results.run.status != ended:
        yield f"{RECORD}: status: expected {ended}, as cells.parquet has it, found {results.run.status}"


def _strange_rows(results: RunResults, name: str, cells: Mapping[str, CellLabels], without: set[str]) -> Iterator[str]:
    """Read all rows of a table, and yield the labels in them that no cell has; remove from ``without`` the cells that
    have rows."""
    results.require(name)
    known = [belongs(name, cell, made) for cell in cells.values() for made in (False, True)]
    found: dict[tuple[Any, ...], None] = {}
    for batch in results.batches(name):
        _require_printable(child(results.folder, "samples", name), batch)
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
