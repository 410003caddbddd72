"""The significance of a difference of two means: its interval, its p-value, and Holm's correction.

A bootstrap draws people, not samples, because pictures of one person resemble each other. It needs only the sum and the
number of the scores of each person, so that the cost of a comparison does not depend on the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import DRAWS, SEED, Floats, Pool, SampleScores
from bench.metrics import intervals

LEVEL = 0.05  # Level of significance, after the correction.
_DRAWN_AT_ONCE = 4_000_000  # People of one block of draws, 32 MB.
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
            people = len(np.unique(before.people.astype(str)))
            return None if math.isnan(mean) else Difference(
                before=mean, after=mean, n=total, people=people, paired=True, same=True
            )  # fmt: skip
        finite = np.flatnonzero(np.isfinite(before.values) & np.isfinite(after.values))
        # A sample shows the same person in both runs, even if the runs number people differently.
        before, after = _of(before, finite), SampleScores(after.values[finite], before.people[finite], before.group)
    pools = Pool([before]), Pool([after])
    if not (pools[0].n and pools[1].n):
        return None
    return _estimate(*pools, paired=paired, total=total, share=share)


def _of(part: SampleScores, at: NDArray[np.int64]) -> SampleScores:
    return SampleScores(part.values[at], part.people[at], part.group)


def _estimate(before: Pool, after: Pool, *, paired: bool, total: int, share: bool) -> Difference:
    people = sorted({*before.people, *after.people})
    sums = np.stack([*before.per_person(people), *after.per_person(people)], axis=1)
    n = min(before.n, after.n)
    value = after.mean - before.mean
    low, high = _interval(sums)
    if low is not None and high is not None and math.isclose(low, high, abs_tol=1e-12):
        low, high = _of_decisions(before, after) if share else (None, None)
    differing = int((sums[:, 2] != sums[:, 0]).sum()) if paired else min(len(before.people), len(after.people))
    return Difference(
        before=before.mean, after=after.mean, n=n, people=len(people), paired=paired,
        left_out=total - n if paired else 0, low=low, high=high, p=_p_value(sums, value, differing),
    )  # fmt: skip


def _interval(sums: Floats) -> Interval:
    """Return the percentile interval of a bootstrap over people.

    ``sums`` is ``(p, 4)``: for each person the sum and the number of scores before, and the same after.
    """
    if len(sums) < 2:
        return None, None
    drawn = np.concatenate([counts @ sums for counts in _draws(len(sums))])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1]
    values = values[np.isfinite(values)]  # A draw may lack people of one side.
    if not len(values):
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _draws(people: int) -> Iterable[Floats]:
    """Return the number of times that each person is drawn, ``(draws, p)``, in blocks; every call returns the same."""
    if people * DRAWS <= _DRAWN_AT_ONCE:
        return [_block(people, DRAWS, 0)]
    block = max(1, _DRAWN_AT_ONCE // people)
    return (_block.__wrapped__(people, min(block, DRAWS - start), start) for start in range(0, DRAWS, block))


@lru_cache(maxsize=2)
def _block(people: int, draws: int, start: int) -> Floats:
    rng = np.random.default_rng([SEED, start])
    counts = [np.bincount(rng.integers(people, size=people), minlength=people) for _ in range(draws)]
    return np.stack(counts).astype(np.float64)


def _of_decisions(before: Pool, after: Pool) -> Interval:
    """Return the interval of a difference of shares whose draws show no spread (Newcombe 1998).

    It combines Wilson's intervals of both sides, each with as many trials as people.
    """
    a, b = ((pool.mean, *intervals.wilson_interval(round(pool.mean * len(pool.people)), len(pool.people)))
            for pool in (before, after))  # fmt: skip
    value = b[0] - a[0]
    below, above = math.hypot(b[0] - b[1], a[2] - a[0]), math.hypot(b[2] - b[0], a[0] - a[1])
    return max(-1.0, value - below), min(1.0, value + above)


def _p_value(sums: Floats, value: float, differing: int) -> float | None:
    """Return the two-sided p-value of no difference; None for fewer than two people.

    It is a t-test over people with the variance of the two linearised means. It is at least 2 · 2⁻ᵏ for k =
    ``differing`` people, the p-value of a sign test in which all of them change in the same direction, so that a few
    changed decisions are not significant.
    """
    from scipy.special import stdtr

    people = len(sums)
    if people < 2:
        return None
    sum_before, n_before, sum_after, n_after = sums.T
    before, after = sum_before.sum() / n_before.sum(), sum_after.sum() / n_after.sum()
    shares = (sum_after - after * n_after) / n_after.sum() - (sum_before - before * n_before) / n_before.sum()
    error = math.sqrt(people / (people - 1) * float(shares @ shares))
    tested = 2 * float(stdtr(people - 1, -abs(value) / error)) if error else float(not value)
    return min(1.0, max(tested, 2.0 ** (1 - differing)))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), which bounds the chance of any false alarm by the
    level."""
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, np.float64)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(v) for v in corrected]
