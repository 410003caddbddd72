"""The command ``bench rescore``: compute the scores of a run again from its cached artifacts."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import completion, options
from bench.cli.error_messages import exit_codes
from bench.cli.streams import go_on_unread
from bench.cli.terminal import say
from bench.registry import hook_calls

if TYPE_CHECKING:
    from bench.runs.rescore import Rescoring


@click.command(epilog=exit_codes("a cell failed"))
@click.argument("run", shell_complete=completion.own_runs)
@click.option("--fmr", type=float, metavar="RATE", help="Calibrate thresholds at this false match rate.")
@click.option("--kappa", type=float, metavar="COSINE", help="Use this fixed threshold beside the calibrated one.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change fmr, kappa or threshold of one experiment: experiment[0].fmr=0.001.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where to compute (default: as the run did).")
@options.include_faces
@options.timeout
@options.log_format
@options.workers
@options.trust
@options.out
def rescore(
    run: str,
    fmr: float | None,
    kappa: float | None,
    overrides: tuple[str, ...],
    device: str | None,
    include_faces: bool,
    timeout_s: float | None,
    log_format: str,
    workers: int | None,
    trust: bool,
    out: Path,
) -> None:
    """Compute the scores of RUN again from the artifacts that it left: no defense protects and no attack runs.

    The scores use today's metrics, which may have been corrected since, or other thresholds. The rows go into a run
    folder beside that of RUN, whose record and report name their origin. What is missing in the cache is listed, not
    computed.

    \b
    Examples:
      bench rescore paper
      bench rescore paper --fmr 0.001
      bench rescore results/paper/20260101-120000-1a2b3c4d --set experiment[0].threshold=accuracy
    """
    from bench.engine.factory import make_engine
    from bench.registry.discovery import discover
    from bench.runs.rescore import prepared, settings_of
    from bench.runs.run import computed
    from bench.store.run_folders import find_run

    go_on_unread()
    original = find_run(run, options.folders(out).results)
    settings = settings_of(original, fmr, kappa, overrides)
    rescoring = prepared(original, discover(), settings, device, timeout_s, trust=trust)
    for note in rescoring.notes:
        options.note(note)
    plan, into = rescoring.plan, rescoring.into
    engine = make_engine("local", plan.device, workers=workers)
    compute = functools.partial(computed, plan, rescoring.folders, engine=engine, into=into, about=rescoring.about)
    with contextlib.ExitStack() as at_work:
        if log_format == "json":
            folder, outcomes = at_work.enter_context(compute(listen=functools.partial(say, err=True)))
        else:
            from bench.cli.progress import Progress

            with Progress(plan, engine.workers) as progress:
                folder, outcomes = at_work.enter_context(compute(on_event=progress.on_event))
        _report(rescoring, folder, include_faces=include_faces)
    if any(o.status in {"failed", "timeout"} for o in outcomes):
        click.get_current_context().exit(1)


def _report(rescoring: Rescoring, folder: Path, *, include_faces: bool) -> None:
    """Write the report of a rescoring in ``folder`` and print which measurements differ from those of the original."""
    from bench.analysis.compare import diff
    from bench.cli.console import out
    from bench.report.compare_text import show_changed
    from bench.report.page import write_report
    from bench.runs import replay
    from bench.store.reading import RunResults
    from bench.store.run_record import RunCounts

    results = RunResults(folder)
    page = rescoring.folders.page(results.run, folder)
    report = write_report(results, page, hook_calls.report_sections(results), include_real_faces=include_faces)
    if replay.compare(rescoring.original, folder):
        show_changed(diff(RunResults(rescoring.original), results), out)
    else:
        out.print(f"the rows are the same bytes as those of {rescoring.original}", soft_wrap=True)
    counts = results.run.counts or RunCounts()
    bad = counts.without_result
    out.print(f"cells: {counts.ok} ok, {counts.skipped} skipped, {bad} failed")
    out.print(f"rows:   {folder}", soft_wrap=True)
    out.print(f"report: {report}", soft_wrap=True)


COMMANDS = (rescore,)
