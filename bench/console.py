"""What the terminal shows: progress, plans, summaries, plugins. Rich does the drawing."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from bench.cache import Cache
from bench.doctor import Check
from bench.engine import Event
from bench.errors import PluginError, did_you_mean
from bench.plan import Plan
from bench.plugins import KINDS, Registry
from bench.store import Results
from bench.suite import parameters

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Stages done, found in the cache, failed, and the time left, estimated from the costs of what is left."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.total = sum(stage.cost for stage in plan.stages.values())
        self.done: dict[str, Any] = {}
        self.spent = 0.0
        self.running: dict[str, str] = {}
        self.started = time.monotonic()
        self.last = 0.0
        self.interactive = sys.stderr.isatty()
        self.bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), console=err,
            disable=not self.interactive,
        )  # fmt: skip
        self.task = self.bar.add_task("stages", total=1.0, state="")

    def __enter__(self) -> Progress:
        plan = self.plan
        cells = len(plan.cells)
        err.print(f"suite {plan.suite.name}: {cells} cells, {len(plan.stages)} stages, device {plan.device}")
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if kind is None:
            computed = sum(not r.cached for r in self.done.values())
            cached = len(self.plan.stages) - computed
            took = duration(time.monotonic() - self.started)
            err.print(f"{computed} stages computed, {cached} taken from the cache, in {took}")

    def on_event(self, event: Event) -> None:
        """Receive what the engine reports."""
        if event.kind == "started":
            self.running[event.stage.key] = event.stage.name
        elif event.kind == "damaged":
            err.print(f"[yellow]note:[/] {escape(event.message)}")
        elif event.result is not None:
            self.running.pop(event.stage.key, None)
            self.done[event.stage.key] = event.result
            if event.result.status != "ok":
                err.print(
                    f"[red]{event.result.status}:[/] {escape(event.stage.name)}: {escape(event.result.reason or '')}"
                )
        self._show()

    def _show(self) -> None:
        stages = self.plan.stages
        finished = sum(stages[k].cost for k in self.done)
        needed = finished + sum(stages[k].cost for k in self.running) or 1.0
        share = min(1.0, finished / max(self.total, needed))
        elapsed = time.monotonic() - self.started
        left = f", about {duration(elapsed * (1 - share) / share)} left" if share > 0.03 else ""
        state = f"{len(self.done)} done, {len(self.running)} running{left}"
        self.bar.update(self.task, completed=share, state=state)
        if not self.interactive and (elapsed - self.last > 30 or len(self.done) == 1):
            self.last = elapsed
            now = next(iter(self.running.values()), "")
            err.print(f"  {duration(elapsed)}: {state}{'; ' + escape(now) if now else ''}", soft_wrap=True)


def show_plan(plan: Plan, cache: Cache) -> None:
    """``bench plan``."""
    stages = plan.stages.values()
    cached = [s for s in stages if cache.manifest(s.key) is not None]
    missing = [s for s in stages if cache.manifest(s.key) is None]
    skipped = [c for c in plan.cells if c.skip]
    out.print(f"suite {plan.suite.name} ({plan.suite.path}), device {plan.device}, seed {plan.suite.seed}")
    merged = plan.requested - len(plan.cells)
    out.print(
        f"cells: {len(plan.cells)} of {plan.requested} combinations "
        f"({merged} merged, because a defense that knows no model is the same for every authorised one)"
    )
    uses = sum(len(c.stages) for c in plan.cells)
    table = Table("stage", "distinct", "cached", "to compute", "estimated time", "disk", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in dict.fromkeys(s.kind for s in stages):
        mine = [s for s in stages if s.kind == kind]
        todo = [s for s in mine if s in missing]
        table.add_row(
            kind, str(len(mine)), str(len(mine) - len(todo)), str(len(todo)),
            duration(sum(s.cost for s in todo)), f"{sum(s.size for s in todo) / 1e6:.0f} MB",
        )  # fmt: skip
    out.print(table)
    out.print(f"{uses} score results are asked for by the cells; {len(plan.stages)} stages make them all")
    cost, size = sum(s.cost for s in missing), sum(s.size for s in missing)
    out.print(
        f"to compute: {len(missing)} of {len(plan.stages)} stages ({len(cached)} cached), "
        f"about {duration(cost)} of one core, {size / 1e6:.0f} MB of disk"
    )
    out.print(f"skipped: {len(skipped)} cells" + (":" if skipped else ""))
    reasons: dict[str, int] = {}
    for cell in skipped:
        reasons[str(cell.skip)] = reasons.get(str(cell.skip), 0) + 1
    for reason, count in reasons.items():
        out.print(f"  {count} x {escape(reason)}")


def show_summary(results: Results, report: Path) -> None:
    """What ``bench run`` prints at the end: the answer in a few lines, and where the report is."""
    from bench.report import summary_rows

    counts = results.run["counts"]
    columns, rows = summary_rows(results)
    if rows:
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for column in table.columns[2:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*map(escape, row))
        out.print(table)
    if results.cells["synthetic"].any():
        out.print("synthetic stand-in data: these figures say nothing about real faces")
    bad = counts["failed"] + counts["timeout"]
    out.print(f"cells: {counts['ok']} ok, {counts['skipped']} skipped, {bad} failed")
    if bad:
        out.print("[red]failed cells are in the report with their reasons; the same command tries them again[/]")
    out.print(f"rows:   {results.folder}", soft_wrap=True)
    out.print(f"report: {report}", soft_wrap=True)


def show_plugins(registry: Registry, *, as_json: bool) -> None:
    """``bench plugins``."""
    if as_json:
        sys.stdout.write(json.dumps([dataclasses.asdict(p) for p in registry.plugins], indent=1) + "\n")
        return
    table = Table("plugin", "distribution", "provides", box=None, pad_edge=False, header_style="bold")
    for plugin in registry.plugins:
        provides = ", ".join(f"{name} ({kind.replace('_', ' ')})" for kind, name in plugin.components)
        if plugin.reason:
            provides = f"[red]cannot be used:[/] {escape(plugin.reason)}"
        table.add_row(plugin.name, f"{plugin.distribution} {plugin.version}", provides or "hooks only")
    out.print(table)
    for (kind, name), rivals in registry.conflicts.items():
        out.print(f"[red]conflict:[/] {kind} {name!r} is provided by {' and '.join(rivals)}; uninstall one of them")


def show_info(registry: Registry, name: str) -> None:
    """``bench info NAME``."""
    kinds = [kind for kind in KINDS if (kind, name) in registry.components or (kind, name) in registry.conflicts]
    if not kinds:
        known = {n for _, n in registry.components}
        raise PluginError(f"{name}: expected the name of a component; {did_you_mean(name, known)}")
    for kind in kinds:
        registration = registry.find(kind, name, "bench info")
        cls, origin = registration.cls, registration.origin
        out.print(f"[bold]{name}[/] ({kind.replace('_', ' ')}) from {origin.distribution} {origin.version}")
        out.print(escape((cls.__doc__ or "").strip()), soft_wrap=True)
        out.print(f"sources: {origin.package}, sha256 {origin.digest[:16]}")
        for attribute, value in _declarations(cls).items():
            out.print(f"{attribute}: {escape(value)}")
        rows = parameters(cls)
        if rows:
            table = Table("parameter", "type", "default", box=None, pad_edge=False, header_style="bold")
            for parameter, hint, default in rows:
                table.add_row(parameter, escape(hint), escape(repr(default)))
            out.print(table)
        else:
            out.print("no parameters")


def _declarations(cls: type) -> dict[str, str]:
    """The class variables that a component declares, as text."""
    fields = {f.name for f in dataclasses.fields(cls)}
    found = {}
    for name in dir(cls):
        value = getattr(cls, name)
        if name.startswith("_") or name in fields or callable(value) or isinstance(value, property):
            continue
        if isinstance(value, frozenset):
            value = ", ".join(sorted(value)) or "nothing"
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {'x'.join(map(str, v))}" for k, v in value.items())
        found[name.replace("_", " ")] = str(value)
    return found


def show_checks(checks: list[Check]) -> None:
    """``bench doctor``."""
    for check in checks:
        mark = "[green]ok     [/]" if check.ok else "[red]problem[/]"
        out.print(f"{mark} {escape(check.what)}: {escape(check.found)}", soft_wrap=True)
