"""The command line ``bench``: parses arguments, calls the packages below it, prints the result.

Heavy modules are imported inside the command functions, so that ``--help`` and shell completion stay fast.
"""

from __future__ import annotations

import click

from bench.cli import bundle, check, cleanup, diff, guide, init, judge, new, plugins, rescore, results, run, site, trial
from bench.cli.error_messages import Main, exit_codes
from bench.cli.streams import replace_closed_streams, replace_unknown_characters
from bench.core.processes import name_user
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


name_user()
replace_closed_streams()  # Consoles look at the streams when they are imported.
replace_unknown_characters()
for _module in (init, new, trial, check, run, results, rescore, diff, bundle, site, judge, plugins, cleanup, guide):
    for _command in _module.COMMANDS:
        main.add_command(_command)
