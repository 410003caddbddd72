"""Bundles as a forger makes them: a run is changed, and every digest is made to fit again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.provenance import file_sha256
from bench.store.bundles import open_bundle, pack
from bench.store.run_record import RunRecord, read_record, write_record


def forged(bundle: Path, into: Path, change: Callable[[Path], object]) -> Path:
    """Write a copy of a bundle whose run folder was changed, with the digests of the changed files."""
    with open_bundle(bundle) as opened:
        copy = Path(shutil.copytree(opened.folder, into.with_suffix(".run")))
    change(copy)
    record_digests(copy)
    pack(copy, into)
    return into


def record_digests(folder: Path) -> None:
    """Let the record of a run have the digests of the files as they are now."""
    paths = [folder / "cells.parquet", folder / "stages.parquet", *sorted((folder / "samples").rglob("*.parquet"))]
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    write_record(folder, replace(read_record(folder), files=files))


def change_record(folder: Path, **changes: Any) -> RunRecord:
    """Change fields of the record of a run."""
    changed = replace(read_record(folder), **changes)
    write_record(folder, changed)
    return changed


def change_value(path: Path, column: str, row: int, value: Any) -> Any:
    """Change one value of a Parquet file, and return the former one."""
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    before, values[row] = values[row], value
    number = table.column_names.index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(number, field, pa.array(values, field.type)), path)
    return before
