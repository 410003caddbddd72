"""The standard error of a mean over samples that show the same people again, clustered by both people of a pair.

A verification pair shows two people. Two pairs that share one of them are not independent, whichever side he is on, so
a variance that clusters by the protected person alone is too small. The variance here is the dyadic-robust one of
Aronow, Samii and Assenova (2015, Political Analysis 23, 564), which is the two-way variance of Cameron, Gelbach and
Miller (2011, JBES 29, 238) with one set of people on both sides. It is corrected for few people as by Bell and
McCaffrey (2002): its expectation is that under a small correlation within people, its degrees of freedom are those
under independent pairs (`PeoplePairs.correction`).

Random defenses may be applied, and learners trained, several times (repeats). The same people in several repeats are
one cluster, and the variance between repeats is added (`BetweenRepeats`).

`Estimate` turns it into an interval. For a share, the variance becomes an effective number of trials, n_eff = p (1 - p)
/ variance, of Wilson's interval (Korn and Graubard 1998, Survey Methodology 24, 193). For another mean, it is a
t-interval. ``make statistics`` measures how often these intervals contain the true mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.intervals import wilson_bound

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Without spread, nothing is known about the correlation within people; the intervals then assume this one.
UNSEEN_CORRELATION = 0.3
ASSUMED_CORRELATION = 0.1  # The correlation within people under which the variance is right on average.
_FEWEST = 5.0  # The lowest degrees of freedom that are estimated from the scores themselves.
_GRID = np.linspace(-6.0, 6.0, 121)  # Normal deviates at which the quantiles of Student's t are computed.
_INVERSE_DF = np.linspace(0.0, 1.0, 401)  # 1 / degrees of freedom at which the upper ends of intervals are computed.


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What few people do to a variance: its expectation is ``bias`` times the true one, with ``df`` degrees of freedom.

    ``degree`` is the mean number of samples that share a person with a sample, itself included.
    """

    bias: float
    df: float
    degree: float

    def unseen_trials(self, n: float) -> float:
        """Return the effective number of trials of ``n`` decisions that have the correlation `UNSEEN_CORRELATION`."""
        return n / (1 + UNSEEN_CORRELATION * (self.degree - 1))


@dataclass(frozen=True, kw_only=True)
class BetweenRepeats:
    """The ``variance`` of a mean over repeats that stems from the differences between them, s²/R for R repeats whose
    means have the sample variance s², and its degrees of freedom ``df``, R - 1."""

    variance: float
    df: float

    def added(self, error: float, df: float) -> tuple[float, float]:
        """Return the standard error from people, ``error``, and its degrees of freedom ``df`` with those of repeats.

        The variances add up. The quantile of a 95 % interval is the mean of those of both variances, weighted by the
        variances (Cochran and Cox 1957), and the returned degrees of freedom are those that have this quantile. What
        differs between repeats person by person is in both variances, so that the sum is rather too large than too
        small.
        """
        if not self.variance:
            return error, df
        total = error**2 + self.variance
        quantile = (error**2 * _upper_quantile(df) + self.variance * _upper_quantile(self.df)) / total
        inverse = float(np.interp(quantile, _upper_quantiles(), _INVERSE_DF))
        return math.sqrt(total), 1 / inverse if inverse else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class PeoplePairs:
    """The distinct pairs of people that samples show: ``people (p,)`` by name, and the positions ``first (d,)`` and
    ``second (d,)`` in it of the two people of each pair; both are equal where a sample shows one person."""

    people: tuple[str, ...]
    first: Ints
    second: Ints

    @cached_property
    def crossed(self) -> NDArray[np.bool_]:
        """True ``(d,)`` for pairs of two different people."""
        return np.not_equal(self.first, self.second)

    @cached_property
    def once(self) -> bool:
        """True if every person occurs in a single pair."""
        return int(self.crossed.sum()) + len(self.first) == len(self.people)

    def per_person(self, values: Floats) -> Floats:
        """Return the sum ``(p,)`` of ``values (d,)`` over the pairs of each person."""
        n = len(self.people)
        return added(self.first, values, n) + added(self.second[self.crossed], values[self.crossed], n)

    def shared(self, values: Floats) -> Floats:
        """Return, for each pair, the sum ``(d,)`` of ``values (d,)`` over the pairs that share a person with it."""
        sums = self.per_person(values)
        return np.where(self.crossed, sums[self.first] + sums[self.second] - values, sums[self.first])

    def variance(self, deviations: Floats) -> float:
        """Return the variance of the sum of ``deviations (d,)``, which have an expectation of zero; uncorrected."""
        sums, squares = self.per_person(deviations), deviations**2
        return _dot(sums, sums) - float(squares[self.crossed].sum())

    def error(self, deviations: Floats, bias: float) -> float:
        """Return the standard error of the sum of ``deviations (d,)``, whose `variance` is ``bias`` times too small.

        It is at least that of independent pairs, because the variance is a difference of sums and may be negative.
        """
        n = len(deviations)
        independent = _dot(deviations, deviations) * n / max(1, n - 1)
        return math.sqrt(max(self.variance(deviations) / bias, independent))

    def correction(self, counts: Floats) -> Correction:
        """Return the correction for pairs with ``counts (d,)`` samples each."""
        return _correction(self, counts.tobytes())


@lru_cache(maxsize=256)
def _correction(pairs: PeoplePairs, counts: bytes) -> Correction:
    """Return the correction from the first two moments of the uncorrected variance under pairs that are independent of
    each other, whose samples are equal; the first moment is mixed with that under effects of people.

    With A = 1 where pairs share a person, it is the quadratic form of B = (I - w1'/n) WAW (I - 1w'/n) in the values of
    the pairs; the moments are tr B and tr B², written out so that no matrix is built.
    """
    w = np.frombuffer(counts)
    n, ww = float(w.sum()), _dot(w, w)
    h = w * pairs.shared(w)
    s, wh = float(h.sum()), _dot(w, h)
    first = ww - 2 * wh / n + s * ww / n**2
    cw = w * pairs.shared(w**2)
    second = _dot(w**2, pairs.shared(w**2)) - 4 * _dot(h, cw) / n + 2 * s * _dot(w, cw) / n**2
    second += 2 * (wh**2 + ww * _dot(h, h)) / n**2 - 4 * s * wh * ww / n**3 + (s * ww) ** 2 / n**4
    if first <= 1e-9 * ww or second <= 0:  # All pairs share a person: nothing is known about the spread of people.
        return Correction(bias=0.0, df=0.0, degree=s / n)
    # The same first moment if scores are sums of effects of people, for a part of the true variance.
    pw, ph = pairs.per_person(w), pairs.per_person(h)
    pp = _dot(pw, pw)
    effects = s + _dot(w, w * pairs.crossed) - 2 * _dot(pw, ph) / n + s * pp / n**2
    mixed = (1 - ASSUMED_CORRELATION) * first + ASSUMED_CORRELATION * max(0.0, effects)
    true = (1 - ASSUMED_CORRELATION) * ww + ASSUMED_CORRELATION * pp
    return Correction(bias=mixed / true, df=first**2 / second, degree=s / n)


@lru_cache(maxsize=64)
def joined(parts: tuple[PeoplePairs, ...]) -> tuple[PeoplePairs, tuple[Ints, ...]]:
    """Return all pairs of several `PeoplePairs`, and the position in them of each pair of each part."""
    if len(parts) == 1:
        return parts[0], (np.arange(len(parts[0].first)),)
    names = tuple(sorted({name for part in parts for name in part.people}))
    index = {name: i for i, name in enumerate(names)}
    codes = []
    for part in parts:
        at = np.array([index[name] for name in part.people], np.int64)
        codes.append(_codes(at[part.first], at[part.second], len(names)))
    known, where = np.unique(np.concatenate(codes), return_inverse=True)
    pairs = PeoplePairs(people=names, first=known // len(names), second=known % len(names))
    return pairs, tuple(np.split(where, np.cumsum([len(c) for c in codes])[:-1]))


def pairs_of(left: Sequence[str], right: Sequence[str]) -> tuple[PeoplePairs, Ints]:
    """Return the distinct pairs of the people ``left (n,)`` and ``right (n,)`` of samples, in any order of the two, and
    the position in them of the pair of each sample."""
    names, at = np.unique(np.array([*left, *right], dtype=str), return_inverse=True)
    codes = _codes(at[: len(left)], at[len(left) :], len(names))
    known, who = np.unique(codes, return_inverse=True)
    people = tuple(map(str, names.tolist()))
    return PeoplePairs(people=people, first=known // max(1, len(names)), second=known % max(1, len(names))), who


def added(positions: Ints, values: Floats, size: int) -> Floats:
    """Return the sum ``(size,)`` of the ``values (n,)`` at each of their ``positions (n,)``."""
    found: Any = np.bincount(positions, values, size)
    return np.asarray(found, np.float64)


def _dot(a: Floats, b: Floats) -> float:
    """Return the dot product; unlike that of BLAS, it does not depend on the number of threads."""
    return float((a * b).sum())


def _codes(left: Ints, right: Ints, n: int) -> Ints:
    return np.minimum(left, right) * n + np.maximum(left, right)


# ---- estimates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its uncertainty, as a function from a normal deviate z to a bound of the mean.

    ``trials`` is the effective number of independent trials of a share; None for a mean that is no share, whose
    standard error is ``error``. ``df`` are the degrees of freedom of the error. ``once``: every person occurs once.
    ``known`` is False where nothing is known about the error, such as for a mean of one person that is no share.
    """

    mean: float
    error: float
    df: float
    trials: float | None
    once: bool
    known: bool = True

    def widened(self, z: Any) -> Any:
        """Return the quantile of Student's t with ``df`` degrees of freedom at the probability of a normal deviate."""
        return z if math.isinf(self.df) else np.interp(z, _GRID, _quantiles(self.df))

    def bound(self, z: Any) -> Any:
        """Return the bound of the mean at a normal deviate or an array of them; the mean at 0, a lower bound below.

        The bounds at random normal deviates are a confidence distribution of the mean: the share of them below a value
        is the confidence that the mean is below it.
        """
        z = self.widened(z)
        return self.mean + self.error * z if self.trials is None else wilson_bound(self.mean, self.trials, z)

    def deviate(self, value: float) -> float:
        """Return the normal deviate at which ``value`` is a bound: the inverse of `bound`, negative above the mean.

        A mean significantly above ``value`` has a deviate of at most -1.645 at the one-sided level of 5 %; for a share
        this is Wilson's score test, whose error is that under ``value``.
        """
        error = self.error if self.trials is None else math.sqrt(value * (1 - value) / self.trials)
        if not error:
            return 0.0 if value == self.mean else math.copysign(math.inf, value - self.mean)
        t = (value - self.mean) / error
        return t if math.isinf(self.df) else float(np.interp(t, _quantiles(self.df), _GRID))

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the two-sided interval; None where nothing is known about the error."""
        if not self.known:
            return None
        z = NormalDist().inv_cdf(0.5 + level / 2)
        low, high = float(self.bound(-z)), float(self.bound(z))
        if self.trials is None:
            return low, high
        return (0.0 if self.mean == 0 else max(0.0, low)), (1.0 if self.mean == 1 else min(1.0, high))


@lru_cache(maxsize=1)
def _upper_quantiles() -> Floats:
    """Return the quantiles of Student's t at the upper end of a 95 % interval, for the inverse degrees of freedom
    `_INVERSE_DF`."""
    from scipy.special import stdtrit

    return np.append(NormalDist().inv_cdf(0.975), stdtrit(1 / _INVERSE_DF[1:], 0.975))


def _upper_quantile(df: float) -> float:
    return float(np.interp(0.0 if math.isinf(df) else 1 / df, _INVERSE_DF, _upper_quantiles()))


@lru_cache(maxsize=512)
def _quantiles(df: float) -> Floats:
    from scipy.special import ndtr, stdtrit

    lower = stdtrit(df, ndtr(_GRID[_GRID < 0]))  # Upper probabilities near 1 have too few digits.
    return np.concatenate([lower, [0.0], -lower[::-1]])


def estimate(
    pairs: PeoplePairs, sums: Floats, counts: Floats, *, share: bool, between: BetweenRepeats | None = None
) -> Estimate:
    """Return the mean of samples with its error, from the ``sums (d,)`` and ``counts (d,)`` of the scores of each pair.

    ``share``: the scores are decisions, 0 or 1, and the interval is Wilson's: with the number of decisions if every
    person occurs once, otherwise with an effective number. Where all decisions agree, it assumes a correlation of
    `UNSEEN_CORRELATION` within people. ``between``: the scores are means over repeats, counted as those of one repeat.
    Raises ValueError without a score.
    """
    n = float(counts.sum())
    if not n:
        raise ValueError("expected at least one score")
    there = counts > 0
    if not there.all():
        pairs, sums, counts = _without(pairs, there.tobytes()), sums[there], counts[there]
    mean = float(sums.sum()) / n
    once = pairs.once and bool((counts == 1).all()) and between is None
    if share and once:
        return Estimate(mean=mean, error=math.sqrt(mean * (1 - mean) / n), df=math.inf, trials=n, once=True)
    deviations = sums - mean * counts
    if share and 0 < mean < 1 and np.allclose(deviations, 0, atol=1e-9):
        return _equal_shares(pairs, mean, between)
    few = pairs.correction(counts)
    if not few.bias:
        trials = fewer_trials(n / few.degree, mean, between) if share else None
        return Estimate(mean=mean, error=math.nan, df=math.inf, trials=trials, once=once, known=share)
    error = pairs.error(deviations, few.bias) / n
    df = min(few.df, max(_FEWEST, _df_seen(pairs.per_person(deviations))))
    if between is not None:
        error, df = between.added(error, df)
    if not share:
        return Estimate(mean=mean, error=error, df=_rounded(df), trials=None, once=once)
    if not 0 < mean < 1:
        return Estimate(mean=mean, error=0.0, df=math.inf, trials=few.unseen_trials(n), once=once)
    trials = min(n, mean * (1 - mean) / error**2)
    return Estimate(mean=mean, error=error, df=_rounded(df), trials=trials, once=once)


def estimate_of_deviations(
    value: float,
    pairs: PeoplePairs,
    deviations: Floats,
    corrections: Sequence[Correction],
    between: BetweenRepeats | None = None,
) -> Estimate:
    """Return a difference of means, ``value``, with its error from the ``deviations (d,)`` of the pairs of people, each
    summed over both means.

    Of the ``corrections`` of both means, the smaller bias and the smaller degrees of freedom count. ``between`` is the
    variance between repeats of the difference.
    """
    bias, df = min(c.bias for c in corrections), min(c.df for c in corrections)
    once = pairs.once
    if not bias:
        return Estimate(mean=value, error=math.nan, df=math.inf, trials=None, once=once, known=False)
    error = pairs.error(deviations, bias)
    df = min(df, max(_FEWEST, _df_seen(pairs.per_person(deviations))))
    if between is not None:
        error, df = between.added(error, df)
    return Estimate(mean=value, error=error, df=_rounded(df), trials=None, once=once)


def fewer_trials(trials: float, mean: float, between: BetweenRepeats | None) -> float:
    """Return the effective number of trials of a share with this ``mean``, whose ``trials`` do not contain the variance
    ``between`` repeats yet."""
    if between is None or not 0 < mean < 1:
        return trials
    return 1 / (1 / trials + between.variance / (mean * (1 - mean)))


def _equal_shares(pairs: PeoplePairs, mean: float, between: BetweenRepeats | None) -> Estimate:
    """Return the estimate if all pairs of people have the same share of decisions. It has as many trials as there are
    people or pairs, whichever are fewer.

    This happens with few people only, and their equal shares say little about other people.
    """
    trials = fewer_trials(float(min(len(pairs.people), len(pairs.first))), mean, between)
    df = math.inf if between is None or not between.variance else between.df
    return Estimate(mean=mean, error=math.sqrt(mean * (1 - mean) / trials), df=df, trials=trials, once=False)


def _df_seen(sums: Floats) -> float:
    """Return the degrees of freedom of the sum of the squares of ``sums (p,)`` from their kurtosis: few where a few
    people make up the whole spread, as with rare decisions."""
    squares = sums**2
    total = float(squares.sum())
    if not total:
        return math.inf
    return 2 / max(1e-9, _dot(squares, squares) / total**2 - 1 / len(sums))


def _rounded(df: float) -> float:
    """Round degrees of freedom so that their quantiles are found in the cache."""
    return max(1.0, float(f"{df:.2g}"))


@lru_cache(maxsize=256)
def _without(pairs: PeoplePairs, there: bytes) -> PeoplePairs:
    """Return the pairs that have scores, with their people only."""
    kept = np.frombuffer(there, np.bool_)
    first, second = pairs.first[kept], pairs.second[kept]
    known, where = np.unique(np.concatenate([first, second]), return_inverse=True)
    people = tuple(pairs.people[i] for i in known.tolist())
    return PeoplePairs(people=people, first=where[: len(first)], second=where[len(first) :])


def pair_interval(
    values: ArrayLike, left: ArrayLike, right: ArrayLike | None = None, *, share: bool, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the confidence interval of the mean of ``values (n,)`` of samples that show the people ``left (n,)`` and
    ``right (n,)``; ``right`` is by default ``left``, for samples that show one person.

    ``share``: the values are decisions, 0 or 1. None if there is no finite value, or if a mean that is no share has
    too few people; values that are not finite are left out. Raises ValueError for unequal lengths or unless 0 < level
    < 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a confidence level in (0, 1), got {level}")
    found = np.asarray(values, np.float64)
    sides = np.asarray(left), np.asarray(left if right is None else right)
    if not found.shape == sides[0].shape == sides[1].shape:
        raise ValueError(f"expected two people per value, got {sides[0].shape}, {sides[1].shape} and {found.shape}")
    finite = np.isfinite(found)
    if not finite.any():
        return None
    pairs, who = pairs_of(sides[0][finite].tolist(), sides[1][finite].tolist())
    counts = np.bincount(who).astype(np.float64)
    sums = added(who, found[finite], len(pairs.first))
    return estimate(pairs, sums, counts, share=share).interval(level)
