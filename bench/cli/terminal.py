"""The one place where texts reach a terminal, beside the tables that `bench.cli.console` draws with Rich.

Texts of suites, plugins, paths, data sets and runs may come from strangers: no character of them controls a terminal or
changes the direction of writing, and no line break in them begins a line that looks like one of bench.
`tests/security/test_terminal.py` finds other places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

from bench.core.text import json_text, printable

_FURTHER = re.compile(r"\n(?=\S)")  # The end of a line before one that is not indented.


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line on stdout, or on stderr. A line break in it, for example of a file name, is shown as a mark."""
    click.echo(_in_one_line(str(text)), err=err)


def say_lines(text: str) -> None:
    """Print on stdout a text that bench has laid out in lines, such as a table or a guide."""
    click.echo(printable(text))


def say_message(message: str, names: Iterable[str] = ()) -> None:
    """Print an error or a note on stderr. Its further lines are indented, so that none of them looks like another
    message. Line breaks in ``names``, such as those of files on the command line, are shown as marks."""
    parts = {part for name in names for part in (name, *name.split("/")) if part.strip()}
    for part in sorted((p for p in parts if _in_one_line(p) != p), key=len, reverse=True):
        message = message.replace(part, _in_one_line(part))
    click.echo(_FURTHER.sub("\n  ", printable(message)), err=True)


def _in_one_line(text: str) -> str:
    """Return a text as `one_line` does, with a mark also for a line break at its end."""
    return printable(text).replace("\n", "\ufffd")


def say_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON on stdout, see `bench.core.text.json_text`."""
    click.echo(json_text(value, indent=indent))
