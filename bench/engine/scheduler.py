"""Which stage is next, and what follows from how it ended. The same for every engine.

The graph is walked backwards from the score stages: what is in the cache is not looked behind, so a finished suite
costs nothing. A stage that fails spoils only what depends on it.
"""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from bench.core.domain import Event, Stage, StageResult
from bench.core.errors import StorageError
from bench.engine.interface import Attempt, Engine, Workers
from bench.engine.interrupts import Interruption
from bench.planning.plan import Plan
from bench.store.artifacts import Cache, DamagedError

OnEvent = Callable[[Event], None]

_TICK_S = 0.25  # between two looks at the limits of running stages
_TELL_S = 2.0  # between two looks at how far they are
_GRACE_S = 10.0  # for running stages after Ctrl-C
_BUSY_S = 0.5  # until a stage that another run computes is asked for again, and longer each time
_MOST_ATTEMPTS = 3  # at a stage whose worker is lost, or whose inputs are damaged
_FITTING = ("faces", "fit_defense", "fit_attack")  # stages that a plugin computes in one call, without batches


def missing_stages(
    plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: OnEvent, keys: Iterable[str] | None = None
) -> dict[str, Stage]:
    """The stages that must run, found backwards from the score stages (or from ``keys``); those found in the cache go
    to ``results``, and what is in ``results`` already is not looked at.

    Every artifact that will be read is verified against its checksums; a damaged one counts as missing. `StorageError`
    where a reused one is damaged (see `bench.planning.plan.Plan`).
    """
    missing: dict[str, Stage] = {}
    stack = [key for cell in plan.cells for key in cell.stages] if keys is None else list(keys)
    while stack:
        key = stack.pop()
        if key in results or key in missing:
            continue
        stage = plan.stages[key]
        if cache.folder(key).exists():
            try:
                results[key] = cached_result(key, cache.verify(key))
                continue
            except DamagedError as error:
                on_event(Event(kind="damaged", stage=stage, message=f"damaged artifact, computing it again: {error}"))
        if key in plan.reused:
            raise StorageError(
                f"{cache.folder(key)}: {stage.name}: gone or damaged since it was found; it is not made anew"
            )
        missing[key] = stage
        stack.extend(stage.inputs.values())
    return missing


def cached_result(key: str, manifest: dict[str, object]) -> StageResult:
    """The result that a manifest tells of."""
    batch = manifest.get("batch")
    return StageResult(
        key=key,
        status="ok",
        cached=True,
        seconds=float(str(manifest["seconds"])),
        peak_mb=float(str(manifest["peak_mb"])),
        device=str(manifest["device"]),
        batch=batch if isinstance(batch, int) else None,
        **client_cost(manifest["facts"]),
    )


def client_cost(facts: Any) -> dict[str, Any]:
    """What the facts of an artifact say of the cost of protecting one face, as fields of a `StageResult`."""
    known = facts if isinstance(facts, Mapping) else {}
    return {name: known[name] for name in ("client_flops", "client_seconds", "client_reason") if name in known}


def failure(
    stage: Stage, status: str, reason: str, trace: str | None = None, *, log: str = "", seconds: float = 0.0
) -> StageResult:
    """The result of a stage that was not computed."""
    return StageResult(
        key=stage.key,
        status="timeout" if status == "timeout" else "failed",
        cached=False,
        seconds=seconds,
        peak_mb=0.0,
        device=stage.options["device"],
        reason=reason,
        traceback=trace,
        log=log,
    )


@dataclass
class _Task:
    """A stage that must run: its next batch, and what has been tried."""

    stage: Stage
    batch: int
    attempts: int = 0
    lost: int = 0
    busy: int = 0


@dataclass
class _Graph:
    """The stages that must run: ``ready`` ones by the work behind them, the others with the inputs that they wait
    for."""

    results: dict[str, StageResult]
    tasks: dict[str, _Task] = field(default_factory=dict)
    unmet: dict[str, set[str]] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    behind: dict[str, float] = field(default_factory=dict)
    ready: list[tuple[float, int, str]] = field(default_factory=list)
    later: list[tuple[float, int, str]] = field(default_factory=list)
    _count: int = 0

    def add(self, stages: dict[str, Stage]) -> list[Stage]:
        """Add stages; returns those that cannot run, because an input failed before."""
        self.behind.update(_work_behind(stages))
        hopeless = []
        for key, stage in stages.items():
            self.tasks.setdefault(key, _Task(stage, stage.options["batch"]))
            inputs = [(source, self.results.get(source)) for source in stage.inputs.values()]
            if any(found is not None and found.status != "ok" for _, found in inputs):
                hopeless.append(stage)
            self.unmet[key] = {source for source, found in inputs if found is None}
            for source in self.unmet[key]:
                self.followers[source].append(key)
            if not self.unmet[key]:
                self.push(key)
        return hopeless

    def push(self, key: str) -> None:
        """A stage may run."""
        self._count += 1
        heapq.heappush(self.ready, (-self.behind.get(key, 0.0), self._count, key))

    def push_later(self, key: str, seconds: float) -> None:
        """A stage may run, but not at once."""
        self._count += 1
        heapq.heappush(self.later, (time.monotonic() + seconds, self._count, key))

    def next(self) -> _Task | None:
        """The ready stage with the most work behind it."""
        while self.later and self.later[0][0] <= time.monotonic():
            self.push(heapq.heappop(self.later)[2])
        while self.ready:
            key = heapq.heappop(self.ready)[2]
            if key in self.tasks and key not in self.results:
                return self.tasks[key]
        return None

    def end(self, result: StageResult) -> list[Stage]:
        """A stage has its result; returns the stages that wait for it in vain, if it is none to go on with."""
        self.results[result.key] = result
        self.tasks.pop(result.key, None)
        waiting = [key for key in self.followers.pop(result.key, []) if key in self.tasks]
        if result.status != "ok":
            return [self.tasks[key].stage for key in dict.fromkeys(waiting)]
        for key in waiting:
            if result.key in self.unmet[key]:
                self.unmet[key].discard(result.key)
                if not self.unmet[key]:
                    self.push(key)
        return []


def run(
    engine: Engine,
    plan: Plan,
    cache: Cache,
    results: dict[str, StageResult],
    on_event: OnEvent,
    interruption: Interruption,
) -> None:
    """Compute what is missing of a plan, the stages with the most work behind them first; every result goes into
    ``results`` as soon as it is there.

    `StorageError` when artifacts cannot be stored, `KeyboardInterrupt` when the run was asked to end; what is in
    ``results`` by then stays good.
    """
    missing = missing_stages(plan, cache, results, on_event)
    stages, behind = tuple(missing.values()), _work_behind(missing)
    on_event(Event(kind="planned", stages=stages, path_seconds=behind, cells=len(plan.cells), total=len(plan.stages)))
    if missing:
        with engine.open(cache) as workers:
            _Run(plan, cache, workers, on_event, interruption, _Graph(results)).go(missing)


@dataclass
class _Run:
    """The loop that keeps the workers busy."""

    plan: Plan
    cache: Cache
    workers: Workers
    on_event: OnEvent
    interruption: Interruption
    graph: _Graph
    running: dict[Future[Attempt], _Task] = field(default_factory=dict)
    watched: float = 0.0
    told: float = 0.0

    def go(self, missing: dict[str, Stage]) -> None:
        self._add(missing)
        while self.graph.tasks and not self.interruption.requested:
            self._start()
            self._collect()
        if self.interruption.requested:
            self.on_event(Event(kind="stopping", stages=[task.stage for task in self.running.values()]))
        deadline = time.monotonic() + _GRACE_S
        while self.running and time.monotonic() < deadline:
            self._collect()
        if self.graph.tasks:
            raise KeyboardInterrupt

    def _add(self, stages: dict[str, Stage]) -> None:
        for stage in self.graph.add(stages):
            self._fail_like_its_input(stage)

    def _start(self) -> None:
        """Fill the free slots."""
        while len(self.running) < self.workers.slots and (task := self.graph.next()) is not None:
            task.attempts += 1
            self.cache.forget_progress(task.stage.key)
            self.running[self.workers.submit(task.stage, task.batch)] = task
            if not task.busy:
                batch = self._unplanned(task)
                self.on_event(Event(kind="started", stage=task.stage, batch=batch, attempt=task.attempts))

    @staticmethod
    def _unplanned(task: _Task) -> int | None:
        """The batch of a task, where it is not the planned one."""
        return None if task.batch == task.stage.options["batch"] else task.batch

    def _collect(self) -> None:
        """Wait a moment for stages that end; in between look at those that do not."""
        if not self.running:
            time.sleep(min(_TICK_S, _BUSY_S))  # another run computes all that is left to do
            return
        done = wait(self.running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done
        for future in done:
            self._ended(self.running.pop(future), future.result())
        now = time.monotonic()
        if now - self.watched > _TICK_S:
            self.watched = now
            self.workers.watch()
        if now - self.told > _TELL_S:
            self.told = now
            for task in self.running.values():
                note = self.cache.progress(task.stage.key)
                if note is not None:
                    self.on_event(Event(kind="progress", stage=task.stage, share=note.share, worker=note.worker))

    def _ended(self, task: _Task, attempt: Attempt) -> None:
        """Take a result, or try again."""
        stage, result = task.stage, attempt.result
        self.cache.forget_progress(stage.key)
        if attempt.again == "busy":
            task.attempts -= 1
            task.busy += 1
            self.graph.push_later(stage.key, min(8.0, _BUSY_S * task.busy))
        elif attempt.again == "memory" and self._can_halve(task):
            self._halve(task, str(result.reason))
        elif attempt.again == "lost" and (task.lost < _MOST_ATTEMPTS - 1):
            task.lost += 1
            if task.lost > 1 and self._can_halve(task):  # once may be bad luck; twice looks like memory
                self._halve(task, str(result.reason))
            else:
                self._again(task, str(result.reason))
        elif attempt.again == "damaged" and task.attempts < _MOST_ATTEMPTS:
            self._mend_inputs(stage)
        else:
            if result.status != "ok":
                result = dataclasses.replace(result, reason=f"{stage.name}: {result.reason}")
            result = dataclasses.replace(result, attempts=max(1, task.attempts))
            self._finish(stage, result, attempt.worker)

    def _can_halve(self, task: _Task) -> bool:
        return task.batch > 1 and task.stage.kind not in _FITTING

    def _halve(self, task: _Task, reason: str) -> None:
        task.batch //= 2
        self._again(task, reason)

    def _again(self, task: _Task, reason: str) -> None:
        batch = self._unplanned(task)
        self.on_event(Event(kind="retried", stage=task.stage, message=reason, batch=batch, attempt=task.attempts + 1))
        self.graph.push(task.stage.key)

    def _mend_inputs(self, stage: Stage) -> None:
        """Damaged inputs were removed: compute them again, then the stage."""
        gone = [key for key in stage.inputs.values() if not self.cache.folder(key).exists()]
        for key in gone:
            self.graph.results.pop(key, None)
            message = f"damaged artifact, computing it again before {stage.name}"
            self.on_event(Event(kind="damaged", stage=self.plan.stages[key], message=message))
        stages = missing_stages(self.plan, self.cache, self.graph.results, self.on_event, gone)
        new = {key: found for key, found in stages.items() if key not in self.graph.tasks}
        self._add({**new, stage.key: stage})

    def _finish(self, stage: Stage, result: StageResult, worker: str = "") -> None:
        hopeless = self.graph.end(result)
        self.on_event(Event(kind="finished", stage=stage, result=result, worker=worker))
        for follower in hopeless:
            self._fail_like_its_input(follower)

    def _fail_like_its_input(self, stage: Stage) -> None:
        """What depends on a failed stage fails with the same reason."""
        if stage.key in self.graph.results:
            return
        found = (self.graph.results.get(key) for key in stage.inputs.values())
        bad = next(r for r in found if r is not None and r.status != "ok")
        self._finish(stage, failure(stage, bad.status, str(bad.reason), bad.traceback, log=bad.log))


def _work_behind(stages: dict[str, Stage]) -> dict[str, float]:
    """Seconds of the longest path from each stage to the end of the graph."""
    behind = {key: stage.cost for key, stage in stages.items()}
    for key in reversed(_in_order(stages)):
        for source in stages[key].inputs.values():
            if source in behind:
                behind[source] = max(behind[source], stages[source].cost + behind[key])
    return behind


def _in_order(stages: dict[str, Stage]) -> list[str]:
    """Keys with inputs first."""
    order: dict[str, None] = {}

    def visit(key: str) -> None:
        if key not in order:
            for source in stages[key].inputs.values():
                if source in stages:
                    visit(source)
            order[key] = None

    for key in stages:
        visit(key)
    return list(order)
