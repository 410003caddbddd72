"""The code of a worker process: it makes attempts at stages, one after the other, in a clean state each time.

Everything that a plugin prints goes into the log of the worker, as does the traceback of a process that is killed or
crashes. The process that leads the worker reads this log when a stage has failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from bench.core.domain import Stage, StageResult
from bench.core.errors import StorageError, error_text
from bench.engine.interface import Attempt
from bench.engine.isolation import DISK_LOST, CleanState, noticed, open_log
from bench.engine.scheduler import cached_result, client_cost, failure
from bench.store.artifacts import Cache, DamagedError, Note

if TYPE_CHECKING:
    from bench.store.artifacts import Artifact

_CLEAR_REFS = Path("/proc/self/clear_refs")  # writing 5 resets this process's peak memory (Linux)
_STATUS = Path("/proc/self/status")
_PR_SET_PDEATHSIG = 1
BEGUN = "begun"  # what a worker sends when the computation of a stage begins


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process is started with.

    - ``threads``: the number of compute threads
    - ``log``: the file for everything that it prints
    - ``gpu``: the GPU that it uses, as in ``CUDA_VISIBLE_DEVICES``; None to leave that variable unchanged
    """

    threads: int
    log: Path
    gpu: str | None = None


_state: CleanState | None = None  # None unless this process is a worker


def worker_name() -> str:
    """Return the name of this process in records: that of the machine, and the id of the process."""
    return f"{platform.node()}:{os.getpid()}"


def serve(setup: WorkerSetup, environment: Mapping[str, str], pipe: Connection) -> None:
    """Run a worker process: compute the stages that arrive through the pipe, until the pipe is closed.

    ``environment`` are the environment variables of the process that leads it.

    For each stage two messages are sent back: `BEGUN` when its computation begins (unless its artifact exists already),
    and then the `Attempt`, or the `StorageError` that prevented it.
    """
    os.environ.clear()
    os.environ.update(environment)
    start(setup)
    with contextlib.suppress(EOFError, OSError):
        while True:
            stage, root, batch = pipe.recv()
            try:
                pipe.send(attempt(stage, root, batch, lambda: pipe.send(BEGUN)))
            except StorageError as error:
                pipe.send(error)
    os._exit(0)  # An ordinary exit would spend a second on shutting torch down.


def start(setup: WorkerSetup) -> None:
    """Prepare a worker process.

    It gets a process group, a log and a GPU of its own, ignores Ctrl-C, and ends when the process that leads it ends.
    """
    global _state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)  # With its own group, all processes that a plugin starts can be ended.
    _die_with_parent()
    os.register_at_fork(after_in_child=_die_with_parent)
    threading.Thread(target=_end_with_leader, daemon=True).start()
    with contextlib.suppress(StorageError):  # It is opened again for each stage, which then reports the error.
        open_log(setup.log)
    if setup.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.gpu
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS for deterministic = true
    _state = CleanState(setup.log, setup.threads)


def _die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, even while no Python code can run (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_leader() -> None:
    """End this process when the process that leads it has ended."""
    leader = multiprocessing.parent_process()
    assert leader is not None
    leader.join()
    os._exit(1)


def attempt(stage: Stage, root: Path, batch: int, on_begin: Callable[[], None] = lambda: None) -> Attempt:
    """Compute one stage with this batch size and store its artifact in the cache at ``root``.

    Nothing is computed if the artifact exists, or if another process is computing it; otherwise ``on_begin`` is called
    first. Raises `StorageError` if the cache is lost or full. Errors of the stage itself are part of the returned
    `Attempt`.
    """
    cache = Cache(root)
    if not root.is_dir():
        raise StorageError(
            f"{root}: the folder is gone (a lost network folder?); the same command continues from there"
        )
    try:
        with cache.lock(stage.key).acquire(timeout=0):
            return _attempt(stage, cache, batch, on_begin)
    except Timeout:
        return Attempt(result=failure(stage, "failed", "another run computes it"), again="busy", worker=worker_name())
    except OSError as error:
        if error.errno in DISK_LOST:
            raise StorageError(f"{root}: {error.strerror}; the same command continues from there") from None
        raise


def _attempt(stage: Stage, cache: Cache, batch: int, on_begin: Callable[[], None]) -> Attempt:
    """Make the attempt while the lock of the stage is held."""
    with contextlib.suppress(DamagedError):
        return Attempt(result=cached_result(stage.key, cache.verify(stage.key)), worker=worker_name())
    started = time.perf_counter()
    try:
        with _state.restored(stage) if _state is not None else contextlib.nullcontext():
            _import_everything()
            on_begin()
            return Attempt(result=compute_stage(stage, cache, batch), worker=worker_name())
    except StorageError:
        raise
    except DamagedError as error:
        for role, key in stage.inputs.items():
            _discard_if_damaged(cache, role, key)
        result = failure(stage, "failed", f"a damaged input; run the same command again: {error}")
        return Attempt(result=result, again="damaged", worker=worker_name())
    except BaseException as error:  # Whatever a plugin raises, sys.exit() included, fails only its stage.
        out_of_memory = _is_out_of_memory(error)
        reason = error_text(error)
        if out_of_memory:
            reason = f"out of memory with a batch of {batch}: {reason}"
        result = failure(stage, "failed", reason, traceback.format_exc(), seconds=time.perf_counter() - started)
    if out_of_memory:  # Only here: within "except", the traceback keeps the arrays of the plugin alive.
        _free_memory()
    return Attempt(result=result, again="memory" if out_of_memory else None, worker=worker_name())


def _import_everything() -> None:
    """Import torch and the plugins, so that the time limit of the first stage of a process does not include the
    seconds that these imports take."""
    from bench.registry.discovery import discover
    from bench.stages import compute  # noqa: F401

    discover()


def compute_stage(stage: Stage, cache: Cache, batch: int) -> StageResult:
    """Compute a stage with this batch size, store its artifact and return its result. Errors are not caught."""
    from bench.core.provenance import package_versions
    from bench.stages import compute, undeclared

    started = time.perf_counter()
    undeclared.take_read()  # An attempt that failed may have left some.
    _reset_peak()
    planned = stage.options["batch"]
    smaller = None if batch == planned else batch
    attempted = replace(stage, options={**stage.options, "batch": batch})
    with noticed() as notes:
        made: Artifact = compute.run(attempted, cache, _ProgressReporter(cache, stage.key))
    seconds, peak = time.perf_counter() - started, _peak_mb()
    if _state is not None:
        _state.restore_process()
    manifest = {
        "kind": stage.kind,
        "name": stage.name,
        "seed": stage.seed,
        "seconds": seconds,
        "peak_mb": peak,
        "device": stage.options["device"],
        "batch": smaller,
        "inputs": dict(stage.inputs),
        "versions": package_versions(),
        "notes": notes,
        "reads": {**_read_before(stage, cache), **undeclared.take_read()},
    }
    cache.write(stage.key, made, manifest)
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


def _read_before(stage: Stage, cache: Cache) -> dict[str, str]:
    """Return the files, with their sha256, that plugins read without declaring them for the inputs of a stage."""
    manifests = [cache.manifest(key) or {} for key in stage.inputs.values()]
    return {path: digest for manifest in manifests for path, digest in manifest.get("reads", {}).items()}


def _is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that the memory of the machine or of the GPU ran out."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)  # raised by torch on the CPU


def _free_memory() -> None:
    """Release the memory that a failed stage may still occupy."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # has no effect without a GPU


class _ProgressReporter:
    """A function that stores the progress of a stage in the cache, at most once a second."""

    def __init__(self, cache: Cache, key: str) -> None:
        self.cache = cache
        self.key = key
        self.since = time.time()
        self.last = time.monotonic()

    def __call__(self, share: float) -> None:
        if time.monotonic() - self.last > 1.0:
            self.last = time.monotonic()
            self.cache.note_progress(self.key, Note(share=share, worker=worker_name(), since=self.since))


def _discard_if_damaged(cache: Cache, role: str, key: str) -> None:
    """Remove the artifact that is the input ``role`` of a stage if it is damaged or of another form. It is not if
    another process has replaced it in the meantime."""
    from bench.store.artifact_forms import read_input

    try:
        cache.verify(key)
        read_input(cache, role, key)
    except DamagedError:
        cache.discard(key)


def _reset_peak() -> None:
    """Reset the peak memory of this process, if the system allows it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # Not Linux, or not allowed: `_peak_mb` then covers the whole life of the process.


def _peak_mb() -> float:
    """Return the peak resident memory of this process since `_reset_peak`, in MB."""
    for line in _STATUS.read_text().splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
