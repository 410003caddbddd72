"""When a simulated share misses a bar: by more than the noise of the simulation. The table of such shares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Scene(Protocol):
    """What is simulated: in words, and whether its share of alarms has a bar."""

    @property
    def label(self) -> str:
        """The scene in words."""

    @property
    def barred(self) -> bool:
        """Whether its share of alarms has a bar."""


AnyScene = TypeVar("AnyScene", bound=Scene)

_NOISE = 2.6  # Standard errors of a simulated share by which it may miss a bar.


def _noise(bar: float, runs: int) -> float:
    return _NOISE * (bar * (1 - bar) / runs) ** 0.5


def too_low(share: float, runs: int, bar: float) -> bool:
    """Return True if a share of ``runs`` simulated runs is below a bar by more than the noise of the simulation."""
    return share < bar - _noise(bar, runs)


def too_many(share: float, runs: int, bar: float) -> bool:
    """Return True if a share of ``runs`` simulated runs is above a bar by more than the noise of the simulation."""
    return share > bar + _noise(bar, runs)


def alarm_table(
    scenes: Sequence[AnyScene],
    sizes: Sequence[int],
    unit: str,
    share: Callable[[AnyScene, int], float],
    *,
    runs: int,
    bar: float,
) -> tuple[list[str], bool]:
    """Return the lines of a table of the shares of ``runs`` that raise an alarm, a column for each number of ``unit``,
    and whether every share with a bar meets it. A miss is marked; each line goes to stderr as soon as it is known."""
    lines = [f"{'':<72}" + "".join(f"{n:>7}" for n in sizes) + f"  {unit}"]
    met = True
    for scene in scenes:
        shares = [share(scene, n) for n in sizes]
        wrong = [scene.barred and too_many(each, runs, bar) for each in shares]
        met = met and not any(wrong)
        label = scene.label + (f" (bar {100 * bar:.0f})" if scene.barred else "")
        marked = (f"{100 * each:>6.1f}{'!' if miss else ' '}" for each, miss in zip(shares, wrong, strict=True))
        lines.append(f"{label:<72}" + "".join(marked))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines, met
