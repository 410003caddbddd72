"""Commands that run a suite, or say what running it would do."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from bench.cli import options


@click.command()
@options.suite
@options.pairs
@options.set_
@options.out
@options.device
@options.mode
@options.places
@options.include_faces
@click.option("--fresh", is_flag=True, help="Compute everything again, also what is cached.")
@click.option("--retry/--no-retry", default=True, help="Try again what failed in an earlier run (default), or do not.")
@options.timeout
@options.log_format
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Stages at once (default: one per core or GPU)."
)
@options.engine
@options.address
def run(
    suite: Path,
    pairs: int | None,
    overrides: tuple[str, ...],
    out: Path,
    device: str,
    mode: str | None,
    include_faces: bool,
    fresh: bool,
    retry: bool,
    timeout_s: float | None,
    log_format: str,
    workers: int | None,
    engine_name: str,
    address: str | None,
) -> None:
    """Run SUITE and write its report. An interrupted run goes on where it stopped."""
    from bench import console, progress, session
    from bench.plugins import discover
    from bench.report import write_report
    from bench.store import Results

    folders = options.folders(out)
    plan = session.plan_suite(suite, folders, device, options.with_mode(overrides, mode), pairs, timeout_s)
    engine = session.make_engine(engine_name, plan.device, workers, address)
    if log_format == "json":
        listen = functools.partial(click.echo, err=True)
        folder, outcomes = session.run_plan(plan, folders, engine=engine, fresh=fresh, retry=retry, listen=listen)
    else:
        console.show_sources(plan, discover(), console.err)
        with progress.Progress(plan, engine.workers) as shown:
            folder, outcomes = session.run_plan(plan, folders, shown.on_event, engine=engine, fresh=fresh, retry=retry)
    results = Results(folder)
    page = folders.reports / plan.suite.name / "index.html"
    report = write_report(results, page, session.report_sections(results), include_real_faces=include_faces)
    console.show_summary(results, report)
    if any(o.status in {"failed", "timeout"} for o in outcomes):
        click.get_current_context().exit(1)


@click.command()
@options.suite
@options.pairs
@options.set_
@options.out
@options.device
@options.mode
@options.places
def plan(suite: Path, pairs: int | None, overrides: tuple[str, ...], out: Path, device: str, mode: str | None) -> None:
    """Show what SUITE would do: cells, stages, what is shared, cached or skipped, time and disk."""
    from bench import console, session
    from bench.plugins import discover

    folders = options.folders(out)
    made = session.plan_suite(suite, folders, device, options.with_mode(overrides, mode), pairs)
    console.show_sources(made, discover())
    console.show_plan(made, folders.cache)


COMMANDS = (run, plan)
