"""Ctrl-C, SIGTERM and SIGHUP: they end every command alike, by a `KeyboardInterrupt`, so that it removes what it has
written in part. While stages run, the first lets them finish, and the second ends the run immediately."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Context manager in which SIGTERM and SIGHUP raise `KeyboardInterrupt`, as Ctrl-C does.

    SIGHUP is ignored if it was ignored before, as it is under ``nohup``. In any thread but the main one, nothing
    changes.
    """
    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)  # type: ignore[arg-type]


class StopNow(KeyboardInterrupt):
    """Raised by the second Ctrl-C: the run ends and writes nothing more."""


class Interruption:
    """A context manager in which the first signal of `SIGNALS` sets ``requested`` and the second raises `StopNow`.

    SIGHUP, which a closed terminal sends, is ignored if it was ignored before, as it is under ``nohup``. Signals can be
    handled in the main thread only; in any other thread ``requested`` stays False.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise StopNow
        self.requested = True
