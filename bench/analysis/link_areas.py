"""The area under the ROC curve of links: the score of each pair, and how far pairs of two people pull the area.

The area is the mean over pairs of one person of the share of pairs of two people that score lower, equal ones counted
half. It would be another one with other pairs on either side, so that its variance has two parts (DeLong, DeLong and
Clarke-Pearson 1988, Biometrics 44, 837): that of these shares, and that of the share of pairs of one person that score
higher than a pair of two people. The shares are the scores of the former pairs, and the deviations of the latter are
the pulls of the others (`bench.analysis.pooling.SampleScores`). The area of chance has both parts as well.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.cells import CellRow
from bench.analysis.link_chance import chance_pairs
from bench.analysis.pooling import Floats
from bench.analysis.rows import Rows
from bench.analysis.sample_values import numbers
from bench.metrics.linkage import pair_auc


def auc(rows: Rows, cell: CellRow, table: pd.DataFrame) -> Floats | None:
    """Return for each pair of one person the share of pairs of different people that score lower, NaN for others."""
    return numbers(table, "auc")


def auc_pulls(rows: Rows, cell: CellRow, table: pd.DataFrame) -> Floats | None:
    """Return how far each pair of different people pulls the link AUC, 0 for others."""
    scores = numbers(table, "score")
    return None if scores is None else _pulls(scores[table["same"].to_numpy(bool)], table)


def auc_by_chance(rows: Rows, cell: CellRow, table: pd.DataFrame) -> Floats | None:
    """Return for each pair of chance (`bench.analysis.link_chance.chance_pairs`) the share of all pairs of different
    people that score lower, NaN for others; the mean is the link AUC of chance."""
    chosen = chance_pairs(rows, cell, table)
    scores, every = numbers(table, chosen.column), numbers(table, "score")
    if scores is None or every is None:
        return None
    found = pair_auc(scores, every[~table["same"].to_numpy(bool)])
    return np.where(chosen.pairs, found, np.nan)


def auc_pulls_by_chance(rows: Rows, cell: CellRow, table: pd.DataFrame) -> Floats | None:
    """Return how far each pair of different people pulls the link AUC of chance, 0 for others."""
    chosen = chance_pairs(rows, cell, table)
    scores = numbers(table, chosen.column)
    return None if scores is None else _pulls(scores[chosen.pairs], table)


def _pulls(scores: Floats, table: pd.DataFrame) -> Floats | None:
    """Return how far each row of the ``table`` pulls the area of ``scores``, which are compared with those of its pairs
    of different people; None if one side has no score."""
    every = numbers(table, "score")
    known = scores[np.isfinite(scores)]
    if every is None or not len(known):
        return None
    others = np.isfinite(every) & ~table["same"].to_numpy(bool)
    if not others.any():
        return None
    lower = pair_auc(every[others], known)  # Of ``known``: the area has the share of those that are higher.
    found = np.zeros(len(every))
    found[others] = (lower.mean() - lower) / len(lower)
    return found
