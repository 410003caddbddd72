"""The numbers that a paper published, as data. Reports show them beside the measurements and compute nothing with them.

They are CSV files with one number per line. ``dataset``, ``row`` and ``column`` are the paper's own names
(`bench.analysis.paper_values` maps them to rows of a run), ``defense`` is the name of the plugin, and ``unit`` is
``%``, ``dB``, ``years`` or empty. The tables of the paper that this benchmark reproduces are in the package
(``bench/suite/paper``); an experiment's ``claims`` names another file in the folder of its suite.
"""

from __future__ import annotations

import csv
import re
from importlib import resources
from pathlib import Path

from bench.core.errors import SuiteError
from bench.core.parsing import decode_text
from bench.core.whole_files import LARGEST_NUMBERS, read_whole

COLUMNS = ("dataset", "defense", "row", "column", "value", "unit")
UNITS = ("%", "dB", "years", "")
Claims = dict[tuple[str, str, str, str], float]


def published(table: str) -> str | None:
    """Return the published numbers of a table of the paper (such as ``VII``) as CSV; None if there is no file of it."""
    if not re.fullmatch("[IVX]+", table):
        return None
    file = resources.files("bench.suite").joinpath("paper", f"table-{table.lower()}.csv")
    return file.read_text(encoding="utf-8") if file.is_file() else None


def read_claims(path: Path, where: str) -> str:
    """Return the text of a CSV file of published numbers; raise `SuiteError`, which names the TOML path ``where``, if a
    line is not valid."""
    if path.exists() and not path.is_file():
        raise SuiteError(f"{where}: expected a CSV file beside the suite, at {path}, found something else")
    try:
        text = decode_text(read_whole(path, LARGEST_NUMBERS), "published numbers")
    except (OSError, ValueError) as error:
        raise SuiteError(f"{where}: expected a CSV file beside the suite, at {path}: {error}") from None
    header, *lines = list(csv.reader(text.splitlines())) or [[]]
    if tuple(header) != COLUMNS:
        raise SuiteError(f"{where}: {path}: expected the columns {','.join(COLUMNS)}, found {','.join(header)!r}")
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(lines, start=2):
        if problem := _problem(line):
            raise SuiteError(f"{where}: {path}, line {number}: expected {problem}, found {','.join(line)!r}")
        combination = tuple(line[:4])
        if combination in seen:
            raise SuiteError(f"{where}: {path}, line {number}: {','.join(combination)} appears twice")
        seen.add(combination)
    return text


def _problem(line: list[str]) -> str | None:
    """Return what was expected instead of a line that is not valid; None for a valid line."""
    if len(line) != len(COLUMNS):
        return f"{len(COLUMNS)} values"
    *_, value, unit = line
    if not re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", value):
        return "a number as the value"
    if unit not in UNITS:
        return f"one of {', '.join(UNITS[:-1])} or nothing as the unit"
    if unit == "%" and not 0 <= float(value) <= 100:
        return "a share in percent"
    return None


def parse_claims(text: str) -> Claims:
    """Return the numbers of a checked text by (data set, defense plugin, row, column).

    Percentages become shares in [0, 1]; rows have the name that `canonical` returns.
    """
    return {
        (line["dataset"], line["defense"], canonical(line["row"]), line["column"]): float(line["value"])
        / (100 if line["unit"] == "%" else 1)
        for line in csv.DictReader(text.splitlines())
    }


def canonical(row: str) -> str:
    """Return the name of a row with the names that are joined by ``+`` in sorted order."""
    return "+".join(sorted(row.split("+")))
