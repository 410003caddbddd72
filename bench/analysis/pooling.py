"""Averages of scores over many cells, with a 95 % interval.

Cells are added one after another. Only the sum and the number of the scores of each pair of people are kept, because a
mean and its error need nothing else (`bench.metrics.clustering`). The repeats of a setting count as one: a score is the
mean over them, and the sum and the number of the scores of each repeat give the variance between repeats.

Conclusions from several means together use random normal deviates of all pools at once, correlated as far as the pools
share people: `drawn_means` for the spread of the means, `bench.analysis.chance_tests` for tests against chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.analysis.table_model import Measurement, Method, absent
from bench.metrics.clustering import (
    BetweenRepeats,
    Estimate,
    Ints,
    PeoplePairs,
    added,
    estimate,
    estimate_of_deviations,
    joined,
    pairs_of,
)

Floats = NDArray[np.float64]

DRAWS = 2000  # Draws of people: fifty of them lie beyond each end of a 95 % interval.
SEED = 0  # Seed of all draws, so that a report is the same whenever it is made.
_ROUNDING = 1e-9  # Scores that differ by less, relative to the largest one, are equal.
_DRAWN_AT_ONCE = 4_000_000  # Random weights in memory at a time: draws times people.


@dataclass(frozen=True)
class Pulls:
    """The influence of samples on the mean that is no score of them: for an area under the ROC curve, that of each pair
    of two people, with which the pairs of one person are compared.

    ``influences (n,)`` are 0 in sum. ``people`` and ``others`` are those of `SampleScores`.
    """

    influences: Floats
    people: NDArray[Any]
    others: NDArray[Any] | None = None


@dataclass(frozen=True)
class SampleScores:
    """Scores ``values`` and the ``people`` whom the samples show, ``(n,)`` each.

    People of different ``group`` are different people, even with the same name. ``others (n,)`` are the second people
    of samples that show two, such as verification pairs; it is None where every sample shows one person.

    ``repeat`` is the number of the repeat that the samples belong to, and ``repeats`` are the numbers of all repeats of
    the same setting.

    ``pulls`` is the influence of samples without a score; None if scores alone decide. Pulls add to the error of the
    mean and change neither the mean nor its N. Such a mean lies between 0 and 1, and has Wilson's interval as a share
    has.
    """

    values: Floats
    people: NDArray[Any]
    group: str = ""
    others: NDArray[Any] | None = None
    repeat: int = 0
    repeats: tuple[int, ...] = (0,)
    pulls: Pulls | None = None

    def at(self, chosen: NDArray[Any]) -> Self:
        """Return the scores of some samples, by their positions or a mask; all pulls stay, because these scores are
        compared with the same pairs as before."""
        others = None if self.others is None else self.others[chosen]
        return replace(self, values=self.values[chosen], people=self.people[chosen], others=others)


@dataclass(frozen=True)
class SummedScores:
    """What a pool keeps of the scores of one cell.

    - ``pairs``, ``sums (d,)``, ``counts (d,)``: the pairs of people, with the sum and the number of their finite
      scores; the sums also have ``n`` times the pulls of the pair, so that ``sums - mean * counts`` is what the error
      of the mean consists of
    - ``total``, ``n``, ``least``, ``most``: the sum, the number and the range of the finite scores
    - ``pulled``: some samples pull the mean (see `SampleScores`)
    - ``decisions``: every finite score is 0 or 1, and none is pulled
    - ``infinite``, ``undefined``: the numbers of infinite scores and of NaN
    - ``repeat``, ``repeats``: see `SampleScores`
    """

    pairs: PeoplePairs
    sums: Floats
    counts: Floats
    total: float
    n: int
    least: float
    most: float
    pulled: bool
    decisions: bool
    infinite: int
    undefined: int
    repeat: int
    repeats: tuple[int, ...]


def summed(part: SampleScores) -> SummedScores:
    """Return the sums of the scores of one cell."""
    values = part.values
    pairs, everybody, counts = _pairs(part)
    who, pulling = everybody[: len(values)], everybody[len(values) :]
    if len(pulling):
        counts = _counts(who, pairs)
    infinite = undefined = 0
    total = float(values.sum())
    if not math.isfinite(total):  # Otherwise every score is finite.
        defined = np.isfinite(values)
        infinite, undefined = int(np.isinf(values).sum()), int(np.isnan(values).sum())
        values, who = values[defined], who[defined]
        counts, total = _counts(who, pairs), float(values.sum())
    size, n = len(pairs.first), len(values)
    least, most = (float(values.min()), float(values.max())) if n else (np.inf, -np.inf)
    sums = added(who, values, size)
    pulled = part.pulls is not None and n * float(np.abs(part.pulls.influences).max(initial=0)) > _ROUNDING
    if part.pulls is not None and pulled:
        sums += n * added(pulling, part.pulls.influences, size)
    zeros_and_ones = not n or (least in (0, 1) and most in (0, 1) and bool(((values == 0) | (values == 1)).all()))
    return SummedScores(
        pairs=pairs,
        sums=sums,
        counts=counts,
        total=total,
        n=n,
        least=least,
        most=most,
        pulled=pulled,
        decisions=zeros_and_ones and not pulled,
        infinite=infinite,
        undefined=undefined,
        repeat=part.repeat,
        repeats=part.repeats,
    )


class Pool:
    """Pooled scores, stored as the sum and the number of the scores of each pair of people.

    ``least`` is the lowest and ``most`` the highest of the finite scores. ``infinite`` and ``undefined`` count the
    infinite scores and the NaN, which do not count otherwise. ``decisions`` and ``pulled`` are those of `SummedScores`.
    Where R repeats of a setting are pooled, each of their scores counts 1/R in sums and numbers: the sums are those of
    means over repeats, and the numbers those of one repeat.
    """

    def __init__(self, parts: Iterable[SampleScores] = ()) -> None:
        self.infinite = self.undefined = 0
        self.least, self.most = np.inf, -np.inf
        self.decisions, self.pulled = True, False
        # By the repeats of their settings: the sum and the number of the scores of each pair of people, and of each
        # repeat.
        self._parts: dict[tuple[int, ...], dict[PeoplePairs, tuple[Floats, Floats]]] = {}
        self._repeats: dict[tuple[int, ...], dict[int, tuple[float, int]]] = {}
        self._per_pair: tuple[PeoplePairs, Floats, Floats] | None = None
        for part in parts:
            self.add(part)

    def add(self, part: SampleScores) -> Self:
        """Add scores, and return the pool itself."""
        return self.add_sums(summed(part))

    def add_sums(self, part: SummedScores) -> Self:
        """Add the scores of a cell, and return the pool itself."""
        self.infinite += part.infinite
        self.undefined += part.undefined
        if not part.n:
            return self
        self._per_pair = None
        repeats, repeat = (part.repeats, part.repeat) if len(part.repeats) > 1 else ((0,), 0)
        of_repeats = self._repeats.setdefault(repeats, {})
        total, n = of_repeats.get(repeat, (0.0, 0))
        of_repeats[repeat] = total + part.total, n + part.n
        self.least, self.most = min(self.least, part.least), max(self.most, part.most)
        self.decisions = self.decisions and part.decisions
        self.pulled = self.pulled or part.pulled
        parts = self._parts.setdefault(repeats, {})
        known = parts.get(part.pairs)
        both = (part.sums, part.counts) if known is None else (known[0] + part.sums, known[1] + part.counts)
        parts[part.pairs] = both
        return self

    @property
    def total(self) -> float:
        """The sum of the finite scores; repeats of a setting count once."""
        return sum((sum(s for s, _ in known.values()) / len(known) for known in self._repeats.values()), 0.0)

    @property
    def _n(self) -> float:
        return sum((sum(n for _, n in known.values()) / len(known) for known in self._repeats.values()), 0.0)

    @property
    def n(self) -> int:
        """The number of finite scores; repeats of a setting count once."""
        return max(1, round(self._n)) if self._repeats else 0

    @property
    def mean(self) -> float:
        """The mean of the finite scores; NaN if there are none."""
        return self.total / self._n if self._repeats else np.nan

    @property
    def repeats(self) -> tuple[int, int]:
        """The fewest and the most repeats of a setting; (1, 1) without scores."""
        counts = [len(known) for known in self._repeats.values()] or [1]
        return min(counts), max(counts)

    def repeat_deviations(self) -> dict[int, float]:
        """Return how far each repeat pulls the mean from its expectation, by the number of the repeat; empty without
        repeats. The sum of the squares is the variance of the mean between repeats, s²/R.

        The repeats of several settings with the same number are one cluster, because they may share a learner.
        """
        found: dict[int, float] = {}
        for known in self._repeats.values():
            r = len(known)
            if r < 2:
                continue
            center = sum(s for s, _ in known.values()) / sum(n for _, n in known.values())
            unbiased = (r / (r - 1)) ** 0.5
            for repeat, (total, n) in known.items():
                found[repeat] = found.get(repeat, 0.0) + unbiased * (total - center * n) / r / self._n
        return found

    def between(self) -> BetweenRepeats | None:
        """Return the variance of the mean between repeats; None if no setting was repeated."""
        return _between([self], self.repeat_deviations())

    @property
    def spread(self) -> bool:
        """True if not all scores are equal, or if they are pulled; scores that differ by rounding are equal."""
        return self.pulled or self.most - self.least > _ROUNDING * max(1.0, abs(self.most), abs(self.least))

    @property
    def people(self) -> list[str]:
        """The people whom the samples with finite scores show, sorted by name."""
        pairs, _, counts = self.per_pair()
        return _named(pairs, pairs.per_person(counts) > 0)

    @property
    def contributors(self) -> list[str]:
        """The `people`, and those whose samples pull the mean, sorted by name."""
        pairs, sums, counts = self.per_pair()
        return _named(pairs, (pairs.per_person(counts) > 0) | (pairs.per_person(np.abs(sums)) > 0))

    @property
    def people_count(self) -> int:
        """The number of `people`."""
        pairs, _, counts = self.per_pair()
        return int((pairs.per_person(counts) > 0).sum())

    def per_pair(self) -> tuple[PeoplePairs, Floats, Floats]:
        """Return the pairs of people, and the sum and the number of the scores of each pair, ``(d,)`` each; pairs that
        pull the mean have a sum without a number (`SummedScores`)."""
        if self._per_pair is None:
            self._per_pair = self._joined()
        return self._per_pair

    def _joined(self) -> tuple[PeoplePairs, Floats, Floats]:
        if not self._parts:
            return _NOBODY, np.zeros(0), np.zeros(0)
        parts = [
            (own, len(self._repeats[repeats]), *known)
            for repeats, of in self._parts.items()
            for own, known in of.items()
        ]
        pairs, where = joined(tuple(own for own, *_ in parts))
        if len(parts) == 1:
            _, r, of_one, number = parts[0]
            return pairs, of_one / r, number / r
        sums, counts = np.zeros(len(pairs.first)), np.zeros(len(pairs.first))
        for at, (_, r, of_one, number) in zip(where, parts, strict=True):
            sums[at] += of_one / r  # The pairs of a part are distinct.
            counts[at] += number / r
        return pairs, sums, counts

    def estimate(self, *, share: bool | None = None) -> Estimate:
        """Return the mean with its error; ``share`` (by default `decisions`): the scores are decisions. A mean that is
        pulled is an area whatever ``share`` says.

        Raises ValueError without a finite score.
        """
        if self.pulled:
            return self._area()
        share = self.decisions if share is None else share
        return estimate(*self.per_pair(), share=share, between=self.between())

    def _area(self) -> Estimate:
        pairs, sums, counts = self.per_pair()
        mean, deviations = self.mean, (sums - self.mean * counts) / self._n
        found = estimate_of_deviations(mean, pairs, deviations, [pairs.correction(counts)], self.between())
        trials = mean * (1 - mean) / found.error**2 if found.known and found.error and 0 < mean < 1 else None
        return replace(found, trials=trials)


def _between(pools: Sequence[Pool], deviations: Mapping[int, float]) -> BetweenRepeats | None:
    """Return the variance of the sum of the ``deviations`` of repeats, with the degrees of freedom of the pool that has
    the fewest repeats."""
    if not deviations:
        return None
    df = min(len(known) - 1 for pool in pools for known in pool._repeats.values() if len(known) > 1)
    return BetweenRepeats(variance=sum(d * d for d in deviations.values()), df=df)


_NOBODY = PeoplePairs(people=(), first=np.zeros(0, np.int64), second=np.zeros(0, np.int64))


def _named(pairs: PeoplePairs, chosen: NDArray[np.bool_]) -> list[str]:
    return [name for name, known in zip(pairs.people, chosen.tolist(), strict=True) if known]


def _counts(who: Ints, pairs: PeoplePairs) -> Floats:
    """Return the number of samples ``(d,)`` of each pair of people, from the position of the pair of each sample."""
    return np.bincount(who, minlength=len(pairs.first)).astype(np.float64)


def _pairs(part: SampleScores) -> tuple[PeoplePairs, Ints, Floats]:
    """Return the pairs of people of the samples and then of the pulls, the position of the pair of each of them, and
    `_counts` of all."""
    sides: tuple[NDArray[Any], ...] = (part.people,) if part.others is None else (part.people, part.others)
    if part.pulls is not None:
        pulling = (part.pulls.people,) if part.pulls.others is None else (part.pulls.people, part.pulls.others)
        sides = tuple(np.append(side, more) for side, more in zip(sides, pulling, strict=True))
    # The cells of a data set show the same people, so that this is computed once for all of them.
    return _cached_pairs(part.group, *(_as_bytes(side) for side in sides))


def _as_bytes(people: NDArray[Any]) -> tuple[str, bytes]:
    people = people.astype(str) if people.dtype == object else people
    return people.dtype.str, people.tobytes()


@lru_cache(maxsize=128)
def _cached_pairs(group: str, *sides: tuple[str, bytes]) -> tuple[PeoplePairs, Ints, Floats]:
    prefix = f"{group}/" if group else ""
    named = [[f"{prefix}{name}" for name in np.frombuffer(data, kind).tolist()] for kind, data in sides]
    pairs, who = pairs_of(named[0], named[-1])
    return pairs, who, _counts(who, pairs)


def mean(pool: Pool, *, share: bool = True, change: bool = False, interval: bool = True, **about: Any) -> Measurement:
    """Return the mean of the finite scores with its 95 % interval, as a measurement with the fields ``about``.

    ``share``: the scores are decisions. Their interval is Wilson's if every person occurs in one score, and else
    clustered by both people of each sample, as are the intervals of other means (`bench.metrics.clustering`). Equal
    scores that are no decisions, and those of a single person that are none, get no interval. ``change``: the scores
    are differences of two decisions; if all are equal, the interval reaches as far as the share of others may be.
    ``interval`` False leaves it out.
    """
    if not pool.n:
        return absent("undefined", "no measurement is defined", role=about.get("role", "any"))
    found: tuple[float, float] | None = None
    method: Method = ""
    if interval and (share or pool.spread):
        known = pool.estimate(share=share)
        found = known.interval()
        method = "" if found is None else "Wilson" if share and known.once else "clustered"
    elif interval and change:
        pairs, _, counts = pool.per_pair()
        alike = estimate(pairs, counts, counts, share=True)  # The decision that all scores agree on.
        if (least := alike.interval()) is not None:
            # Every other score differs from these by at most 2, or by 1 if they are 0.
            reach = (1 - least[0]) * (1 + abs(pool.mean))
            found = pool.mean - reach, pool.mean + reach
            method = "Wilson" if alike.once else "clustered"
    low, high = found or (None, None)
    about |= {"n": pool.n, "people": pool.people_count, "repeats": pool.repeats}
    return Measurement(value=pool.mean, low=low, high=high, interval=method, **about)


# ---- several pools together ------------------------------------------------------------------------------------------


def joint_deviates(pools: Sequence[Pool]) -> Floats:
    """Return `DRAWS` random normal deviates of every pool, ``(DRAWS, pools)``; NaN for pools without scores.

    A draw gives every person a random normal weight (the wild bootstrap), and the deviate of a pool is the weighted sum
    of the deviations of its people from its mean, divided by its standard deviation. So each column is standard
    normal, and two columns correlate as far as the deviations of the people whom both pools show do. Each repeat has a
    random weight, too. Pools whose scores are all equal share one random deviate. The same pools always get the same
    deviates.

    A deviate z above 0 says that the mean may be higher: ``pool.estimate().bound(z)`` is the mean in that draw. For the
    null hypothesis that all means are at chance, compare the largest ``-pool.estimate().deviate(chance)`` of several
    pools with the distribution of the row maxima of this array.
    """
    stored = [pool.per_pair() for pool in pools]
    shown = dict.fromkeys(pairs for pairs, _, _ in stored)
    people = sorted({name for pairs in shown for name in pairs.people})
    index = {name: i for i, name in enumerate(people)}
    where = {pairs: np.array([index[name] for name in pairs.people], np.int64) for pairs in shown}
    last = len(people)  # Then follow the repeats.
    loads = np.zeros((last + 1 + _most_repeats(pools), len(pools)), np.float32)
    for k, (pool, (pairs, sums, counts)) in enumerate(zip(pools, stored, strict=True)):
        if not pool.n:
            loads[:, k] = np.nan
            continue
        own = pairs.per_person(sums - pool.mean * counts)
        of_repeats = {repeat: d * pool.n for repeat, d in pool.repeat_deviations().items()}
        length = float(np.sqrt((own * own).sum() + sum(d * d for d in of_repeats.values())))
        if length <= 1e-9:
            loads[last, k] = 1.0
        else:
            loads[where[pairs], k] = own / length
            for repeat, d in of_repeats.items():
                loads[last + 1 + repeat, k] = d / length
    return drawn_deviates(loads)


def _most_repeats(pools: Iterable[Pool]) -> int:
    """Return one more than the highest number of a repeat that counts; 0 if no setting was repeated."""
    return max((1 + repeat for pool in pools for repeat in pool.repeat_deviations()), default=0)


def drawn_deviates(loads: NDArray[np.floating]) -> Floats:
    """Return `DRAWS` sums ``(DRAWS, k)`` of the ``loads (p, k)`` of people, each person with a random normal weight.

    A column of length 1 gives standard normal deviates. The same loads always give the same sums.
    """
    rng, weights = np.random.default_rng(SEED), np.asarray(loads, np.float32)
    block = max(1, _DRAWN_AT_ONCE // len(weights))
    sizes = [min(block, DRAWS - start) for start in range(0, DRAWS, block)]
    drawn = [rng.standard_normal((size, len(weights)), np.float32) @ weights for size in sizes]
    return np.concatenate(drawn).astype(np.float64)


def drawn_means(pools: Sequence[Pool]) -> Floats:
    """Return the mean of every pool in each of `DRAWS` draws of people, ``(DRAWS, pools)``; NaN for pools without
    scores.

    The draws of one pool spread like its interval, and pools that show the same people vary together. Pools whose
    scores are all 0 or all 1 vary as their intervals say; other pools of equal scores do not vary.
    """
    found = joint_deviates(pools)
    for k, pool in enumerate(pools):
        if pool.n:
            known = pool.estimate()
            found[:, k] = known.bound(found[:, k]) if known.known else pool.mean
    return found


def difference_of(before: Pool, after: Pool) -> Estimate | None:
    """Return the mean of ``after`` minus the mean of ``before`` with its error; None if a pool has no score.

    The deviations of both pools are subtracted pair of people by pair of people before they are squared, so that scores
    of the same people are compared with each other, and so are repeats with the same number. The correction for few
    people is that of the pool which needs more.
    """
    if not (before.n and after.n):
        return None
    sides = before.per_pair(), after.per_pair()
    pairs, where = joined((sides[0][0], sides[1][0]))
    change = np.zeros(len(pairs.first))
    for sign, at, pool, (_, sums, counts) in zip((-1, 1), where, (before, after), sides, strict=True):
        change[at] += sign * (sums - pool.mean * counts) / pool.n
    corrections = [own.correction(counts) for own, _, counts in sides]
    between = _between((before, after), difference_of_repeats(before, after))
    return estimate_of_deviations(after.mean - before.mean, pairs, change, corrections, between)


def difference_of_repeats(before: Pool, after: Pool) -> dict[int, float]:
    """Return how far each repeat pulls the mean of ``after`` minus that of ``before`` from its expectation.

    Repeats with the same number are compared with each other: settings of one defense start from the same noise.
    """
    sides = before.repeat_deviations(), after.repeat_deviations()
    return {repeat: sides[1].get(repeat, 0.0) - sides[0].get(repeat, 0.0) for repeat in sorted({*sides[0], *sides[1]})}
