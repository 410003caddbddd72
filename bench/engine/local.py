"""The local engine: killable worker processes on this machine.

The graph is walked backwards from the score stages: what is in the cache is not looked behind, so a finished suite
costs nothing. A stage that raises, is killed or outlasts its time limit spoils only what depends on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as StageTimeout
from dataclasses import dataclass, field
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from bench.cache import Cache, DamagedError
from bench.engine import Event
from bench.errors import StorageError
from bench.plan import Plan
from bench.types import Stage, StageResult

_CLEAR_REFS = Path("/proc/self/clear_refs")  # writing 5 resets this process's peak memory (Linux)
_STATUS = Path("/proc/self/status")
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "67108864"}  # glibc
_TICK_S = 2.0  # between two looks at what running stages say of their progress


@dataclass
class LocalEngine:
    """``workers`` processes with ``threads`` compute threads each; by default one core per worker."""

    workers: int = field(default_factory=lambda: max(1, os.cpu_count() or 1))
    threads: int = 1

    def run(self, plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: Callable[[Event], None]) -> None:
        """Run what is missing; see `bench.engine.Engine`."""
        missing = missing_stages(plan, cache, results, on_event)
        on_event(Event(kind="planned", stages=tuple(missing.values())))
        if missing:
            with _worker_environment(self.threads):
                self._run(plan, missing, cache, results, on_event)

    def _run(
        self,
        plan: Plan,
        missing: dict[str, Stage],
        cache: Cache,
        results: dict[str, StageResult],
        on_event: Callable[[Event], None],
    ) -> None:
        pool = ProcessPool(
            max_workers=min(self.workers, len(missing)),
            initializer=_start_worker,
            initargs=(os.getpid(), self.threads),
            context=multiprocessing.get_context("spawn"),
        )
        try:
            _run_graph(plan, missing, cache, results, pool, self.workers, on_event)
            pool.close()
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.join()


@contextlib.contextmanager
def _worker_environment(threads: int) -> Iterator[None]:
    """What workers inherit: few threads, or the matrix libraries of all workers fight for all cores; and an allocator
    that keeps the memory of large tensors, or a fifth of the time goes into asking the system for it again."""
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    for name, value in _KEEP_MEMORY.items():
        wanted[name] = os.environ.get(name, value)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                del os.environ[name]
            else:
                os.environ[name] = earlier


def missing_stages(
    plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: Callable[[Event], None]
) -> dict[str, Stage]:
    """The stages that must run, found backwards from the score stages; those found in the cache go to ``results``.

    Every artifact that will be read is verified against its checksums; a damaged one counts as missing.
    """
    missing: dict[str, Stage] = {}
    seen: set[str] = set()
    stack = [key for cell in plan.cells for key in cell.stages]
    while stack:
        key = stack.pop()
        if key in seen:
            continue
        seen.add(key)
        stage = plan.stages[key]
        if cache.folder(key).exists():
            try:
                results[key] = _cached(key, cache.verify(key))
                continue
            except DamagedError as error:
                on_event(Event(kind="damaged", stage=stage, message=f"damaged artifact, computing it again: {error}"))
        missing[key] = stage
        stack.extend(stage.inputs.values())
    return missing


def _cached(key: str, manifest: dict[str, object]) -> StageResult:
    return StageResult(
        key=key,
        status="ok",
        cached=True,
        seconds=float(str(manifest["seconds"])),
        peak_mb=float(str(manifest["peak_mb"])),
        device=str(manifest["device"]),
    )


def _run_graph(
    plan: Plan,
    missing: dict[str, Stage],
    cache: Cache,
    results: dict[str, StageResult],
    pool: ProcessPool,
    workers: int,
    on_event: Callable[[Event], None],
) -> None:
    """Schedule stages as their inputs complete, the ones with the most work behind them first."""
    waiting = dict(missing)
    running: dict[Future[StageResult], Stage] = {}
    weight = _work_behind(missing)
    limit = plan.suite.stage_timeout_s

    def finish(stage: Stage, result: StageResult) -> None:
        results[stage.key] = result
        cache.forget_progress(stage.key)
        on_event(Event(kind="finished", stage=stage, result=result))

    while waiting or running:
        for stage in sorted(waiting.values(), key=lambda s: -weight[s.key]):
            inputs = [results.get(k) for k in stage.inputs.values()]
            if failed := [r for r in inputs if r is not None and r.status != "ok"]:
                del waiting[stage.key]
                finish(stage, _failure(stage, failed[0].status, str(failed[0].reason), failed[0].traceback))
            elif all(inputs) and len(running) < workers:
                del waiting[stage.key]
                cache.forget_progress(stage.key)
                running[pool.schedule(execute, args=[stage, cache.root], timeout=limit)] = stage
                on_event(Event(kind="started", stage=stage))
        if not running:
            continue
        done = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done
        for future, stage in running.items():
            if future not in done:
                on_event(Event(kind="progress", stage=stage, share=cache.progress(stage.key)))
        for future in done:
            stage = running.pop(future)
            result = _outcome(future, stage, limit)
            if result.status != "ok":  # what depends on it fails with the same reason
                result = dataclasses.replace(result, reason=f"{stage.name}: {result.reason}")
            finish(stage, result)


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


def _failure(stage: Stage, status: str, reason: str, trace: str | None = None, seconds: float = 0.0) -> StageResult:
    return StageResult(
        key=stage.key,
        status="timeout" if status == "timeout" else "failed",
        cached=False,
        seconds=seconds,
        peak_mb=0.0,
        device=stage.options["device"],
        reason=reason,
        traceback=trace,
    )


def _outcome(future: Future[StageResult], stage: Stage, limit: float) -> StageResult:
    """A finished future as a result; a full disk or an unwritable cache ends the whole run."""
    try:
        return future.result()
    except StageTimeout:
        return _failure(stage, "timeout", f"killed after its time limit of {limit:g} s", seconds=limit)
    except ProcessExpired as error:
        return _failure(stage, "failed", f"the worker process died ({_death(error.exitcode)})")
    except StorageError:
        raise
    except BaseException as error:  # a failure to send the task or the answer: a row, like every other failure
        return _failure(stage, "failed", f"{type(error).__name__}: {error}", traceback.format_exc())


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"signal {name}" + (", perhaps out of memory" if -code == signal.SIGKILL else "")


# ---- in the worker ---------------------------------------------------------------------------------------------------


def _start_worker(parent: int, threads: int) -> None:
    """Prepare a worker: no Ctrl-C of its own, its share of the cores, and an end when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def execute(stage: Stage, root: Path) -> StageResult:
    """Compute one stage and store its artifact, unless another process stored it meanwhile."""
    from bench import stages
    from bench.provenance import package_versions

    cache = Cache(root)
    started = time.perf_counter()
    _reset_peak()
    try:
        with cache.lock(stage.key):
            try:
                return _cached(stage.key, cache.verify(stage.key))
            except DamagedError:
                started = time.perf_counter()
            artifact = stages.run(stage, cache, _Teller(cache, stage.key))
            seconds, peak = time.perf_counter() - started, _peak_mb()
            about = {
                "kind": stage.kind,
                "name": stage.name,
                "seed": stage.seed,
                "seconds": seconds,
                "peak_mb": peak,
                "device": stage.options["device"],
                "inputs": dict(stage.inputs),
                "versions": package_versions(),
            }
            cache.write(stage.key, artifact, about)
    except StorageError:
        raise
    except DamagedError as error:
        for key in stage.inputs.values():
            _discard_if_damaged(cache, key)
        return _failure(stage, "failed", f"a damaged input was removed; run the same command again: {error}")
    except BaseException as error:  # a plugin's failure is a row, not the end of the run; sys.exit() included
        reason = f"{type(error).__name__}: {error}"
        return _failure(stage, "failed", reason, traceback.format_exc(), time.perf_counter() - started)
    return StageResult(
        key=stage.key, status="ok", cached=False, seconds=seconds, peak_mb=peak, device=stage.options["device"]
    )


class _Teller:
    """Passes on how much of a stage is done, at most every second."""

    def __init__(self, cache: Cache, key: str) -> None:
        self.cache = cache
        self.key = key
        self.last = time.monotonic()

    def __call__(self, share: float) -> None:
        if time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            self.cache.note_progress(self.key, share)


def _discard_if_damaged(cache: Cache, key: str) -> None:
    try:
        cache.verify(key)
    except DamagedError:
        cache.discard(key)


def _reset_peak() -> None:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak of the whole process is reported instead


def _peak_mb() -> float:
    """Peak resident memory of this process since `_reset_peak`, in MB."""
    for line in _STATUS.read_text().splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
