"""Writes the reference run of a finished run: its rows, without pictures and without traces of the machine."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.errors import StorageError
from bench.core.files import remove
from bench.core.paths import below, child
from bench.core.provenance import file_sha256
from bench.core.table_sizes import read_table
from bench.store.reading import RunResults
from bench.store.run_record import RECORD, ComponentRecord, RunRecord, write_record
from bench.store.schema import SAMPLES

_TABLES = tuple(name for name in SAMPLES if name != "examples")  # Examples are pictures of faces.
_OF_MACHINE = ("log", "traceback")  # Columns of cells and stages that may name paths.
_PATH = re.compile(r"(^|[\s\"'=:(])(/[\w.~-]+/[\w./~-]+|[A-Za-z]:\\)")


def write_reference(run: Path, into: Path) -> Path:
    """Write the reference run of a finished run into a folder for reference runs, and return its own folder.

    It has no pictures and no logs, and of the machine no paths. Raises `StorageError` for a run that did not end well,
    for one of a suite without a version, and if a text that looks like a path would remain.
    """
    results = RunResults(run)
    record = results.run
    version = record.suite.version
    if record.status != "complete" or record.derived:
        raise StorageError(f"{run}: expected a complete run of a whole suite, found one that is {record.status}")
    if version is None or "+" in version:
        raise StorageError(f"{run}: expected a run of an unchanged suite with a version, found {version or 'none'}")
    folder = child(into, version)
    remove(folder)
    written = [_copied(below(run, name), below(folder, name)) for name in _files(record)]
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in written}
    public = replace(_without_places(record), files=digests)
    _require_no_path(RECORD, str(public))
    write_record(folder, public)
    return folder


def _files(record: RunRecord) -> Iterator[str]:
    """Yield the files of a run that belong to a reference run, relative to its folder."""
    for name in sorted(record.files):
        if name.split("/")[0] != "samples" or name.split("/")[1] in _TABLES:
            yield name


def _copied(source: Path, target: Path) -> Path:
    """Copy a Parquet file, better compressed and without the columns that may name paths."""
    table = read_table(source)
    for name in _OF_MACHINE:
        if name in table.column_names:
            empty = pa.nulls(len(table), table.schema.field(name).type)
            table = table.set_column(table.column_names.index(name), table.schema.field(name), empty)
    for field in table.schema if source.name in ("cells.parquet", "stages.parquet") else ():
        if pa.types.is_string(field.type):
            _require_no_path(source.name, *filter(None, table[field.name].unique().to_pylist()))
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target, compression="zstd", compression_level=19)
    return target


def _without_places(record: RunRecord) -> RunRecord:
    """Return a record without paths of its machine."""
    return replace(
        record,
        command=_public(record),
        suite=replace(record.suite, path=Path(record.suite.path or record.suite.name).name),
        components=tuple(map(_without_source, record.components)),
        lpips=record.lpips and replace(record.lpips, reason=None),
        plugins=(),
    )


def _require_no_path(file: str, *texts: str) -> None:
    for text in texts:
        if found := _PATH.search(text):
            raise StorageError(f"{file}: expected no path of a machine in a reference run, found {found[2]!r}")


def _public(record: RunRecord) -> tuple[str, ...]:
    """Return the command of a run with nothing but its suite and its defenses, so that it computes any cell again."""
    words = record.command
    defenses = [words[i : i + 2] for i, word in enumerate(words[:-1]) if word == "--defense"]
    return ("bench", "run", record.suite.name, "--recompute-reference", *itertools.chain.from_iterable(defenses))


def _without_source(component: ComponentRecord) -> ComponentRecord:
    return replace(component, source=None)
