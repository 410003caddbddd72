"""Errors and help in one form for all commands.

Every error is printed on stderr as ``Error: PLACE: expected X, found Y; do Z``, and the exit code is 2. Messages of
Click are rewritten into this form. Lists of commands in a help are never cut.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from bench.cli.library_warnings import as_notes
from bench.cli.options import LOG_FORMAT
from bench.cli.streams import discard
from bench.cli.terminal import say, say_message
from bench.core.errors import BenchError, did_you_mean, missing_package
from bench.core.packages import how_to_install
from bench.core.text import shortened_message
from bench.engine.interrupts import ended_by_signals

Function = TypeVar("Function", bound=Callable[..., Any])
_EXIT_CODES = "0 all went well, {one}2 it could not be done, 130 it was interrupted"
_KEPT = "what was finished is kept, and the same command continues from there"
_BEGINS_AGAIN = "begins_again"  # Attribute of the functions of commands that keep nothing when they are interrupted.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # Why stdout, redirected to a file, cannot be written.
_UNMAPPED = "failed to map segment"  # What the loader of libraries says when memory is short.
_ARGUMENTS = "bench.arguments"  # Key in the meta dictionary of a Click context: all arguments of the command line.


def begins_again(function: Function) -> Function:
    """Mark the function of a command that keeps nothing when it is interrupted."""
    setattr(function, _BEGINS_AGAIN, True)
    return function


def exit_codes(one: str = "") -> str:
    """Return the sentence of a help text that explains the exit codes; ``one`` is the meaning of exit code 1."""
    return f"Exit codes: {_EXIT_CODES.format(one=f'1 {one}, ' if one else '')}."


class CommandGroup(click.Group):
    """A group of commands whose help lists each command with the whole first sentence of its own help.

    Click's own group cuts these sentences to the width of the terminal.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help text."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in found if command and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _first_sentence(command: click.Command) -> str:
    paragraph = " ".join((command.short_help or command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\w)\. ", paragraph)[0].rstrip(".")


class Main(CommandGroup):
    """The command ``bench``: prints one message for every error, and ends with its exit code.

    The exit code is 2 for a `BenchError` and for wrong arguments, 130 for an interruption with Ctrl-C, SIGTERM or
    SIGHUP, and 1 if a
    question was not answered with yes or the reader of stdout has closed it (but see `bench.cli.streams`).
    """

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Parse the options before the name of the command; print an error in them and raise Click's `Exit`."""
        try:
            context = super().make_context(info_name, args, *more, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _print_error("error", usage_message(error), args, as_json=_logs_json(args))
            raise click.exceptions.Exit(error.exit_code) from None
        return context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments and keep a copy of them.

        If the arguments of a command cannot be parsed, the copy still shows whether errors must be printed as JSON.
        """
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and turn its errors into messages and exit codes."""
        try:
            with ended_by_signals(), as_notes(lambda text: self._print(ctx, "warning", text)):
                _require_usable_process(ctx)
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result
        except BenchError as error:
            self._exit(ctx, "error", str(error), 2)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            called = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()
            self._exit(ctx, "error", usage_message(error, called), 2)
        except click.Abort:
            self._exit(ctx, "error", "expected a yes, found none; nothing was done", 1)
        except KeyboardInterrupt:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            again = command is not None and getattr(command.callback, _BEGINS_AGAIN, False)
            kept = "nothing was kept; the same command begins again" if again else _KEPT
            self._exit(ctx, "interrupted", kept, 130)
        except BrokenPipeError:  # The program that reads stdout (head, less) has ended.
            discard(sys.stdout)
            ctx.exit(1)
        except ModuleNotFoundError as error:
            if not error.name or how_to_install(error.name) is None:
                raise
            called = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()
            message = f"{called}: expected the package {error.name}, found none"
            self._exit(ctx, "error", f"{message}{missing_package(error)}", 2)
        except (MemoryError, ImportError) as error:
            if isinstance(error, ImportError) and _UNMAPPED not in str(error):
                raise
            advice = "give it more, with a larger ulimit -v if one is set; what was finished is kept"
            self._exit(ctx, "error", f"the memory that this command may use is not enough; {advice}", 2)
        except OSError as error:
            if error.errno not in _FULL or error.filename is not None:
                raise
            discard(sys.stdout)
            self._exit(ctx, "error", f"the output cannot be written: {error.strerror}; make room", 2)

    def _exit(self, ctx: click.Context, event: str, message: str, code: int) -> None:
        """Print a message in the requested log format and end with an exit code."""
        self._print(ctx, event, message)
        ctx.exit(code)

    def _print(self, ctx: click.Context, event: str, message: str) -> None:
        """Print an error, or a warning of a library, in the requested log format."""
        arguments = ctx.meta.get(_ARGUMENTS, ())
        as_json = ctx.meta.get(LOG_FORMAT) == "json" or _logs_json(arguments)
        try:
            _print_error(event, message, arguments, as_json=as_json)
        except OSError:  # Nobody reads stderr; the exit code still tells.
            discard(sys.stderr)


def _require_usable_process(ctx: click.Context) -> None:
    """Raise `BenchError` if no command can do its work in this process, unless only help was requested."""
    if {"-h", "--help"} & set(ctx.meta[_ARGUMENTS]):
        return
    if sys.flags.optimize > 1:
        raise BenchError(
            "python -OO: expected documentation strings, which help texts and charts are made of, found that Python "
            "removes them; use -O, or PYTHONOPTIMIZE=1"
        )
    try:
        os.getcwd()
    except OSError as error:
        raise BenchError(
            f"the current folder: expected one that exists, found that it was removed ({error.strerror}); change to "
            "another one with cd"
        ) from None


def _print_error(event: str, message: str, arguments: Sequence[str], *, as_json: bool) -> None:
    """Print on stderr why a command ends early (``error`` or ``interrupted``), or a ``warning`` of a library, as text
    or as a line of JSON. ``arguments`` are those of the command line."""
    message = shortened_message(message)
    if as_json:
        from bench.store.journal import line

        say(line(event, message=message), err=True)
    else:
        if event == "interrupted":
            say(err=True)
        say_message({"error": "Error: ", "warning": "note: "}.get(event, f"{event}; ") + message, arguments)


def _logs_json(args: Sequence[str]) -> bool:
    """Return whether arguments request JSON on stderr; works for arguments that Click cannot parse, too."""
    return "--log-format=json" in args or ("--log-format", "json") in itertools.pairwise(args)


# ---- messages of Click, rewritten ------------------------------------------------------------------------------------

# The messages of Click as regular expressions, and for each the message of bench as a function of the match.
_REWRITTEN: Sequence[tuple[str, Callable[[re.Match[str]], str]]] = (
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


def usage_message(error: click.ClickException, called: str = "bench") -> str:
    """Return the message for wrong arguments: where, what was expected, what was found, what to do.

    ``called`` is the name of the command, for errors that do not contain it.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else called
    advice = f"; see: {command} --help"
    if isinstance(error, click.NoSuchOption):
        near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
        return f"{command}: expected an option that it has, found {error.option_name}{near or advice}"
    if isinstance(error, click.MissingParameter):
        return f"{command}: expected {_parameter_name(error, context)}, found none{advice}"
    if isinstance(error, click.BadParameter):
        return f"{_parameter_name(error, context)}: {_rewrite(error.message)}"
    missing = re.match(r"No such command '(.*?)'\.", error.message)
    if missing and context and isinstance(context.command, click.Group):
        known = did_you_mean(missing[1], context.command.list_commands(context))
        return f"{command}: expected one of its commands, found {missing[1]!r}; {known}"
    message = _rewrite(error.message)
    if message == error.message:  # It is not a message of Click: a command of bench raised the error.
        return message
    return f"{message}{advice}" if message.startswith("-") else f"{command}: {message}{advice}"


def _rewrite(message: str) -> str:
    """Return bench's form of a message of Click; any other message is returned as it is."""
    for pattern, rewrite in _REWRITTEN:
        if found := re.fullmatch(pattern, message):
            return rewrite(found)
    return message


def _parameter_name(error: click.BadParameter, context: click.Context | None) -> str:
    """Return the name of the wrong option or argument as one types it: the longest spelling, such as ``--pairs``."""
    param = error.param
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    if param is not None:
        return param.make_metavar(context) if context else str(param.human_readable_name)
    return str(error.param_hint or "arguments")
