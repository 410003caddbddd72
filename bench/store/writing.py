"""Writes run folders: rows are copied from score artifacts into Parquet files, a bounded number at a time.

The same rows give the same bytes, in whatever order stages were computed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.domain import Outcome
from bench.core.errors import StorageError
from bench.core.files import remove
from bench.core.locks import HeldLock
from bench.core.paths import child
from bench.core.provenance import file_sha256
from bench.registry.discovery import Registry
from bench.store.artifacts import Artifact, Cache, DamagedError
from bench.store.cell_rows import CellLabels, belongs, cell_row, labels_of, with_columns
from bench.store.run_record import RunRecord, read_record, write_record
from bench.store.schema import CELLS, METRIC_PREFIX, METRICS, SCHEMA_VERSION, STAGES
from bench.store.score_form import check_score

GROUP_ROWS, GROUP_BYTES = 20_000, 16 << 20  # Largest row group; it ends with a cell unless the cell is larger.
PART_ROWS = 1_000_000  # of one file
_ROWS_AT_ONCE = 2_000  # of cells and stages
# The column of a score artifact that says whether its images are reconstructions; it is not written.
_MARK = "reconstructed"
_ANEW = "run the same command again: it will be computed anew"


class DamagedScoreError(StorageError):
    """A score artifact did not match its checksums, or had another form, when its rows were to be written."""


def start_run(
    folder: Path,
    cache: Cache,
    run: RunRecord,
    cells: Iterable[Mapping[str, Any]] = (),
    stages: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write the ``run.json`` of a run that begins, and the rows of its planned cells and stages.

    Whoever reads the run before it has ended takes everything about its plan from these rows, and needs neither its
    suite nor its plugins.
    """
    try:
        with _lock(cache, folder):
            _sweep(folder)
            _write_record(folder, run, [])
            _write_table(folder / "stages.parquet", stages, STAGES)
            _write_table(folder / "cells.parquet", cells, CELLS)
    except (OSError, pa.ArrowException) as error:
        raise _unwritable(folder, error) from None


def update_record(folder: Path, cache: Cache, run: RunRecord) -> None:
    """Replace the ``run.json`` of a run that has not ended; one of a run that another session has ended is kept."""
    try:
        with _lock(cache, folder):
            if read_record(folder).status == run.status:
                _write_record(folder, run, [])
    except OSError as error:
        raise _unwritable(folder, error) from None


def write_run(
    folder: Path,
    outcomes: Sequence[Outcome],
    cache: Cache,
    registry: Registry,
    run: RunRecord,
    stages: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a run folder and replace what it held; every file appears complete, ``run.json`` last.

    Rows are written for outcomes with status ``ok``; ``stages`` are rows of `bench.store.schema.STAGES`. Raises
    `StorageError` if the disk is full or read-only, and `DamagedScoreError` if a score artifact is damaged.
    """
    unstable = {str(stage["key"]): str(stage["unstable"]) for stage in stages if stage.get("unstable")}
    cells = (cell_row(outcome, registry, unstable) for outcome in outcomes)
    scored = (labels_of(outcome.cell, registry) for outcome in outcomes if outcome.status == "ok")
    try:
        with _lock(cache, folder):  # It comes first: without its cache no folder is begun.
            _write_tables(folder, cells, scored, cache, run, stages)
    except (OSError, pa.ArrowException) as error:
        raise _unwritable(folder, error) from None


def write_copy(
    folder: Path,
    cells: Iterable[Mapping[str, Any]],
    scored: Iterable[CellLabels],
    cache: Cache,
    run: RunRecord,
    stages: Sequence[Mapping[str, Any]],
) -> None:
    """Write a run folder that no other process uses, from rows of cells and stages, and the samples of some cells.

    No lock is taken in the cache, which is only read. Errors as in `write_run`.
    """
    try:
        _write_tables(folder, cells, scored, cache, run, stages)
    except (OSError, pa.ArrowException, OverflowError) as error:
        raise _unwritable(folder, error) from None


def _write_tables(
    folder: Path,
    cells: Iterable[Mapping[str, Any]],
    scored: Iterable[CellLabels],
    cache: Cache,
    run: RunRecord,
    stages: Iterable[Mapping[str, Any]],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    scored = list(scored)
    with SampleWriter(folder, _columns(scored, cache)) as samples:
        for name, experiment, table in _samples(scored, cache):
            samples.add(name, experiment, table)
    _write_table(folder / "stages.parquet", stages, STAGES)
    _write_table(folder / "cells.parquet", cells, CELLS)
    tables = [folder / "cells.parquet", folder / "stages.parquet"]
    _write_record(folder, run, [*tables, *sorted((folder / "samples").rglob("*.parquet"))])


def _unwritable(folder: Path, error: Exception) -> StorageError:
    return StorageError(f"{folder}: cannot write the results: {getattr(error, 'strerror', None) or error}")


def _write_record(folder: Path, run: RunRecord, written: Sequence[Path]) -> None:
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in written}
    write_record(folder, replace(run, schema=SCHEMA_VERSION, files=files))


def _sweep(folder: Path) -> None:
    """Remove unfinished files of a killed writer. Only the holder of the lock of the folder may call this."""
    for left in (*folder.glob(".*.parquet.*"), *folder.glob(".run.json.*")):
        remove(left)


def _lock(cache: Cache, folder: Path) -> HeldLock:
    """Return the lock of a run folder: two runs of the same plan write it one after the other."""
    return cache.lock(f"run-{folder.name}")


# ---- cells and stages ------------------------------------------------------------------------------------------------


def _write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet, in one row group: pyarrow cannot read lists of texts as indices into a dictionary, as
    `bench.core.table_sizes` does, across several. Some thousand rows at a time become columns of Arrow."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    rows = iter(rows)
    try:
        tables = [schema.empty_table()]
        while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            tables.append(pa.Table.from_pylist(some, schema=schema))
        table = pa.concat_tables(tables)
        pq.write_table(table, beside, row_group_size=max(1, table.num_rows))
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):  # An earlier error must be reported, not this one.
            beside.unlink(missing_ok=True)


# ---- samples ---------------------------------------------------------------------------------------------------------


def _samples(scored: Iterable[CellLabels], cache: Cache) -> Iterator[tuple[str, str, pa.Table]]:
    """Yield the rows of all score artifacts, experiment by experiment: table name, experiment, rows.

    Cells share the scores of images and baselines. These rows are returned once for all cells that they describe alike,
    and the baselines of a picture once, also where cells protect different sides of the pairs and each side was scored.
    Of an artifact that was read, only the names of its tables are kept in memory.
    """
    by_experiment: dict[str, list[CellLabels]] = {}
    for cell in scored:
        by_experiment.setdefault(cell.experiment, []).append(cell)
    known: dict[str, Mapping[str, bool]] = {}  # artifact -> whether each of its tables describes reconstructions
    for experiment, own in by_experiment.items():
        written: set[tuple[Any, ...]] = set()
        pictures: dict[tuple[Any, ...], set[str]] = {}  # of baselines
        for cell in own:
            fresh = {key: _read_score(cache, key) for key in cell.stages if key not in known}
            for key, artifact in fresh.items():
                known[key] = {name: _reconstructed(table) for name, table in artifact.tables.items()}
            for key, name, reconstructed in [(k, *of) for k in cell.stages for of in known[k].items()]:
                if name == METRICS:
                    continue
                columns = belongs(name, cell, reconstructed)
                beside = [k for k in cell.stages if name == "images" and known[k].get(METRICS) == reconstructed]
                once = () if name == "people" else (key,)  # They are the same people, whichever side is protected.
                mark = (name, *once, *beside, *columns.values())
                if mark not in written:
                    written.add(mark)
                    tables = [(fresh.get(k) or _read_score(cache, k)).tables for k in (key, *beside)]
                    table = _beside(tables[0][name], [further[METRICS] for further in tables[1:]])
                    if name == "baselines":
                        table = _new_pictures(table, pictures.setdefault(tuple(columns.values()), set()))
                    yield name, experiment, with_columns(_without_mark(table), columns)


def _new_pictures(table: pa.Table, written: set[str]) -> pa.Table:
    """Return the rows of pictures that are not ``written`` yet, to which their names are added."""
    names = table["sample_id"].to_pylist()
    new = pa.array([name not in written for name in names], pa.bool_())
    written.update(names)
    return table.filter(new)


def _beside(images: pa.Table, metrics: Sequence[pa.Table]) -> pa.Table:
    """Return rows of images with the columns of further metrics, whose rows are those of the same images."""
    for table in metrics:
        assert table["sample_id"].equals(images["sample_id"])  # Both are scores of one artifact.
        for name in table.column_names:
            if name.startswith(METRIC_PREFIX):
                images = images.append_column(name, table[name])
    return images


def _columns(scored: Iterable[CellLabels], cache: Cache) -> dict[str, pa.Schema]:
    """Return by table the columns of all score artifacts, without those that identify their cells."""
    found: dict[str, pa.Schema] = {}
    for key in dict.fromkeys(key for cell in scored for key in cell.stages):
        columns = cache.columns(key)
        try:
            check_score(cache, key, columns)
        except DamagedError as error:
            raise DamagedScoreError(f"{error}; {_ANEW}") from None
        for name, schema in columns.items():
            own = pa.schema([field for field in schema if field.name != _MARK])
            if name == METRICS:
                name, own = "images", pa.schema([f for f in own if f.name.startswith(METRIC_PREFIX)])
            found[name] = _united(found.get(name, pa.schema([])), own)
    return found


def _united(*schemas: pa.Schema) -> pa.Schema:
    return pa.unify_schemas(schemas, promote_options="permissive")


def _reconstructed(table: pa.Table) -> bool:
    return _MARK in table.column_names and bool(table.num_rows and table[_MARK][0].as_py())


def _without_mark(table: pa.Table) -> pa.Table:
    return table.drop_columns([_MARK]) if _MARK in table.column_names else table


def _read_score(cache: Cache, key: str) -> Artifact:
    try:
        return cache.read(key)
    except DamagedError as error:
        raise DamagedScoreError(f"{error}; {_ANEW}") from None


class SampleWriter:
    """Context manager that writes a new folder ``samples`` of a run and replaces the old one at its end.

    ``columns`` are the columns that every file of a table has at least, by the name of the table; a row has null where
    it has no value. Readers such as `pandas.read_parquet` take the columns of a table from its first file.

    After an error the old folder stays. Only one writer at a time may be at work in a run folder.
    """

    def __init__(self, folder: Path, columns: Mapping[str, pa.Schema] | None = None) -> None:
        self._place = folder / "samples"
        self._columns = columns or {}
        self._experiment: str | None = None
        self._open: dict[str, _ExperimentFiles] = {}

    def __enter__(self) -> Self:
        for left in self._place.parent.glob(f".{self._place.name}.*"):  # These are from a writer that was killed.
            remove(left)
        self._beside = self._hidden()
        self._beside.mkdir(parents=True)
        return self

    def add(self, name: str, experiment: str, table: pa.Table) -> None:
        """Append rows of an experiment to a table. All rows of one experiment must come before those of the next."""
        if experiment != self._experiment:
            self._close()
            self._experiment = experiment
        if name not in self._open:
            columns = self._columns.get(name, pa.schema([]))
            place = child(self._beside, name, f"experiment={experiment}")
            self._open[name] = _ExperimentFiles(place, columns)
        self._open[name].add(table.drop_columns(["experiment"]))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._close()
                self._swap()
        finally:
            for parts in self._open.values():
                parts.abandon()
            with contextlib.suppress(OSError):
                remove(self._beside)

    def _hidden(self) -> Path:
        return self._place.with_name(f".{self._place.name}.{uuid.uuid4().hex[:8]}")

    def _close(self) -> None:
        for parts in self._open.values():
            parts.close()
        self._open = {}

    def _swap(self) -> None:
        """Replace the whole folder at once, so that no reader sees files of two writers."""
        old = self._hidden()
        if os.path.lexists(self._place):
            os.replace(self._place, old)
        os.replace(self._beside, self._place)
        with contextlib.suppress(OSError):
            remove(old)


class _ExperimentFiles:
    """Writes the rows of one table of one experiment into files ``part-00000.parquet`` and so on.

    Rows are collected until they fill a row group. A new file begins when one is full, and when a table has a column
    that is not among ``columns`` and that the tables before it did not have.
    """

    def __init__(self, folder: Path, columns: pa.Schema) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._columns = columns
        self._schema = pa.schema([])
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._file: pq.ParquetWriter | None = None
        self._files = self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows. If they do not fit into the current row group, a new one begins with them."""
        size = table.nbytes
        if self._waiting_rows + table.num_rows > GROUP_ROWS or self._waiting_bytes + size > GROUP_BYTES:
            self._flush()
        own = table.schema.remove_metadata()
        first = pa.schema([field for field in own if field.name not in self._columns.names])
        schema = _united(self._schema, first, self._columns, own)
        if schema != self._schema:
            self._flush()
            self._end_file()
            self._schema = schema
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._waiting_bytes += size

    def close(self) -> None:
        """Write the collected rows and end the last file."""
        self._flush()
        self._end_file()

    def abandon(self) -> None:
        """Close the file and ignore errors."""
        with contextlib.suppress(OSError):
            self._end_file()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables([self._schema.empty_table(), *self._waiting], promote_options="permissive")
        table = table.combine_chunks()
        self._waiting = []
        self._waiting_rows = self._waiting_bytes = 0
        if self._rows and self._rows + table.num_rows > PART_ROWS:
            self._end_file()
        if self._file is None:
            path = self._folder / f"part-{self._files:05d}.parquet"
            # The dictionary of a column must hold each original picture once, however often it is repeated.
            self._file = pq.ParquetWriter(path, self._schema, dictionary_pagesize_limit=GROUP_BYTES)
            self._files += 1
        rows = max(1, min(GROUP_ROWS, GROUP_BYTES * table.num_rows // max(1, table.nbytes)))
        self._file.write_table(table, row_group_size=rows)
        self._rows += table.num_rows

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rows = None, 0
