"""The terminal output of plans, run summaries, claims, plugins, data and models, drawn with Rich.

The progress of a run is shown by `bench.cli.progress`, the cache and the list of runs by `bench.cli.cleanup_output`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bench.api.types import Check
from bench.cli.declarations import declarations
from bench.cli.terminal import say_json, say_lines
from bench.core.domain import Cell, Component, Goal
from bench.core.errors import PluginError, did_you_mean
from bench.core.people import LEARNT_FROM, TRAINED_ON, may_be_scored
from bench.core.text import duration, printable
from bench.engine.scheduler import missing_stages
from bench.planning.plan import Plan, left_out_metrics
from bench.registry.components import description, parameters
from bench.registry.declarations import problem_of
from bench.registry.discovery import KINDS, Plugin, Registry
from bench.store.artifacts import Cache
from bench.store.badges import unchecked
from bench.store.cell_rows import role_of
from bench.store.reading import RunResults

if TYPE_CHECKING:
    from bench.analysis.claim_results import ClaimVerdict
    from bench.registry.inventory import InventoryEntry

_UNLIMITED = 100_000  # A width, in characters, that no line reaches.


class _SafeConsole(Console):
    """A console that prints no control characters of texts from suites, plugins, paths and files of strangers."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of an object; the texts of its segments cannot control the terminal, styles can."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr without Rich markup: text from suites, plugins and paths is
    printed as it is, except for control characters.

    On a terminal, lines are wrapped at its width. In a file or a pipe, where another program may read them, no line of
    text is wrapped, and tables are as wide as their contents unless ``COLUMNS`` limits them.
    """
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_terminal or "COLUMNS" in os.environ else _UNLIMITED
    return _SafeConsole(stderr=stderr, highlight=False, markup=False, width=width, soft_wrap=not is_terminal)


out = _console()
err = _console(stderr=True)


def table_of(*columns: str, numbers: Iterable[int] = (), **options: Any) -> Table:
    """Return an empty table with these columns; those at the indices ``numbers`` are aligned to the right.

    A cell that is too long for its column is continued on the next line and never cut: two names could look the same.
    ``options`` are passed to `rich.table.Table`.
    """
    table = Table(*columns, box=None, pad_edge=False, header_style="bold", **options)
    for column in table.columns:
        column.overflow = "fold"
    for i in numbers:
        table.columns[i].justify = "right"
    return table


def draws_bars() -> bool:
    """Return whether progress bars are drawn: stderr is a terminal, and the variable ``NO_COLOR`` is not set."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def show_plan(plan: Plan, cache: Cache) -> None:
    """Print what ``bench plan`` shows: the number of cells, and for each kind of stage how many stages are cached or
    must be computed, with their estimated time and disk space."""
    stages = plan.stages.values()
    missing = missing_stages(plan, cache, {}, lambda event: None)
    skipped = [c for c in plan.cells if c.skip]
    version = f", version {plan.suite.version}" if plan.suite.version else ""
    out.print(f"suite {plan.suite.name} ({plan.suite.path}){version}, device {plan.device}, seed {plan.suite.seed}")
    if plan.whole is not None:
        out.print(f"cells: {len(plan.cells)} of the {plan.whole} of the suite, by --cell")
    else:
        merged = plan.requested - len(plan.cells)
        out.print(
            f"cells: {len(plan.cells)} of {plan.requested} combinations "
            f"({merged} merged, because no authorised or evaluated model takes part in them)"
        )
    table = table_of("stage", "distinct", "cached", "to compute", "time of one core", "disk", numbers=range(1, 6))
    for kind in dict.fromkeys(s.kind for s in stages):
        mine = [s for s in stages if s.kind == kind]
        todo = [s for s in mine if s.key in missing]
        table.add_row(
            kind, str(len(mine)), str(len(mine) - len(todo)), str(len(todo)),
            duration(sum(s.cost for s in todo)), f"{sum(s.size for s in todo) / 1e6:.0f} MB",
        )  # fmt: skip
    out.print(table)
    for line in _requested(plan):
        out.print(line, soft_wrap=True)
    uses = plan.uses()
    shared = sum(count > 1 for count in uses.values())
    out.print(f"{shared} of {len(plan.stages)} stages serve several cells; unshared there would be {uses.total()}")
    cost, size = sum(s.cost for s in missing.values()), sum(s.size for s in missing.values())
    out.print(
        f"to compute: {len(missing)} of {len(plan.stages)} stages (the others are cached or not needed), "
        f"about {duration(cost)} of one core, {size / 1e6:.0f} MB of disk"
    )
    measured = sum(s.cost != s.declared for s in missing.values())
    if measured:
        out.print(
            f"the times of {measured} of these stages are corrected by what such stages took in earlier runs in this "
            "folder; with other settings, they are in proportion to what plugins declare"
        )
    elif missing:
        out.print("times are those that plugins declare; none was measured in this folder yet")
    out.print(f"skipped: {len(skipped)} cells" + (":" if skipped else ""))
    _show_reasons(str(cell.skip) for cell in skipped)


def _requested(plan: Plan) -> Iterator[str]:
    """Yield the repeats, learners and held-out recognisers of a plan, in one line each."""
    repeats = [f"{e.name} {e.repeats} times" for e in plan.suite.experiments if e.repeats > 1]
    again = "with other seeds of defenses and learners, on the same people"
    yield f"repeats: {', '.join(repeats)}, {again}" if repeats else "repeats: none, everything is measured once"
    learnt = []
    for stage in plan.stages.values():
        if stage.kind in ("fit_defense", "fit_attack"):
            (learner,) = stage.components["defense" if stage.kind == "fit_defense" else "attack"]
            learnt.append(f"{learner.label} from {plan.stages[stage.inputs['faces']].name}")
    yield f"learners: {'; '.join(dict.fromkeys(learnt)) or 'none, no defense or attack learns from faces'}"
    yield from _purposes(plan)
    held_out = ", ".join(_held_out(plan))
    where = f"{held_out} (each where no client authorises it)" if held_out else "none, every recogniser is authorised"
    yield f"held-out recognisers: {where}"


def _purposes(plan: Plan) -> Iterator[str]:
    """Yield the goals of the defenses of a plan with what is declared besides: the side of pairs that they protect,
    surrogate models, a recogniser of their own, a formal guarantee. Nothing for the usual declarations alone."""
    from bench.analysis.tables.goals import SIDES, bound_in_words, declared_bound, goal_in_words

    own = {cell.defense.label for cell in plan.cells if cell.evaluated and cell.evaluated.kind == "defense"}
    found: dict[Goal, dict[str, None]] = {}
    declared = bool(own)
    for cell in plan.cells:
        about = [SIDES[cell.protects]] if cell.protects != "probe" else []
        about += [f"surrogates {', '.join(m.label for m in cell.surrogates)}"] if cell.surrogates else []
        about += ["recogniser of its own"] if cell.defense.label in own else []
        about += [bound_in_words(declared_bound(cell.bound))] if cell.bound else []
        declared |= bool(about) or cell.goal != "recognition"
        found.setdefault(cell.goal, {})[cell.defense.label + (f" ({'; '.join(about)})" if about else "")] = None
    for goal, defenses in found.items() if declared else ():
        yield f"goal {goal_in_words(goal)}: {', '.join(defenses)}"


def _held_out(plan: Plan) -> list[str]:
    """Return the labels of the models that judge what is left of uploads for others, as the report decides it."""
    from bench.analysis.tables.row_layout import sides_from

    sides = sides_from(
        (cell.experiment, [model.label for model in cell.authorised], [model.label for model in cell.surrogates])
        for cell in plan.cells
    )
    found = {
        cell.evaluated.label: None
        for cell in plan.cells
        if cell.evaluated and cell.outputs in ("recognition", "images") and not cell.skip
        and (cell.experiment in sides.sets or cell.goal in ("appearance", "anonymity"))
        and (cell.adapts or sides.holds_out(cell.experiment, role_of(cell), cell.evaluated.label, cell.goal))
    }  # fmt: skip
    return list(found)


def print_plan(plan: Plan, cache: Cache, registry: Registry) -> None:
    """Print a plan as JSON: every cell with its id, labels and stage keys, every stage with its inputs, its estimated
    seconds and bytes, and whether it must be computed, and the notes on data and weights."""
    missing = missing_stages(plan, cache, {}, lambda event: None)
    cells = [
        {
            "cell": c.id,
            "experiment": c.experiment,
            "table": c.table,
            "dataset": c.dataset.label,
            "defense": c.defense.label,
            "authorised": [model.label for model in c.authorised],
            "attack": c.attack.label,
            "via": c.attack.via.label if c.attack.via else None,
            "evaluated": c.evaluated.label if c.evaluated else None,
            "surrogates": [model.label for model in c.surrogates],
            "goal": c.goal,
            "protects": c.protects,
            "bound": None if c.bound is None else json.loads(c.bound),
            "control": c.control,
            "repeat": c.repeat,
            "pairs": c.pairs,
            "learner_overlap": c.learner_overlap,
            "training_overlap": c.training_overlap,
            "adversary_threshold": c.adversary_threshold,
            "threshold_note": c.threshold_note,
            "skip": c.skip,
            "stages": list(c.stages),
        }
        for c in plan.cells
    ]
    stages = [
        {"key": s.key, "kind": s.kind, "name": s.name, "inputs": dict(s.inputs), "to_compute": s.key in missing,
         "seconds": s.cost, "bytes": s.size}
        for s in plan.stages.values()
    ]  # fmt: skip
    about: dict[str, Any] = {"suite": plan.suite.name, "suite_version": plan.suite.version}
    about |= {"path": str(plan.suite.path), "device": plan.device, "digest": plan.digest}
    notes = [{"component": label, "note": note} for label, note in notes_on_files(plan, registry)]
    say_json({**about, "notes": notes, "cells": cells, "stages": stages})


def _show_reasons(reasons: Iterable[str]) -> None:
    """Print each distinct reason once, with the number of times it occurs."""
    for reason, count in Counter(reasons).items():
        out.print(f"  {count} x {reason}")


def show_sources(plan: Plan, registry: Registry, to: Console = out) -> None:
    """Print where the real data sets and models of a plan were found, what was noticed about them, and which ones
    synthetic stand-ins replace."""
    used = _files_of(plan)
    for c in used.values():
        declared = registry.build(c)
        status = declared.status()
        if not declared.synthetic:
            to.print(f"real {c.label}: {status.where}{f' ({status.layout})' if status.layout else ''}", soft_wrap=True)
        for note in status.notes:
            to.print(f"  note on {c.label}: {note}", soft_wrap=True, style="yellow")
    left_out = [f"metric {label} is {text}" for label, text in left_out_metrics(plan, registry)]
    for line in dict.fromkeys([*left_out, *(line for cell in plan.cells for line in _remarks(cell))]):
        to.print(line, soft_wrap=True, style="yellow")
    stand_ins = [f"{c.name} for {c.instead_of}" for c in used.values() if c.instead_of]
    if stand_ins:
        to.print(f"synthetic stand-ins: {', '.join(stand_ins)}", soft_wrap=True, style="yellow")
        to.print("  bench data status and bench models status say what is missing and where to put it")


def notes_on_files(plan: Plan, registry: Registry) -> list[tuple[str, str]]:
    """Return what was noticed about the data sets and models of a plan, each note with the label of its component, and
    which metrics are not computed on which data sets."""
    found = [(c.label, note) for c in _files_of(plan).values() for note in registry.build(c).status().notes]
    return [*found, *left_out_metrics(plan, registry)]


def _files_of(plan: Plan) -> dict[tuple[str, str], Component]:
    """Return the data sets and models of a plan by kind and label."""
    return {(c.kind, c.label): c for cell in plan.cells for c in cell.components if c.kind in ("dataset", "model")}


def _remarks(cell: Cell) -> Iterator[str]:
    """Yield what a user should know about the adversary's threshold in a cell, and about people who are scored and also
    learnt from, or trained on."""
    if cell.threshold_note:
        yield f"adversary's threshold on {cell.dataset.label}: {cell.threshold_note}"
    for heading, overlap in ((LEARNT_FROM, cell.learner_overlap), (TRAINED_ON, cell.training_overlap)):
        if may_be_scored(overlap):
            yield f"{heading} on {cell.dataset.label}: {overlap}"


def show_entries(entries: Sequence[InventoryEntry], *, as_json: bool) -> None:
    """Print what ``bench data status`` and ``bench models status`` show: for each data set or model where it was found,
    its size, digest and license, or what is missing and how to get it."""
    if as_json:
        say_json([dataclasses.asdict(e) for e in entries])
        return
    for entry in entries:
        status = entry.status
        kind = "" if entry.kind in ("dataset", "model") else f" ({entry.kind.replace('_', ' ')})"
        if entry.problem:
            out.print(Text.assemble((f"{entry.name}{kind}", "bold"), ": ", (entry.problem, "red")), soft_wrap=True)
            continue
        if status.missing:
            stand_in = f"; {entry.stand_in} stands in" if entry.stand_in else ""
            out.print(Text.assemble((f"{entry.name}{kind}", "bold"), f": missing{stand_in}"), soft_wrap=True)
            out.print(f"  {status.missing}", soft_wrap=True, highlight=False)
            continue
        counts = [(status.images, "image"), (status.pairs, "pair")]
        sizes = [f"{n:,} {what}{'' if n == 1 else 's'}" for n, what in counts if n is not None]
        facts = ", ".join([*([status.layout] if status.layout != status.where else []), *sizes])
        place = ": ".join(text for text in (status.where, facts) if text)
        out.print(Text.assemble((f"{entry.name}{kind}", "bold"), f": {place}"), soft_wrap=True)
        out.print(f"  sha256 {str(entry.fingerprint)[:16]}; license: {entry.license}", soft_wrap=True, highlight=False)
        for note in status.notes:
            out.print(f"  {note}", soft_wrap=True, highlight=False)


def show_verification(found: Iterable[tuple[str, Check]], *, as_json: bool) -> bool:
    """Print what ``bench data verify`` shows and return whether all checks succeeded.

    ``found`` yields the name of a data set and one check of it; text output prints each check as soon as it is made.
    """
    rows = []
    for name, check in found:
        rows.append({"data_set": name, **dataclasses.asdict(check)})
        if not as_json:
            mark = Text("ok     ", "green") if check.ok else Text("problem", "red")
            out.print(Text.assemble(mark, f" {name}: {check.what}: {check.found}"), soft_wrap=True)
    if as_json:
        say_json(rows)
    return all(bool(row["ok"]) for row in rows)


def show_summary(results: RunResults, report: Path | None, *, retry: bool = True, kept: bool = False) -> None:
    """Print what ``bench run`` shows at its end: the main results, the number of cells by status, and the paths of the
    rows and the report.

    ``report`` is None if none was requested. ``retry``: whether stages that failed in an earlier run were computed
    again. ``kept``: whether the report of an earlier run is still valid and was not rendered again.
    """
    from bench.analysis.rows import Rows
    from bench.analysis.tables import summary_rows
    from bench.store.run_record import RunCounts

    counts = results.run.counts or RunCounts()
    columns, rows = summary_rows(Rows(results))
    if rows:
        numbers = range(2, len(columns))
        table = table_of(*columns, numbers=numbers, padding=(0, 1, 0, 0))
        for row in rows:
            table.add_row(*row)
        out.print(table)
    for component in results.run.components:
        before = (component.source or {}).get("notes", ())  # They were shown when the run began.
        for note in (note for note in component.notes if note not in before):
            out.print(f"note on {component.label}: {note}", soft_wrap=True, style="yellow")
    if text := unchecked(run.run for run in results.runs):
        out.print(text, soft_wrap=True)
    if results.cells["synthetic"].any():
        out.print("synthetic stand-in data: these measurements say nothing about real faces")
    bad = counts.without_result
    out.print(f"cells: {counts.ok} ok, {counts.skipped} skipped, {bad} failed")
    _show_reasons(results.cells["reason"].dropna())
    if bad:
        again = "the same command tries them again" if retry else "--no-retry left them as they were"
        where = "bench explain RUN" if report is None else "the report"
        out.print(f"failed cells are in {where} with their reasons; {again}", style="red")
    out.print(f"rows:   {results.folder}", soft_wrap=True)
    if report is None:
        command = shlex.join(["bench", "report", str(results.folder)])
        out.print(f"report: not written; {command} writes it", soft_wrap=True)
    else:
        out.print(f"report: {report}{' (unchanged)' if kept else ''}", soft_wrap=True)


def show_claims(verdicts: Sequence[ClaimVerdict], fmt: str, *, synthetic: bool) -> None:
    """Print what ``bench claims`` shows: the verdict on each claim, as JSON, Markdown or a table of the terminal with
    the number of claims by outcome below it. ``synthetic``: whether the run used synthetic stand-ins."""
    from bench.analysis.claim_results import COLUMNS, as_markdown, tally, verdict_record, verdict_rows

    if fmt == "json":
        say_json([verdict_record(verdict) for verdict in verdicts])
        return
    if fmt == "md":
        say_lines(as_markdown(verdicts))
    elif verdicts:
        table = table_of(*COLUMNS, padding=(0, 1, 1, 0))
        for row, verdict in zip(verdict_rows(verdicts), verdicts, strict=True):
            table.add_row(*row, style="red" if verdict.outcome == "does not hold" else None)
        out.print(table)
    if synthetic:
        out.print("synthetic stand-in data: these verdicts say nothing about real faces")
    out.print(tally(verdicts))


def show_plugins(
    plugins: Sequence[Plugin], conflicts: Mapping[tuple[str, str], Sequence[str]], *, as_json: bool
) -> None:
    """Print what ``bench plugins`` shows: each plugin with the components that it provides or the reason why it cannot
    be used, and the names that several plugins claim."""
    if as_json:
        say_json([dataclasses.asdict(p) for p in plugins])
        return
    table = table_of("plugin", "distribution", "provides")
    for plugin in plugins:
        provides = ", ".join(f"{name} ({kind.replace('_', ' ')})" for kind, name in plugin.components)
        if plugin.reason:
            provides = f"cannot be used: {plugin.reason}"
        style = "red" if plugin.reason else None
        table.add_row(plugin.name, f"{plugin.distribution} {plugin.version}", provides or "hooks only", style=style)
    out.print(table)
    for (kind, name), rivals in conflicts.items():
        both = " and ".join(rivals)
        out.print(f"conflict: {kind} {name!r} is provided by {both}; uninstall one of them", style="red")


def show_info(registry: Registry, name: str, *, as_json: bool = False) -> None:
    """Print what ``bench info NAME`` shows: the documentation, origin, declarations and parameters of every component
    of that name (two kinds may share one). Raise `PluginError` if no component has it, or if it declares something
    wrong."""
    kinds = [kind for kind in KINDS if (kind, name) in registry.components or (kind, name) in registry.conflicts]
    if not kinds:
        known = {n for _, n in registry.components}
        raise PluginError(f"{name}: expected the name of a component; {did_you_mean(name, known)}")
    for kind in kinds:
        if problem := problem_of(kind, name, registry.find(kind, name, "bench info").cls):
            raise PluginError(problem)
    if as_json:
        say_json([_info(registry, kind, name) for kind in kinds])
        return
    for kind in kinds:
        registration = registry.find(kind, name, "bench info")
        cls, origin = registration.cls, registration.origin
        where = f"from {origin.distribution} {origin.version}"
        out.print(f"{name} ({kind.replace('_', ' ')}) {where}", style="bold")
        out.print(description(cls), soft_wrap=True)
        out.print(f"sources: {origin.package}, sha256 {origin.digest[:16]}")
        for attribute, value in declarations(cls).items():
            out.print(f"{attribute}: {value}")
        rows = parameters(cls)
        if rows:
            table = table_of("parameter", "type", "default")
            for parameter, hint, default in rows:
                table.add_row(parameter, hint, repr(default))
            out.print(table)
        else:
            out.print("no parameters")


def _info(registry: Registry, kind: str, name: str) -> dict[str, object]:
    """Return what ``bench info --json`` prints about one component."""
    registration = registry.find(kind, name, "bench info")
    return {
        "name": name,
        "kind": kind,
        "about": description(registration.cls),
        "origin": dataclasses.asdict(registration.origin),
        "declares": declarations(registration.cls),
        "parameters": [
            {"name": parameter, "type": hint, "default": default}
            for parameter, hint, default in parameters(registration.cls)
        ],
    }


def show_checks(checks: list[Check], *, as_json: bool = False) -> None:
    """Print what ``bench doctor`` shows: one line for each check."""
    if as_json:
        say_json([dataclasses.asdict(check) for check in checks])
        return
    for check in checks:
        mark = Text("ok     ", "green") if check.ok else Text("problem", "red")
        out.print(Text.assemble(mark, f" {check.what}: {check.found}"), soft_wrap=True)
