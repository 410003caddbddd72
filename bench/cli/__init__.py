"""The command line: a thin layer. Heavy modules are imported inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from bench import __version__
from bench.cli import comparing, housekeeping, installed, options, rescoring, results, running, starting
from bench.errors import BenchError


class _Group(click.Group):
    """Turns every `BenchError` into one message and exit code 2; an interruption into exit code 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BenchError as error:
            _complain(ctx, "error", str(error))
            ctx.exit(2)
        except click.UsageError as error:
            if ctx.meta.get(options.LOG_FORMAT) != "json":
                raise
            _complain(ctx, "error", error.format_message())
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            message = "what was finished is kept, and the same command goes on from there"
            _complain(ctx, "interrupted", message)
            ctx.exit(130)
        except BrokenPipeError:
            # The reader (head, less) has gone; point stdout elsewhere so that the interpreter's last flush is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)


def _complain(ctx: click.Context, event: str, message: str) -> None:
    """Say why a command ends early, in the form that it was asked to log in."""
    if ctx.meta.get(options.LOG_FORMAT) == "json":
        from bench.journal import line

        click.echo(line(event, message=message), err=True)
    else:
        click.echo(f"error: {message}" if event == "error" else f"\n{event}; {message}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Find out whether a face-privacy protection works.

    Start with: bench run quick
    """


for _module in (starting, running, results, rescoring, comparing, installed, housekeeping):
    for _command in _module.COMMANDS:
        main.add_command(_command)
