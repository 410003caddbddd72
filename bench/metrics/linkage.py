"""Linkage: whether two uploads show one person, by the scores of an adversary.

The scores have no fixed scale: the area under the ROC curve needs no threshold, and the threshold of the adversary is
set on impostor pairs of other people, as in `bench.metrics.impostors`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Floats
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


def other_pairs(left: ArrayLike, right: ArrayLike, order: ArrayLike) -> NDArray[np.int64]:
    """Return for each pair the index of another pair whose right person is not its left person; -1 if there is none.

    ``left (n,)`` and ``right (n,)`` are the people of each pair, and ``order (n,)`` is a permutation of the pairs: the
    partner of a pair is the next one in this order that shows somebody else.
    """
    who, whom, places = np.asarray(left), np.asarray(right), np.asarray(order)
    partner = np.full(len(who), -1, np.int64)
    for position, pair in enumerate(places.tolist()):
        following = np.roll(places, -position - 1)
        fitting = following[whom[following] != who[pair]]
        if len(fitting):
            partner[pair] = fitting[0]
    return partner


def thresholds_without(
    scores: ArrayLike, left: ArrayLike, right: ArrayLike, groups: int, fmr: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Return for each group of people the threshold at a false match rate on the impostor scores of all others.

    ``scores (m,)`` are those of impostor pairs, with the groups of the two people ``(m,)`` each; groups are numbered
    from 0. Returns the thresholds ``(groups,)``, NaN where no score is left, and the number of scores behind each.
    """
    values, first, second = np.asarray(scores, np.float64), np.asarray(left), np.asarray(right)
    kappa, known = np.full(groups, np.nan), np.zeros(groups, np.int64)
    for group in range(groups):
        own = values[(first != group) & (second != group)]
        known[group] = len(own)
        if len(own):
            kappa[group] = threshold_at_fmr(own, fmr)
    return kappa, known
