"""What happens in a worker process: one attempt at one stage, with nothing left behind for the next one.

What a plugin prints goes into the log of its worker, and so does the traceback of a process that is killed or crashes;
whoever leads the worker reads it when the stage has failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from bench.core.domain import Stage, StageResult
from bench.core.errors import StorageError, in_words
from bench.engine.interface import Attempt
from bench.engine.isolation import CleanState, open_log
from bench.engine.scheduler import cached_result, client_cost, failure
from bench.store.artifacts import Cache, DamagedError, Note

if TYPE_CHECKING:
    from bench.store.artifacts import Artifact

_CLEAR_REFS = Path("/proc/self/clear_refs")  # writing 5 resets this process's peak memory (Linux)
_STATUS = Path("/proc/self/status")
_PR_SET_PDEATHSIG = 1
_GONE = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
WHO = f"{platform.node()}:{os.getpid()}"


@dataclass(frozen=True)
class Desk:
    """Where a worker works: its leader's process, its compute threads, the file of its log, and the GPU that it has to
    itself (as in ``CUDA_VISIBLE_DEVICES``; none: those of the machine, or no GPU)."""

    leader: int
    threads: int
    log: Path
    gpu: str | None = None


_state: CleanState | None = None  # of a worker process


def serve(desk: Desk, pipe: Connection) -> None:
    """The life of a worker process: stages come through the pipe; the time at which one is begun, and how the attempt
    ended, go back; until the pipe is closed."""
    start(desk)
    with contextlib.suppress(EOFError, OSError):
        while True:
            stage, root, batch = pipe.recv()
            try:
                pipe.send(attempt(stage, root, batch, lambda: pipe.send(time.time())))
            except StorageError as error:
                pipe.send(error)
    os._exit(0)  # without taking torch down, which takes a second


def start(desk: Desk) -> None:
    """Prepare a worker process: a group of its own, its log, its GPU, no Ctrl-C, and an end when its leader is gone."""
    global _state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # what a plugin starts can be ended together
    _die_with_parent()
    os.register_at_fork(after_in_child=_die_with_parent)
    threading.Thread(target=_watch_leader, args=[desk.leader], daemon=True).start()
    open_log(desk.log)
    if desk.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = desk.gpu
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic = true needs of cuBLAS
    _state = CleanState(desk.log, desk.threads)


def _die_with_parent() -> None:
    """The kernel kills this process when the one that started it dies, even while no Python can run (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_leader(leader: int) -> None:
    while os.getppid() == leader:
        time.sleep(1)
    os._exit(1)


def attempt(stage: Stage, root: Path, batch: int, on_begin: Callable[[], None] = lambda: None) -> Attempt:
    """Compute one stage with this batch and store its artifact, unless it is there or another process is at it;
    ``on_begin`` is called when neither is the case."""
    cache = Cache(root)
    if not root.is_dir():
        raise StorageError(f"{root}: the folder is gone (a lost network folder?); the same command goes on from there")
    try:
        with cache.lock(stage.key).acquire(timeout=0):
            return _attempt(stage, cache, batch, on_begin)
    except Timeout:
        return Attempt(result=failure(stage, "failed", "another run computes it"), again="busy", worker=WHO)
    except OSError as error:
        if error.errno in _GONE:
            raise StorageError(f"{root}: {error.strerror}; the same command goes on from there") from None
        raise


def _attempt(stage: Stage, cache: Cache, batch: int, on_begin: Callable[[], None]) -> Attempt:
    with contextlib.suppress(DamagedError):
        return Attempt(result=cached_result(stage.key, cache.verify(stage.key)), worker=WHO)
    on_begin()
    started = time.perf_counter()
    try:
        with _state.restored(stage) if _state is not None else contextlib.nullcontext():
            return Attempt(result=_compute(stage, cache, batch), worker=WHO)
    except StorageError:
        raise
    except DamagedError as error:
        gone = [key for key in stage.inputs.values() if _discard_if_damaged(cache, key)]
        result = failure(stage, "failed", f"a damaged input was removed; run the same command again: {error}")
        return Attempt(result=result, again="damaged" if gone else None, worker=WHO)
    except BaseException as error:  # a plugin's failure is a row, not the end of the run; sys.exit() included
        out_of_memory = _is_out_of_memory(error)
        reason = in_words(error)
        if out_of_memory:
            reason = f"out of memory with a batch of {batch}: {reason}"
        result = failure(stage, "failed", reason, traceback.format_exc(), seconds=time.perf_counter() - started)
    if out_of_memory:  # here, where no frame of the plugin is held any more
        _free_memory()
    return Attempt(result=result, again="memory" if out_of_memory else None, worker=WHO)


def _compute(stage: Stage, cache: Cache, batch: int) -> StageResult:
    from bench.core.provenance import package_versions
    from bench.stages import compute

    started = time.perf_counter()
    _reset_peak()
    planned = stage.options["batch"]
    smaller = None if batch == planned else batch
    made: Artifact = compute.run(
        replace(stage, options={**stage.options, "batch": batch}), cache, _Teller(cache, stage.key)
    )
    seconds, peak = time.perf_counter() - started, _peak_mb()
    if _state is not None:
        _state.restore_process()
    about = {
        "kind": stage.kind,
        "name": stage.name,
        "seed": stage.seed,
        "seconds": seconds,
        "peak_mb": peak,
        "device": stage.options["device"],
        "batch": smaller,
        "inputs": dict(stage.inputs),
        "versions": package_versions(),
    }
    cache.write(stage.key, made, about)
    return StageResult(
        key=stage.key,
        status="ok",
        cached=False,
        seconds=seconds,
        peak_mb=peak,
        device=stage.options["device"],
        batch=smaller,
        **client_cost(made.facts),
    )


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)  # torch's allocator on the CPU


def _free_memory() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # nothing, where there is no GPU


class _Teller:
    """Says how much of a stage is done, at most every second."""

    def __init__(self, cache: Cache, key: str) -> None:
        self.cache = cache
        self.key = key
        self.since = time.time()
        self.last = time.monotonic()

    def __call__(self, share: float) -> None:
        if time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            self.cache.note_progress(self.key, Note(share=share, worker=WHO, since=self.since))


def _discard_if_damaged(cache: Cache, key: str) -> bool:
    try:
        cache.verify(key)
    except DamagedError:
        cache.discard(key)
        return True
    return False


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
