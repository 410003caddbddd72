"""Every command as Markdown: its help, arguments and options, as ``--help`` prints them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from bench.cli import main


def commands() -> str:
    """Return a section for each command, groups before their commands."""
    with click.Context(main, info_name="bench") as context:
        return "\n\n".join(_sections(main, context))


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _section(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                with click.Context(found, info_name=name, parent=context) as inner:
                    yield from _sections(found, inner)


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## {context.command_path}", f"```text\n{usage}\n```", *_paragraphs(command.help or "")]
    rows = [
        f"| `{_cell(record[0])}` | {_cell(record[1])} |"
        for option in command.params
        if isinstance(option, click.Option) and (record := option.get_help_record(context))
    ]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    if command.epilog:
        parts.append(inspect.cleandoc(command.epilog))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a help text; those that begin with ``\b`` are kept as they are."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```"
        else:
            yield " ".join(paragraph.split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
