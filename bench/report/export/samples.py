"""Exports per-sample rows, joined with the columns of their cells, as one tidy file.

Rows are read, joined and written in batches of some thousand, so that a table may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench.analysis.cells import UPLOAD
from bench.analysis.rows import Rows
from bench.analysis.tables.self_checks import marks
from bench.core.errors import StorageError, SuiteError
from bench.core.files import replacing
from bench.core.text import set_label
from bench.report.export.spreadsheets import safe_names, safe_table
from bench.runs.explain import find_cell
from bench.store.old_schemas import today
from bench.store.reading import RunResults
from bench.store.schema import CELLS, SAMPLES

_GROUP_ROWS = 50_000  # The rows of one row group in a Parquet file.
_UPLOAD = ("experiment", "dataset", "defense", "authorised", "repeat")
_OF_UPLOAD = (
    *("table", "dataset_stands_in_for", "defense_params", "authorised_stand_in_for", "upload", "pairs", "unstable"),
)
_OF_CELL = (
    *(*_OF_UPLOAD, "badges", "attack_unstable", "outputs", "budget", "knowledge", "leaky", "evaluated_stands_in_for"),
    *("role", "kappa", "threat", "threshold_note"),
)
_CHECK = "self_check"  # The column that marks the rows of attackers that are broken or weak.
# For each table of samples, the columns by which rows are joined with cells, and the columns of cells that are added.
_JOINED: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    **dict.fromkeys(("verification", "attributes", "up", "links"), (("cell",), _OF_CELL)),
    **dict.fromkeys(("images", "sets", "examples"), (_UPLOAD, _OF_UPLOAD)),
    **dict.fromkeys(("baselines", "people"), (("experiment", "dataset"), ("table", "dataset_stands_in_for"))),
}


def export_rows(results: RunResults, name: str, fmt: str, path: Path, cells: Sequence[str] = ()) -> int:
    """Write the rows of a table of samples to a file atomically and return their number.

    ``cells`` restricts the rows to some cells, by their ids or the beginnings of these; for images, these are the ones
    that the attack of the cell ends with. Raise `SuiteError` for an unknown table or format, and `StorageError` if the
    run has no such rows or no such cell, or the file cannot be written.
    """
    name = today(name)
    if name not in SAMPLES:
        raise SuiteError(f"--rows {name}: expected one of {', '.join(SAMPLES)}, found no table of that name")
    if fmt not in WRITERS:
        raise SuiteError(f"--format {fmt}: expected one of {', '.join(WRITERS)} for --rows")
    if name == "examples" and fmt == "csv":
        raise SuiteError("--rows examples: holds pictures, which CSV cannot; use --format parquet")
    columns = results.columns(name)
    if not len(columns):
        there = ", ".join(n for n in SAMPLES if len(results.columns(n))) or "none at all"
        raise StorageError(f"{results.folder}: this run has no rows of {name}; it has {there}")
    keys, wanted = _JOINED[name]
    keys = [k for k in keys if k in columns.names]
    added = [c for c in wanted if c not in columns.names and c in results.cells]
    schema = pa.schema([*columns, *(_as_text(CELLS.field(c)) for c in added)])
    about = results.cells[[*keys, *added]]
    sets = [str(c) for c in about if pa.types.is_list(CELLS.field(c).type)]
    about = about.assign(**{c: about[c].map(set_label) for c in sets}).drop_duplicates(keys)
    if "cell" in keys:
        schema = schema.append(pa.field(_CHECK, pa.string()))
        about = about.assign(**{_CHECK: about["cell"].map(marks(Rows(results))).astype(object)})
    found = _of_cells(results, name, cells, columns.names) if cells else results.batches(name)
    tables = (_joined(rows, about, keys, schema) for rows in found)
    with replacing(path) as beside:
        try:
            return WRITERS[fmt](beside, schema, tables)
        except pa.ArrowException as error:
            raise StorageError(f"{results.folder}: {name} cannot be written as {fmt}: {error}") from None


def _as_text(field: pa.Field) -> pa.Field:
    """Return the field of a column of cells in a file of rows, in which a set of models is its label."""
    return pa.field(field.name, pa.string()) if pa.types.is_list(field.type) else field


def _of_cells(results: RunResults, name: str, cells: Sequence[str], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of some cells, in batches."""
    ids = {str(find_cell(results, [cell])["cell"]) for cell in cells}
    chosen = [c for c in Rows(results).cells if c.cell in ids]
    by_cell = "cell" in _JOINED[name][0]
    keys = (
        ["cell"]
        if by_cell
        else [k for k in (_JOINED[name][0] if name in ("baselines", "people") else UPLOAD) if k in columns]
    )
    values = [(c.cell,) if by_cell else c.upload_key for c in chosen]
    wanted = pd.DataFrame(values, columns=["cell"] if by_cell else list(UPLOAD))[keys].drop_duplicates()
    for rows in results.batches(name, {k: list(dict.fromkeys(wanted[k])) for k in keys}):
        if len(found := rows.merge(wanted, on=keys)):
            yield found


def _joined(rows: pd.DataFrame, about: pd.DataFrame, keys: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Return rows joined with the columns of their cells."""
    found = rows.merge(about, on=list(keys), how="left", validate="many_to_one")
    return pa.Table.from_pandas(found, schema=schema, preserve_index=False)


def _parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> int:
    """Write tables as one Parquet file with row groups of at least `_GROUP_ROWS`, and return the number of rows."""
    count, held, waiting = 0, 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            waiting.append(table)
            count, held = count + table.num_rows, held + table.num_rows
            if held >= _GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                held, waiting = 0, []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return count


def _csv(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> int:
    """Write tables as one CSV file, safe for spreadsheets, and return the number of rows."""
    count = 0
    with pacsv.CSVWriter(path, safe_names(schema)) as writer:
        for table in tables:
            writer.write_table(safe_table(table))
            count += table.num_rows
    return count


WRITERS: Mapping[str, Callable[[Path, Any, Iterator[Any]], int]] = {"parquet": _parquet, "csv": _csv}
