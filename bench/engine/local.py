"""The local engine: worker processes on this machine that can be killed.

Each slot has one process and one pipe. So it is always known which process computes which stage, and when a process
ends, with whatever exit code, this is noticed at once and does not affect the other slots.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

from bench.core.domain import Stage
from bench.core.errors import StorageError, error_text
from bench.core.processes import SAFE_PATH, lines_of, start_child
from bench.engine.clock import RunningClock
from bench.engine.interface import Attempt
from bench.engine.interrupts import StopNow
from bench.engine.scheduler import failure
from bench.engine.worker import WorkerSetup, serve
from bench.store.active_runs import log_folder
from bench.store.artifacts import Cache, Note

# Settings of glibc's allocator with which a process keeps freed memory.
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "67108864"}
_TERMINATION_S = 5.0  # between SIGTERM and SIGKILL
_FIRST_NOTE_S = 1.0  # of computation after which the worker of a stage is recorded
_START_S = 60.0  # that a worker process may take to start, in addition to the time limit of its stage
_MEMORY_SHARE = 0.9  # of the machine's memory: the limit of a stage if the suite sets none
_LOG_BYTES = 8_000_000  # the largest log of a running stage; a larger one is truncated
_LOG_CHARACTERS = 20_000  # the largest part of a log that is kept in the result of a failed stage
_TEMPLATE = "bench.engine.worker_template"  # the module of the process from which workers are forked
# Exit codes of a process that was ended from outside: by a signal, or with the process that forked it, in which case
# `multiprocessing` returns 255.
_ENDED_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, 255}


@dataclass
class LocalEngine:
    """Run stages in ``workers`` processes with ``threads`` compute threads each, which share the ``gpus``."""

    workers: int = field(default_factory=lambda: max(1, os.cpu_count() or 1))
    threads: int = 1
    gpus: tuple[str, ...] = ()
    name = "local"

    def open(self, cache: Cache, logs: Path | None = None) -> LocalWorkers:
        """Return the workers of one run. A worker process is started when its slot gets its first stage."""
        return LocalWorkers(cache, self.workers, self.threads, self.gpus, logs)


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them. torch is not imported."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    lines = lines_of([tool, "-L"], 20) or []
    return tuple(str(i) for i, _ in enumerate(line for line in lines if line.startswith("GPU ")))


class LocalWorkers:
    """The worker processes of one run (see `bench.engine.interface.Workers`).

    A thread per slot waits for the process of the slot.
    """

    def __init__(
        self, cache: Cache, slots: int, threads: int, gpus: tuple[str, ...] = (), logs: Path | None = None
    ) -> None:
        self.slots = slots
        self._logs = logs
        self.cache = cache
        self._threads = threads
        self._gpus = gpus
        self._clock = RunningClock()
        self._slots: list[_Slot] = []
        self._waiters = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="bench-slot")
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        logs = self._contexts.enter_context(log_folder(self.cache, self._logs)).absolute()
        self._contexts.enter_context(_environment(self._threads))
        for i in range(self.slots):
            gpu = self._gpus[i % len(self._gpus)] if self._gpus else None
            self._slots.append(_Slot(self.cache, WorkerSetup(self._threads, logs / f"{i}.log", gpu), self._clock))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or not issubclass(kind, StopNow):
                self._dismiss(at_once=kind is not None)
        finally:  # This must happen even if Ctrl-C interrupts the lines above.
            for slot in self._slots:
                slot.kill()
            self._waiters.shutdown()
            self._contexts.close()

    def _dismiss(self, *, at_once: bool) -> None:
        """Ask all processes to end, and wait for them up to `_TERMINATION_S`."""
        for slot in self._slots:
            slot.dismiss(at_once=at_once)
        deadline = time.monotonic() + _TERMINATION_S
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Start an attempt in a free slot."""
        slot = next(s for s in self._slots if s.stage is None)
        slot.take(stage, batch)
        return self._waiters.submit(slot.attempt)

    def watch(self) -> None:
        """End stages that exceed their limits: SIGTERM first, then SIGKILL."""
        self._clock()
        for slot in self._slots:
            slot.watch()


class _Slot:
    """A place for one worker process, which is replaced when it dies.

    ``stage`` is the stage that it computes, None if the slot is free.
    """

    def __init__(self, cache: Cache, setup: WorkerSetup, clock: RunningClock | None = None) -> None:
        self.cache = cache
        self.setup = setup
        self.clock = clock or RunningClock()
        self.stage: Stage | None = None
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.closing = False
        self.launching = threading.Lock()

    def take(self, stage: Stage, batch: int) -> None:
        """Reserve the slot for a stage, which `attempt` then computes."""
        self.stage, self.batch, self.submitted = stage, batch, self.clock()
        self.ending: tuple[Literal["timeout", "memory"], str] | None = None
        self.ending_since = 0.0
        self.began: float | None = None  # when the computation began, after the process had started

    def attempt(self) -> Attempt:
        """Compute the stage in the process of this slot and return the result; called in a thread of the slot."""
        stage = self.stage
        assert stage is not None
        try:
            return self._attempt(stage)
        finally:
            self.stage = None

    def _attempt(self, stage: Stage) -> Attempt:
        try:
            reply = self._exchange(stage)
        except (EOFError, ConnectionError) as error:  # The process that forks workers was killed; it is started anew.
            reason = f"the worker process could not be started ({error_text(error)})"
            return Attempt(result=failure(stage, "failed", reason, traceback.format_exc()), again="lost")
        except Exception as error:  # A process that cannot be started fails the stage, as any other failure does.
            return Attempt(result=failure(stage, "failed", error_text(error), traceback.format_exc()))
        if isinstance(reply, StorageError):
            raise reply
        if reply is None:
            return self._died(stage)
        if reply.result.status == "ok" or reply.again == "busy":
            return reply
        if self.ending is not None:  # The plugin has turned the SIGTERM into an error of its own.
            return self._ended(stage, *self.ending)
        return replace(reply, result=replace(reply.result, log=self.log()))

    def _exchange(self, stage: Stage) -> Attempt | StorageError | None:
        """Send the stage to the process and return its reply; None if the process dies before it replies."""
        if self.process is None or not self.process.is_alive():
            self._launch()
        process, pipe = self.process, self.pipe
        assert process is not None
        assert pipe is not None
        with contextlib.suppress(EOFError, OSError):
            pipe.send((stage, self.cache.root.absolute(), self.batch))  # absolute, since a plugin may change the folder
            while True:
                while not pipe.poll():
                    if not process.is_alive() and not pipe.poll():
                        return None
                    wait([pipe, process.sentinel], timeout=1.0)  # A child process may keep the sentinel open.
                message: str | Attempt | StorageError = pipe.recv()
                if not isinstance(message, str):
                    return message
                self.began = self.clock()
        return None

    def _launch(self) -> None:
        """Start a new worker process."""
        self._clean_up()
        with self.launching:
            if self.closing:
                raise RuntimeError("the run is ending")
            environment = {name: value for name, value in os.environ.items() if (name, value) != SAFE_PATH}
            self.pipe, worker_end = Pipe()
            with worker_end:
                self.process = start_child(serve, [self.setup, environment, worker_end], "bench-worker", _TEMPLATE)

    def _clean_up(self) -> None:
        """End the child processes of a dead worker process and close its pipe."""
        if self.process is not None and self.process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)  # The worker was the leader of its own process group.
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def _died(self, stage: Stage) -> Attempt:
        """Return the attempt of a process that died or closed its pipe before it replied."""
        process = self.process
        assert process is not None
        process.join(_TERMINATION_S)
        if process.is_alive():  # It has closed its pipe, but has not ended.
            process.kill()
            process.join()
        code = _exit_code(process)
        self._clean_up()
        if self.ending is not None:
            return self._ended(stage, *self.ending)
        result = failure(
            stage, "failed", f"the worker process died ({describe_exit(code)})", log=self.log(), seconds=self._seconds()
        )
        return Attempt(result=result, again="lost" if code in _ENDED_FROM_OUTSIDE else None)

    def _ended(self, stage: Stage, why: Literal["timeout", "memory"], reason: str) -> Attempt:
        """Return the attempt of a stage that was ended because it exceeded a limit."""
        status = "timeout" if why == "timeout" else "failed"
        result = failure(stage, status, reason, log=self.log(), seconds=self._seconds())
        return Attempt(result=result, again="memory" if why == "memory" else None)

    def _seconds(self) -> float:
        """Return the seconds since the stage was submitted."""
        return self.clock() - self.submitted

    def watch(self) -> None:
        """Send SIGTERM to the process if its stage exceeds a limit, and SIGKILL if it does not end in time."""
        self._shorten_log()
        stage = self.stage
        if stage is None:
            return
        if self.ending is not None:
            if time.monotonic() - self.ending_since > _TERMINATION_S:
                self._signal(signal.SIGKILL)
            return
        since = self.submitted + _START_S if self.began is None else self.began
        self._note_worker(stage)
        if self.clock() - since > stage.time_limit_s:
            self._terminate("timeout", f"killed after its time limit of {stage.time_limit_s:g} s")
            return
        used, limit = self._memory_mb(), stage.memory_limit_mb or _total_memory_mb() * _MEMORY_SHARE
        if used > limit:
            reason = f"killed with a batch of {self.batch}: it held {used:.0f} MB, its limit is {limit:.0f}"
            self._terminate("memory", reason)

    def _note_worker(self, stage: Stage) -> None:
        """Record in the cache which process computes the stage, once it has done so for `_FIRST_NOTE_S`."""
        process = self.process
        if self.began is None or process is None:
            return
        seconds = self.clock() - self.began
        if seconds < _FIRST_NOTE_S:
            return
        if self.cache.progress(stage.key) is None:
            worker = f"{platform.node()}:{process.pid}"
            self.cache.note_progress(stage.key, Note(share=0.0, worker=worker, since=time.time() - seconds))

    def _terminate(self, why: Literal["timeout", "memory"], reason: str) -> None:
        """Send SIGTERM to the process and remember why."""
        self.ending, self.ending_since = (why, reason), time.monotonic()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is alive."""
        process = self.process
        if process is not None and process.pid is not None and process.is_alive():
            with contextlib.suppress(OSError):
                os.kill(process.pid, number)

    def _shorten_log(self) -> None:
        """Truncate a log that is too large, so that it cannot fill the disk. The worker continues to append to it."""
        with contextlib.suppress(OSError):
            size = self.setup.log.stat().st_size
            if size > _LOG_BYTES:
                os.truncate(self.setup.log, 0)
                with self.setup.log.open("a", encoding="utf-8") as file:
                    file.write(f"[... {size} bytes left out ...]\n")

    def _memory_mb(self) -> float:
        """Return the private memory of the process, that is resident memory without shared memory, in MB."""
        process = self.process
        try:
            info = psutil.Process(process.pid).memory_info() if process else None
        except psutil.Error:
            return 0.0
        return (info.rss - getattr(info, "shared", 0)) / 1e6 if info else 0.0

    def log(self) -> str:
        """Return what the stage has printed; of a long text only the beginning and the end."""
        try:
            text = self.setup.log.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError:
            return ""
        if len(text) <= _LOG_CHARACTERS:
            return text
        head, tail = text[: _LOG_CHARACTERS // 10], text[-_LOG_CHARACTERS * 9 // 10 :]
        return f"{head}\n[... {len(text) - len(head) - len(tail)} characters left out ...]\n{tail}"

    def dismiss(self, *, at_once: bool) -> None:
        """Let the process end: after its current stage by closing the pipe, or ``at_once`` by SIGTERM."""
        with self.launching:
            self.closing = True
        if at_once:
            self._signal(signal.SIGTERM)
        elif self.pipe is not None:
            self.pipe.close()

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the process to end."""
        process = self.process
        if process is not None:
            process.join(timeout)

    def kill(self) -> None:
        """Kill the process and all processes that it has started."""
        with self.launching:
            self.closing = True
        process = self.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join(_TERMINATION_S)


def _exit_code(process: BaseProcess) -> int:
    """Return the exit code of a process that has ended.

    Another thread may have fetched it from the system just now and not have stored it yet; then wait for that.
    """
    deadline = time.monotonic() + _TERMINATION_S
    while (code := process.exitcode) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return 0 if code is None else code


def describe_exit(code: int) -> str:
    """Describe how a process ended, from its exit code, which is negative for a signal."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"signal {name}" + (", perhaps out of memory" if -code == signal.SIGKILL else "")


@functools.cache
def _total_memory_mb() -> float:
    """Return the memory of this machine, or the limit of its container, in MB."""
    total = float(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):  # There is no limit, or there are no cgroups.
        total = min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / 1e6


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Context manager that sets the environment variables that worker processes inherit.

    Python does not import from the current folder, in which a file may have the name of a module (`SAFE_PATH`).
    The number of threads of the matrix libraries is limited, because the workers would otherwise compete for all cores.
    The allocator keeps the memory of large tensors, because a fifth of the time would otherwise be spent on requesting
    it from the system again.
    """
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    for name, value in (*_MALLOC.items(), SAFE_PATH):
        wanted[name] = os.environ.get(name) or value
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
