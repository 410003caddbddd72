"""The state of a worker process that plugins might change for each other; every stage finds it as it should be."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from bench.core.domain import Stage

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def open_log(path: Path) -> None:
    """Everything that is printed from now on, by Python or not, goes into an empty file of this path."""
    log = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    if log > 2:  # a plugin may have closed them
        os.close(log)
    # By the line: what a process printed before it died is what tells why.
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )


class CleanState:
    """What a process is like when it has run no plugin: log, random streams, threads, number format, gradients,
    warnings, folder, environment, signals, limits of the interpreter."""

    def __init__(self, log: Path, threads: int) -> None:
        self.log = log
        self.threads = threads
        self.folder = Path.cwd()
        self.environment = dict(os.environ)
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.recursion = sys.getrecursionlimit()
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    @contextlib.contextmanager
    def restored(self, stage: Stage) -> Iterator[None]:
        """The process as it was, with random streams that are the stage's own."""
        import torch

        open_log(self.log)
        self.restore_process()
        self._restore_signals()
        self._restore_numbers(stage)
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            yield

    def restore_process(self) -> None:
        """The folder, environment and modes of files that are the run's: also before an artifact is written."""
        with contextlib.suppress(OSError):  # the folder may be gone
            os.chdir(self.folder)
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        os.umask(self.umask)
        sys.setrecursionlimit(self.recursion)
        gc.enable()

    def _restore_signals(self) -> None:
        """Signals do what they did; SIGTERM and crashes first write into the log where the process was."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        faulthandler.unregister(signal.SIGTERM)
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        faulthandler.enable(file=2)  # by number: a plugin may have replaced sys.stderr
        faulthandler.register(signal.SIGTERM, file=2, chain=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)

    def _restore_numbers(self, stage: Stage) -> None:
        import numpy as np
        import torch

        random.seed(stage.seed)
        np.random.seed(stage.seed % 2**32)
        np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
        torch.default_generator.manual_seed(stage.seed)
        if stage.options["device"] != "cpu":  # on the CPU, torch would only put the seed aside, again and again
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
        if known != (deterministic, False):  # saying it again takes a second: torch loads its compiler
            torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = False
