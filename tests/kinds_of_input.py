"""The table of kinds of input: for each kind what is expected and what happened, printed after the tests.

A test module makes a list of `KindOfInput` and tries each by a parametrised test that calls `check`. The file
`tests/conftest.py` prints one table of all rows when the session ends, also if several processes ran the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import BenchError

_ROW = "kind of input"


@dataclass(frozen=True, kw_only=True)
class KindOfInput:
    """A kind of input that people really have.

    ``expected``: what should happen, as a text; ``...`` in it stands for any text. ``happened``: makes the input in an
    empty folder, uses it, and returns as a text what happened (see `outcome` for errors).
    """

    kind: str
    expected: str
    happened: Callable[[Path], str]

    def __str__(self) -> str:
        """The name of the parametrised test."""
        return re.sub(r"[^a-z0-9]+", "-", self.kind.lower()).strip("-")


def outcome(function: Callable[[], str], folder: Path) -> str:
    """Return the text of a function or, if it raises an error for users, ``refused:`` and the error's message.

    The path of ``folder`` is left out of the message. Any other error passes: it would be a traceback for the user.
    """
    try:
        return function()
    except BenchError as error:
        return f"refused: {error}".replace(f"{folder}/", "").replace(str(folder), "the folder")


def check(kind: KindOfInput, folder: Path, record_property: Callable[[str, object], None]) -> None:
    """Try one kind, record the row of the table (with pytest's fixture ``record_property``), and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        happened = kind.happened(folder)
    except Exception as error:
        record_property(_ROW, [kind.kind, kind.expected, f"traceback: {type(error).__name__}: {error}"])
        raise
    record_property(_ROW, [kind.kind, kind.expected, happened])
    pattern = ".*".join(map(re.escape, kind.expected.split("...")))
    assert re.fullmatch(pattern, happened, re.DOTALL), (kind.expected, happened)


def table(reports: Iterable[Any]) -> Iterator[str]:
    """Yield the lines of the table that pytest's reports of the tests hold; nothing if they hold no row."""
    rows = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == _ROW]
    for row in [["kind", "expected", "happened"], *rows] if rows else []:
        yield " | ".join(" ".join(cell.split()) for cell in row)
