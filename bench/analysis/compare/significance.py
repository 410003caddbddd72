"""The significance of a difference of two means: its interval, its p-value, Holm's correction, and its power.

The error is clustered by people (`bench.analysis.pooling.difference_of`), because pictures of one person resemble each
other. It needs only the sum and the number of the scores of each pair of people, so that the cost of a comparison does
not depend on the number of samples.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import Pool, Pulls, SampleScores, difference_of
from bench.metrics import intervals
from bench.metrics.clustering import Estimate, joined

LEVEL = 0.05  # Level of significance, after the correction.
POWER = 0.8  # The share of comparisons in which a detectable difference is found.
_STEPS = 1000  # The detectable differences of shares are multiples of 1 / 1000.
_MANY = 1e6  # Degrees of freedom with which Student's t is a normal distribution.
Interval = tuple[float, float] | tuple[None, None]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean ``after`` minus the mean ``before``, with its 95 % interval, over ``n`` samples of ``people``.

    ``paired``: both means are over the same samples. ``left_out`` is the number of samples, of all repeats, that were
    left out because only one of the runs has a finite score for them. ``same``: every sample has the same score in
    both runs, so that no test is needed. ``p`` is the p-value, None if there are too few people. ``error`` is the
    standard error of the difference with ``df`` degrees of freedom, None if nothing is known about it. ``changes`` is
    the number of independent changes that the difference consists of. ``trials`` is the effective number of independent
    decisions, None for scores that are no decisions.
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
    error: float | None = None
    df: float = math.inf
    changes: int = 0
    trials: float | None = None

    @property
    def value(self) -> float:
        """The mean after minus the mean before."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True)
class CommonScores:
    """The scores of both runs that are compared with each other; fields as in `Difference`."""

    before: SampleScores
    after: SampleScores
    paired: bool
    left_out: int
    same: bool


class ComparedPools:
    """The scores of both runs, pooled over the cells that were added. ``share``: they are decisions, 0 or 1."""

    def __init__(self, *, share: bool) -> None:
        self._before, self._after = Pool(), Pool()
        self._share = share
        self._paired = self._same = True
        self._left_out = 0

    def add(self, scores: CommonScores) -> None:
        """Add the scores of a cell."""
        self._before.add(scores.before)
        self._after.add(scores.after)
        self._paired = self._paired and scores.paired
        self._same = self._same and scores.same
        self._left_out += scores.left_out

    def difference(self) -> Difference | None:
        """Return the difference of the two means; None if a side has no finite score."""
        before, after = self._before, self._after
        if not (before.n and after.n):
            return None
        people = len({*before.people, *after.people})
        counts: dict[str, Any] = {"n": min(before.n, after.n), "people": people, "paired": self._paired}
        counts |= {"left_out": self._left_out, "trials": _trials(before) if self._share else None}
        if self._same:
            return Difference(before=before.mean, after=before.mean, same=True, error=0.0, **counts)
        found = difference_of(before, after)
        assert found is not None, "both sides have scores"
        low, high = found.interval() or (None, None)
        if low is not None and high is not None and math.isclose(low, high, abs_tol=1e-12):
            low, high = _of_decisions(before, after) if self._share else (None, None)
        differing = _differing(before, after) if self._paired else min(before.people_count, after.people_count)
        error = found.error if found.known else None
        counts |= {"before": before.mean, "after": after.mean, "low": low, "high": high, "changes": differing}
        return Difference(p=_p_value(found, differing), error=error, df=found.df, **counts)


def _trials(pool: Pool) -> float:
    """Return the effective number of independent decisions, if decisions that share a person have the correlation that
    intervals without spread assume."""
    pairs, _, counts = pool.per_pair()
    return pairs.correction(counts).unseen_trials(pool.n)


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
    pools = ComparedPools(share=share)
    pools.add(in_common(before, after, samples))
    return pools.difference()


def in_common(
    before: SampleScores, after: SampleScores, samples: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> CommonScores:
    """Return the scores that are compared with each other; the arguments are those of `difference`."""
    left, right = samples
    if not len(left):
        return CommonScores(before=before, after=after, paired=False, left_out=0, same=False)
    finite = [int(np.isfinite(side.values).sum()) for side in (before, after)]
    pulls = _named_as_before(before.at(left), after.at(right))
    whole = len(left) == max(len(before.values), len(after.values))
    before, after = before.at(left), after.at(right)
    same = whole and np.array_equal(before.values, after.values, equal_nan=True)
    both = np.isfinite(before.values) & np.isfinite(after.values)
    # A sample shows the same person in both runs, even if the runs number people differently.
    before, after = before.at(both), after.at(both)
    after = replace(before, values=after.values, pulls=pulls)
    return CommonScores(before=before, after=after, paired=True, left_out=sum(finite) - 2 * int(both.sum()), same=same)


def _named_as_before(before: SampleScores, after: SampleScores) -> Pulls | None:
    """Return the pulls of ``after`` with the names that its people have in ``before``, whose samples are the same;
    people whom no sample of both runs shows keep theirs.

    The scores of each run were compared with all pairs of two people of this run, so that all of them pull its mean,
    also those that the other run does not have.
    """
    pulls = after.pulls
    if pulls is None:
        return None
    names = dict(zip(after.people.tolist(), before.people.tolist(), strict=True))
    if after.others is not None and before.others is not None:
        names |= dict(zip(after.others.tolist(), before.others.tolist(), strict=True))

    def named(people: NDArray[Any]) -> NDArray[Any]:
        return np.array([names.get(name, name) for name in people.tolist()])

    return replace(pulls, people=named(pulls.people), others=None if pulls.others is None else named(pulls.others))


def of_one_run(scores: SampleScores) -> CommonScores:
    """Return the scores of samples that only one of the runs has: none is compared, and all are left out."""
    nobody = scores.at(np.zeros(0, np.int64))
    finite = int(np.isfinite(scores.values).sum())
    return CommonScores(before=nobody, after=nobody, paired=True, left_out=finite, same=False)


def _differing(before: Pool, after: Pool) -> int:
    """Return how many independent changes a difference consists of: the number of pairs of people whose sum of scores
    differs, or that of their people, whichever is smaller. Both pools have scores of the same pairs of people."""
    (left, first, counts), (right, second, _) = before.per_pair(), after.per_pair()
    pairs, (of_before, of_after) = joined((left, right))
    change, number = np.zeros(len(pairs.first)), np.zeros(len(pairs.first))
    change[of_after] = second
    change[of_before] -= first
    number[of_before] = counts
    changed = ((np.abs(change) > 0) & (number > 0)).astype(np.float64)
    return min(int(changed.sum()), int((pairs.per_person(changed) > 0).sum()))


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

    It is the t-test that corresponds to the interval. It is at least 2 · 2⁻ᵏ for k = ``differing`` changes, the p-value
    of a sign test in which all of them point in the same direction, so that a few changed decisions are not
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


# ---- the primary tests together --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A test among others: its p-value ``p`` after Holm's correction, and the smallest difference that it would have
    found, ``detectable`` (see `detectable`). Either is None where it is unknown; ``p`` also if nothing differs."""

    p: float | None
    detectable: float | None


def corrected(found: Sequence[Difference]) -> list[Corrected]:
    """Return the corrected p-values of tests, and which difference each of them would have found.

    The tests without a p-value do not count: those in which every sample has the same score in both runs, and those of
    too few people.
    """
    tested = [i for i, one in enumerate(found) if one.p is not None]
    values: dict[int, float] = dict(zip(tested, holm([found[i].p or 0.0 for i in tested]), strict=True))
    made = []
    for i, one in enumerate(found):
        # A result that is the same in both runs would have been one test more if it had differed.
        level = LEVEL / max(1, len(tested) + one.same)
        made.append(Corrected(p=values.get(i), detectable=detectable(one, level) if i in values or one.same else None))
    return made


def detectable(found: Difference, level: float) -> float | None:
    """Return the smallest difference that a two-sided test at a ``level`` finds with 80 % power, given the standard
    error e of what was found; None if no difference is large enough.

    It is (t + z) e with the quantiles of Student's t at the level and of the normal distribution at the power. For
    shares it is a multiple of .001, because e grows with the difference d: its variance is that of what was found
    plus d (1 - d) / n, that of d n decisions of n that change. The degrees of freedom grow with the number of decisions
    that change, as in `bench.metrics.clustering`. The p-value is at least 2 · 2⁻ᵏ for k changes (`_p_value`), so that d
    is also large enough for as many of n decisions to change with 80 % power as are missing from what was found.
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    found_error = found.error
    if found_error is None:
        return None
    needed, z = math.ceil(1 + math.log2(1 / level)), float(ndtri(POWER))
    if found.trials is None:
        reach = z - float(stdtrit(min(found.df, _MANY), level / 2))
        return reach * found_error if found_error and found.people >= needed else None
    n = found.trials
    missing = max(0, needed - found.changes)
    if n <= max(1, missing):
        return None
    by_count = float(betaincinv(missing, n - missing + 1, POWER)) if missing else 0.0

    def seen(step: int) -> bool:
        d = step / _STEPS
        changed = min(found_error**2 * n**2 + d * n, n - 1)
        df = min(_MANY, max(found.df, 2 / (1 / changed - 1 / n)))
        error = math.sqrt(found_error**2 + d * (1 - d) / n)
        return d >= (z - float(stdtrit(df, level / 2))) * error and d >= by_count

    first = bisect.bisect_left(range(1, _STEPS + 1), True, key=seen) + 1
    return first / _STEPS if first <= _STEPS else None
