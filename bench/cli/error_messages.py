"""How the command line speaks: one list of commands that is never cut, one voice for every mistake.

A mistake is told as ``Error: PLACE: expected X, found Y; do Z``, on stderr; its exit code is 2.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from bench.cli.options import LOG_FORMAT
from bench.core.errors import BenchError, did_you_mean

ENDS = "0 all went well, {one}2 it could not be done as asked, 130 it was interrupted"
_ARGUMENTS = "bench.arguments"  # in the context: those that a group was called with


def exits(one: str = "") -> str:
    """The lines of a help that say how a command can end; ``one``: what exit code 1 means."""
    return f"Exit codes: {ENDS.format(one=f'1 {one}, ' if one else '')}."


class Group(click.Group):
    """Lists its commands with the whole first sentence of what each does."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into a help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in found if command and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _first_sentence(command: click.Command) -> str:
    paragraph = " ".join((command.short_help or command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\w)\. ", paragraph)[0].rstrip(".")


class Main(Group):
    """Turns every `BenchError` and every wrong use into one message and exit code 2, an interruption into 130."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Read the arguments; a mistake in those before the command is told here."""
        try:
            context = super().make_context(info_name, args, *more, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _complain("error", in_one_voice(error), as_json=_logs_json(args))
            raise click.exceptions.Exit(error.exit_code) from None
        return context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments of the command, in case they cannot be read."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BenchError as error:
            self._end(ctx, "error", str(error), 2)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            called = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()
            self._end(ctx, "error", in_one_voice(error, called), 2)
        except click.Abort:
            self._end(ctx, "error", "expected a yes, found none; nothing was done", 1)
        except KeyboardInterrupt:
            self._end(ctx, "interrupted", "what was finished is kept, and the same command goes on from there", 130)
        except BrokenPipeError:
            # The reader (head, less) has gone; point stdout elsewhere so that the interpreter's last flush is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)

    def _end(self, ctx: click.Context, event: str, message: str, code: int) -> None:
        as_json = ctx.meta.get(LOG_FORMAT) == "json" or _logs_json(ctx.meta.get(_ARGUMENTS, ()))
        _complain(event, message, as_json=as_json)
        ctx.exit(code)


def _complain(event: str, message: str, *, as_json: bool) -> None:
    """Say why a command ends early, in the form that it was asked to log in."""
    if as_json:
        from bench.store.journal import line

        click.echo(line(event, message=message), err=True)
    else:
        click.echo(f"Error: {message}" if event == "error" else f"\n{event}; {message}", err=True)


def _logs_json(args: Sequence[str]) -> bool:
    """Whether arguments ask for JSON on stderr; also where they cannot be read as a whole."""
    return "--log-format=json" in args or ("--log-format", "json") in itertools.pairwise(args)


# ---- what click says, in the same words ------------------------------------------------------------------------------

Words = Callable[[re.Match[str]], str]
_SAID: Sequence[tuple[str, Words]] = (
    (r"'(.*)' is not one of (.*)\.", lambda m: f"expected one of {m[2].replace(chr(39), '')}, found {m[1]!r}"),
    (r"'(.*)' is not a valid integer( range)?\.", lambda m: f"expected a whole number, found {m[1]!r}"),
    (r"'(.*)' is not a valid float( range)?\.", lambda m: f"expected a number, found {m[1]!r}"),
    (r"(\S+) is not in the range (.*)\.", lambda m: f"expected a number in the range {m[2]}, found {m[1]}"),
    (r"(File|Path) '(.*)' does not exist\.", lambda m: f"expected a file, found none at {m[2]}"),
    (r"Directory '(.*)' does not exist\.", lambda m: f"expected a folder, found none at {m[1]}"),
    (r"Directory '(.*)' is a file\.", lambda m: f"expected a folder, found the file {m[1]}"),
    (r"(File|Path) '(.*)' is a directory\.", lambda m: f"expected a file, found the folder {m[2]}"),
    (r"\w+ '(.*)' is not readable\.", lambda m: f"{m[1]} cannot be read; ask for the right to"),
    (r"\w+ '(.*)' is not writable\.", lambda m: f"{m[1]} cannot be written; choose another place"),
    (r"Option '(.*)' requires an argument\.", lambda m: f"{m[1]}: expected a value, found none"),
    (r"Option '(.*)' does not take a value\.", lambda m: f"{m[1]}: expected no value, found one"),
    (r"Got unexpected extra arguments? \((.*)\)", lambda m: f"expected no further arguments, found {m[1]}"),
    (r"Missing command\.", lambda m: "expected a command, found none"),
)


def in_one_voice(error: click.ClickException, called: str = "bench") -> str:
    """What is wrong with the arguments: where, what was expected, what was found, what to do. ``called``: the command,
    where the error does not know it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else called
    advice = f"; see: {command} --help"
    if isinstance(error, click.NoSuchOption):
        near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
        return f"{command}: expected an option that it has, found {error.option_name}{near or advice}"
    if isinstance(error, click.MissingParameter):
        return f"{command}: expected {_named(error, context)}, found none{advice}"
    if isinstance(error, click.BadParameter):
        return f"{_named(error, context)}: {_said(error.message)}"
    missing = re.match(r"No such command '(.*?)'\.", error.message)
    if missing and context and isinstance(context.command, click.Group):
        known = did_you_mean(missing[1], context.command.list_commands(context))
        return f"{command}: expected one of its commands, found {missing[1]!r}; {known}"
    said = _said(error.message)
    if said == error.message:  # one of ours
        return said
    return f"{said}{advice}" if said.startswith("-") else f"{command}: {said}{advice}"


def _said(message: str) -> str:
    for pattern, words in _SAID:
        if found := re.fullmatch(pattern, message):
            return words(found)
    return message


def _named(error: click.BadParameter, context: click.Context | None) -> str:
    """The option or argument that is wrong, as it is written."""
    param = error.param
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    if param is not None:
        return param.make_metavar(context) if context else str(param.human_readable_name)
    return str(error.param_hint or "arguments")
