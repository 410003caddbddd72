"""Which defense dominates which, and how certain that is: utility and leakage in bootstrap draws of people.

This module works on pooled scores, not on rows. Each draw gives all people of the run random weights, and all
defenses use the same draw, so that two defenses are compared on the same people (`bench.analysis.pooling.drawn_means`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import Floats, Pool, drawn_means, joint_deviates
from bench.metrics.clustering import Estimate

_UPPER = NormalDist().inv_cdf(0.975)  # The normal deviate of one end of a 95 % interval.
CERTAIN = 0.95  # From this share of draws on, a statement counts as certain.


@dataclass(frozen=True, kw_only=True)
class BootstrapDraws:
    """The utility and the leakage of ``n`` defenses in each draw, in their order.

    ``utility`` and ``leakage`` are ``(draws, n)``, NaN where unknown. ``worst`` ``(draws, n)`` is the index of the
    attack on a defense that leaks most in that draw, -1 where unknown.
    """

    utility: Floats
    leakage: Floats
    worst: NDArray[np.int64]


def draw(utility: Sequence[Pool | None], attacks: Sequence[Sequence[Pool]]) -> BootstrapDraws:
    """Draw people, and compute in each draw the utility of each defense and its leakage under the worst attack.

    ``utility`` holds one pool of scores per defense, ``attacks`` one pool per attack on each defense. The worst attack
    is the one that leaks most in that draw.
    """
    pools = [p if p is not None else Pool() for p in utility] + [p for own in attacks for p in own]
    means = drawn_means(pools)
    n = len(utility)
    leakage = np.full((len(means), n), np.nan)
    worst = np.full((len(means), n), -1, np.int64)
    start = n
    for i, own in enumerate(attacks):
        part = means[:, start : start + len(own)]
        start += len(own)
        if not len(own):
            continue
        known = np.where(np.isnan(part), -np.inf, part)
        best = known.argmax(axis=1)
        highest = known[np.arange(len(known)), best]
        there = np.isfinite(highest)
        leakage[there, i], worst[there, i] = highest[there], best[there]
    return BootstrapDraws(utility=means[:, :n], leakage=leakage, worst=worst)


def interval_of_highest(pools: Sequence[Pool]) -> tuple[float, float] | None:
    """Return a 95 % interval of the highest of the true means of several pools; None if there is none, or if nothing is
    known about the error of one.

    The highest of several measurements is biased upwards, so that its own interval, or that of the highest in draws of
    people, lies too high where several are close. Here the lower end is the highest of lower bounds that hold for all
    means together in 97.5 % of runs, at the quantile of the largest of their `joint_deviates`. The upper end is the
    highest of upper bounds that hold for each in 97.5 %. Bounds of shares are exact (Clopper and Pearson 1934), because
    Wilson's are too high for a few successes that were chosen among many. A single pool has its own interval.
    """
    own = [pool for pool in pools if pool.n]
    known = [pool.estimate() for pool in own]
    if not known or not all(one.known for one in known):
        return None
    if len(known) == 1:
        return known[0].interval()
    together = max(_UPPER, float(np.quantile(joint_deviates(own).max(axis=1), 0.975)))
    return max(_exact_bound(one, -together) for one in known), max(_exact_bound(one, _UPPER) for one in known)


def _exact_bound(of: Estimate, z: float) -> float:
    """Return the bound of a mean at the normal deviate ``z``, a lower one below 0; that of a share is exact for its
    effective number of trials."""
    if of.trials is None:
        return float(of.bound(z))
    from scipy.special import betaincinv, ndtr

    hits, level = of.mean * of.trials, float(ndtr(of.widened(z)))
    if z < 0:
        return float(betaincinv(hits, of.trials - hits + 1, level)) if hits > 0 else 0.0
    return float(betaincinv(hits + 1, of.trials - hits, level)) if hits < of.trials else 1.0


def dominates(
    utility: NDArray[np.float64], leakage: NDArray[np.float64], comparable: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which defense dominates which, ``(..., n, n)``, from utility and leakage, ``(..., n)`` each.

    ``[a, b]`` is True if a has at least the utility of b, at most its leakage, and is strictly better in one of both,
    and if ``comparable[a, b]`` allows the comparison. A defense whose utility or leakage is NaN dominates no other and
    is not dominated.
    """
    with np.errstate(invalid="ignore"):
        kept = utility[..., :, None] - utility[..., None, :]
        leaked = leakage[..., :, None] - leakage[..., None, :]
        return comparable & (kept >= 0) & (leaked <= 0) & ((kept > 0) | (leaked < 0))
