"""The local engine: killable worker processes on this machine.

Each slot has one process and one pipe to it, so that it is known which process runs what, and so that the end of one,
whatever its exit code, is noticed at once and touches nobody else.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

from bench.core.domain import Stage
from bench.core.errors import StorageError
from bench.engine.interface import Attempt
from bench.engine.interrupts import StopNow
from bench.engine.scheduler import failure
from bench.engine.worker import Desk, serve
from bench.store.artifacts import Cache, Note

_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_TOP_PAD_": "67108864"}  # glibc
_PATIENCE_S = 5.0  # between SIGTERM and SIGKILL
_MOMENT_S = 1.0  # after which it is told who computes a stage
_START_S = 60.0  # that a worker may take before a stage begins, on top of the stage's own limit
_MEMORY_SHARE = 0.9  # of the machine's memory, where a suite sets no limit
_LOGS = "bench-logs-"  # and the process id of the leader: folders of logs in the temporary folder
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
    """See `bench.engine.interface.Workers`. Every slot has a thread that waits for its process."""

    def __init__(self, cache: Cache, slots: int, threads: int, gpus: tuple[str, ...] = ()) -> None:
        self.slots = slots
        self.cache = cache
        self._threads = threads
        self._gpus = gpus
        self._all: list[_Slot] = []
        self._waiting = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="bench-slot")
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        _sweep()
        own = tempfile.TemporaryDirectory(prefix=f"{_LOGS}{os.getpid()}-", ignore_cleanup_errors=True)
        place = Path(self._contexts.enter_context(own))
        self._contexts.enter_context(_environment(self._threads))
        for i in range(self.slots):
            gpu = self._gpus[i % len(self._gpus)] if self._gpus else None
            self._all.append(_Slot(self.cache, Desk(os.getpid(), self._threads, place / f"{i}.log", gpu)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or not issubclass(kind, StopNow):
                self._dismiss(at_once=kind is not None)
        finally:  # also when it is interrupted
            for slot in self._all:
                slot.kill()
            self._waiting.shutdown()
            self._contexts.close()

    def _dismiss(self, *, at_once: bool) -> None:
        for slot in self._all:
            slot.dismiss(at_once=at_once)
        deadline = time.monotonic() + _PATIENCE_S
        for slot in self._all:
            slot.join(max(0.0, deadline - time.monotonic()))

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Begin an attempt in a free slot."""
        slot = next(s for s in self._all if s.stage is None)
        slot.take(stage, batch)
        return self._waiting.submit(slot.attempt)

    def watch(self) -> None:
        """SIGTERM, then SIGKILL, to what has outgrown its limits."""
        for slot in self._all:
            slot.watch()


class _Slot:
    """One worker process at a time, replaced when it dies. ``stage`` is what it is at, none when it is free."""

    def __init__(self, cache: Cache, desk: Desk) -> None:
        self.cache = cache
        self.desk = desk
        self.stage: Stage | None = None
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.leaving = False
        self.launching = threading.Lock()

    def take(self, stage: Stage, batch: int) -> None:
        """Take a stage, for `attempt`."""
        self.stage, self.batch, self.submitted = stage, batch, time.time()
        self.ending: tuple[Literal["timeout", "memory"], str] | None = None
        self.asked_to_end = 0.0
        self.began: float | None = None  # when its process began to compute, after it had started

    def attempt(self) -> Attempt:
        """Have the stage computed; called in a thread of this slot's own."""
        stage = self.stage
        assert stage is not None
        try:
            return self._attempt(stage)
        finally:
            self.stage = None

    def _attempt(self, stage: Stage) -> Attempt:
        try:
            answer = self._ask(stage)
        except Exception as error:  # a failure to start a process: a row, like every other failure
            return Attempt(result=failure(stage, "failed", f"{type(error).__name__}: {error}", traceback.format_exc()))
        if isinstance(answer, StorageError):
            raise answer
        if answer is None:
            return self._died(stage)
        if answer.result.status == "ok" or answer.again == "busy":
            return answer
        if self.ending is not None:  # it was told to end, and made something else of it
            return self._ended(stage, *self.ending)
        return replace(answer, result=replace(answer.result, log=self.log()))

    def _ask(self, stage: Stage) -> Attempt | StorageError | None:
        """What the process answers; none when it dies before it does."""
        if self.process is None or not self.process.is_alive():
            self._launch()
        process, pipe = self.process, self.pipe
        assert process is not None
        assert pipe is not None
        with contextlib.suppress(EOFError, OSError):
            pipe.send((stage, self.cache.root.absolute(), self.batch))  # a plugin may go elsewhere
            while True:
                while not pipe.poll():
                    if not process.is_alive() and not pipe.poll():
                        return None
                    wait([pipe, process.sentinel], timeout=1.0)  # a child of the process may hold its sentinel
                said: float | Attempt | StorageError = pipe.recv()
                if not isinstance(said, float):
                    return said
                self.began = said
        return None

    def _launch(self) -> None:
        self._bury()
        context = multiprocessing.get_context("spawn")
        with self.launching:
            if self.leaving:
                raise RuntimeError("the run is ending")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=[self.desk, theirs], name="bench-worker")
            self.process.start()
            theirs.close()

    def _bury(self) -> None:
        """End what a dead process left behind."""
        if self.process is not None and self.process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)  # it was the head of a group of its own
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def _died(self, stage: Stage) -> Attempt:
        process = self.process
        assert process is not None
        process.join(_PATIENCE_S)
        if process.is_alive():  # it closed its pipe, and lives on
            process.kill()
            process.join()
        code = _exit_code(process)
        self._bury()
        if self.ending is not None:
            return self._ended(stage, *self.ending)
        result = failure(
            stage, "failed", f"the worker process died ({death(code)})", log=self.log(), seconds=self._seconds()
        )
        return Attempt(result=result, again="lost" if -code in _LOST else None)

    def _ended(self, stage: Stage, why: Literal["timeout", "memory"], reason: str) -> Attempt:
        status = "timeout" if why == "timeout" else "failed"
        result = failure(stage, status, reason, log=self.log(), seconds=self._seconds())
        return Attempt(result=result, again="memory" if why == "memory" else None)

    def _seconds(self) -> float:
        return time.time() - self.submitted

    def watch(self) -> None:
        """End the stage if it has outgrown its limits, and its process if it does not listen."""
        self._shorten_log()
        stage = self.stage
        if stage is None:
            return
        if self.ending is not None:
            if time.monotonic() - self.asked_to_end > _PATIENCE_S:
                self._signal(signal.SIGKILL)
            return
        since = self.submitted + _START_S if self.began is None else self.began
        self._note(stage)
        if time.time() - since > stage.time_limit_s:
            self._ask_to_end("timeout", f"killed after its time limit of {stage.time_limit_s:g} s")
            return
        used, limit = self._memory_mb(), stage.memory_limit_mb or _machine_mb() * _MEMORY_SHARE
        if used > limit:
            reason = f"killed with a batch of {self.batch}: it held {used:.0f} MB, its limit is {limit:.0f}"
            self._ask_to_end("memory", reason)

    def _note(self, stage: Stage) -> None:
        """Say who computes a stage, if that takes longer than a moment."""
        process = self.process
        if self.began is None or time.time() - self.began < _MOMENT_S or process is None:
            return
        if self.cache.progress(stage.key) is None:
            worker = f"{platform.node()}:{process.pid}"
            self.cache.note_progress(stage.key, Note(share=0.0, worker=worker, since=self.began))

    def _ask_to_end(self, why: Literal["timeout", "memory"], reason: str) -> None:
        self.ending, self.asked_to_end = (why, reason), time.monotonic()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is not None and process.pid is not None and process.is_alive():
            with contextlib.suppress(OSError):
                os.kill(process.pid, number)

    def _shorten_log(self) -> None:
        """Whoever prints without end fills no disk. The worker appends, so what it prints next is kept."""
        with contextlib.suppress(OSError):
            size = self.desk.log.stat().st_size
            if size > _LOG_BYTES:
                os.truncate(self.desk.log, 0)
                with self.desk.log.open("a") as file:
                    file.write(f"[... {size} bytes left out ...]\n")

    def _memory_mb(self) -> float:
        """What the process holds to itself: resident memory without mapped files, in MB."""
        process = self.process
        try:
            info = psutil.Process(process.pid).memory_info() if process else None
        except psutil.Error:
            return 0.0
        return (info.rss - getattr(info, "shared", 0)) / 1e6 if info else 0.0

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

    def dismiss(self, *, at_once: bool) -> None:
        """Ask the process to end: now that it has nothing to do, or at once."""
        with self.launching:
            self.leaving = True
        if at_once:
            self._signal(signal.SIGTERM)
        elif self.pipe is not None:
            self.pipe.close()

    def join(self, patience: float) -> None:
        """Wait for the process to end."""
        process = self.process
        if process is not None:
            process.join(patience)

    def kill(self) -> None:
        """End the process, if it still lives, and whatever it has begun."""
        with self.launching:
            self.leaving = True
        process = self.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()


def _exit_code(process: BaseProcess) -> int:
    """The exit code of a process that has ended. Another thread may have fetched it and not yet put it down."""
    deadline = time.monotonic() + _PATIENCE_S
    while (code := process.exitcode) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return 0 if code is None else code


def _sweep() -> None:
    """Remove the logs of runs that were killed before they could."""
    for left in Path(tempfile.gettempdir()).glob(f"{_LOGS}*-*"):
        pid = left.name.removeprefix(_LOGS).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


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
