"""Texts in CSV files that no spreadsheet runs as a formula."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# A sign with which a formula begins, also full-width, after anything that a spreadsheet may strip; or a tab or the end
# of a line, after which some spreadsheets begin a new cell.
_SPACE = "\\s\u00a0\u200b-\u200f\u2028\u2029\u2060\u3000\ufeff"
FORMULA = f"^([\t\r\n]|[{_SPACE}]*[=+\\-@\uff1d\uff0b\uff0d\uff20])"
_FORMULA = re.compile(FORMULA)


def safe_value(value: Any) -> Any:
    """Return a value with a leading apostrophe if a spreadsheet might run it as a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def safe_table(table: pa.Table) -> pa.Table:
    """Return a table whose texts and names of columns have a leading apostrophe if they might be run as a formula."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            safe = pc.replace_substring_regex(table[i], pattern=FORMULA, replacement=r"'\1")
            table = table.set_column(i, field, safe)
    return table.rename_columns(safe_names(table.schema).names)


def safe_names(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose names of columns no spreadsheet runs as a formula."""
    return pa.schema([field.with_name(safe_value(field.name)) for field in schema])
