"""Measure how often a run calls groups of people exposed although no group differs, how often it finds one that does,
and how often the interval of a gap contains the true gap. A section of ``make statistics``.

A run has three defenses, and four groups: the tenth told apart best, which differs a little between two judges, two
that divide all people, and a third of them. People leak at rates of their own, have one to three pictures each, and are
judged twice, so that their scores are correlated over pictures, judges and defenses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from simulation_bars import too_low, too_many

from bench.analysis.chance_tests import LEVEL
from bench.analysis.group_scores import newcombe
from bench.analysis.pooling import Pool, SampleScores, mean
from bench.analysis.shuffle_tests import GroupGap, ShuffleTest, group_gaps, paired

PEOPLE = (30, 100, 300)
SCALES = (0.02, 0.4, 0.9)  # The largest rate at which people leak to the three defenses.
EFFECTS = (0.1, 0.2, 0.4)  # by which the tenth told apart best leaks more
RATES = ((0.02, 0.02), (0.5, 0.2), (0.95, 0.5))  # of the tenth and of the rest
COVERAGE = 0.93
_WEAK = 8  # attacks that are compared with a stronger one


def family(rng: np.random.Generator, people: int, effect: float = 0.0) -> list[GroupGap]:
    """Return the gaps of a run, four for each defense; the first group leaks more by ``effect``."""
    person, tenth = rng.beta(0.5, 1, people), max(2, people // 10)
    exposed = np.zeros((2, people), np.int64)
    exposed[0, :tenth], exposed[1, tenth // 5 : tenth + tenth // 5] = 1, 1
    half, third = rng.integers(0, 2, people), (rng.integers(0, 3, people) == 0).astype(np.int64)
    groups = [exposed, *(np.tile(group, (2, 1)) for group in (half, 1 - half, third))]
    made = []
    for scale in SCALES:
        counts = np.tile(rng.integers(1, 4, people), (2, 1))
        sums = rng.binomial(counts, np.clip(person * scale + effect * exposed, 0, 1)).astype(np.float64)
        made += [GroupGap(sums=sums, counts=counts.astype(np.float64), member=member) for member in groups]
    return made


def one_run(rng: np.random.Generator, people: int, effect: float = 0.0) -> list[ShuffleTest]:
    """Return the tests of all gaps of one run."""
    return group_gaps(np.zeros(people, np.int64), family(rng, people, effect))


def alarms(people: int, repeats: int, seed: int = 0) -> float:
    """Return the share of runs without a gap in which some group is called exposed."""
    rng = np.random.default_rng([seed, people])
    return sum(any(test.significant for test in one_run(rng, people)) for _ in range(repeats)) / repeats


def found(people: int, effect: float, repeats: int, seed: int = 0) -> float:
    """Return the share of runs in which the tenth is called exposed under the second defense."""
    rng = np.random.default_rng([seed, people, round(100 * effect)])
    return sum(one_run(rng, people, effect)[4].significant for _ in range(repeats)) / repeats


def overtaken(people: int, repeats: int, seed: int = 0) -> float:
    """Return the share of runs in which a weaker attack is said to leak more than a stronger one that equals it."""
    rng, wrong = np.random.default_rng([seed, people, 1]), 0
    for _ in range(repeats):
        rate = rng.beta(0.3, 3, people)
        pools = [_pool(rng.random(people) < rate) for _ in range(_WEAK + 1)]
        wrong += any(test.significant for test in paired([(weak, pools[-1]) for weak in pools[:-1]]))
    return wrong / repeats


def covered(people: int, rates: tuple[float, float], repeats: int, seed: int = 0) -> float:
    """Return the share of intervals of a gap between a tenth and the rest that contain the true gap."""
    rng, inside, right = np.random.default_rng([seed, people, 2]), max(5, people // 10), 0
    for _ in range(repeats):
        sides = [_pool(rng.random(n) < rate) for n, rate in zip((inside, people - inside), rates, strict=True)]
        low, high = newcombe(*(mean(pool) for pool in sides)) or (-1.0, 1.0)
        right += low <= rates[0] - rates[1] <= high
    return right / repeats


def _pool(values: NDArray[np.bool_]) -> Pool:
    return Pool([SampleScores(values.astype(np.float64), np.arange(len(values)))])


Kind = tuple[str, Callable[[int, int], float], float, Callable[[float, int, float], bool] | None]


def kinds() -> list[Kind]:
    """Return what is measured: its name, the function of people and repeats that measures it, its bar, and when the bar
    is missed (None: there is no bar)."""
    made: list[Kind] = [
        (f"a group is called exposed, none is (bar {100 * LEVEL:.0f})", alarms, LEVEL, too_many),
        (f"a weaker attack is said to win, none does ({100 * LEVEL:.0f})", overtaken, LEVEL, too_many),
    ]
    for effect in EFFECTS:
        label = f"the tenth leaks {100 * effect:.0f} points more: found"
        made.append((label, partial(_found, effect=effect), 1.0, None))
    for rates in RATES:
        label = f"interval of {rates[0]:g} minus {rates[1]:g} (bar {100 * COVERAGE:.0f})"
        made.append((label, partial(_covered, rates=rates), COVERAGE, too_low))
    return made


def _found(people: int, repeats: int, effect: float) -> float:
    return found(people, effect, repeats)


def _covered(people: int, repeats: int, rates: tuple[float, float]) -> float:
    return covered(people, rates, repeats)


def gap_lines(repeats: int, people: Sequence[int] = PEOPLE) -> tuple[list[str], bool]:
    """Return the table of false alarms, power and coverage as lines, and whether every bar is met."""
    repeats = max(100, repeats // 5)
    lines = [f"Groups of people and weaker attacks, in {repeats:,} runs each, in per cent", ""]
    lines.append(f"{'':<52}" + "".join(f"{n:>7}" for n in people) + "  people")
    met = True
    for label, measure, bar, misses in kinds():
        shares = [measure(n, repeats) for n in people]
        wrong = [misses is not None and misses(share, repeats, bar) for share in shares]
        met = met and not any(wrong)
        marked = (f"{100 * share:>6.1f}{'!' if miss else ' '}" for share, miss in zip(shares, wrong, strict=True))
        lines.append(f"{label:<52}" + "".join(marked))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines, met
