"""Which of several defenses is better, and how sure that is: utility against leakage in draws of the same people.

Pure numbers, no rows. Every draw takes people with replacement from all people of the run, once for everything that is
compared, so that two defenses that were asked about the same people are compared on the same people in each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import DRAWS, SEED, Floats, Pool

CERTAIN = 0.95  # share of draws from which on something is said plainly
_AT_ONCE = 4_000_000  # weights of people


@dataclass(frozen=True, kw_only=True)
class BootstrapDraws:
    """What the draws say of some contenders, in their order: ``utility`` and ``leakage`` are ``(draws, n)``, NaN where
    there is none; ``worst`` ``(draws, n)`` is which of a contender's attacks leaks most, -1 where there is none."""

    utility: Floats
    leakage: Floats
    worst: NDArray[np.int64]


def draw(utility: Sequence[Pool | None], attacks: Sequence[Sequence[Pool]]) -> BootstrapDraws:
    """Draw people and measure each contender anew: its utility, and its leakage under the attack that leaks most in
    that draw. ``attacks``: those of each contender."""
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
    """The mean of each pool in each draw ``(draws, pools)``; NaN where nobody of a pool was drawn."""
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
    """The interval of what was drawn ``(draws,)``; none where nothing varies or nothing is known."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return None
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def dominates(
    utility: NDArray[np.float64], leakage: NDArray[np.float64], comparable: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Who dominates whom: ``(..., n)`` and ``(..., n)`` to ``(..., n, n)``, where ``[a, b]`` says that a keeps at least
    as much as b, leaks at most as much, and is strictly better in one of both.

    ``comparable[a, b]``: whether a may dominate b at all. What has no number dominates nobody and is dominated by
    nobody.
    """
    with np.errstate(invalid="ignore"):
        kept = utility[..., :, None] - utility[..., None, :]
        leaked = leakage[..., :, None] - leakage[..., None, :]
        return comparable & (kept >= 0) & (leaked <= 0) & ((kept > 0) | (leaked < 0))
