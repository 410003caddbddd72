"""Which defense dominates which, and how certain that is: utility and leakage in bootstrap draws of people.

This module works on pooled scores, not on rows. Each draw takes people with replacement from all people of the run, and
all defenses use the same draw, so that two defenses are compared on the same people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import DRAWS, SEED, Floats, Pool

CERTAIN = 0.95  # From this share of draws on, a statement counts as certain.
_AT_ONCE = 4_000_000  # Weights of people in memory at a time.


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
    means = _means(pools)
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


def _means(pools: Sequence[Pool]) -> Floats:
    """Return the mean of each pool in each draw, ``(draws, pools)``; NaN if a draw has no person of the pool."""
    people = sorted({name for pool in pools for name in pool.people})
    if not people:
        return np.full((DRAWS, len(pools)), np.nan)
    sums, counts = (np.stack(side, axis=1) for side in zip(*(p.per_person(people) for p in pools), strict=True))
    rng = np.random.default_rng(SEED)
    found = []
    block = max(1, _AT_ONCE // len(people))
    for start in range(0, DRAWS, block):
        taken = rng.integers(len(people), size=(min(block, DRAWS - start), len(people)))
        weights = np.stack([np.bincount(t, minlength=len(people)) for t in taken]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            found.append((weights @ sums) / (weights @ counts))
    return np.concatenate(found)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of drawn values ``(draws,)``; None if none is finite or all are equal."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return None
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


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
