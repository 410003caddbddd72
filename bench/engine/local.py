"""The local engine: killable worker processes on this machine.

Each slot is a Pebble pool of one process, so that it is known which process runs what, and so that the end of one
touches nobody else.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil
from pebble import ProcessExpired, ProcessPool

from bench.cache import Cache
from bench.engine import Attempt
from bench.engine.interruption import StopNow
from bench.engine.schedule import failure
from bench.engine.worker import Desk, attempt, start
from bench.errors import StorageError
from bench.types import Stage

_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "67108864"}  # glibc
_PATIENCE_S = 5.0  # between SIGTERM and SIGKILL
_START_S = 60.0  # that a worker may take before a stage begins, on top of the stage's own limit
_MEMORY_SHARE = 0.9  # of the machine's memory, where a suite sets no limit
_LOG_BYTES = 8_000_000  # of what a stage prints that are kept on disk while it runs
_LOG_CHARACTERS = 20_000  # of it in the result of a failed stage
_LOST = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}  # what nobody sends to himself


@dataclass
class LocalEngine:
    """``workers`` processes with ``threads`` compute threads each; ``gpus`` are shared out among them."""

    workers: int = field(default_factory=lambda: max(1, os.cpu_count() or 1))
    threads: int = 1
    gpus: tuple[str, ...] = ()
    name = "local"

    def open(self, cache: Cache) -> LocalWorkers:
        """The worker processes of one run; each starts with its first stage."""
        return LocalWorkers(cache, self.workers, self.threads, self.gpus)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them. Asked without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    return tuple(str(i) for i, _ in enumerate(line for line in lines if line.startswith("GPU ")))


class LocalWorkers:
    """See `bench.engine.Workers`."""

    def __init__(self, cache: Cache, slots: int, threads: int, gpus: tuple[str, ...] = ()) -> None:
        self.slots = slots
        self.cache = cache
        self._threads = threads
        self._gpus = gpus
        self._all: list[_Slot] = []
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        place = Path(self._contexts.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self._contexts.enter_context(_environment(self._threads))
        for i in range(self.slots):
            gpu = self._gpus[i % len(self._gpus)] if self._gpus else None
            desk = Desk(os.getpid(), self._threads, place / f"{i}.log", place / f"{i}.pid", gpu)
            self._all.append(_Slot(self.cache, desk))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._signal(signal.SIGKILL if issubclass(kind, StopNow) else signal.SIGTERM)
        for slot in self._all:
            slot.close(at_once=kind is not None)
        self._contexts.close()

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Begin an attempt in a free slot."""
        slot = next(s for s in self._all if s.stage is None)
        return slot.submit(stage, batch)

    def watch(self) -> None:
        """SIGTERM, then SIGKILL, to what has outgrown its limits."""
        for slot in self._all:
            slot.watch()

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._all:
            slot.signal(number)


class _Slot:
    """One worker process at a time, replaced when it dies."""

    def __init__(self, cache: Cache, desk: Desk) -> None:
        self.cache = cache
        self.desk = desk
        self.stage: Stage | None = None
        self.pool = ProcessPool(
            max_workers=1, initializer=start, initargs=[desk], context=multiprocessing.get_context("spawn")
        )

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        self.stage, self.batch, self.submitted = stage, batch, time.time()
        self.ending: tuple[Literal["timeout", "memory"], str] | None = None
        self.asked_to_end = 0.0
        answer: Future[Attempt] = Future()
        task = self.pool.schedule(attempt, args=[stage, self.cache.root, batch])
        task.add_done_callback(functools.partial(self._answer, answer))
        return answer

    def _answer(self, answer: Future[Attempt], task: Future[Attempt]) -> None:
        """The end of a task as an attempt; called in a thread of the pool."""
        stage = self.stage
        assert stage is not None
        try:
            found = self._attempt(stage, task)
        except BaseException as error:
            self.stage = None
            answer.set_exception(error)
        else:
            self.stage = None
            answer.set_result(found)

    def _attempt(self, stage: Stage, task: Future[Attempt]) -> Attempt:
        try:
            found = task.result()
        except StorageError:
            raise
        except ProcessExpired as error:
            return self._died(stage, error.exitcode)
        except BaseException as error:  # a failure to send the task or the answer: a row, like every other failure
            reason = f"{type(error).__name__}: {error}"
            return Attempt(result=failure(stage, "failed", reason, traceback.format_exc(), log=self.log()))
        if found.result.status == "ok" or found.again == "busy":
            return found
        return replace(found, result=replace(found.result, log=self.log()))

    def _died(self, stage: Stage, code: int) -> Attempt:
        seconds = time.time() - self.submitted
        if self.ending is not None:
            why, reason = self.ending
            result = failure(
                stage, "timeout" if why == "timeout" else "failed", reason, log=self.log(), seconds=seconds
            )
            return Attempt(result=result, again="memory" if why == "memory" else None)
        reason = f"the worker process died ({death(code)})"
        result = failure(stage, "failed", reason, log=self.log(), seconds=seconds)
        return Attempt(result=result, again="lost" if -code in _LOST else None)

    def watch(self) -> None:
        """End the stage if it has outgrown its limits, and its process if it does not listen."""
        self._shorten_log()
        stage = self.stage
        if stage is None:
            return
        if self.ending is not None:
            if time.monotonic() - self.asked_to_end > _PATIENCE_S:
                self.signal(signal.SIGKILL)
            return
        note = self.cache.progress(stage.key)
        since = self.submitted + _START_S if note is None else max(note.since, self.submitted)
        if time.time() - since > stage.time_limit_s:
            self._end("timeout", f"killed after its time limit of {stage.time_limit_s:g} s")
            return
        used, limit = self._memory_mb(), stage.memory_limit_mb or _machine_mb() * _MEMORY_SHARE
        if used > limit:
            self._end("memory", f"killed with a batch of {self.batch}: it held {used:.0f} MB, its limit is {limit:.0f}")

    def _end(self, why: Literal["timeout", "memory"], reason: str) -> None:
        self.ending, self.asked_to_end = (why, reason), time.monotonic()
        self.signal(signal.SIGTERM)

    def _shorten_log(self) -> None:
        """Whoever prints without end fills no disk. The worker appends, so what it prints next is kept."""
        with contextlib.suppress(OSError):
            size = self.desk.log.stat().st_size
            if size > _LOG_BYTES:
                os.truncate(self.desk.log, 0)
                with self.desk.log.open("a") as file:
                    file.write(f"[... {size} bytes left out ...]\n")

    def _process(self) -> psutil.Process | None:
        """The process of this slot, if there is one. The number of a dead one may be another's by now."""
        try:
            process = psutil.Process(int(self.desk.pid.read_text()))
            return process if process.ppid() == self.desk.leader else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _memory_mb(self) -> float:
        """What the process holds to itself: resident memory without mapped files, in MB."""
        process = self._process()
        try:
            info = process.memory_info() if process else None
        except psutil.Error:
            return 0.0
        return (info.rss - getattr(info, "shared", 0)) / 1e6 if info else 0.0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process of this slot."""
        process = self._process()
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def log(self) -> str:
        """What the stage printed: the beginning and the end, when it was much."""
        try:
            text = self.desk.log.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError:
            return ""
        if len(text) <= _LOG_CHARACTERS:
            return text
        head, tail = text[: _LOG_CHARACTERS // 10], text[-_LOG_CHARACTERS * 9 // 10 :]
        return f"{head}\n[... {len(text) - len(head) - len(tail)} characters left out ...]\n{tail}"

    def close(self, *, at_once: bool) -> None:
        """End the process."""
        if at_once:
            self.pool.stop()
        else:
            self.pool.close()
        self.pool.join()


def death(code: int) -> str:
    """How a process ended, from its exit code."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"signal {name}" + (", perhaps out of memory" if -code == signal.SIGKILL else "")


@functools.cache
def _machine_mb() -> float:
    """The memory of this machine, or of the container that it is, in MB."""
    total = float(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):  # no limit, or no cgroups
        total = min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / 1e6


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
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
