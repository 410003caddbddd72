"""The commands that read the results of a run: ``report``, ``export``, ``claims``, ``status`` and ``explain``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import completion, options
from bench.cli.error_messages import exit_codes
from bench.cli.terminal import say, say_lines
from bench.core.errors import StorageError
from bench.core.paths import child, inside, is_file_name
from bench.registry import hook_calls

if TYPE_CHECKING:
    from bench.runs.status import RunStatus, Watch
    from bench.store.reading import RunResults
    from bench.store.workspace import Folders

TABLE_FORMATS = ("csv", "json", "md", "latex")
EXPORT_FORMATS = {
    "table": TABLE_FORMATS,
    "rows": ("parquet", "csv"),
    "figure": ("svg", "pdf", "png", "csv"),
}
CLAIM_FORMATS = ("table", "md", "json")


def _note_queued_cells(results: RunResults) -> None:
    """Print on stderr how many cells of a run are not computed yet, if any."""
    waiting = results.cells["status"] == "queued"
    if waiting.any():
        say(f"note: {waiting.sum()} of {len(waiting)} cells are not computed yet; see: bench status", err=True)


@contextlib.contextmanager
def _open_results(runs: Sequence[str], results: Path) -> Iterator[RunResults]:
    """Context manager that opens the results of one run, beside the reference run of its suite, or of several joined
    into one, and prints notes about joining.

    ``runs`` are run folders or names of suites in the folder ``results``. A run that has not ended yields its results
    so far.
    """
    from bench.registry.discovery import discover
    from bench.runs.beside_reference import with_reference
    from bench.runs.combine import join, require_different
    from bench.runs.snapshot import results_of
    from bench.store.reference import find_run_to_read
    from bench.store.several_runs import Joined

    folders = [find_run_to_read(run, results) for run in runs]
    require_different(folders)
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(results_of(folder)) for folder in folders]
        joined = join(found) if len(found) > 1 else with_reference(found[0], discover())
        for note in joined.notes if isinstance(joined, Joined) else ():
            options.note(note)
        yield joined


@click.command()
@options.runs
@options.include_faces
@click.option(
    "-o",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the page (default: in reports/, by the names of the suites).",
)
@options.out
def report(runs: tuple[str, ...], include_faces: bool, file: Path | None, out: Path) -> None:
    """Render the report of RUN, or of several on one page.

    RUN is a run folder, a suite's name for its latest run, or the version of a suite for its reference run.

    The report of a run that has not ended shows the results so far, and what is missing. The report of several runs
    combines equal experiments, keeps others apart and gives the reason (docs/comparing.md).

    \b
    Examples:
      bench report paper
      bench report paper --include-faces -o with-faces.html
      bench report paper mine        # your defense beside the paper's
    """
    from bench.report.page import write_report
    from bench.store.run_folders import require_output_file

    folders = options.folders(out)
    with _open_results(runs, folders.results) as results:
        page = require_output_file(file or _page_path(results, folders), option="-o" if file else "--out")
        sections = hook_calls.report_sections(results)
        written = write_report(results, page, sections, include_real_faces=include_faces)
        _note_queued_cells(results)
        say(f"report: {written}")


def _page_path(results: RunResults, folders: Folders) -> Path:
    """Return the path of the report of one run or of several.

    The folder of a reference run is named after its version, so that its report replaces none of a run of the suite.
    That of several runs is named after their suites, joined by ``+``; runs of the same suite are told apart by the
    names of their run folders.
    """
    from bench.runs.beside_reference import BesideReference
    from bench.store.reference import is_reference

    if len(results.runs) == 1 and is_reference(results):
        return inside(folders.reports, child(folders.reports, results.folder.name, "index.html"))
    if len(results.runs) == 1 or isinstance(results, BesideReference):
        return folders.page(results.run, results.folder)
    suites = [run.run.suite.name for run in results.runs]
    names = [
        suite if suites.count(suite) == 1 else f"{suite}-{run.folder.name}"
        for suite, run in zip(suites, results.runs, strict=True)
    ]
    if not is_file_name(name := "+".join(names)):
        raise click.UsageError(f"{len(names)} runs: their names are too long for a folder; name a file with -o FILE")
    return inside(folders.reports, child(folders.reports, name, "index.html"))


@click.command()
@options.runs
@click.option(
    "--table",
    metavar="NAME",
    help="A table of the paper, such as VII, or verdict, ladder, summary ...; an unknown name lists all.",
)
@click.option(
    "--rows",
    metavar="NAME",
    help="Per-sample rows with the columns of their cells: verification, images, attributes, up ...",
)
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="ID",
    help="With --rows: only the rows of this cell, by its id or the beginning of it; may be given several times.",
)
@click.option("--figure", metavar="NUMBER", help="The paper's figure, such as 8, or sensitivity, budget, knowledge.")
@click.option(
    "--format",
    "fmt",
    metavar="FORMAT",
    help="csv (default), json, md or latex for --table; parquet (default) or csv for --rows; svg (default), pdf, png "
    "or csv for --figure. Without it, the ending of FILE decides.",
)
@click.option(
    "-o",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write it; a table is printed otherwise.",
)
@options.out
def export(
    runs: tuple[str, ...],
    table: str | None,
    rows: str | None,
    cells: tuple[str, ...],
    figure: str | None,
    fmt: str | None,
    file: Path | None,
    out: Path,
) -> None:
    """Export a table, the per-sample rows or a figure of RUN, for a paper or for your own analysis.

    RUN is that of `bench report`. Several runs are combined as there; stderr lists what is kept apart.

    \b
    Examples:
      bench export paper --table VII --format latex
      bench export standard-1 --table verdict        # of the reference run
      bench export paper --rows verification -o verification.parquet
      bench export paper --rows verification --cell 4f0c -o cell.csv
      bench export paper --figure 8 -o figure8.pdf
      bench export paper mine --table VII --format md
    """
    options_used = (("table", table), ("rows", rows), ("figure", figure))
    requested = {kind: name for kind, name in options_used if name is not None}
    if len(requested) != 1:
        raise click.UsageError("expected exactly one of --table, --rows and --figure")
    ((kind, name),) = requested.items()
    if cells and kind != "rows":
        raise click.UsageError(f"--cell {cells[0]}: expected --rows beside it, found --{kind}")
    if "" in cells:
        raise click.UsageError("--cell: expected the id of a cell or the beginning of it, found an empty text")
    file_format = _choose_format(kind, fmt, file)
    if file is None and kind != "table":
        raise click.UsageError(f"--{kind} {name}: expected a file to write to, such as -o {name}.{file_format}")

    if file is not None:
        from bench.store.run_folders import require_output_file

        file = require_output_file(file, option="-o")
    with _open_results(runs, options.folders(out).results) as results:
        _note_queued_cells(results)
        _export(results, kind, name, file_format, file, cells)


def _choose_format(kind: str, requested: str | None, file: Path | None) -> str:
    """Return the format of an export: the requested one, that of the file's ending, or the default of the kind.

    ``kind`` is ``table``, ``rows`` or ``figure``. Raise Click's `UsageError` if the kind has no such format.
    """
    known = EXPORT_FORMATS[kind]
    ending = file.suffix.removeprefix(".").lower() if file else ""
    found = requested or {"tex": "latex"}.get(ending, ending) or known[0]
    if found not in known:
        where = f"--format {requested}" if requested else f"-o {file}"
        raise click.UsageError(f"{where}: expected one of {', '.join(known)} for --{kind}")
    return found


def _export(results: RunResults, kind: str, name: str, fmt: str, file: Path | None, cells: Sequence[str] = ()) -> None:
    """Write one table, the per-sample rows of some cells, or one figure to a file; without a file, print the table."""
    if kind == "rows" and file:
        from bench.report.export.samples import export_rows

        say(f"{export_rows(results, name, fmt, file, cells):,} rows: {file}", err=True)
    elif kind == "figure" and file:
        from bench.report.export.charts import export_figure

        export_figure(results, name, fmt, file)
        say(f"figure: {file}", err=True)
    else:
        from bench.core.files import write_atomically
        from bench.report.export import export as export_table

        text = export_table(results, name, fmt)
        if file:
            write_atomically(file, f"{text}\n")
        else:
            say_lines(text)


@click.command(epilog=exit_codes("a claim does not hold"))
@options.run
@click.option("--format", "fmt", type=click.Choice(CLAIM_FORMATS), default="table", show_default=True)
@options.json
@options.out
def claims(run: str, fmt: str, as_json: bool, out: Path) -> None:
    """Check the claims of the suite of RUN against its rows.

    RUN is a run folder, a suite's name for its latest run, or the version of a suite for its reference run. A claim
    that was not measured is no failure.

    \b
    Examples:
      bench claims paper
      bench claims paper --format md
    """
    from bench.analysis.claim_results import claims_of, judge
    from bench.analysis.rows import Rows
    from bench.cli import console

    with _open_results([run], options.folders(out).results) as results:
        rows = Rows(results)
        verdicts = judge(rows, claims_of(results))
        _note_queued_cells(results)
        console.show_claims(verdicts, "json" if as_json else fmt, synthetic=bool(rows.synthetic))
    if any(verdict.outcome == "does not hold" for verdict in verdicts):
        click.get_current_context().exit(1)


@click.command()
@click.argument("run", required=False, shell_complete=completion.runs)
@options.json
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until the run ends.")
@options.out
def status(run: str | None, as_json: bool, watch: bool, out: Path) -> None:
    """Show the progress of RUN: what is done, running, queued or failed, by which worker, and how long it still takes.

    Without RUN: all runs at work in this folder, else the latest. Works from any terminal, and after a kill.

    \b
    Examples:
      bench status
      bench status paper --watch
      bench status paper --json
    """
    from bench.cli import progress
    from bench.runs.status import Watch, runs_at
    from bench.store.reference import find_run_to_read

    if watch and as_json:
        raise click.UsageError("--watch is for people: call --json as often as you need it")
    results = options.folders(out).results
    watches = [
        Watch(folder) for folder in ([find_run_to_read(run, results)] if run else runs_at(results, options.note))
    ]
    if watch:
        progress.watch_status(watches)
    else:
        progress.show_status(list(_looks(watches)), as_json=as_json)


def _looks(watches: Sequence[Watch]) -> Iterator[RunStatus]:
    """Yield the status of each run. One of several that cannot be read becomes a note; the error of a single one is
    raised."""
    for watch in watches:
        try:
            yield watch.look()
        except StorageError as error:
            if len(watches) == 1:
                raise
            options.note(str(error))


@click.command()
@options.run
@click.argument("cell", nargs=-1, required=True, metavar="CELL...", shell_complete=completion.cells)
@options.json
@options.out
def explain(run: str, cell: tuple[str, ...], as_json: bool, out: Path) -> None:
    """Explain a CELL of RUN: what it measures, how it ended and why, its stages, and how to compute it again.

    CELL is its id, the beginning of its id, or enough of its labels to identify it.

    \b
    Examples:
      bench explain quick 4f0c
      bench explain quick experiment=recognition defense=PMT evaluated=zoo-resnet
    """
    from bench.cli.explain_output import show_cell
    from bench.runs.explain import explain as explain_cell
    from bench.runs.explain import find_cell
    from bench.runs.snapshot import cache_of, results_of
    from bench.store.reference import find_run_to_read

    folder = find_run_to_read(run, options.folders(out).results)
    with results_of(folder) as results:
        cache = cache_of(folder, results.run)
        show_cell(explain_cell(results, find_cell(results, cell), folder, cache), as_json=as_json)


COMMANDS = (report, export, claims, status, explain)
