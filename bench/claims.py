"""The figures that a paper published, read from a CSV file beside a suite and shown beside ours.

Columns: ``dataset``, ``authorised`` and ``evaluated`` are the paper's own names, which data sets and models declare in
``stands_in_for`` (``authorised`` is ``Clean`` for unprotected faces, names joined by ``+`` for several models);
``defense`` is the name of the plugin; ``accuracy_percent`` the figure.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from bench.errors import SuiteError

COLUMNS = ("dataset", "defense", "authorised", "evaluated", "accuracy_percent")
Claims = dict[tuple[str, str, str, str], float]


def read_claims(path: Path, where: str) -> str:
    """The text of a claims file, after checking that every line holds a figure; ``where`` is the TOML path."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{where}: expected a CSV file beside the suite, at {path}: {error}") from None
    header, *lines = list(csv.reader(text.splitlines())) or [[]]
    if tuple(header) != COLUMNS:
        raise SuiteError(f"{where}: {path}: expected the columns {','.join(COLUMNS)}, found {','.join(header)!r}")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(COLUMNS) or not re.fullmatch(r"\d{1,3}(\.\d+)?", line[-1]) or float(line[-1]) > 100:
            expected = f"{len(COLUMNS)} values, the last a share in percent"
            raise SuiteError(f"{where}: {path}, line {number}: expected {expected}, found {','.join(line)!r}")
    combinations = [tuple(line[:-1]) for line in lines]
    for number, combination in enumerate(combinations, start=2):
        if combination in combinations[: number - 2]:
            raise SuiteError(f"{where}: {path}, line {number}: {','.join(combination)} appears twice")
    return text


def parse_claims(text: str) -> Claims:
    """Accuracies in [0, 1] by (data set, defense plugin, authorised, evaluated), from a text that was checked."""
    rows = csv.DictReader(text.splitlines())
    return {
        (row["dataset"], row["defense"], row["authorised"], row["evaluated"]): float(row["accuracy_percent"]) / 100
        for row in rows
    }
