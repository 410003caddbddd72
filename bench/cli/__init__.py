"""The command line: a thin layer. Heavy modules are imported inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from bench import __version__
from bench.cli import installed, results, running
from bench.errors import BenchError


class _Group(click.Group):
    """Turns every `BenchError` into one message and exit code 2; an interruption into exit code 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BenchError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what was finished is kept, and the same command goes on from there", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # The reader (head, less) has gone; point stdout elsewhere so that the interpreter's last flush is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Find out whether a face-privacy protection works.

    Start with: bench run suites/paper.toml
    """


for _module in (running, results, installed):
    for _command in _module.COMMANDS:
        main.add_command(_command)
