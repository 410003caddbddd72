"""Measurements of how well scores separate genuine from impostor pairs. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.metrics import false_match_rate

KAPPA = 0.2  # The paper's fixed threshold.
DRAWS = 200  # The number of bootstrap draws; 200 give a standard error to within about 5 %.

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Separation:
    """Verification of ``pairs`` pairs: mean cosines, ``auc`` (the probability that a genuine pair scores above an
    impostor pair) with its standard error, the best balanced ``accuracy`` with its ``threshold`` (in-sample), and the
    false match rate ``fmr`` at 0.2."""

    pairs: int
    genuine_mean: float
    impostor_mean: float
    auc: float
    auc_error: float
    accuracy: float
    threshold: float
    fmr: float

    @property
    def separates(self) -> bool:
        """Whether genuine pairs score above impostor pairs, beyond two standard errors."""
        return self.auc - 2 * self.auc_error > 0.5


def separation(scores: Floats, same: Bools) -> Separation:
    """Return the separation of pairs with cosines ``scores (n,)`` and labels ``same (n,)``. Raises ValueError unless
    there are genuine and impostor pairs."""
    same = np.asarray(same, dtype=bool)
    if same.all() or not same.any():
        raise ValueError("expected genuine and impostor pairs, got one kind only")
    accuracy, threshold = _best_balanced(scores, same)
    return Separation(
        pairs=len(scores),
        genuine_mean=float(scores[same].mean()),
        impostor_mean=float(scores[~same].mean()),
        auc=_auc(scores, same),
        auc_error=auc_difference_error(scores, np.zeros_like(scores), same),
        accuracy=accuracy,
        threshold=threshold,
        fmr=float(false_match_rate(scores[~same], KAPPA) or 0.0),
    )


def auc_difference_error(a: Floats, b: Floats, same: Bools) -> float:
    """Return the standard error of AUC(a) - AUC(b) for two scores ``(n,)`` of the same pairs: a bootstrap over pairs,
    with the same draws for both and within each kind. For constant ``b`` it is that of AUC(a)."""
    rng = np.random.default_rng(0)
    genuine, impostor = np.flatnonzero(same), np.flatnonzero(~same)
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(genuine, len(genuine)), rng.choice(impostor, len(impostor))])
        found.append(_auc(a[rows], same[rows]) - _auc(b[rows], same[rows]))
    return float(np.std(found))


def _auc(scores: Floats, same: Bools) -> float:
    """Return the area under the ROC curve: Mann-Whitney's U as a share of all pairs of scores; ties count half."""
    ranks = stats.rankdata(scores)
    n, m = int(same.sum()), int((~same).sum())
    return float((ranks[same].sum() - n * (n + 1) / 2) / (n * m))


def _best_balanced(scores: Floats, same: Bools) -> tuple[float, float]:
    """Return the best balanced accuracy (the mean over both kinds) of ``score > threshold``, and the threshold."""
    levels = np.unique(scores)
    candidates = np.concatenate([[levels[0] - 1e-6], (levels[1:] + levels[:-1]) / 2, [levels[-1]]])
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    accepted = 1 - np.searchsorted(genuine, candidates, side="right") / len(genuine)
    rejected = np.searchsorted(impostor, candidates, side="right") / len(impostor)
    best = int(np.argmax(accepted + rejected))
    return float((accepted[best] + rejected[best]) / 2), float(candidates[best])
