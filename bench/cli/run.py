"""Commands that run a suite, or say what running it would do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.cli import completion, options
from bench.registry import hook_calls

if TYPE_CHECKING:
    from bench.core.domain import Outcome
    from bench.engine.interface import Engine
    from bench.planning.plan import Plan
    from bench.store.reading import Results
    from bench.store.workspace import Folders

_OF_THE_RECORD = {"suite", "cells", "pairs", "overrides", "device", "mode", "include_faces", "fresh", "retry"}


@click.command()
@options.optional_suite
@options.cells
@options.pairs
@options.set_
@options.out
@options.device
@options.mode
@options.places
@options.include_faces
@click.option(
    "--replay",
    "again",
    metavar="RUN",
    shell_complete=completion.runs,
    help="Instead of SUITE: make RUN again from its record alone, and compare the rows byte by byte.",
)
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
    suite: Path | None,
    cells: tuple[str, ...],
    pairs: int | None,
    overrides: tuple[str, ...],
    out: Path,
    device: str,
    mode: str | None,
    include_faces: bool,
    again: str | None,
    fresh: bool,
    retry: bool,
    timeout_s: float | None,
    log_format: str,
    workers: int | None,
    engine_name: str,
    address: str | None,
) -> None:
    """Run SUITE and write its report. An interrupted run goes on where it stopped.

    SUITE is a file, or the name of a suite that comes with bench. Exit code 1 if a cell failed; with --replay, if rows
    differ; 2 if the run could not begin.

    \b
    Examples:
      bench run quick
      bench run paper --pairs 32
      bench run paper --cell 1a2b3c4d     # recompute one number; bench explain and the report say of which cell it is
      bench run --replay quick
    """
    from bench.cli import console
    from bench.engine.factory import make_engine
    from bench.planning.plan import find_ids, select
    from bench.runs import run as runner
    from bench.store.reading import Results

    folders = options.folders(out)
    new_engine = functools.partial(make_engine, engine_name, workers=workers, address=address)
    if again is not None:
        _refuse_beside_replay()
        _replay(again, folders, timeout_s, new_engine, log_format)
        return
    if suite is None:
        raise click.UsageError("expected a SUITE to run, or --replay RUN")
    plan = runner.plan_suite(suite, folders, device, options.with_mode(overrides, mode), pairs, timeout_s)
    plan = select(plan, find_ids(plan, cells)) if cells else plan
    engine = new_engine(plan.device)
    folder, outcomes = _run(plan, folders, engine, log_format, fresh=fresh, retry=retry)
    results = Results(folder)
    page = folders.page(results.run, folder)
    kept = _update_page(results, page, include_faces=include_faces)
    console.show_summary(results, page, retry=retry, kept=kept)
    if any(o.status in {"failed", "timeout"} for o in outcomes):
        click.get_current_context().exit(1)


def _update_page(results: Results, page: Path, *, include_faces: bool) -> bool:
    """Render the page of a run unless the file was made from the same rows, code and options; return True if kept."""
    from bench.report.page_key import is_current, page_key

    sections = hook_calls.report_sections(results)
    if is_current(page, page_key(results.folder, sections, include_real_faces=include_faces)):
        return True
    from bench.report.page import write_report

    write_report(results, page, sections, include_real_faces=include_faces)
    return False


def _run(plan: Plan, folders: Folders, engine: Engine, log_format: str, **how: Any) -> tuple[Path, list[Outcome]]:
    """Run a plan, and tell of it in the form that was asked for."""
    from bench.cli import console, progress
    from bench.registry.discovery import discover
    from bench.runs import run as runner

    if log_format == "json":
        listen = functools.partial(click.echo, err=True)
        return runner.run_plan(plan, folders, engine=engine, listen=listen, **how)
    console.show_sources(plan, discover(), console.err)
    with progress.Progress(plan, engine.workers) as shown:
        return runner.run_plan(plan, folders, shown.on_event, engine=engine, **how)


def _refuse_beside_replay() -> None:
    """The record of a run says all that these options would."""
    context = click.get_current_context()
    told = {p.name: p for p in context.command.params if p.name in _OF_THE_RECORD}
    given = [name for name in told if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if given:
        words = " and ".join(p.opts[0] if isinstance(p := told[name], click.Option) else "SUITE" for name in given)
        raise click.UsageError(f"--replay makes a run again as it was; remove {words}")


def _replay(
    again: str, folders: Folders, timeout_s: float | None, new_engine: Callable[[str], Engine], log_format: str
) -> None:
    """Make a run again, say whether its rows are the same, and exit with 1 if they are not."""
    from bench.registry.discovery import discover
    from bench.runs import replay
    from bench.store.run_folders import find_run

    run = find_run(again, folders.results)
    with replay.prepared(run, folders, discover(), timeout_s) as made:
        if made.note:
            options.note(made.note)
        engine = new_engine(made.plan.device)
        of = made.original.name
        folder, _ = _run(made.plan, made.folders, engine, log_format, into=made.into, about={"replay_of": of})
        differences = replay.compare(made.original, folder)
    click.echo(f"rows:   {folder}")
    if not differences:
        click.echo(f"the rows are the same bytes as those of {made.original}")
        return
    click.echo(f"the rows are not those of {made.original}:")
    for words in differences.values():
        click.echo(f"  {words}")
    click.get_current_context().exit(1)


@click.command()
@options.suite
@options.cells
@options.pairs
@options.set_
@options.json
@options.out
@options.device
@options.mode
@options.places
def plan(
    suite: Path,
    cells: tuple[str, ...],
    pairs: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    out: Path,
    device: str,
    mode: str | None,
) -> None:
    """Show what SUITE would do: cells, stages, what is shared, cached or skipped, time and disk.

    SUITE is a file, or the name of a suite that comes with bench. With --json, every cell with its id.

    \b
    Examples:
      bench plan paper --pairs 32
      bench plan paper --cell 1a2b3c4d
      bench plan paper --json | jq -r '.cells[] | [.cell, .defense, .attack, .evaluated] | @tsv'
    """
    from bench.cli import console
    from bench.planning.plan import find_ids, select
    from bench.registry.discovery import discover
    from bench.runs import run as runner

    folders = options.folders(out)
    made = runner.plan_suite(suite, folders, device, options.with_mode(overrides, mode), pairs)
    made = select(made, find_ids(made, cells)) if cells else made
    if as_json:
        console.print_plan(made, folders.cache)
        return
    console.show_sources(made, discover())
    console.show_plan(made, folders.cache)


COMMANDS = (run, plan)
