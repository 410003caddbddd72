"""The significance of a difference of two means: its interval, its p-value, and Holm's correction.

The error is clustered by people (`bench.analysis.pooling.difference_of`), because pictures of one person resemble each
other. It needs only the sum and the number of the scores of each pair of people, so that the cost of a comparison does
not depend on the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import Pool, SampleScores, difference_of
from bench.metrics import intervals
from bench.metrics.clustering import Estimate

LEVEL = 0.05  # Level of significance, after the correction.
Interval = tuple[float, float] | tuple[None, None]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean ``after`` minus the mean ``before``, with its 95 % interval, over ``n`` samples of ``people``.

    ``paired``: both means are over the same samples. ``left_out`` is the number of samples that were left out because
    one of the runs lacks them or has no finite score. ``same``: every sample has the same score in both runs, so that
    no test is needed. ``p`` is the p-value, None if there are too few people.
    """

    before: float
    after: float
    n: int
    people: int
    paired: bool
    left_out: int = 0
    same: bool = False
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def value(self) -> float:
        """The mean after minus the mean before."""
        return self.after - self.before


def aligned(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the samples that both sides have, by id; an id that occurs again is another sample."""
    if np.array_equal(before, after):
        everywhere = np.arange(len(before))
        return everywhere, everywhere
    _, left, right = np.intersect1d(_numbered(before), _numbered(after), assume_unique=True, return_indices=True)
    return left, right


def _numbered(names: NDArray[Any]) -> NDArray[Any]:
    """Make ids unique by the number of their occurrences so far."""
    seen: dict[Any, int] = {}
    made = []
    for name in map(str, names.tolist()):
        seen[name] = seen.get(name, 0) + 1
        made.append(f"{name}\x00{seen[name]}")
    return np.array(made)


def difference(
    before: SampleScores, after: SampleScores, samples: tuple[NDArray[np.int64], NDArray[np.int64]], *, share: bool
) -> Difference | None:
    """Return the difference of the means of two arrays of scores; None if a side has no finite score.

    ``samples`` are the positions, on each side, of the samples that both sides have. If there are any, the comparison
    is paired by samples; otherwise all scores of both sides are compared. ``share``: the scores are decisions, 0 or 1.
    """
    left, right = samples
    paired = bool(len(left))
    total = max(len(before.values), len(after.values))
    if paired:
        before, after = _of(before, left), _of(after, right)
        if len(left) == total and np.array_equal(before.values, after.values, equal_nan=True):
            mean = Pool([before]).mean
            people = Pool([before]).people_count
            return None if math.isnan(mean) else Difference(
                before=mean, after=mean, n=total, people=people, paired=True, same=True
            )  # fmt: skip
        finite = np.flatnonzero(np.isfinite(before.values) & np.isfinite(after.values))
        # A sample shows the same person in both runs, even if the runs number people differently.
        before = _of(before, finite)
        after = replace(before, values=after.values[finite])
    pools = Pool([before]), Pool([after])
    if not (pools[0].n and pools[1].n):
        return None
    return _estimate(*pools, paired=paired, total=total, share=share)


def _of(part: SampleScores, at: NDArray[np.int64]) -> SampleScores:
    others = None if part.others is None else part.others[at]
    return replace(part, values=part.values[at], people=part.people[at], others=others)


def _estimate(before: Pool, after: Pool, *, paired: bool, total: int, share: bool) -> Difference:
    people = {*before.people, *after.people}
    n = min(before.n, after.n)
    found = difference_of(before, after)
    assert found is not None, "both sides have scores"
    low, high = found.interval() or (None, None)
    if low is not None and high is not None and math.isclose(low, high, abs_tol=1e-12):
        low, high = _of_decisions(before, after) if share else (None, None)
    return Difference(
        before=before.mean, after=after.mean, n=n, people=len(people), paired=paired,
        left_out=total - n if paired else 0, low=low, high=high,
        p=_p_value(found, _differing(before, after) if paired else min(before.people_count, after.people_count)),
    )  # fmt: skip


def _differing(before: Pool, after: Pool) -> int:
    """Return the number of people whose sum of scores differs; both pools are about the same pairs of people."""
    (pairs, first, _), (_, second, _) = before.per_pair(), after.per_pair()
    return int((pairs.per_person(np.abs(second - first)) > 0).sum())


def _of_decisions(before: Pool, after: Pool) -> Interval:
    """Return the interval of a difference of shares whose draws show no spread (Newcombe 1998).

    It combines Wilson's intervals of both sides, each with as many trials as people.
    """
    a, b = ((pool.mean, *intervals.wilson_interval(round(pool.mean * pool.people_count), pool.people_count))
            for pool in (before, after))  # fmt: skip
    value = b[0] - a[0]
    below, above = math.hypot(b[0] - b[1], a[2] - a[0]), math.hypot(b[2] - b[0], a[0] - a[1])
    return max(-1.0, value - below), min(1.0, value + above)


def _p_value(found: Estimate, differing: int) -> float | None:
    """Return the two-sided p-value of no difference; None where nothing is known about its error.

    It is the t-test that corresponds to the interval. It is at least 2 · 2⁻ᵏ for k = ``differing`` people, the p-value
    of a sign test in which all of them change in the same direction, so that a few changed decisions are not
    significant.
    """
    from scipy.special import stdtr

    if not found.known:
        return None
    tested = 2 * float(stdtr(found.df, -abs(found.mean) / found.error)) if found.error else float(not found.mean)
    return min(1.0, max(tested, 2.0 ** (1 - differing)))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), which bounds the chance of any false alarm by the
    level."""
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, np.float64)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(v) for v in corrected]
