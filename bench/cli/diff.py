"""The command ``bench diff``: compare two runs cell by cell."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from bench.cli import completion, options
from bench.cli.error_messages import exit_codes
from bench.cli.terminal import say, say_json


@click.command(epilog=exit_codes("--fail-on-regression, and something got worse"))
@click.argument("run_a", shell_complete=completion.runs)
@click.argument("run_b", shell_complete=completion.runs)
@options.json
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the comparison as a self-contained page.",
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="Exit with 1 when a primary test shows a regression, or a cell that ended well has no measurements any more.",
)
@options.out
def diff(run_a: str, run_b: str, as_json: bool, page: Path | None, fail_on_regression: bool, out: Path) -> None:
    """Compare two runs: RUN_B against RUN_A.

    A run is a run folder, a suite's name for its latest run, or the version of a suite for its reference run.

    One metric for each question (utility, leakage, appearance, attributes) is tested for each defense and attack, and
    every test says which difference it could have seen. All other metrics are shown as details, cell by cell.

    \b
    Examples:
      bench diff results/paper/20260101-120000-1a2b3c4d paper
      bench diff old/results/quick/20260101-120000-1a2b3c4d quick --html diff.html
      bench diff "$BASELINE" quick --fail-on-regression        # in CI
    """
    from bench.analysis.compare import diff as compare
    from bench.runs.snapshot import results_of
    from bench.store.reference import find_run_to_read
    from bench.store.run_folders import require_output_file

    if page is not None:
        page = require_output_file(page, option="--html")
    results = options.folders(out).results
    folders = [find_run_to_read(run, results) for run in (run_a, run_b)]
    with contextlib.ExitStack() as opened:
        before, after = (opened.enter_context(results_of(folder)) for folder in folders)
        found = compare(before, after)
        if page is not None:
            from bench.report.compare_page import write_page

            say(f"page: {write_page(found, page)}", err=True)
        if as_json:
            from bench.analysis.compare.diff import record

            say_json(record(found))
        else:
            from bench.cli import console
            from bench.report.compare_text import show

            show(found, console.out)
    if fail_on_regression and found.regressed:
        click.get_current_context().exit(1)


COMMANDS = (diff,)
