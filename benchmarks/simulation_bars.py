"""When a simulated share misses a bar: by more than the noise of the simulation."""

from __future__ import annotations

_NOISE = 2.6  # Standard errors of a simulated share by which it may miss a bar.


def _noise(bar: float, runs: int) -> float:
    return _NOISE * (bar * (1 - bar) / runs) ** 0.5


def too_low(share: float, runs: int, bar: float) -> bool:
    """Return True if a share of ``runs`` simulated runs is below a bar by more than the noise of the simulation."""
    return share < bar - _noise(bar, runs)


def too_many(share: float, runs: int, bar: float) -> bool:
    """Return True if a share of ``runs`` simulated runs is above a bar by more than the noise of the simulation."""
    return share > bar + _noise(bar, runs)
