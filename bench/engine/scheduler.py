"""The scheduler: it decides which stage is computed next, and what to do after each attempt. Every engine uses it.

To find the stages that must be computed, the graph is walked backwards from the score stages. The walk ends at cached
artifacts, so a suite that is complete costs nothing. If a stage fails, only the stages that depend on it fail too.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.domain import Event, Stage, StageResult
from bench.core.errors import StorageError
from bench.engine.interface import Attempt, Engine, Workers
from bench.engine.interrupts import Interruption
from bench.engine.stage_queue import StageQueue, StageTask, finishing_order, longest_paths
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


def run(
    engine: Engine,
    plan: Plan,
    cache: Cache,
    results: dict[str, StageResult],
    on_event: OnEvent,
    interruption: Interruption,
    logs: Path | None = None,
) -> None:
    """Compute all stages of a plan whose artifacts are missing, and add each result to ``results`` at once.

    `bench.engine.stage_queue` decides which of the ready stages starts first. Raises `StorageError` if artifacts cannot
    be stored, and `KeyboardInterrupt` if the user interrupted the run; the results so far stay valid. ``logs`` is an
    argument of `bench.engine.interface.Engine.open`.
    """
    missing = missing_stages(plan, cache, results, on_event)
    stages, path_seconds = tuple(missing.values()), longest_paths(missing)
    cells, total = len(plan.cells), len(plan.stages)
    on_event(Event(kind="planned", stages=stages, path_seconds=path_seconds, cells=cells, total=total))
    if missing:
        order = finishing_order(missing, [cell.stages for cell in plan.cells])
        with engine.open(cache, logs) as workers:
            queue = StageQueue(results, order)
            _SchedulerLoop(plan, cache, workers, on_event, interruption, queue).run(missing)


@dataclass
class _SchedulerLoop:
    """The main loop of a run: it starts stages in free slots and handles the attempts that end."""

    plan: Plan
    cache: Cache
    workers: Workers
    on_event: OnEvent
    interruption: Interruption
    queue: StageQueue
    running: dict[Future[Attempt], StageTask] = field(default_factory=dict)
    watched: float = 0.0
    progress_read: float = 0.0

    def run(self, missing: dict[str, Stage]) -> None:
        """Compute the missing stages. Raise `KeyboardInterrupt` if some are left after an interruption."""
        self._add(missing)
        while self.queue.tasks and not self.interruption.requested:
            self._start()
            self._collect()
        if self.interruption.requested:
            self.on_event(Event(kind="stopping", stages=[task.stage for task in self.running.values()]))
        deadline = time.monotonic() + _GRACE_S
        while self.running and time.monotonic() < deadline:
            self._collect()
        if self.queue.tasks:
            raise KeyboardInterrupt

    def _add(self, stages: dict[str, Stage]) -> None:
        """Add stages to the graph; those with a failed input fail at once."""
        for stage in self.queue.add(stages):
            self._fail_like_its_input(stage)

    def _start(self) -> None:
        """Start ready stages until all slots are in use."""
        while len(self.running) < self.workers.slots and (task := self.queue.next(self.workers.slots)) is not None:
            task.attempts += 1
            self.cache.forget_progress(task.stage.key)
            self.running[self.workers.submit(task.stage, task.batch)] = task
            if not task.busy:
                batch = self._reduced_batch(task)
                self.on_event(Event(kind="started", stage=task.stage, batch=batch, attempt=task.attempts))

    @staticmethod
    def _reduced_batch(task: StageTask) -> int | None:
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

    def _ended(self, task: StageTask, attempt: Attempt) -> None:
        """Record the result of an attempt, or schedule another attempt."""
        stage, result = task.stage, attempt.result
        self.cache.forget_progress(stage.key)
        if attempt.again == "busy":
            task.attempts -= 1
            task.busy += 1
            self.queue.push_later(stage.key, min(8.0, _BUSY_S * task.busy))
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

    def _can_halve(self, task: StageTask) -> bool:
        """Return True if the stage runs in batches and its batch can be made smaller."""
        return task.batch > 1 and task.stage.kind not in _FITTING

    def _halve(self, task: StageTask, reason: str) -> None:
        """Schedule another attempt with half the batch size."""
        task.batch //= 2
        self._retry(task, reason)

    def _retry(self, task: StageTask, reason: str) -> None:
        """Schedule another attempt."""
        batch = self._reduced_batch(task)
        self.on_event(Event(kind="retried", stage=task.stage, message=reason, batch=batch, attempt=task.attempts + 1))
        self.queue.push(task.stage.key)

    def _recompute_inputs(self, stage: Stage) -> None:
        """Schedule the inputs of a stage that were removed because of damage, and then the stage itself."""
        gone = [key for key in stage.inputs.values() if not self.cache.folder(key).exists()]
        for key in gone:
            self.queue.results.pop(key, None)
            message = f"damaged artifact, computing it again before {stage.name}"
            self.on_event(Event(kind="damaged", stage=self.plan.stages[key], message=message))
        stages = missing_stages(self.plan, self.cache, self.queue.results, self.on_event, gone)
        new = {key: missing for key, missing in stages.items() if key not in self.queue.tasks}
        self._add({**new, stage.key: stage})

    def _finish(self, stage: Stage, result: StageResult, worker: str = "") -> None:
        """Record the final result of a stage; stages that depend on a failed one fail too."""
        doomed = self.queue.end(result)
        self.on_event(Event(kind="finished", stage=stage, result=result, worker=worker))
        for follower in doomed:
            self._fail_like_its_input(follower)

    def _fail_like_its_input(self, stage: Stage) -> None:
        """Record that a stage failed because one of its inputs did, with the same reason."""
        if stage.key in self.queue.results:
            return
        inputs = (self.queue.results.get(key) for key in stage.inputs.values())
        failed = next(r for r in inputs if r is not None and r.status != "ok")
        result = failure(stage, failed.status, str(failed.reason), failed.traceback, log=failed.log)
        self._finish(stage, dataclasses.replace(result, failed_stage=failed.failed_stage))
