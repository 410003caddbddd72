"""The scheduler: it decides which stage is computed next, and what to do after each attempt. Every engine uses it.

To find the stages that must be computed, the graph is walked backwards from the score stages. The walk ends at cached
artifacts, so a suite that is complete costs nothing. If a stage fails, only the stages that depend on it fail too.
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

_TICK_S = 0.25  # between two checks of the limits of running stages
_PROGRESS_S = 2.0  # between two readings of their progress
_GRACE_S = 10.0  # for running stages to finish after Ctrl-C
_BUSY_S = 0.5  # until the next attempt at a stage that another run is computing; longer after each attempt
_MOST_ATTEMPTS = 3  # at a stage whose worker was lost or whose inputs were damaged
_FITTING = ("faces", "fit_defense", "fit_attack")  # kinds of stages that a plugin computes in one call, without batches


def missing_stages(
    plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: OnEvent, keys: Iterable[str] | None = None
) -> dict[str, Stage]:
    """Return the stages that must be computed, by key: those on which the score stages (or ``keys``) depend.

    Stages with a valid artifact in the cache are added to ``results``; stages that have a result already are skipped.
    Every artifact that will be read is verified against its checksums, and a damaged one counts as missing. Raises
    `StorageError` if the artifact of a reused stage is missing or damaged (see `bench.planning.plan.Plan`).
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
    """Return the result of a stage whose artifact is cached, as recorded in the manifest of the artifact."""
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


_MEASURED = ("client_flops", "client_seconds", "client_reason", "checked", "unstable")


def client_cost(facts: Any) -> dict[str, Any]:
    """Return the cost of protecting one face and what a check found from the facts of an artifact, as fields of a
    `StageResult`."""
    known = facts if isinstance(facts, Mapping) else {}
    return {name: known[name] for name in _MEASURED if name in known}


def failure(
    stage: Stage, status: str, reason: str, trace: str | None = None, *, log: str = "", seconds: float = 0.0
) -> StageResult:
    """Return the result of a stage that failed or, if ``status`` is ``timeout``, exceeded its time limit."""
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
    """A stage that must be computed: the batch size of the next attempt, and the number of attempts by outcome."""

    stage: Stage
    batch: int
    attempts: int = 0
    lost: int = 0
    busy: int = 0


@dataclass
class _Graph:
    """The stages that must be computed, as far as they have not ended.

    - ``results``: the results so far, by key
    - ``tasks``: the stages that have not ended, by key
    - ``unmet``: by key, the inputs for which a stage waits
    - ``followers``: by key, the stages that wait for a stage
    - ``path_seconds``: by key, the estimated seconds from the beginning of a stage to the end of the graph
    - ``ready``: a heap of the stages that can start, the one with the longest path first
    - ``later``: a heap of the stages that can start at a later time, the earliest first
    """

    results: dict[str, StageResult]
    tasks: dict[str, _Task] = field(default_factory=dict)
    unmet: dict[str, set[str]] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    path_seconds: dict[str, float] = field(default_factory=dict)
    ready: list[tuple[float, int, str]] = field(default_factory=list)
    later: list[tuple[float, int, str]] = field(default_factory=list)
    _count: int = 0

    def add(self, stages: dict[str, Stage]) -> list[Stage]:
        """Add stages. Return those that cannot be computed, because one of their inputs has failed."""
        self.path_seconds.update(longest_paths(stages))
        doomed = []
        for key, stage in stages.items():
            self.tasks.setdefault(key, _Task(stage, stage.options["batch"]))
            inputs = [(source, self.results.get(source)) for source in stage.inputs.values()]
            if any(found is not None and found.status != "ok" for _, found in inputs):
                doomed.append(stage)
            self.unmet[key] = {source for source, found in inputs if found is None}
            for source in self.unmet[key]:
                self.followers[source].append(key)
            if not self.unmet[key]:
                self.push(key)
        return doomed

    def push(self, key: str) -> None:
        """Mark a stage as ready to start."""
        self._count += 1
        heapq.heappush(self.ready, (-self.path_seconds.get(key, 0.0), self._count, key))

    def push_later(self, key: str, seconds: float) -> None:
        """Mark a stage as ready to start after some seconds."""
        self._count += 1
        heapq.heappush(self.later, (time.monotonic() + seconds, self._count, key))

    def next(self) -> _Task | None:
        """Remove and return the ready stage with the longest path to the end of the graph, or None if none is ready."""
        while self.later and self.later[0][0] <= time.monotonic():
            self.push(heapq.heappop(self.later)[2])
        while self.ready:
            key = heapq.heappop(self.ready)[2]
            if key in self.tasks and key not in self.results:
                return self.tasks[key]
        return None

    def end(self, result: StageResult) -> list[Stage]:
        """Record the final result of a stage. Return the stages that cannot be computed because it failed."""
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
    """Compute all stages of a plan whose artifacts are missing, and add each result to ``results`` at once.

    Of the stages that are ready, the one with the longest path to the end of the graph starts first. Raises
    `StorageError` if artifacts cannot be stored, and `KeyboardInterrupt` if the user interrupted the run; the results
    so far stay valid.
    """
    missing = missing_stages(plan, cache, results, on_event)
    stages, path_seconds = tuple(missing.values()), longest_paths(missing)
    cells, total = len(plan.cells), len(plan.stages)
    on_event(Event(kind="planned", stages=stages, path_seconds=path_seconds, cells=cells, total=total))
    if missing:
        with engine.open(cache) as workers:
            _SchedulerLoop(plan, cache, workers, on_event, interruption, _Graph(results)).run(missing)


@dataclass
class _SchedulerLoop:
    """The main loop of a run: it starts stages in free slots and handles the attempts that end."""

    plan: Plan
    cache: Cache
    workers: Workers
    on_event: OnEvent
    interruption: Interruption
    graph: _Graph
    running: dict[Future[Attempt], _Task] = field(default_factory=dict)
    watched: float = 0.0
    progress_read: float = 0.0

    def run(self, missing: dict[str, Stage]) -> None:
        """Compute the missing stages. Raise `KeyboardInterrupt` if some are left after an interruption."""
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
        """Add stages to the graph; those with a failed input fail at once."""
        for stage in self.graph.add(stages):
            self._fail_like_its_input(stage)

    def _start(self) -> None:
        """Start ready stages until all slots are in use."""
        while len(self.running) < self.workers.slots and (task := self.graph.next()) is not None:
            task.attempts += 1
            self.cache.forget_progress(task.stage.key)
            self.running[self.workers.submit(task.stage, task.batch)] = task
            if not task.busy:
                batch = self._reduced_batch(task)
                self.on_event(Event(kind="started", stage=task.stage, batch=batch, attempt=task.attempts))

    @staticmethod
    def _reduced_batch(task: _Task) -> int | None:
        """Return the batch size of the next attempt if it is not the planned one; otherwise None."""
        return None if task.batch == task.stage.options["batch"] else task.batch

    def _collect(self) -> None:
        """Wait up to `_TICK_S` for attempts to end and handle them; check limits and progress of the others."""
        if not self.running:
            time.sleep(min(_TICK_S, _BUSY_S))  # Another run is computing everything that is left.
            return
        done = wait(self.running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done
        for future in done:
            self._ended(self.running.pop(future), future.result())
        now = time.monotonic()
        if now - self.watched > _TICK_S:
            self.watched = now
            self.workers.watch()
        if now - self.progress_read > _PROGRESS_S:
            self.progress_read = now
            for task in self.running.values():
                note = self.cache.progress(task.stage.key)
                if note is not None:
                    self.on_event(Event(kind="progress", stage=task.stage, share=note.share, worker=note.worker))

    def _ended(self, task: _Task, attempt: Attempt) -> None:
        """Record the result of an attempt, or schedule another attempt."""
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
            if task.lost > 1 and self._can_halve(task):  # A second loss is probably due to a lack of memory.
                self._halve(task, str(result.reason))
            else:
                self._retry(task, str(result.reason))
        elif attempt.again == "damaged" and task.attempts < _MOST_ATTEMPTS:
            self._recompute_inputs(stage)
        else:
            if result.status != "ok":
                result = dataclasses.replace(result, reason=f"{stage.name}: {result.reason}", failed_stage=stage.key)
            result = dataclasses.replace(result, attempts=max(1, task.attempts))
            self._finish(stage, result, attempt.worker)

    def _can_halve(self, task: _Task) -> bool:
        """Return True if the stage runs in batches and its batch can be made smaller."""
        return task.batch > 1 and task.stage.kind not in _FITTING

    def _halve(self, task: _Task, reason: str) -> None:
        """Schedule another attempt with half the batch size."""
        task.batch //= 2
        self._retry(task, reason)

    def _retry(self, task: _Task, reason: str) -> None:
        """Schedule another attempt."""
        batch = self._reduced_batch(task)
        self.on_event(Event(kind="retried", stage=task.stage, message=reason, batch=batch, attempt=task.attempts + 1))
        self.graph.push(task.stage.key)

    def _recompute_inputs(self, stage: Stage) -> None:
        """Schedule the inputs of a stage that were removed because of damage, and then the stage itself."""
        gone = [key for key in stage.inputs.values() if not self.cache.folder(key).exists()]
        for key in gone:
            self.graph.results.pop(key, None)
            message = f"damaged artifact, computing it again before {stage.name}"
            self.on_event(Event(kind="damaged", stage=self.plan.stages[key], message=message))
        stages = missing_stages(self.plan, self.cache, self.graph.results, self.on_event, gone)
        new = {key: missing for key, missing in stages.items() if key not in self.graph.tasks}
        self._add({**new, stage.key: stage})

    def _finish(self, stage: Stage, result: StageResult, worker: str = "") -> None:
        """Record the final result of a stage; stages that depend on a failed one fail too."""
        doomed = self.graph.end(result)
        self.on_event(Event(kind="finished", stage=stage, result=result, worker=worker))
        for follower in doomed:
            self._fail_like_its_input(follower)

    def _fail_like_its_input(self, stage: Stage) -> None:
        """Record that a stage failed because one of its inputs did, with the same reason."""
        if stage.key in self.graph.results:
            return
        inputs = (self.graph.results.get(key) for key in stage.inputs.values())
        failed = next(r for r in inputs if r is not None and r.status != "ok")
        result = failure(stage, failed.status, str(failed.reason), failed.traceback, log=failed.log)
        self._finish(stage, dataclasses.replace(result, failed_stage=failed.failed_stage))


def longest_paths(stages: dict[str, Stage]) -> dict[str, float]:
    """Return by key the estimated seconds of the longest path from the beginning of a stage to the end of the graph."""
    path_seconds = {key: stage.cost for key, stage in stages.items()}
    for key in reversed(_inputs_first(stages)):
        for source in stages[key].inputs.values():
            if source in path_seconds:
                path_seconds[source] = max(path_seconds[source], stages[source].cost + path_seconds[key])
    return path_seconds


def _inputs_first(stages: dict[str, Stage]) -> list[str]:
    """Return the keys of stages in an order in which every stage comes after its inputs."""
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
