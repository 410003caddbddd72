"""The clock of time limits."""

from __future__ import annotations

import threading
import time

_USUAL_GAP_S = 0.25  # between two readings
_LONGEST_GAP_S = 5.0  # between two readings of a process that was not suspended


class RunningClock:
    """Returns the seconds for which this process has been running, when it is called.

    Neither a change of the machine's time counts, nor the time for which machine, container or process were suspended:
    a gap between two readings of more than `_LONGEST_GAP_S` counts as a usual one. So the clock must be read often.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._read_at = time.monotonic()
        self._seconds = 0.0

    def __call__(self) -> float:
        with self._guard:
            now = time.monotonic()
            gap, self._read_at = now - self._read_at, now
            self._seconds += gap if gap <= _LONGEST_GAP_S else _USUAL_GAP_S
            return self._seconds
