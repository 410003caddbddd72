"""The commands ``bench run`` (run a suite, or replay a run) and ``bench plan`` (show what running a suite would do)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.cli import completion, options
from bench.cli.streams import go_on_unread
from bench.cli.terminal import say
from bench.registry import hook_calls

if TYPE_CHECKING:
    from bench.core.domain import Outcome
    from bench.engine.interface import Engine
    from bench.planning.plan import Plan
    from bench.store.reading import RunResults
    from bench.store.workspace import Folders

# Parameters of ``bench run`` that cannot be combined with ``--replay``: the record of the run sets them.
_SET_BY_RECORD = {
    "suite",
    "cells",
    "pairs",
    "overrides",
    "defenses",
    "recompute",
    "device",
    "mode",
    "include_faces",
    "report",
    "fresh",
    "retry",
}


@click.command()
@options.optional_suite
@options.defenses
@options.recompute
@options.cells
@options.pairs
@options.set_
@options.out
@options.device
@options.mode
@options.search_paths
@options.include_faces
@click.option("--report/--no-report", default=True, help="Write the report (default), or only the rows.")
@click.option(
    "--replay",
    "replayed",
    metavar="RUN",
    shell_complete=completion.own_runs,
    help="Instead of SUITE: make RUN again from its record alone, and compare the rows byte by byte.",
)
@click.option("--fresh", is_flag=True, help="Compute everything again, also what is cached.")
@click.option("--retry/--no-retry", default=True, help="Try again what failed in an earlier run (default), or do not.")
@options.timeout
@options.log_format
@options.workers
@options.engine
@options.address
@options.trust
def run(
    suite: Path | None,
    defenses: tuple[str, ...],
    recompute: bool,
    cells: tuple[str, ...],
    pairs: int | None,
    overrides: tuple[str, ...],
    out: Path,
    device: str,
    mode: str | None,
    include_faces: bool,
    report: bool,
    replayed: str | None,
    fresh: bool,
    retry: bool,
    timeout_s: float | None,
    log_format: str,
    workers: int | None,
    engine_name: str,
    address: str | None,
    trust: bool,
) -> None:
    """Run SUITE and write its report. An interrupted run continues where it stopped.

    SUITE is a file, or the name of a suite that comes with bench. Exit code 1 if a cell failed; with --replay, if rows
    differ; 2 if the run could not begin.

    \b
    Examples:
      bench run quick
      bench run paper --pairs 32
      bench run quick --defense mine --defense 'mine,strength=0.5'
      bench run paper --cell 1a2b3c4d     # recompute one number; the report shows the id of its cell
      bench run --replay quick
    """
    from bench.engine.factory import make_engine

    go_on_unread()
    folders = options.folders(out)
    new_engine = functools.partial(make_engine, engine_name, workers=workers, address=address)
    if replayed is not None:
        _refuse_options_beside_replay()
        _replay(replayed, folders, timeout_s, new_engine, log_format, trust=trust)
        return
    if suite is None:
        raise click.UsageError("expected a SUITE to run, or --replay RUN")
    known = {"overrides": options.with_mode(overrides, mode), "defenses": defenses, "recompute": recompute}
    plan = _planned(suite, cells, folders, device=device, pairs=pairs, timeout_s=timeout_s, trust=trust, **known)
    engine = new_engine(plan.device)
    with run_and_log(plan, folders, engine, log_format, fresh=fresh, retry=retry) as (folder, outcomes):
        _show(folder, folders, report=report, include_faces=include_faces, retry=retry)
    if any(o.status in {"failed", "timeout"} for o in outcomes):
        click.get_current_context().exit(1)


def _planned(suite: Path, cells: Sequence[str], folders: Folders, **arguments: Any) -> Plan:
    """Plan a suite, or only some of its cells, and print a note on defenses that are read from its reference run.

    ``arguments`` are those of `bench.runs.run.plan_suite` by name.
    """
    from bench.planning.plan import find_ids, select
    from bench.runs.run import plan_suite

    found = plan_suite(suite, folders, **arguments)
    found = select(found, find_ids(found, cells)) if cells else found
    if found.suite.version:
        from bench.runs.beside_reference import reading

        if text := reading(found.suite):
            options.note(text)
    return found


def _show(folder: Path, folders: Folders, *, report: bool, include_faces: bool, retry: bool) -> None:
    """Write the report of a run if it is requested, and print the summary, beside the reference run of its suite."""
    from bench.cli import console
    from bench.registry.discovery import discover
    from bench.runs.beside_reference import with_reference
    from bench.store.reading import RunResults
    from bench.store.several_runs import Joined

    results = with_reference(RunResults(folder), discover())
    for note in results.notes if isinstance(results, Joined) else ():
        options.note(note)
    page = folders.page(results.run, folder) if report else None
    kept = page is not None and _update_page(results, page, include_faces=include_faces)
    console.show_summary(results, page, retry=retry, kept=kept)


def _update_page(results: RunResults, page: Path, *, include_faces: bool) -> bool:
    """Render the page of a run unless it was made from the same rows, code and options; return whether it was kept."""
    from bench.report.page_key import is_current, page_key

    sections = hook_calls.report_sections(results)
    alone = len(results.runs) == 1
    if alone and is_current(page, page_key(results.folder, sections, include_real_faces=include_faces)):
        return True
    options.say_what("writing the report")
    from bench.report.page import write_report

    write_report(results, page, sections, include_real_faces=include_faces)
    return False


@contextlib.contextmanager
def run_and_log(
    plan: Plan, folders: Folders, engine: Engine, log_format: str, **arguments: Any
) -> Iterator[tuple[Path, list[Outcome]]]:
    """Context manager that runs a plan and logs it on stderr, as progress for people (``text``) or as the events of its
    journal (``json``).

    ``arguments`` are those of `bench.runs.run.computed`. It gives the run folder and how every cell ended; the run
    counts as in progress until the context ends.
    """
    from bench.cli import console
    from bench.cli.progress import Progress
    from bench.registry.discovery import discover
    from bench.runs.run import computed

    if log_format == "json":
        for label, text in console.notes_on_files(plan, discover()):
            options.note(f"{label}: {text}")
        with computed(plan, folders, engine=engine, listen=functools.partial(say, err=True), **arguments) as made:
            yield made
        return
    console.show_sources(plan, discover(), console.err)
    with contextlib.ExitStack() as at_work:
        with Progress(plan, engine.workers) as progress:
            made = at_work.enter_context(computed(plan, folders, progress.on_event, engine=engine, **arguments))
        yield made


def _refuse_options_beside_replay() -> None:
    """Raise Click's `UsageError` if the command line has an argument that the record of a replayed run sets."""
    context = click.get_current_context()
    recorded = {p.name: p for p in context.command.params if p.name in _SET_BY_RECORD}
    used = [name for name in recorded if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if used:
        words = " and ".join(_typed(recorded[name], context.params[name]) for name in used)
        raise click.UsageError(f"--replay makes a run again as it was; remove {words}")


def _typed(parameter: click.Parameter, value: object) -> str:
    """Return the name of a parameter as it was typed: that of its negation if it is off."""
    if not isinstance(parameter, click.Option):
        return "SUITE"
    return parameter.secondary_opts[0] if value is False and parameter.secondary_opts else parameter.opts[0]


def _replay(
    replayed: str,
    folders: Folders,
    timeout_s: float | None,
    new_engine: Callable[[str], Engine],
    log_format: str,
    *,
    trust: bool,
) -> None:
    """Replay a run, print whether its rows are the same, and exit with 1 if they are not.

    ``new_engine`` returns an engine for a device. ``trust``: code that the record names may run.
    """
    from bench.registry.discovery import discover
    from bench.runs import replay
    from bench.store.run_folders import find_run

    run = find_run(replayed, folders.results)
    with replay.prepared(run, folders, discover(), timeout_s, trust=trust) as prepared:
        if prepared.note:
            options.note(prepared.note)
        plan, original = prepared.plan, prepared.original
        place = {"into": prepared.into, "about": {"replay_of": original.name}}
        with run_and_log(plan, prepared.folders, new_engine(plan.device), log_format, **place) as (folder, _):
            differences = replay.compare(original, folder)
    say(f"rows:   {folder}")
    if not differences:
        say(f"the rows are the same bytes as those of {original}")
        return
    say(f"the rows are not those of {original}:")
    for difference in differences.values():
        say(f"  {difference}")
    click.get_current_context().exit(1)


@click.command()
@options.suite
@options.defenses
@options.recompute
@options.cells
@options.pairs
@options.set_
@options.json
@options.out
@options.device
@options.mode
@options.search_paths
@options.trust
def plan(
    suite: Path,
    defenses: tuple[str, ...],
    recompute: bool,
    cells: tuple[str, ...],
    pairs: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
    out: Path,
    device: str,
    mode: str | None,
    trust: bool,
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
    from bench.registry.discovery import discover

    folders = options.folders(out)
    known = {"overrides": options.with_mode(overrides, mode), "defenses": defenses, "recompute": recompute}
    made = _planned(suite, cells, folders, device=device, pairs=pairs, trust=trust, **known)
    if as_json:
        console.print_plan(made, folders.cache, discover())
        return
    console.show_sources(made, discover())
    console.show_plan(made, folders.cache)


COMMANDS = (run, plan)
