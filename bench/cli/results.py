"""Commands that read what a run has left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import completion, options

if TYPE_CHECKING:
    from bench.store import Results

TABLE_FORMATS = ("csv", "json", "md", "latex")
CLAIM_FORMATS = ("table", "md", "json")


def _say_what_is_missing(results: Results) -> None:
    """Beside figures of a run that has not ended."""
    counts = results.run["counts"]
    if counts.get("queued"):
        click.echo(
            f"note: {counts['queued']} of {counts['cells']} cells are not computed yet; see: bench status", err=True
        )


@click.command()
@options.run
@options.include_faces
@options.out
def report(run: str, include_faces: bool, out: Path) -> None:
    """Render the report of RUN (a run folder, or a suite's name for its latest run).

    Of a run that has not ended it shows what there is, and what is still missing.
    """
    from bench import session
    from bench.partial import results_of
    from bench.report import write_report
    from bench.store import find_run, require_writable

    folders = options.folders(out)
    with results_of(find_run(run, folders.results)) as results:
        page = folders.reports / results.run["suite"]["name"] / "index.html"
        require_writable(page.parent)
        sections = session.report_sections(results)
        written = write_report(results, page, sections, include_real_faces=include_faces)
        _say_what_is_missing(results)
        click.echo(f"report: {written}")


@click.command()
@options.run
@click.option(
    "--table",
    required=True,
    metavar="NAME",
    help="The paper's table, such as VII; an unknown name lists those that the run has.",
)
@click.option("--format", "fmt", type=click.Choice(TABLE_FORMATS), default="csv", show_default=True)
@options.out
def export(run: str, table: str, fmt: str, out: Path) -> None:
    """Print a table of RUN: our figures, N, intervals, and the paper's figures."""
    from bench.partial import results_of
    from bench.report import export as export_table
    from bench.store import find_run

    with results_of(find_run(run, options.folders(out).results)) as results:
        _say_what_is_missing(results)
        click.echo(export_table(results, table, fmt))


@click.command()
@options.run
@click.option("--format", "fmt", type=click.Choice(CLAIM_FORMATS), default="table", show_default=True)
@options.out
def claims(run: str, fmt: str, out: Path) -> None:
    """Hold what the suite of RUN claims against its rows; exit code 1 if a claim does not hold."""
    from bench import console
    from bench.partial import results_of
    from bench.report.rows import Rows
    from bench.store import find_run
    from bench.verdicts import claims_of, judge

    with results_of(find_run(run, options.folders(out).results)) as results:
        rows = Rows(results)
        verdicts = judge(rows, claims_of(results))
        _say_what_is_missing(results)
        console.show_claims(verdicts, fmt, synthetic=bool(rows.synthetic))
    if any(verdict.outcome == "does not hold" for verdict in verdicts):
        click.get_current_context().exit(1)


@click.command()
@click.argument("run", required=False, shell_complete=completion.runs)
@options.json
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until the run ends.")
@options.out
def status(run: str | None, as_json: bool, watch: bool, out: Path) -> None:
    """Say how RUN goes: what is done, running, queued or failed, by which worker, and how long it still takes.

    Without RUN: all runs at work in this folder, else the latest. Works from any terminal, and after a kill.
    """
    from bench import progress
    from bench.store import find_run
    from bench.watching import Watch, runs_at

    if watch and as_json:
        raise click.UsageError("--watch is for people: call --json as often as you need it")
    results = options.folders(out).results
    watches = [Watch(folder) for folder in ([find_run(run, results)] if run else runs_at(results))]
    if watch:
        progress.watch_status(watches)
    else:
        progress.show_status([w.look() for w in watches], as_json=as_json)


@click.command()
@options.run
@click.argument("cell", nargs=-1, required=True, metavar="CELL...", shell_complete=completion.cells)
@options.json
@options.out
def explain(run: str, cell: tuple[str, ...], as_json: bool, out: Path) -> None:
    """Say what a CELL of RUN is, how it ended and why, what was computed for it, and how to make it again.

    CELL is its id, the beginning of it, or as many of its labels as it takes. Examples:
    bench explain quick 4f0c; bench explain quick experiment=recognition defense=PMT evaluated=zoo-resnet
    """
    from bench.cli.explaining import show_cell
    from bench.explain import explain as explained
    from bench.explain import find_cell
    from bench.partial import cache_of, results_of
    from bench.store import find_run

    folder = find_run(run, options.folders(out).results)
    with results_of(folder) as results:
        show_cell(explained(results, find_cell(results, cell), folder, cache_of(folder, results.run)), as_json=as_json)


COMMANDS = (report, export, claims, status, explain)
