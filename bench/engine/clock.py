"""The clock of time limits."""

from __future__ import annotations

import threading
import time

_LONGEST_GAP_S = 5.0  # between two readings; they follow each other several times a second


class RunningClock:
    """Returns the seconds for which this process has been running, when it is called.

    Neither a change of the machine's time counts, nor the time for which machine, container or process were suspended:
    a gap between two readings counts as `_LONGEST_GAP_S` at most. So the clock must be read often.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._read_at = time.monotonic()
        self._seconds = 0.0

    def __call__(self) -> float:
        with self._guard:
            now = time.monotonic()
            self._seconds += min(now - self._read_at, _LONGEST_GAP_S)
            self._read_at = now
            return self._seconds
