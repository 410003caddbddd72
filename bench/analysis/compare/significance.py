"""How sure a difference of two means is: its interval, its p-value, and Holm's correction for many of them.

People are drawn, never samples: pictures of one person resemble each other. Of the samples, only the sums of each
person are needed, so that a comparison costs the same whatever the number of its samples.
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

LEVEL = 0.05  # of significance, after the correction
_DRAWN_AT_ONCE = 4_000_000  # people: 32 MB
Interval = tuple[float, float] | tuple[None, None]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean ``after`` minus the mean ``before``, with its 95 % interval, over ``n`` samples of ``people``.

    ``paired``: both means are over the same samples; ``left_out`` samples are not among them, because one of the runs
    lacks them or has no finite value for them. ``same``: every sample has the same value in both runs; then there is
    nothing to test. ``p`` is none where there are too few people to say.
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
        """After minus before."""
        return self.after - self.before


def aligned(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions of the samples that both sides have; a name that occurs again means another sample."""
    if np.array_equal(before, after):
        everywhere = np.arange(len(before))
        return everywhere, everywhere
    _, left, right = np.intersect1d(_numbered(before), _numbered(after), assume_unique=True, return_indices=True)
    return left, right


def _numbered(names: NDArray[Any]) -> NDArray[Any]:
    """Names made unique: each with how often it occurred before."""
    seen: dict[Any, int] = {}
    made = []
    for name in map(str, names.tolist()):
        seen[name] = seen.get(name, 0) + 1
        made.append(f"{name}\x00{seen[name]}")
    return np.array(made)


def difference(
    before: SampleScores, after: SampleScores, samples: tuple[NDArray[np.int64], NDArray[np.int64]], *, share: bool
) -> Difference | None:
    """The difference of two parts, paired where they share samples (positions ``samples`` of each), else over people.

    None where a side has no finite value. ``share``: the values are decisions, 0 or 1.
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
        # The same sample is of the same person, however a run numbers its people.
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
    """The percentile interval of a bootstrap over people ``(p, 4)``: sum and number before, sum and number after."""
    if len(sums) < 2:
        return None, None
    drawn = np.concatenate([counts @ sums for counts in _draws(len(sums))])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1]
    values = values[np.isfinite(values)]  # a draw may have nobody of one side
    if not len(values):
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _draws(people: int) -> Iterable[Floats]:
    """How often each of some people is drawn ``(draws, p)``, in blocks; the same whenever it is asked for."""
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
    """An interval where draws show no spread: from Wilson's of both, with as many trials as people (Newcombe 1998)."""
    a, b = ((pool.mean, *intervals.wilson_interval(round(pool.mean * len(pool.people)), len(pool.people)))
            for pool in (before, after))  # fmt: skip
    value = b[0] - a[0]
    below, above = math.hypot(b[0] - b[1], a[2] - a[0]), math.hypot(b[2] - b[0], a[0] - a[1])
    return max(-1.0, value - below), min(1.0, value + above)


def _p_value(sums: Floats, value: float, differing: int) -> float | None:
    """Two-sided p-value of no difference: a t-test over people, whose variance is that of the two linearised means.

    It is never below what ``differing`` people could show if each were as likely to change either way, so that few
    decisions that change do not look like much.
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
    """p-values corrected for their number (Holm 1979): the chance of any false alarm stays below the level."""
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, np.float64)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(v) for v in corrected]
