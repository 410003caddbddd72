"""Which defense dominates which, and how certain that is: utility and leakage in bootstrap draws of people.

This module works on pooled scores, not on rows. Each draw gives all people of the run random weights, and all
defenses use the same draw, so that two defenses are compared on the same people (`bench.analysis.pooling.drawn_means`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.pooling import Floats, Pool, drawn_means

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
