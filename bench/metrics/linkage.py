"""Linkage: whether two uploads show one person, by the scores of an adversary.

The scores have no fixed scale: the area under the ROC curve needs no threshold, and the threshold of the adversary is
set on impostor pairs of other people, as in `bench.metrics.impostors`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.arrays import Floats
from bench.metrics.impostors import CrossFitted
from bench.metrics.recognition import threshold_at_fmr


def pair_auc(scores: ArrayLike, impostor: ArrayLike) -> Floats:
    """Return for each score ``(n,)`` the share of impostor scores ``(m,)`` that are lower, where equal ones count half.

    The mean over genuine pairs is the area under the ROC curve (Hanley and McNeil 1982). NaN for a score that is NaN,
    and without impostor scores.
    """
    own, others = np.asarray(scores, np.float64), np.sort(np.asarray(impostor, np.float64))
    if not len(others):
        return np.full(len(own), np.nan)
    below, most = (np.searchsorted(others, own, side) for side in ("left", "right"))
    return np.where(np.isnan(own), np.nan, (below + most) / (2 * len(others)))


def thresholds_without(
    scores: ArrayLike, left: ArrayLike, right: ArrayLike, groups: ArrayLike, fmr: float
) -> CrossFitted:
    """Return for each group of people the threshold at a false match rate on the impostor scores of all others.

    ``scores (m,)`` are those of impostor pairs, with the numbers of the two people ``(m,)`` each; ``groups (p,)`` holds
    the group of each person, from 0.
    """
    values, first, second, group = (np.asarray(given) for given in (scores, left, right, groups))
    number = int(group.max()) + 1
    kappa, fmrs = np.full(number, np.nan), np.full(number, np.nan)
    known, people = np.zeros(number, np.int64), np.zeros(number, np.int64)
    for left_out in range(number):
        kept = (group[first] != left_out) & (group[second] != left_out)
        own = values[kept]
        known[left_out] = len(own)
        people[left_out] = len(np.union1d(first[kept], second[kept]))
        if len(own):
            kappa[left_out] = threshold_at_fmr(own, fmr)
            fmrs[left_out] = (own > kappa[left_out]).mean()
    return CrossFitted(kappa=kappa, impostors=known, people=people, fmr=fmrs)
