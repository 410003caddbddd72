"""Reads run folders of today's schema and of older ones, without loading all rows into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import and_, or_
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.core.errors import StorageError, did_you_mean
from bench.core.paths import inside
from bench.core.table_sizes import MOST_CELLS, read_table, require_readable_size
from bench.core.text import set_label
from bench.store import old_schemas
from bench.store.row_index import RowIndex
from bench.store.run_record import RECORD, RunRecord, read_record
from bench.store.sample_check import RowsInOrder
from bench.store.schema import SCHEMA_VERSION
from bench.store.table_check import check_samples, checked_cells, checked_stage_rows, checked_stages, require_columns
from bench.store.table_files import RUN_AGAIN, TableFile, as_frame, readable

_BATCH_ROWS = 4_096
_WRITTEN_OUT = 16  # Most values that become single comparisons.
_NARROWING = ("experiment", "dataset", "defense")  # Columns whose values narrow down the row groups of a cell.
Where = Mapping[str, Any]


def _single_file(samples: Path, name: str) -> list[TableFile]:
    """Return the files of a table in schema 2: one file."""
    path = samples / f"{old_schemas.TABLES.get(name, name)}.parquet"
    return [TableFile(path, name, renamed=old_schemas.COLUMNS.get(name, {}))] if path.exists() else []


def _partitioned(samples: Path, name: str) -> list[TableFile]:
    """Return the files of a table: a folder with one folder per experiment."""
    return [
        TableFile(path, name, {"experiment": path.parent.name.removeprefix("experiment=")})
        for path in sorted((samples / name).glob("experiment=*/part-*.parquet"))
    ]


def _partitioned_by_old_names(samples: Path, name: str) -> list[TableFile]:
    """Return the files of a table in schema 3: as today, with other names of tables and columns."""
    renamed = old_schemas.COLUMNS.get(name, {})
    return [
        replace(part, table=name, renamed=renamed) for part in _partitioned(samples, old_schemas.TABLES.get(name, name))
    ]


LAYOUTS: Mapping[int, Callable[[Path, str], list[TableFile]]] = {
    2: _single_file,
    3: _partitioned_by_old_names,
    4: _partitioned,
}


@dataclass(frozen=True)
class RunResults:
    """The results in a run folder. Tables are pandas frames; a table of samples without rows has no columns either."""

    folder: Path

    @property
    def runs(self) -> Sequence[RunResults]:
        """The runs that these results are from: this one."""
        return (self,)

    @property
    def opened(self) -> Sequence[RunResults]:
        """The runs that a command names to open these results."""
        return self.runs

    @property
    def names(self) -> Sequence[str]:
        """A name for each of the runs that tells them apart; an empty text for a single run."""
        return ("",)

    def home(self, cell: str) -> tuple[RunResults, str]:
        """Return the results that a cell is from, and its id there."""
        return self, cell

    @cached_property
    def run(self) -> RunRecord:
        """The record of the run."""
        return read_record(self.folder)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell, with the columns of `bench.store.schema.CELLS`: sets of models and split points as tuples,
        and null in a column that an older version did not write."""
        run, path = self.run, inside(self.folder, self.folder / "cells.parquet")
        if not path.exists() and run.status == "running":
            advice = "try again later, or continue it: an older bench wrote rows only at the end of a run"
            raise StorageError(f"{self.folder}: this run has just begun and has no rows yet; {advice}")
        with readable(path):
            table = read_table(path, MOST_CELLS)
        if run.schema < SCHEMA_VERSION:
            frame = _frame(path, checked_cells(path, table, old_schemas.CELLS))
            failed = frame["status"].isin(("failed", "timeout")).any()
            return old_schemas.cells(frame, self.stages if failed else ())
        return _frame(path, checked_cells(path, table))

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """How every stage ended, one row each (see `bench.store.schema.STAGES`)."""
        return stage_rows(self.folder, self.run)

    def samples(self, name: str, where: Where | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the per-sample rows of a table (see `bench.store`), in the order of the cells.

        ``where`` maps a column to the value, or the collection of values, to keep; only files and row groups that may
        hold such rows are read. In ``authorised``, which holds labels of sets, a tuple of models, as `cells` has it, is
        one set. ``columns`` selects columns; None returns all of them. Raises `StorageError` for an unknown column, and
        for rows that cannot be read or that hold impossible values.
        """
        dataset = self._dataset(name)
        if dataset is None:
            return pd.DataFrame()
        query = self._query(name, dataset.schema, where, columns)
        with readable(self.folder / "samples" / name):
            table = dataset.to_table(**query)
        RowsInOrder(self.folder / "samples" / name, name).add(table)
        return as_frame(self.folder / "samples" / name, table)

    def batches(
        self, name: str, where: Where | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows that `samples` returns, some thousand at a time, for tables that do not fit into memory."""
        dataset = self._dataset(name)
        if dataset is None:
            return
        query = self._query(name, dataset.schema, where, columns) | {"batch_size": _BATCH_ROWS}
        batches = dataset.to_batches(batch_readahead=1, fragment_readahead=1, **query)
        checked = RowsInOrder(self.folder / "samples" / name, name)
        while True:
            with readable(self.folder / "samples" / name):
                batch = next(batches, None)
            if batch is None:
                return
            if batch.num_rows:
                checked.add(pa.Table.from_batches([batch]))
                yield as_frame(self.folder / "samples" / name, batch)

    def index(self, name: str, keys: Sequence[str], **about: Any) -> RowIndex:
        """Return an index of the rows of a table by the columns ``keys`` (see `bench.store.row_index.RowIndex`)."""
        return RowIndex(self.parts(name), keys, **about)

    def require(self, name: str) -> None:
        """Raise `StorageError` if a file of a table lacks a column without which nothing can be computed from it."""
        require_columns(self.parts(name), name)

    def columns(self, name: str) -> pa.Schema:
        """Return the columns of a table with their types; an empty schema for a table without rows."""
        dataset = self._dataset(name)
        return pa.schema([]) if dataset is None else self._today(name, dataset.schema)

    # ---- files -------------------------------------------------------------------------------------------------------

    def parts(self, name: str) -> list[TableFile]:
        """Return the files of a table, experiments in the order of the suite.

        Raises `StorageError` if a file cannot be read or has wrong columns.
        """
        if name not in self._parts:
            self._parts[name] = self._find_parts(name)
        return self._parts[name]

    @cached_property
    def _parts(self) -> dict[str, list[TableFile]]:
        return {}

    def _find_parts(self, name: str) -> list[TableFile]:
        found = LAYOUTS[self.run.schema](self.folder / "samples", name)
        there = {part.path.relative_to(self.folder).as_posix() for part in found}
        if lost := [file for file in self.run.files if file.startswith(f"samples/{name}/") and file not in there]:
            raise StorageError(f"{self.folder}: expected {lost[0]}, which {RECORD} lists, found none; {RUN_AGAIN}")
        for part in found:
            inside(self.folder, part.path)
            with readable(part.path):
                check_samples(part.path, name, pq.read_schema(part.path), part.renamed)
        with readable(self.folder / "samples" / name):
            require_readable_size([part.path for part in found])
        order = {e: i for i, e in enumerate(dict.fromkeys(self.cells["experiment"]))} if len(found) > 1 else {}
        return sorted(found, key=lambda part: order.get(part.constant.get("experiment"), len(order)))

    @cached_property
    def _datasets(self) -> dict[str, ds.Dataset | None]:
        return {}

    def _dataset(self, name: str) -> ds.Dataset | None:
        if name not in self._datasets:
            self._datasets[name] = self._open(name)
        return self._datasets[name]

    def _open(self, name: str) -> ds.Dataset | None:
        parts = self.parts(name)
        if not parts:
            return None
        with readable(self.folder / "samples" / name):
            schemas = [pq.read_schema(part.path).remove_metadata() for part in parts]
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        if parts[0].constant:
            schema = schema.insert(schema.names[0] == "cell", pa.field("experiment", pa.string()))
        hive = ds.partitioning(pa.schema([("experiment", pa.string())]), flavor="hive") if parts[0].constant else None
        base = str(self.folder / "samples" / name)
        return ds.dataset([str(p.path) for p in parts], schema, "parquet", partitioning=hive, partition_base_dir=base)

    def _renamed(self, name: str) -> Mapping[str, str]:
        """Return today's names of columns of a table to the names in its files, where these differ."""
        return next((part.renamed for part in self.parts(name)), {})

    def _today(self, name: str, schema: pa.Schema) -> pa.Schema:
        """Return the schema of a table with today's names."""
        today = {old: column for column, old in self._renamed(name).items()}
        return pa.schema([field.with_name(today.get(field.name, field.name)) for field in schema])

    def _query(
        self, name: str, schema: pa.Schema, where: Where | None, columns: Sequence[str] | None
    ) -> dict[str, Any]:
        renamed, today = self._renamed(name), self._today(name, schema)
        for column in (*(where or ()), *(columns or ())):
            if column not in today.names:
                hint = did_you_mean(column, today.names)
                raise StorageError(f"{self.folder}: samples/{name} has no column {column!r}; {hint}")
        wanted = {column: wanted_values(column, values) for column, values in (where or {}).items()}
        if "cell" in wanted and "cell" in schema.names:
            wanted = self._narrowing(wanted["cell"], schema) | wanted
        fields = {column: schema.field(renamed.get(column, column)) for column in wanted}
        terms = [self._any_of(name, fields[column], values) for column, values in wanted.items()]
        chosen: Any = columns and list(columns)
        if renamed:
            chosen = {column: ds.field(renamed.get(column, column)) for column in (columns or today.names)}
        return {"columns": chosen, "filter": reduce(and_, terms) if terms else None}

    def _narrowing(self, cells: Sequence[Any], schema: pa.Schema) -> dict[str, list[Any]]:
        """Return further conditions that the rows of some cells meet. Ids are random, so that the statistics of a row
        group never rule it out by its ids alone."""
        own = self.cells[self.cells["cell"].isin(cells)]
        if set(own["cell"]) != set(cells):
            return {}
        return {c: list(dict.fromkeys(own[c])) for c in _NARROWING if c in schema.names}

    def _any_of(self, name: str, column: pa.Field, values: Sequence[Any]) -> ds.Expression:
        """Return the condition that a column equals one of some values. A few values become single comparisons, because
        only these are checked against the statistics of row groups."""
        try:
            known = pa.array(values, column.type)
        except (pa.ArrowException, TypeError):
            raise StorageError(
                f"{self.folder}: samples/{name}: {column.name} holds {column.type}, and the condition is {values!r}"
            ) from None
        if not 0 < len(known) <= _WRITTEN_OUT:
            return ds.field(column.name).isin(known)
        return reduce(or_, [ds.field(column.name) == value for value in known])


def stage_rows(folder: Path, record: RunRecord) -> list[dict[str, Any]]:
    """Return the rows of the stages of a run (see `bench.store.schema.STAGES`); schema 2 has them in its record."""
    if record.schema <= 2:
        rows = checked_stage_rows(folder / RECORD, record.stages)
    else:
        path = inside(folder, folder / "stages.parquet")
        with readable(path):
            table = read_table(path, MOST_CELLS)
        rows = checked_stages(path, table).to_pylist()
    if record.schema < SCHEMA_VERSION:
        rows = [old_schemas.stage_row(row) for row in rows]
        old_schemas.add_failed_stages(rows)
    return rows


def wanted_values(column: str, values: Any) -> list[Any]:
    """Return the values of a column in rows of samples that a condition of `RunResults.samples` accepts."""
    if column == "authorised" and isinstance(values, tuple):
        return [set_label(values)]
    found = list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else [values]
    if column == "authorised":
        return [set_label(value) if isinstance(value, tuple) else value for value in found]
    return found


def _frame(path: Path, table: pa.Table) -> pd.DataFrame:
    """Return a table as pandas, with lists as tuples; in columns of lists, a null becomes an empty tuple."""
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    frame = as_frame(path, table)
    for name in lists:
        frame[name] = pd.Series([tuple(v or ()) for v in table[name].to_pylist()], index=frame.index, dtype=object)
    return frame
