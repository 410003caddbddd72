"""Tests of whether measurements lie beyond their chance level, corrected for the number of comparisons.

The worst of several attacks cannot be compared with the chance level of one: the more attacks there are, the likelier
is it that one of them exceeds this level by chance. The comparisons of a family are therefore tested together, by the
step-down procedure of Romano and Wolf (2005, Econometrica 73, 1237) on the maximum of their studentised differences
(max-T). Its null distribution comes from one wild bootstrap over people: each draw gives every person the same random
weight in all comparisons, so that attacks that match the same people are not counted as independent ones, and each
repeat of random defenses and learners has one, too. If every comparison of a family is at chance, any of them is called
beyond chance in at most 5 % of families (``make statistics`` measures this).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import DRAWS, SEED, Floats, Pool, difference_of, difference_of_repeats, drawn_deviates
from bench.metrics.clustering import fewer_trials

LEVEL = 0.05  # The accepted share of families in which something at chance is called beyond chance.
POWER = 0.8
FEW = 30  # With fewer people who have a positive decision, counts are compared with the binomial distribution.
_HIGHEST = 8.0  # Normal deviates of binomial counts are cut off here.


@dataclass(frozen=True, kw_only=True, eq=False)
class AgainstChance:
    """The scores of a measurement, and the scores or the constant that chance gives.

    ``sign`` is 1 if a higher mean than chance shows something, -1 if a lower mean does. ``share``: the scores are
    decisions, 0 or 1. ``sampled``: so are those of chance, of so few people that the chance level is itself uncertain.
    """

    found: Pool
    chance: Pool | float
    sign: int = 1
    share: bool = True
    sampled: bool = False

    @property
    def chance_level(self) -> float:
        """The mean that chance gives; NaN if it is unknown."""
        return self.chance.mean if isinstance(self.chance, Pool) else self.chance

    @property
    def difference(self) -> float:
        """The mean minus chance, times ``sign``; NaN if one of them is unknown."""
        return self.sign * (self.found.mean - self.chance_level)

    @property
    def trials(self) -> int:
        """The effective number of people: a lower bound of the number of independent decisions.

        It is the number of scores divided by the mean number of scores that share a person with a score (Kish 1965).
        Several repeats are no further people, and the more they differ, the fewer decisions count as independent.
        """
        return _trials(self.found)

    @property
    def counted(self) -> tuple[int, int] | None:
        """The effective number of people behind the chance level, and of those who had a positive decision by chance;
        None if the level counts as known."""
        if not self.sampled or not isinstance(self.chance, Pool):
            return None
        people = _trials(self.chance)
        return people, min(people, round(self.chance.mean * people)) if people else 0

    @property
    def rare(self) -> bool:
        """True if so few people have a positive decision that no error can be estimated from them."""
        if not self.share or self.sign < 0:
            return False
        pairs, sums, _ = self.found.per_pair()
        return min(int((sums > 0).sum()), int((pairs.per_person(sums) > 0).sum())) < FEW


@dataclass(frozen=True, kw_only=True)
class ChanceTest:
    """The result of one comparison in a family.

    ``difference`` is the mean minus chance, positive on the side that shows something; NaN if there is none. ``p`` is
    its one-sided p-value, adjusted for the ``family`` of that many comparisons. ``people`` is the effective number of
    people. ``detectable`` is the smallest difference that would have been found with at least 80 % power, given the
    family; None if the scores are not decisions, if a lower mean shows something, or if the people are too few for any.
    """

    difference: float
    p: float
    family: int
    people: int
    detectable: float | None = None

    @property
    def beyond(self) -> bool:
        """True if the measurement lies beyond chance."""
        return self.p <= LEVEL


def beyond_chance(family: Sequence[AgainstChance]) -> list[ChanceTest]:
    """Test all comparisons of a family together, and return one result for each.

    Comparisons without scores or chance level are no part of the family; their p-value is 1.
    """
    known = [c for c in family if np.isfinite(c.difference)]
    found: dict[int, ChanceTest] = {}
    if known:
        observed, drawn = _studentised(known)
        critical = float(np.quantile(drawn.max(axis=1), 1 - LEVEL, method="higher"))
        for c, p in zip(known, step_down(observed, drawn).tolist(), strict=True):
            shown = c.share and c.sign > 0
            seen = detectable(c.trials, c.chance_level, critical, counted=c.counted) if shown else None
            found[id(c)] = ChanceTest(difference=c.difference, p=p, family=len(known), people=c.trials, detectable=seen)
    nothing = ChanceTest(difference=float("nan"), p=1.0, family=len(known), people=0)
    return [found.get(id(c), nothing) for c in family]


def _studentised(family: Sequence[AgainstChance]) -> tuple[Floats, Floats]:
    """Return the studentised difference of each comparison as a normal deviate, ``(k,)``, and draws of the same if all
    of them are at chance, ``(DRAWS, k)``.

    Where few people have a positive decision, nothing can be estimated from them (nothing at all if nobody has): the
    count of people is then drawn from the binomial distribution, and the normal quantile of its p-value is the deviate.
    If the chance level is itself a count of few people, the binomial's probability is drawn from the beta distribution
    that this count leaves possible.
    """
    drawn = _drawn_deviates(family)
    rng = np.random.default_rng(SEED + 1)
    observed = np.zeros(len(family))
    for i, comparison in enumerate(family):
        if comparison.rare:
            trials, chance = comparison.trials, _positive(comparison.chance_level, comparison.trials)
            table = _count_deviates(trials, chance, comparison.counted)
            observed[i] = table[min(trials, int(comparison.found.mean * trials + 1e-9))]
            likely = rng.beta(*_possible(*comparison.counted), size=DRAWS) if comparison.counted else chance
            drawn[:, i] = table[rng.binomial(trials, likely, size=DRAWS)]
        else:
            observed[i] = _deviate(comparison)
    return observed, drawn


def _deviate(comparison: AgainstChance) -> float:
    """Return the studentised difference of a comparison as a normal deviate; minus infinity if its error is unknown."""
    chance = comparison.chance
    if isinstance(chance, Pool):
        known, level = difference_of(chance, comparison.found), 0.0
    else:
        known, level = comparison.found.estimate(share=False), chance
    if known is None or not known.known:
        return -np.inf
    return -comparison.sign * known.deviate(level)


def _drawn_deviates(family: Sequence[AgainstChance]) -> Floats:
    """Return standard normal deviates ``(DRAWS, k)`` that correlate as far as the deviations of the differences from
    their means, person by person, do."""
    index = {name: i for i, name in enumerate(sorted({n for c in family for p in _pools(c) for n in p.contributors}))}
    of_repeats = [difference_of_repeats(*_sides(c)) for c in family]
    rows = len(index) + 1  # Then follow the repeats.
    loads = np.zeros((rows + max((1 + r for found in of_repeats for r in found), default=0), len(family)))
    for i, comparison in enumerate(family):
        for repeat, deviation in of_repeats[i].items():
            loads[rows + repeat, i] = comparison.sign * deviation
        for pool, sign in zip(_pools(comparison), (1, -1), strict=False):
            pairs, sums, counts = pool.per_pair()
            own = pairs.per_person(sums - pool.mean * counts) * sign / pool.n
            at = [index.get(name, len(index)) for name in pairs.people]
            loads[at, i] += comparison.sign * own
        length = float(np.linalg.norm(loads[:, i]))
        loads[:, i] = loads[:, i] / length if length > 1e-12 else np.eye(1, len(loads), len(index))[0]
    return drawn_deviates(loads)


def _pools(comparison: AgainstChance) -> list[Pool]:
    return [comparison.found, *([comparison.chance] if isinstance(comparison.chance, Pool) else [])]


def _sides(comparison: AgainstChance) -> tuple[Pool, Pool]:
    """Return the pools of chance and of what was found; the one of a constant is empty."""
    return comparison.chance if isinstance(comparison.chance, Pool) else Pool(), comparison.found


def _positive(chance: float, trials: int) -> float:
    """Return a chance level above 0: one that was measured as 0 is taken as one decision in all trials."""
    return min(1.0, chance) if chance > 0 else 1 / (trials + 1)


def _trials(pool: Pool) -> int:
    """Return the effective number of people of a pool (see `AgainstChance.trials`)."""
    if not pool.n:
        return 0
    pairs, _, counts = pool.per_pair()
    return int(fewer_trials(pool.n / pairs.correction(counts).degree, pool.mean, pool.between()) + 1e-9)


def _possible(people: int, positive: int) -> tuple[float, float]:
    """Return the parameters of the beta distribution of a probability after ``positive`` of ``people``; its upper tails
    are those of the exact (Clopper-Pearson) bound."""
    return positive + 1.0, max(people - positive, 1.0)


def _count_deviates(trials: int, chance: float, counted: tuple[int, int] | None = None) -> Floats:
    """Return the normal quantile of the one-sided p-value of each count, ``(trials + 1,)``.

    ``counted`` are the numbers of people and of positive ones behind the chance level; None if the level is known. The
    count is then beta-binomial instead of binomial.
    """
    from scipy import special

    counts = np.arange(trials + 1)
    if counted is None:
        above = np.append(1.0, special.betainc(counts[1:], trials - counts[1:] + 1, chance))  # P(X >= count)
    else:
        a, b = _possible(*counted)
        ways = -special.betaln(counts + 1, trials - counts + 1) - np.log(trials + 1)
        shares = np.exp(ways + special.betaln(counts + a, trials - counts + b) - special.betaln(a, b))
        above = np.minimum(1.0, np.cumsum(shares[::-1])[::-1])
    found: Floats = np.clip(-special.ndtri(above), -_HIGHEST, _HIGHEST)
    return found


def step_down(observed: Floats, drawn: Floats) -> Floats:
    """Return the p-value of each comparison, adjusted by the step-down max-T procedure, ``(k,)``.

    The largest difference is compared with the maximum of all in each draw, the next one with the maximum of all but
    the first, and so on; no p-value is lower than that of a larger difference.
    """
    order = np.argsort(-observed, kind="stable")
    highest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    above = (highest >= observed[order]).sum(axis=0)
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate((1 + above) / (1 + len(drawn)))
    return adjusted


def detectable(trials: int, chance: float, critical: float, *, counted: tuple[int, int] | None = None) -> float | None:
    """Return the smallest excess over a chance level that ``trials`` people show with 80 % power, in steps of .001.

    A count of people is beyond chance if the normal quantile of its binomial p-value exceeds ``critical``. None if no
    excess has that power, because there are too few people. ``counted`` is that of `AgainstChance`.
    """
    from scipy import special

    if not trials:
        return None
    chance = _positive(chance, trials)
    needed = np.flatnonzero(_count_deviates(trials, chance, counted) > critical)
    steps: NDArray[np.float64] = np.arange(1, int(1000 * (1 - chance)) + 1) / 1000
    if not len(needed) or not needed[0] or not len(steps):
        return None
    reached = np.flatnonzero(special.betainc(needed[0], trials - needed[0] + 1, chance + steps) >= POWER)
    return float(steps[reached[0]]) if len(reached) else None
