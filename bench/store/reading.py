"""Reading a run folder of this schema or of an earlier one, without having all rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_, or_
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.core.errors import StorageError, did_you_mean
from bench.store.row_index import Index, Part, readable
from bench.store.run_record import RunRecord, read_record
from bench.store.schema import CELLS

_BATCH_ROWS = 4_096
_WRITTEN_OUT = 16  # values of a predicate
_NARROWING = ("experiment", "dataset", "defense")  # columns of a cell by which its rows are found among all others
Where = Mapping[str, Any]


def _single_file(samples: Path, name: str) -> list[Part]:
    """Schema 2: a table is one file."""
    path = samples / f"{name}.parquet"
    return [Part(path)] if path.exists() else []


def _partitioned(samples: Path, name: str) -> list[Part]:
    """Schema 3: a table is a folder with one folder per experiment."""
    return [
        Part(path, {"experiment": path.parent.name.removeprefix("experiment=")})
        for path in sorted((samples / name).glob("experiment=*/part-*.parquet"))
    ]


LAYOUTS: Mapping[int, Callable[[Path, str], list[Part]]] = {2: _single_file, 3: _partitioned}


@dataclass(frozen=True)
class Results:
    """A run folder, read. Tables are pandas; a sample table without rows is empty and has no columns."""

    folder: Path

    @property
    def runs(self) -> Sequence[Results]:
        """The runs that are read: this one."""
        return (self,)

    @property
    def names(self) -> Sequence[str]:
        """What tells each of the runs apart; empty where there is one."""
        return ("",)

    def home(self, cell: str) -> tuple[Results, str]:
        """The run that a cell is from, and its id there."""
        return self, cell

    @cached_property
    def run(self) -> RunRecord:
        """The record of the run."""
        return read_record(self.folder)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell. A column that an earlier bench did not write is null."""
        run, path = self.run, self.folder / "cells.parquet"
        if not path.exists() and run.status == "running":
            raise StorageError(f"{self.folder}: this run has just begun and has no rows yet; ask again when it has")
        with readable(path):
            table = _with_missing(pq.read_table(path), CELLS)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """How every stage ended, one row each (see `bench.store.schema.STAGES`)."""
        return stage_rows(self.folder, self.run)

    def samples(self, name: str, where: Where | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Per-sample rows of a table (see `bench.store`), in the order of the cells.

        ``where``: column to a value, or to a collection of values any of which will do; only files and row groups
        that may hold such rows are read. ``columns``: which to give, all unless said. Raises `StorageError` for an
        unknown column and for rows that cannot be read.
        """
        dataset = self._dataset(name)
        if dataset is None:
            return pd.DataFrame()
        asked = self._asked(name, dataset.schema, where, columns)
        with readable(self.folder / "samples" / name):
            table = dataset.to_table(**asked)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def batches(
        self, name: str, where: Where | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows that `samples` gives, some thousand at a time, for tables that memory does not hold."""
        dataset = self._dataset(name)
        if dataset is None:
            return
        asked = self._asked(name, dataset.schema, where, columns) | {"batch_size": _BATCH_ROWS}
        batches = dataset.to_batches(batch_readahead=1, fragment_readahead=1, **asked)
        while True:
            with readable(self.folder / "samples" / name):
                batch = next(batches, None)
            if batch is None:
                return
            if batch.num_rows:
                yield batch.to_pandas()

    def index(self, name: str, keys: Sequence[str], **about: Any) -> Index:
        """Where the rows of each value of the columns ``keys`` are (see `bench.store.row_index.Index`)."""
        return Index(self.parts(name), keys, **about)

    def columns(self, name: str) -> pa.Schema:
        """The columns of a table with their types; none where the table has no rows."""
        dataset = self._dataset(name)
        return pa.schema([]) if dataset is None else dataset.schema

    # ---- files -------------------------------------------------------------------------------------------------------

    def parts(self, name: str) -> list[Part]:
        """The files of a table, those of experiments in the order of the suite."""
        found = LAYOUTS[self.run.schema](self.folder / "samples", name)
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

    def _asked(
        self, name: str, schema: pa.Schema, where: Where | None, columns: Sequence[str] | None
    ) -> dict[str, Any]:
        for asked in (*(where or ()), *(columns or ())):
            if asked not in schema.names:
                hint = did_you_mean(asked, schema.names)
                raise StorageError(f"{self.folder}: samples/{name} has no column {asked!r}; {hint}")
        wanted = {column: as_collection(values) for column, values in (where or {}).items()}
        if "cell" in wanted and "cell" in schema.names:
            wanted = self._narrowing(wanted["cell"], schema) | wanted
        terms = [self._any_of(name, schema.field(column), values) for column, values in wanted.items()]
        return {"columns": columns and list(columns), "filter": reduce(and_, terms) if terms else None}

    def _narrowing(self, cells: Sequence[Any], schema: pa.Schema) -> dict[str, list[Any]]:
        """Where the rows of cells are: ids are spread over all values, so that they alone rule out no row group."""
        own = self.cells[self.cells["cell"].isin(cells)]
        if set(own["cell"]) != set(cells):
            return {}
        return {c: list(dict.fromkeys(own[c])) for c in _NARROWING if c in schema.names}

    def _any_of(self, name: str, column: pa.Field, values: Sequence[Any]) -> ds.Expression:
        """Equality with any of some values; few are written out, for which statistics of row groups are looked at."""
        try:
            known = pa.array(values, column.type)
        except (pa.ArrowException, TypeError):
            raise StorageError(
                f"{self.folder}: samples/{name}: {column.name} holds {column.type}, and is asked for {values!r}"
            ) from None
        if not 0 < len(known) <= _WRITTEN_OUT:
            return ds.field(column.name).isin(known)
        return reduce(or_, [ds.field(column.name) == value for value in known])


def stage_rows(folder: Path, record: RunRecord) -> list[dict[str, Any]]:
    """The rows of the stages of a run; schema 2 has them in its record."""
    if record.schema <= 2:
        return [dict(row) for row in record.stages]
    path = folder / "stages.parquet"
    with readable(path):
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def as_collection(values: Any) -> list[Any]:
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else [values]


def _with_missing(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of a schema, in its order; those that it does not have are null."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    extra = [name for name in table.column_names if name not in schema.names]
    return table.select([*schema.names, *extra])
