"""From a suite to results: plan, compute, write. It prints nothing and does not import torch."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.api.search_paths import use_suite_folder
from bench.core.domain import Cell, Event, Outcome, Stage, StageResult, Status
from bench.core.errors import BenchError, StorageError, error_text
from bench.core.files import require_no_link
from bench.core.paths import child
from bench.core.provenance import VERSION
from bench.engine import scheduler
from bench.engine.factory import check_device, make_engine, resolve_device
from bench.engine.interface import Engine
from bench.engine.interrupts import Interruption, StopNow
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry, discover
from bench.registry.hook_calls import _call
from bench.runs import record
from bench.store.active_runs import announce
from bench.store.artifacts import Cache, DamagedError
from bench.store.cell_rows import cell_row
from bench.store.journal import Journal, last_results
from bench.store.run_folders import LOGS, free_bytes, is_complete, require_writable, run_folder
from bench.store.run_record import RunRecord
from bench.store.score_form import check_score
from bench.store.workspace import Folders
from bench.store.writing import DamagedScoreError, start_run, update_record, write_run
from bench.suite.suite import load


def plan_suite(
    path: Path,
    folders: Folders,
    device: str,
    overrides: Sequence[str],
    pairs: int | None,
    timeout_s: float | None = None,
    *,
    defenses: Sequence[str] = (),
    recompute: bool = False,
    trust: bool = False,
) -> Plan:
    """Read, resolve and plan a suite. Estimated costs are those that earlier runs measured, if there were any.
    ``defenses`` and ``recompute`` as in `bench.suite.suite.load`;
    ``trust``: code outside the installed plugins that the suite names may run."""
    registry = discover()
    suite = load(path, registry, overrides, pairs, defenses=defenses, recompute=recompute, trust=trust)
    if not suite.experiments:
        raise BenchError(f"{path}: holds no [[experiment]]; train its networks with: bench train {path}")
    return make_plan(suite, registry, resolve_device(device), folders.cache.costs(), timeout_s)


def run_plan(
    plan: Plan,
    folders: Folders,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    engine: Engine | None = None,
    fresh: bool = False,
    retry: bool = True,
    listen: Callable[[str], None] | None = None,
    into: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> tuple[Path, list[Outcome]]:
    """Run a plan and write its run folder. Arguments and errors are those of `computed`."""
    with computed(
        plan, folders, on_event, engine=engine, fresh=fresh, retry=retry, listen=listen, into=into, about=about
    ) as made:
        return made


@contextlib.contextmanager
def computed(
    plan: Plan,
    folders: Folders,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    engine: Engine | None = None,
    fresh: bool = False,
    retry: bool = True,
    listen: Callable[[str], None] | None = None,
    into: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Path, list[Outcome]]]:
    """Context manager that runs a plan, writes its run folder, and gives the folder and the outcome of every cell.

    The run counts as in progress until the context ends, so that no clean-up removes what is still to be read. After
    Ctrl-C the finished results are written, unless the folder already holds a complete run.

    ``fresh``: compute cached stages again. ``retry``: try stages again that failed in an earlier run of the plan.
    ``listen`` receives every line of the journal. ``into`` replaces the run folder of the plan.
    ``about`` holds fields of `RunRecord` by name, for a run that is made from another one.
    """
    use_suite_folder(plan.suite.path.parent)  # Another suite may have been resolved since this one was.
    registry, cache = discover(), folders.cache
    engine = engine or make_engine("local", plan.device)
    name = plan.suite.name
    cache.require_no_links()
    require_no_link(child(folders.results, name), folders.results)
    require_writable(child(folders.results, name), cache.root, child(folders.reports, name))
    _require_space(plan, folders)
    if engine.name == "local":  # The machine that leads a cluster need not have a GPU.
        check_device(plan.device)
    started = datetime.now(UTC)
    folder = into or run_folder(name, plan.digest, folders.results, started.strftime("%Y%m%d-%H%M%S"))
    about = about or {}
    written = record.of_plan(plan, registry, engine.name, started, about.get("components"))
    written = replace(written, **about)
    cache.root.mkdir(parents=True, exist_ok=True)
    cache.sweep()
    with Journal(folder, listen) as journal, announce(cache, journal.session, name, folder, plan.stages):
        if fresh:
            for key in plan.stages:
                cache.discard(key)
        run = _Session(plan, folder, cache, registry, journal, written)
        if not retry:
            failed = last_results(folder)
            run.results.update({k: r for k, r in failed.items() if k in plan.stages and r.status != "ok"})
        yield folder, run.go(engine, on_event, retry)


class _Session:
    """One session of a run, which computes missing stages and writes the rows."""

    def __init__(
        self, plan: Plan, folder: Path, cache: Cache, registry: Registry, journal: Journal, about: RunRecord
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.cache = cache
        self.registry = registry
        self.journal = journal
        self.about = about
        self.clock = time.perf_counter()
        self.results: dict[str, StageResult] = dict(plan.reused)
        self.noticed: record.Noticed = {}

    def go(self, engine: Engine, on_event: Callable[[Event], None], retry: bool) -> list[Outcome]:
        """Compute the missing stages and write the run folder."""
        journal, complete = self.journal, is_complete(self.folder)
        who = {"pid": os.getpid(), "host": platform.node(), "version": VERSION}
        how = {"engine": engine.name, "workers": engine.workers, "device": self.plan.device, "retry": retry}
        journal.write("run-started", **who, **how)
        if not complete:
            self._begin()

        def record_event(event: Event) -> None:
            journal.record(event)
            if event.kind == "finished" and event.stage and not complete:
                self._keep_notes([event.stage])
            on_event(event)

        self._compute(engine, record_event, complete)
        if complete and all(r.cached for r in self.results.values()):  # The record keeps the times of the computation.
            journal.write("run-ended", status="complete", seconds=self._seconds(), counts={})
            return [outcome(cell, self.plan, self.results) for cell in self.plan.cells]
        try:
            outcomes = self.write()
        except DamagedScoreError:  # It was damaged after it had been computed.
            self._forget_damaged_scores()
            self._compute(engine, record_event, complete)
            outcomes = self.write()
        _announce(outcomes, self.registry)
        return outcomes

    def _begin(self) -> None:
        """Write the record of the run and the rows of its planned cells and stages."""
        begun = self._begun()
        cells = (cell_row(outcome(cell, self.plan, self.plan.reused), self.registry) for cell in self.plan.cells)
        start_run(self.folder, self.cache, begun, cells, record.of_planned_stages(self.plan))
        self._keep_notes(self.plan.stages.values())

    def _begun(self) -> RunRecord:
        """Return the record of the run while it runs."""
        begun = record.ended(self.about, len(self.plan.stages), {}, [], "running", 0.0)
        return record.with_notes(begun, self.plan, self.noticed)

    def _keep_notes(self, stages: Iterable[Stage]) -> None:
        """Store the notes of stages in the record of the run, if there are new ones, so that those who look at a run
        that runs or that was killed see them."""
        new = False
        for component, notes in record.noticed_by(stages, self.plan, self.cache).items():
            known = self.noticed.setdefault(component, {})
            new = new or not notes.keys() <= known.keys()
            known.update(notes)
        if new:
            update_record(self.folder, self.cache, self._begun())

    def _compute(self, engine: Engine, record_event: Callable[[Event], None], complete: bool) -> None:
        try:
            with Interruption() as interruption:
                logs = child(self.folder, LOGS)
                scheduler.run(engine, self.plan, self.cache, self.results, record_event, interruption, logs)
        except BaseException as error:
            self._stopped(error, complete)
            raise
        self._remember_costs()

    def _forget_damaged_scores(self) -> None:
        for key in [k for k, r in self.results.items() if r.status == "ok" and self.plan.stages[k].kind == "score"]:
            try:
                self.cache.check(key)
                check_score(self.cache, key, self.cache.columns(key))
            except DamagedError:
                self.cache.discard(key)
                del self.results[key]

    def write(self, status: str | None = None) -> list[Outcome]:
        """Write the run folder with the results so far."""
        outcomes = [outcome(cell, self.plan, self.results) for cell in self.plan.cells]
        if status is None:
            status = "incomplete" if any(o.status in ("failed", "timeout") for o in outcomes) else "complete"
        cells = [o.status for o in outcomes]
        end = record.ended(self.about, len(self.plan.stages), self.results, cells, status, self._seconds())
        end = record.with_notes(end, self.plan, record.noticed_by(self.plan.stages.values(), self.plan, self.cache))
        stages = record.of_stages(self.plan, self.results, self.cache)
        write_run(self.folder, outcomes, self.cache, self.registry, end, stages)
        counts = end.counts.known if end.counts else {}
        self.journal.write("run-ended", status=status, seconds=self._seconds(), counts=counts)
        return outcomes

    def _stopped(self, error: BaseException, complete: bool) -> None:
        """Handle a run that stopped early. After a single Ctrl-C the results so far are written, unless this would
        replace a complete run."""
        if not isinstance(error, StopNow):
            self._remember_costs()
        if type(error) is KeyboardInterrupt and not complete:
            self.write("interrupted")
            return
        with contextlib.suppress(StorageError):  # The first error is more important.
            self.journal.write("run-ended", status="interrupted", seconds=self._seconds(), counts={}, reason=str(error))

    def _remember_costs(self) -> None:
        """Store measured costs for later estimates. Errors are ignored, because nothing else depends on them."""
        with contextlib.suppress(StorageError):
            self.cache.record_costs(_measured_costs(self.plan, self.results))

    def _seconds(self) -> float:
        return time.perf_counter() - self.clock


def _announce(outcomes: Sequence[Outcome], registry: Registry) -> None:
    """Call the hook `bench_cell_done` of every plugin for each cell; after an error in a plugin its further calls are
    skipped. The rows are already written."""
    for implementation in registry.manager.hook.bench_cell_done.get_hookimpls():
        try:
            for outcome in outcomes:
                _call(implementation, outcome=outcome)
        except Exception as error:
            problem = error_text(error)
            warnings.warn(f"{implementation.plugin_name}: bench_cell_done failed: {problem}", stacklevel=2)


def _require_space(plan: Plan, folders: Folders) -> None:
    needed = sum(s.size for s in plan.stages.values() if not folders.cache.folder(s.key).exists())
    free = free_bytes(folders.results)
    if needed > free:
        raise StorageError(
            f"{folders.results}: the run needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
            "make room, lower --pairs, or choose another disk with --out"
        )


def _measured_costs(plan: Plan, results: Mapping[str, StageResult]) -> dict[str, float]:
    """Return how much longer than declared the stages took that this run computed, as factors by cost name.

    So an estimate scales with the settings of a plugin, such as its steps, that it was not measured with.
    """
    total: dict[str, list[float]] = {}
    for key, result in results.items():
        stage = plan.stages[key]
        if result.status == "ok" and not result.cached:
            entry = total.setdefault(stage.cost_name, [0.0, 0.0])
            entry[0] += result.seconds
            entry[1] += stage.declared
    return {name: seconds / declared for name, (seconds, declared) in total.items() if declared}


def outcome(cell: Cell, plan: Plan, results: Mapping[str, StageResult]) -> Outcome:
    """Return the outcome of a cell from the results of its stages; ``queued`` if some have no result yet."""
    path = plan.path_of(cell)
    protect = tuple(key for key in path if plan.stages[key].kind == "protect")
    attacks = tuple(key for key in path if plan.stages[key].attacks)
    end = ending(cell.skip, cell.stages, path, results)
    return Outcome(cell=cell, device=plan.device, protect=protect, attacks=attacks, **end)


def ending(
    skip: str | None, stages: Sequence[str], path: Sequence[str], results: Mapping[str, StageResult]
) -> dict[str, Any]:
    """Return how a cell has ended as fields of `Outcome`: from the reason to skip it, the keys of its scores
    (``stages``) and of all stages that it depends on (``path``), and the results so far."""
    found = [results[k] for k in path if k in results]
    bad = next((results[k] for k in stages if k in results and results[k].status != "ok"), None)
    status: Status = "ok" if skip is None else "skipped"
    reason = skip
    if bad is not None:
        status, reason = bad.status, bad.reason
    elif skip is None and any(k not in results for k in stages):
        status, reason = "queued", "not computed yet; the same command continues"
    return {
        "status": status,
        "reason": reason,
        "seconds": sum(r.seconds for r in found) if found else None,
        "peak_mb": max((r.peak_mb for r in found), default=None),
        "cached": bool(found) and all(r.cached for r in found),
        "failed_stage": bad.failed_stage if bad else None,
        "traceback": bad.traceback if bad else None,
        "log": bad.log if bad else "",
        "batch": min((r.batch for r in found if r.batch is not None), default=None),
    }
