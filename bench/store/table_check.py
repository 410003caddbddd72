"""Checks the tables of a run folder before anything uses them: a file may be damaged, or written by a stranger.

A column has the type of the schema, or one that converts to it without loss. A column that every reader needs exists
and has no null. A column of JSON holds what its readers expect. Anything else is one `StorageError`, which names the
file, the column, what was expected and what was found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.core.domain import KNOWLEDGE, MAX_REPEATS, CellRole, Control, Goal, Side, Status
from bench.core.parsing import parse_json
from bench.core.paths import is_file_name
from bench.store.schema import CELLS, SAMPLE_COLUMNS, SAMPLES_NEEDED, STAGES, WRITTEN_TOGETHER
from bench.store.table_files import TableFile, mistake, readable

_CELLS_NEEDED = ("cell", "experiment", "dataset", "defense", "attack", "role", "status", "repeat", "pairs", "kappa")
_STAGES_NEEDED = ("key", "status")
_AMOUNTS = ("seconds", "peak_mb", "batch", "attempts", "client_flops", "client_seconds")
# The labels of a cell, which no other cell of a run has.
_LABELS = ("experiment", "dataset", "defense", "authorised", "attack", "via", "evaluated", "repeat")
_SETS = ("authorised", "authorised_stand_in_for")
_CHOICES: Mapping[str, Sequence[str]] = {
    "status": get_args(Status),
    "role": ("authorised", "unauthorised", "surrogate", "any"),
    "goal": get_args(Goal),
    "protects": get_args(Side),
    "control": get_args(Control),
}


def checked_cells(path: Path, table: pa.Table, schema: pa.Schema = CELLS) -> pa.Table:
    """Return the rows of cells with the types of ``schema``. Raises `StorageError` for rows that cannot be used.

    ``schema`` is that of the version of bench that wrote the rows; the columns of components of schemas 2 and 3 have no
    roles.
    """
    table = conforming(path, table, schema, _CELLS_NEEDED)
    for name, known in _CHOICES.items():
        if wrong := [value for value in _distinct(table, name) if value not in known]:
            raise mistake(path, name, f"one of {', '.join(known)}", wrong[0])
    for pairs in _distinct(table, "pairs"):
        if pairs < 1:
            raise mistake(path, "pairs", "numbers from 1 on", str(pairs))
    if len(table) > len(_distinct(table, "cell")):
        raise mistake(path, "cell", "ids that occur once", "one that occurs twice")
    _check_repeats(path, table)
    roles = schema.field("authorised").type == CELLS.field("authorised").type
    check_json(path, table, "components", "a list of components", lambda value: _is_components(value, roles))
    check_json(path, table, "defense_params", "a table", lambda value: isinstance(value, dict))
    check_json(path, table, "bound", "a guarantee", lambda value: isinstance(value, dict))
    for known in _distinct(table, "knowledge"):
        if not 0 <= known < len(KNOWLEDGE):
            raise mistake(path, "knowledge", f"numbers from 0 to {len(KNOWLEDGE) - 1}", str(known))
    check_json(path, table, "budget", "a table of numbers", _is_budget)
    for name in ("stages", "protect"):
        check_json(path, table, name, "a list of keys of stages", _is_keys)
        filled = pc.fill_null(table[name], "[]")  # An older version did not write the column.
        table = table.set_column(table.column_names.index(name), name, filled)
    if roles:
        counts = (pc.fill_null(pc.list_value_length(table[name]), 0) for name in _SETS)
        if not pc.all(pc.equal(*counts)).as_py() and len(table):
            raise mistake(path, _SETS[1], "a name for each authorised model", "more or fewer")
    return table


def _check_repeats(path: Path, table: pa.Table) -> None:
    """Raise `StorageError` if the number of a repeat is impossible, or if two cells with the same labels have the same
    number, because they would count as two measurements."""
    for repeat in _distinct(table, "repeat"):
        if not 0 <= repeat < MAX_REPEATS:
            raise mistake(path, "repeat", f"numbers from 0 to {MAX_REPEATS - 1}", str(repeat))
    known: dict[tuple[str, ...], str] = {}
    labels = zip(*(map(str, table[name].to_pylist()) for name in _LABELS), strict=True)
    for cell, labelled in zip(table["cell"].to_pylist(), labels, strict=True):
        if (other := known.setdefault(labelled, cell)) != cell:
            expected = "another number in each cell with the same labels"
            raise mistake(path, "repeat", expected, f"{labelled[-1]} in the cells {other} and {cell}")


def checked_stages(path: Path, table: pa.Table) -> pa.Table:
    """Return the rows of stages with the types of `STAGES`. Raises `StorageError` for rows that cannot be used."""
    table = conforming(path, table, STAGES, _STAGES_NEEDED)
    check_json(path, table, "inputs", "a table of keys of stages", _is_table_of_keys)
    if not _is_keys(keys := _distinct(table, "key")):
        raise mistake(path, "key", "the keys of stages", next(key for key in keys if not is_file_name(key)))
    for name in _AMOUNTS:
        if (least := pc.min(table[name]).as_py()) is not None and least < 0:
            raise mistake(path, name, "numbers that are not negative", str(least))
    return table


def checked_stage_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of stages in the record of a run of schema 2, with None for what was not recorded. Raises
    `StorageError` for a wrong type."""
    found = [{**dict.fromkeys(STAGES.names), **row} for row in rows]
    for name in STAGES.names:
        kind = STAGES.field(name).type
        try:
            values = pa.chunked_array([pa.array([row[name] for row in found], kind)])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise mistake(path, f"stages: {name}", _in_words(kind), "something else") from None
        if values.null_count and name in _STAGES_NEEDED:
            raise mistake(path, f"stages: {name}", "a value in every row", "none in one")
        if pa.types.is_floating(kind):
            for row, value in zip(found, _finite(path, f"stages: {name}", values).to_pylist(), strict=True):
                row[name] = value
    return found


def check_samples(path: Path, name: str, schema: pa.Schema, renamed: Mapping[str, str]) -> None:
    """Raise `StorageError` if the columns of a file of sample rows have other types than `SAMPLE_COLUMNS` declares.
    ``renamed`` maps today's names of columns to those in the file."""
    _check_names(path, schema)
    for column, kind in SAMPLE_COLUMNS.get(name, {}).items():
        own = renamed.get(column, column)
        if own in schema.names and not _is_readable(schema.field(own).type, kind):
            raise mistake(path, own, _in_words(kind), str(schema.field(own).type))
    for field in schema:
        if pa.types.is_nested(field.type):
            raise mistake(path, field.name, "single values", str(field.type))


def require_columns(parts: Iterable[TableFile], name: str) -> None:
    """Raise `StorageError` if a file of a table of samples lacks a column that every analysis needs, or some of the
    columns that belong together."""
    for part in parts:
        with readable(part.path):
            found = pq.read_schema(part.path).names
        together = WRITTEN_TOGETHER.get(name, ())
        needed = [*SAMPLES_NEEDED[name], *(together if not set(together).isdisjoint(found) else ())]
        for column in needed:
            if column not in part.constant and (own := part.renamed.get(column, column)) not in found:
                raise mistake(part.path, own, "a column", "none")


def conforming(path: Path, table: pa.Table, schema: pa.Schema, needed: Iterable[str] = ()) -> pa.Table:
    """Return a table with all columns of a schema, in their order and with their types; further columns follow.

    A missing column is null. Raises `StorageError` if a column has another type, or if one of ``needed`` is missing or
    has a null.
    """
    _check_names(path, table.schema)
    columns = {name: table[name] for name in table.column_names}
    for field in schema:
        if field.name not in columns:
            columns[field.name] = pa.chunked_array([pa.nulls(len(table), field.type)])
        elif columns[field.name].type != field.type:
            columns[field.name] = _converted(path, field, columns[field.name])
    for name, column in columns.items():
        _check_utf8(path, name, column)
        if pa.types.is_floating(column.type):
            columns[name] = _finite(path, name, column)
    for name in needed:
        if columns[name].null_count:
            raise mistake(path, name, "a value in every row", "none in one")
    order = [*schema.names, *(name for name in columns if name not in schema.names)]
    return pa.table([columns[name] for name in order], names=order)


def check_json(path: Path, table: pa.Table, name: str, expected: str, fits: Callable[[Any], bool]) -> None:
    """Raise `StorageError` if a text of a column is not JSON for which ``fits`` returns True; null is allowed."""
    for text in _distinct(table, name):
        try:
            value = parse_json(text) if text else None
            fine = text == "" or fits(value)
        except ValueError:
            fine = False
        if not fine:
            raise mistake(path, name, f"{expected} as JSON", text)


def _check_names(path: Path, schema: pa.Schema) -> None:
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise mistake(path, twice[0], "one column", "two")


def _check_utf8(path: Path, name: str, column: pa.ChunkedArray) -> None:
    """Raise `StorageError` if the texts of a column are not UTF-8, which a Parquet file does not guarantee."""
    if pa.types.is_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            raise mistake(path, name, "texts in UTF-8", "something else") from None


def _finite(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers with null in place of NaN. Raises `StorageError` if one is infinite."""
    if pc.any(pc.is_inf(column)).as_py():
        raise mistake(path, name, "finite numbers", "an infinite one")
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _converted(path: Path, field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_readable(column.type, field.type):
        with contextlib.suppress(pa.ArrowException):
            return column.cast(field.type)
    raise mistake(path, field.name, _in_words(field.type), str(column.type))


def _is_readable(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return True if values of a type can stand where another type is expected."""
    if found == wanted or pa.types.is_null(found):
        return True
    if pa.types.is_list(wanted):
        lists = pa.types.is_list(found) or pa.types.is_large_list(found)
        return lists and _is_readable(found.value_type, wanted.value_type)
    if pa.types.is_dictionary(found):
        return _is_readable(found.value_type, wanted)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_large_string(found))
    if pa.types.is_binary(wanted):
        return bool(pa.types.is_large_binary(found))
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
    return bool(pa.types.is_integer(wanted) and pa.types.is_integer(found))


def _in_words(kind: pa.DataType) -> str:
    words = {"string": "texts", "double": "numbers", "int64": "whole numbers", "bool": "true or false"}
    return f"lists of {_in_words(kind.value_type)}" if pa.types.is_list(kind) else words.get(str(kind), str(kind))


def _distinct(table: pa.Table, name: str) -> list[Any]:
    return [value for value in table[name].unique().to_pylist() if value is not None]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_keys(value: Any) -> bool:
    """Return True for a list of keys of stages, which name the folders of artifacts in the cache."""
    return _is_texts(value) and all(map(is_file_name, value))


def _is_table_of_keys(value: Any) -> bool:
    return isinstance(value, dict) and _is_keys(list(value.values()))


def _is_budget(value: Any) -> bool:
    numbers = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)


def _is_components(value: Any, roles: bool) -> bool:
    return isinstance(value, list) and all(_is_component(part, roles) for part in value)


def _is_component(part: Any, roles: bool) -> bool:
    """Return True if a value has the fields of a component that every reader needs; ``roles``: also a role."""
    if not isinstance(part, dict) or (roles and part.get("role") not in get_args(CellRole)):
        return False
    return _is_texts([part.get(key) for key in ("kind", "name", "label")]) and isinstance(part.get("params", {}), dict)
