"""The command line ``bench``: parses arguments, calls the packages below it, prints the result.

Heavy modules are imported inside the command functions, so that ``--help`` and shell completion stay fast.
"""

from __future__ import annotations

import codecs
import io
import os
import sys

import click

from bench.cli import cleanup, diff, init, plugins, rescore, results, run
from bench.cli.error_messages import Main, exit_codes
from bench.core.provenance import VERSION


@click.group(
    cls=Main,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exit_codes("a cell or a claim failed, or a check found a problem"),
)
@click.version_option(VERSION, prog_name="bench")
def main() -> None:
    """Find out whether a face-privacy protection works.

    \b
    Examples:
      bench run quick          # a complete small report in less than a minute
      bench init mine          # a suite to begin with
      bench COMMAND --help     # what a command does, with examples
    """


def _replace_closed_streams() -> None:
    """Point stdout and stderr to the null device where the caller closed them (``bench ... >&-``).

    Their numbers are then taken, so that no file that a run writes gets the output of a library.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _replace_unknown_characters() -> None:
    """Let stdout and stderr print ``?`` for a character that their encoding lacks, such as ``→`` in ISO 8859-15.

    The output of every command passes these two streams. With their usual settings, a command would do its work and
    then end with a `UnicodeEncodeError`. Files that bench writes are UTF-8 everywhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="replace")


_replace_closed_streams()  # Consoles look at the streams when they are imported.
_replace_unknown_characters()
for _module in (init, run, results, rescore, diff, plugins, cleanup):
    for _command in _module.COMMANDS:
        main.add_command(_command)
