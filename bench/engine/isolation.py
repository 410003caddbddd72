"""Isolation of stages that run in the same worker process.

A plugin can change global state, such as random seeds, environment variables or signal handlers. `CleanState` restores
this state before every stage, so that the result of a stage does not depend on the stages that ran before it.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.domain import Stage
from bench.core.errors import StorageError
from bench.core.text import printable, shortened

DISK_LOST = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_LONGEST_NOTE, _MOST_NOTES = 500, 20  # characters of a warning that is kept, and warnings of one stage
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def open_log(path: Path) -> None:
    """Redirect everything that this process prints, from Python or native code, to a new file at ``path``.

    Its folder, and the one above it, are made if they are gone. Raises `StorageError` if the disk is full or gone.
    """
    try:
        for place in (path.parent.parent, path.parent):
            place.mkdir(exist_ok=True)
        log = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in DISK_LOST or error.errno == errno.ENOENT:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
        raise
    for number in (1, 2):
        os.dup2(log, number)
    if log > 2:  # A plugin may have closed standard output or error, and then ``log`` is one of them.
        os.close(log)
    # The streams are flushed after every line, because the last lines before a crash show its cause.
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )


@contextlib.contextmanager
def noticed() -> Iterator[list[str]]:
    """Collect the Python warnings that the body of ``with`` raises about what it computes, each once; they are shown as
    usual, too. Warnings for programmers, such as `DeprecationWarning`, are not collected."""
    found: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(message: Warning | str, category: type[Warning], *more: Any, **extra: Any) -> None:
            text = shortened(printable(" ".join(str(message).split())), _LONGEST_NOTE)
            if issubclass(category, UserWarning | RuntimeWarning) and text not in found and len(found) < _MOST_NOTES:
                found.append(text)
            show(message, category, *more, **extra)

        warnings.showwarning = collect
        yield found


def _current_folder() -> Path:
    """Return the current folder, or the root of the file system if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


class CleanState:
    """The global state of a worker process before it has run any plugin, and how to restore it.

    It covers: log, random streams, number of threads, default number format, gradient modes, warnings, working folder,
    environment, signal handling, and limits of the interpreter.
    """

    def __init__(self, log: Path, threads: int) -> None:
        self.log = log
        self.threads = threads
        self.folder = _current_folder()
        self.environment = dict(os.environ)
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.recursion = sys.getrecursionlimit()
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    @contextlib.contextmanager
    def restored(self, stage: Stage) -> Iterator[None]:
        """Restore the state, seed all random streams with the seed of the stage, and run the body of ``with``."""
        import torch

        open_log(self.log)
        self.restore_process()
        self._restore_signals()
        self._restore_numbers(stage)
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            yield

    def restore_process(self) -> None:
        """Restore folder, environment, file modes and interpreter limits; also called before an artifact is written."""
        with contextlib.suppress(OSError):  # The folder may have been removed.
            os.chdir(self.folder)
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        os.umask(self.umask)
        sys.setrecursionlimit(self.recursion)
        gc.enable()

    def _restore_signals(self) -> None:
        """Restore signal handlers. SIGTERM and crashes additionally write a traceback to the log."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        faulthandler.unregister(signal.SIGTERM)
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        faulthandler.enable(file=2)  # By number, because a plugin may have replaced sys.stderr.
        faulthandler.register(signal.SIGTERM, file=2, chain=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)

    def _restore_numbers(self, stage: Stage) -> None:
        """Restore random streams, number formats, threads and gradient modes of Python, numpy and torch."""
        import numpy as np
        import torch

        random.seed(stage.seed)
        np.random.seed(stage.seed % 2**32)
        np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
        torch.default_generator.manual_seed(stage.seed)
        if stage.options["device"] != "cpu":  # Without a GPU, torch would only store each seed for later.
            torch.cuda.manual_seed_all(stage.seed)
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_float32_matmul_precision("highest")
        torch.set_flush_denormal(False)
        torch.set_grad_enabled(True)
        for device in ("cpu", "cuda"):
            torch.set_autocast_enabled(device, False)
        deterministic = bool(stage.options.get("deterministic"))
        known = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
        if known != (deterministic, False):  # Setting it takes a second: torch loads its compiler.
            torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = False
