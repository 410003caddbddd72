"""The one place where texts reach a terminal, beside the tables that `bench.cli.console` draws with Rich.

Texts of suites, plugins, paths, data sets and runs may come from strangers: no character of them controls a terminal or
changes the direction of writing. `tests/security/test_terminal.py` finds other places.
"""

from __future__ import annotations

from typing import Any

import click

from bench.core.text import json_text, printable


def say(text: object = "", *, err: bool = False) -> None:
    """Print a line on stdout, or on stderr."""
    click.echo(printable(str(text)), err=err)


def say_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON on stdout, see `bench.core.text.json_text`."""
    click.echo(json_text(value, indent=indent))
