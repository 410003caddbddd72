"""Checks the values of sample rows where they are read: once, for every command.

A value lies in its range (`bench.store.schema.RANGES`) and is there where every row needs it. A row occurs once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.core.errors import StorageError
from bench.store.schema import (
    ADVERSARY_RULE,
    ADVERSARY_RULES,
    COMPARED_WITH,
    FILLED,
    IDENTITY,
    MEASURES,
    OF_ORIGINALS,
    RANGES,
    Range,
)
from bench.store.table_files import Key, mistake

_ROUNDING = 1e-6  # by which a value may lie outside of its range
_MEASURE = "measure"
_RULES = {"threshold_rule": ("fmr", "accuracy"), ADVERSARY_RULE: ADVERSARY_RULES}  # by column, its values


def check_values(path: Path, name: str, rows: pa.Table) -> None:
    """Raise `StorageError` if rows of a table of samples, with all or some of its columns, hold an impossible value.

    ``path`` is the place that the error names.
    """
    for column in FILLED.get(name, ()):
        if column in rows.column_names and _without_nan(_filled(name, column, rows)).null_count:
            raise mistake(path, column, "a value in every row", "none in one")
    for column, rules in _RULES.items():
        for rule in rows[column].drop_null().unique().to_pylist() if column in rows.column_names else ():
            if rule not in rules:
                raise mistake(path, column, " or ".join(rules), str(rule))
    for column, limits in RANGES.get(name, {}).items():
        if column in rows.column_names:
            if name == "attributes" and _MEASURE in rows.column_names:
                for measure, own in MEASURES.items():
                    _check_range(path, column, rows.filter(pc.equal(rows[_MEASURE], measure))[column], own)
            _check_range(path, column, rows[column], limits)


def _filled(name: str, column: str, rows: pa.Table) -> pa.ChunkedArray:
    """Return the values of a column in the rows that must have one."""
    if column in OF_ORIGINALS.get(name, ()) and COMPARED_WITH in rows.column_names:
        rows = rows.filter(pc.fill_null(pc.not_equal(rows[COMPARED_WITH], "protected"), True))
    return rows[column]


def _check_range(path: Path, column: str, values: pa.ChunkedArray, limits: Range) -> None:
    """Raise `StorageError` if a value is out of its range; null and NaN are allowed here."""
    low, high = limits
    found = pc.min_max(_without_nan(values)).as_py()
    least, most = found["min"], found["max"]
    if least is None or (least >= low - _ROUNDING and most <= high + _ROUNDING):
        return
    to = f"to {high:,.0f}" if high <= 1 or most > high else "on"
    expected = f"numbers from {low:,.0f} {to}"
    raise mistake(path, column, expected, f"{least if least < low - _ROUNDING else most:g}")


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers with null in place of NaN; other values as they are."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def check_once(path: Path, name: str, rows: pa.Table, group: Mapping[str, Any] | None = None) -> None:
    """Raise `StorageError` if a row of a table of samples occurs twice. Rows without the columns that tell them apart
    are not checked.

    ``group`` are the values that the rows have in common (see `bench.store.schema.IDENTITY`), if they are those of one
    group; otherwise the rows have these columns.
    """
    of_group, within = IDENTITY.get(name, ((), ()))
    columns = [*(() if group else of_group), *within]
    if not columns or not {*columns} <= {*rows.column_names}:
        return
    if len(columns) == 1 and pc.count_distinct(rows[columns[0]], mode="all").as_py() == rows.num_rows:
        return  # Counting takes much longer.
    counts = rows.select(columns).group_by(columns, use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows < rows.num_rows:
        twice = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise repeated(path, name, {**{column: twice[column] for column in (*within, *columns)}, **(group or {})})


def repeated(path: Path, name: str, row: Mapping[str, Any]) -> StorageError:
    """Return the error about rows of a table of samples that occur twice; ``row`` are their common values."""
    words = ", ".join(f"{column} {value}" for column, value in row.items() if value != "")
    return mistake(path, IDENTITY[name][1][-1], "every row once, and those of a cell together", f"{words} again")


class RowsInOrder:
    """Checks rows of a table of samples that are read one part after another. The rows of a group stand together, so
    that only those of the last group are kept."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._group, self._within = map(list, IDENTITY.get(name, ((), ())))
        self._seen: set[Key] = set()
        self._last: Key | None = None
        self._rows: list[pa.Table] = []  # Those of the last group.

    def add(self, rows: pa.Table) -> None:
        """Check the next rows. Raise `StorageError` if one has an impossible value or occurs twice."""
        check_values(self._path, self._name, rows)
        columns = [*self._group, *self._within]
        if not rows.num_rows or not columns or not {*columns} <= {*rows.column_names}:
            return
        rows = rows.select(columns)
        check_once(self._path, self._name, rows)
        groups = self._groups(rows)
        continued = groups[0] == self._last
        for key in groups[1:] if continued else groups:
            if key in self._seen:
                raise repeated(self._path, self._name, dict(zip(self._group, key, strict=True)))
            self._seen.add(key)
        own = [self._of(rows, groups[0])]
        if continued:
            own = [*self._rows, *own]
            check_once(self._path, self._name, pa.concat_tables(own, promote_options="permissive"))
        self._rows = own if len(groups) == 1 else [self._of(rows, groups[-1])]
        self._last = groups[-1]

    def _groups(self, rows: pa.Table) -> list[Key]:
        """Return the groups in the order in which they begin; one that begins again is in it again."""
        columns = [rows[name] for name in self._group]
        changes = (pc.not_equal(c.slice(1), c.slice(0, len(c) - 1)) for c in columns)
        changed = reduce(pc.or_, (pc.fill_null(c, True) for c in changes))
        starts = pa.array([0, *(np.flatnonzero(changed.to_numpy()) + 1).tolist()])
        return list(zip(*(c.take(starts).to_pylist() for c in columns), strict=True))

    def _of(self, rows: pa.Table, key: Key) -> pa.Table:
        terms = [pc.equal(rows[name], value) for name, value in zip(self._group, key, strict=True)]
        return rows.filter(reduce(pc.and_, terms))
