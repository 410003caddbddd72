"""One command from suite to results: plan, run, store. Knows nothing of the terminal and does not import torch."""

from __future__ import annotations

import contextlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pluggy import HookImpl

from bench import __version__, record, store
from bench.cache import Cache, DamagedError
from bench.engine import Engine, Event, schedule
from bench.engine.interruption import Interruption, StopNow
from bench.engine.local import LocalEngine, visible_gpus
from bench.errors import BenchError, StorageError
from bench.hookspecs import Section
from bench.journal import Journal, last_results
from bench.plan import Plan, make_plan
from bench.plugins import Registry, discover
from bench.running import announce
from bench.suite import load
from bench.types import Cell, Outcome, StageResult, Status


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where everything goes, below one folder (``--out``, by default the current one)."""

    out: Path
    cache_name: str = ".cache"

    @property
    def results(self) -> Path:
        """``results/<suite>/<run>/``"""
        return self.out / "results"

    @property
    def reports(self) -> Path:
        """``reports/<suite>/index.html``"""
        return self.out / "reports"

    def page(self, run: Mapping[str, Any], folder: Path) -> Path:
        """The report of a run (its record and folder): that of its suite, ``reports/<suite>/index.html``; of some cells
        of it alone, or of a rescoring, one in a folder of its own there, which does not take the other's place."""
        suite = self.reports / str(run["suite"]["name"])
        return (suite / folder.name if store.DERIVED & run.keys() else suite) / "index.html"

    @property
    def cache(self) -> Cache:
        """The artifact cache; removing it costs time, never results."""
        return Cache(self.results / self.cache_name)


def resolve_device(asked: str) -> str:
    """``auto`` -> ``cuda`` where the driver lists a GPU, else ``cpu``. Asked without importing torch."""
    if asked != "auto":
        return asked
    return "cuda" if visible_gpus() else "cpu"


def plan_suite(
    path: Path,
    folders: Folders,
    device: str,
    overrides: Sequence[str],
    pairs: int | None,
    timeout_s: float | None = None,
) -> Plan:
    """Read, resolve and plan a suite; costs come from earlier runs where there are any."""
    registry = discover()
    suite = load(path, registry, overrides, pairs)
    if not suite.experiments:
        raise BenchError(f"{path}: holds no [[experiment]]; train its networks with: bench train {path}")
    return make_plan(suite, registry, resolve_device(device), folders.cache.costs(), timeout_s)


def check_device(device: str) -> None:
    """`BenchError` when the device cannot be used by torch."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BenchError("--device cuda: torch sees no usable GPU here; install a CUDA build of torch or use cpu")


def make_engine(name: str, device: str, workers: int | None = None, address: str | None = None) -> Engine:
    """The engine of that name, with as many workers as asked for; by default one per core, or one per GPU, of this
    machine or of the Ray cluster at ``address``. `BenchError` when it cannot be reached.

    A CPU worker has one compute thread whatever the number of workers: thread counts decide the last bits.
    """
    if address is not None and name != "ray":
        raise BenchError("--address is that of a Ray cluster; it needs --engine ray")
    gpus = visible_gpus() if device == "cuda" else ()
    threads = max(1, min(4, (os.cpu_count() or 1) // len(gpus))) if gpus else 1
    if name == "ray":
        from bench.engine import ray

        return ray.connect(device, workers, threads, gpus, address)
    default = len(gpus) if device == "cuda" else os.cpu_count() or 1
    return LocalEngine(workers=workers or max(1, default), threads=threads, gpus=gpus)


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
    """Run a plan and write its run folder; after Ctrl-C with what was finished, unless a complete run is there.

    ``fresh`` computes again what is cached; without ``retry``, what failed in an earlier run of the plan stays failed.
    ``listen`` hears every line of the journal. ``into`` is the run folder, where it is not to be that of the plan;
    ``about`` what its record says besides, or instead, where it is made from another run.
    """
    registry, cache = discover(), folders.cache
    engine = engine or make_engine("local", plan.device)
    name = plan.suite.name
    store.require_writable(folders.results / name, cache.root, folders.reports / name)
    _require_space(plan, folders)
    if engine.name == "local":  # the machine that leads a cluster need not have a GPU
        check_device(plan.device)
    started = datetime.now(UTC)
    folder = into or store.run_folder(plan, folders.results, started.strftime("%Y%m%d-%H%M%S"))
    written = record.of_plan(plan, registry, engine.name, started, about or {})
    cache.root.mkdir(parents=True, exist_ok=True)
    cache.sweep()
    with Journal(folder, listen) as journal, announce(cache, journal.session, name, folder, plan.stages):
        if fresh:
            for key in plan.stages:
                cache.discard(key)
        run = _Run(plan, folder, cache, registry, journal, written)
        if not retry:
            failed = last_results(folder)
            run.results.update({k: r for k, r in failed.items() if k in plan.stages and r.status != "ok"})
        return folder, run.go(engine, on_event, retry)


class _Run:
    """One session of a run: from the plan to its rows."""

    def __init__(
        self, plan: Plan, folder: Path, cache: Cache, registry: Registry, journal: Journal, about: Mapping[str, Any]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.cache = cache
        self.registry = registry
        self.journal = journal
        self.about = about
        self.clock = time.perf_counter()
        self.results: dict[str, StageResult] = dict(plan.given)

    def go(self, engine: Engine, on_event: Callable[[Event], None], retry: bool) -> list[Outcome]:
        """Compute what is missing and write what there is."""
        journal, complete = self.journal, store.is_complete(self.folder)
        who = {"pid": os.getpid(), "host": platform.node(), "version": __version__}
        how = {"engine": engine.name, "workers": engine.workers, "device": self.plan.device, "retry": retry}
        journal.write("run-started", **who, **how)
        if not complete:
            start = record.of_end(self.plan, {}, [], "running", 0.0)
            store.start_run(self.folder, self.cache, {**self.about, **start})

        def tell(event: Event) -> None:
            journal.record(event)
            on_event(event)

        self._compute(engine, tell, complete)
        if complete and all(r.cached for r in self.results.values()):  # the record tells when it was computed
            journal.write("run-ended", status="complete", seconds=self._seconds(), counts={})
            return [outcome(cell, self.plan, self.results) for cell in self.plan.cells]
        try:
            outcomes = self.write()
        except store.DamagedScoreError:  # since it was computed
            self._forget_damaged_scores()
            self._compute(engine, tell, complete)
            outcomes = self.write()
        _announce(outcomes, self.registry)
        return outcomes

    def _compute(self, engine: Engine, tell: Callable[[Event], None], complete: bool) -> None:
        try:
            with Interruption() as interruption:
                schedule.run(engine, self.plan, self.cache, self.results, tell, interruption)
        except BaseException as error:
            self._stopped(error, complete)
            raise
        self._remember_costs()

    def _forget_damaged_scores(self) -> None:
        for key in [k for k, r in self.results.items() if r.status == "ok" and self.plan.stages[k].kind == "score"]:
            try:
                self.cache.check(key)
            except DamagedError:
                del self.results[key]

    def write(self, status: str | None = None) -> list[Outcome]:
        """Write the run folder from what is there."""
        outcomes = [outcome(cell, self.plan, self.results) for cell in self.plan.cells]
        if status is None:
            status = "incomplete" if any(o.status in ("failed", "timeout") for o in outcomes) else "complete"
        end = record.of_end(self.plan, self.results, outcomes, status, self._seconds())
        stages = record.of_stages(self.plan, self.results, self.cache)
        store.write_run(self.folder, outcomes, self.cache, self.registry, {**self.about, **end}, stages)
        self.journal.write("run-ended", status=status, seconds=self._seconds(), counts=end["counts"])
        return outcomes

    def _stopped(self, error: BaseException, complete: bool) -> None:
        """The run did not come to its end. After one Ctrl-C what there is becomes rows; fewer never replace all."""
        if not isinstance(error, StopNow):
            self._remember_costs()
        if type(error) is KeyboardInterrupt and not complete:
            self.write("interrupted")
            return
        with contextlib.suppress(StorageError):  # what went wrong before is what matters
            self.journal.write("run-ended", status="interrupted", seconds=self._seconds(), counts={}, reason=str(error))

    def _remember_costs(self) -> None:
        """For later estimates. Nothing depends on them: a disk that is full says so elsewhere."""
        with contextlib.suppress(StorageError):
            self.cache.record_costs(_measured_costs(self.plan, self.results))

    def _seconds(self) -> float:
        return time.perf_counter() - self.clock


def _call(implementation: HookImpl, **arguments: object) -> Any:
    """One implementation of a hook by itself, so that its failure is its own; pluggy lets it take fewer arguments."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def report_sections(results: store.Results) -> list[Section]:
    """What plugins add to the report, of each run by itself; one that fails becomes a section that says so."""
    sections: list[Section] = []
    for name, run in zip(results.names, results.runs, strict=True):
        for section in _sections_of(run):
            sections.append(replace(section, title=f"{section.title} ({name})") if name else section)
    return sections


def _sections_of(run: store.Results) -> Iterator[Section]:
    for implementation in discover().manager.hook.bench_report_sections.get_hookimpls():
        try:
            yield from list(_call(implementation, results=run))
        except Exception as error:
            problem = f"the plugin failed with {type(error).__name__}: {error}"
            title = f"From {implementation.plugin_name}"
            yield Section(title=title, columns=("problem",), rows=((problem,),))


def _announce(outcomes: Sequence[Outcome], registry: Registry) -> None:
    """Tell plugins of every cell; one that fails is told no more, for the rows are written already."""
    for implementation in registry.manager.hook.bench_cell_done.get_hookimpls():
        try:
            for outcome in outcomes:
                _call(implementation, outcome=outcome)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            warnings.warn(f"{implementation.plugin_name}: bench_cell_done failed: {problem}", stacklevel=2)


def _require_space(plan: Plan, folders: Folders) -> None:
    needed = sum(s.size for s in plan.stages.values() if not folders.cache.folder(s.key).exists())
    free = store.free_bytes(folders.results)
    if needed > free:
        raise StorageError(
            f"{folders.results}: the run needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
            "make room, lower --pairs, or choose another disk with --out"
        )


def _measured_costs(plan: Plan, results: Mapping[str, StageResult]) -> dict[str, float]:
    """Seconds per sample of what was computed in this run, by cost name."""
    total: dict[str, list[float]] = {}
    for key, result in results.items():
        stage = plan.stages[key]
        if result.status == "ok" and not result.cached:
            entry = total.setdefault(stage.cost_name, [0.0, 0.0])
            entry[0] += result.seconds
            entry[1] += stage.units
    return {name: seconds / units for name, (seconds, units) in total.items()}


def outcome(cell: Cell, plan: Plan, results: Mapping[str, StageResult]) -> Outcome:
    """How a cell ended, from how its stages ended; ``queued`` when some have not."""
    path = plan.path_of(cell)
    found = [results[k] for k in path if k in results]
    bad = next((results[k] for k in cell.stages if k in results and results[k].status != "ok"), None)
    status: Status = "skipped" if cell.skip else "ok"
    reason = cell.skip
    if bad is not None:
        status, reason = bad.status, bad.reason
    elif not cell.skip and any(k not in results for k in cell.stages):
        status, reason = "queued", "not computed yet; the same command goes on"
    return Outcome(
        cell=cell,
        status=status,
        reason=reason,
        seconds=sum(r.seconds for r in found) if found else None,
        peak_mb=max((r.peak_mb for r in found), default=None),
        cached=bool(found) and all(r.cached for r in found),
        device=plan.device,
        traceback=bad.traceback if bad else None,
        log=bad.log if bad else "",
        batch=min((r.batch for r in found if r.batch is not None), default=None),
        protect=tuple(k for k in path if plan.stages[k].kind == "protect"),
    )
