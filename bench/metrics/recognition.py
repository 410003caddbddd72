"""Measurements: pure functions on arrays, each with its formula, shapes, range, direction and source.

Vocabulary: a *genuine* pair shows one subject, an *impostor* pair two. The false match rate (FMR) is the share of
impostor pairs that are accepted, the false non-match rate (FNMR) the share of genuine pairs that are rejected
(ISO/IEC 19795-1). A pair is accepted when its score is *greater than* the threshold kappa.

Images are uint8 ``(n, 3, h, w)`` RGB: scores are those of the 8-bit image that leaves a client, not of floats.
Undefined values are NaN or none here and become null where they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Floats, _slices

_TIE = 1e-12  # cosines nearer than this are the same: products of large matrices differ in their last digits


# ---- recognition -----------------------------------------------------------------------------------------------------


def cosine(a: ArrayLike, b: ArrayLike) -> Floats:
    """Cosine of matching rows: ``(n, d)`` and ``(n, d)`` to ``(n,)`` in [-1, 1]; higher is more alike.

    ``sum(a * b) / (|a| |b|)`` (paper, section 6.2, COS). NaN for a row of zeros. Raises ValueError for other shapes.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 2 or left.shape != right.shape:
        raise ValueError(f"expected two arrays (n, d) of one shape, got {left.shape} and {right.shape}")
    with np.errstate(invalid="ignore"):
        value = (left * right).sum(1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    clipped: Floats = np.clip(value, -1, 1)
    return clipped


def verification_hits(
    cos_self: ArrayLike, cos_cross: ArrayLike, same: ArrayLike, kappa: float | ArrayLike
) -> NDArray[np.bool_]:
    """Equation 10 per pair: ``(n,)`` each to bool ``(n,)``; its mean is the paper's accuracy.

    True when the protected face still matches its original, ``cos_self = cos(f(x1'), f(x1)) > kappa``, *and* the
    decision on the pair is right, ``(cos_cross = cos(f(x1'), f(x2)) > kappa) == same``. Higher is better for an
    authorised model, lower for any other. ``kappa`` is one threshold or one per pair.
    """
    itself = np.asarray(cos_self) > kappa
    accepted = np.asarray(cos_cross) > kappa
    hits: NDArray[np.bool_] = itself & (accepted == np.asarray(same, dtype=bool))
    return hits


@dataclass(frozen=True, kw_only=True)
class FoldAccuracy:
    """Cross-validated verification accuracy: ``accuracy`` in [0, 1] over ``n`` pairs (none when it is undefined).

    ``thresholds``: fold to the threshold applied to it; ``hits (n,)``: which decisions were right.
    """

    accuracy: float | None
    thresholds: Mapping[int, float]
    n: int
    hits: NDArray[np.bool_]


def ten_fold_accuracy(scores: ArrayLike, same: ArrayLike, fold: ArrayLike) -> FoldAccuracy:
    """Verification accuracy with thresholds learnt on the other folds; ``(n,)`` each. Higher is better.

    The protocol of LFW (Huang et al. 2007, "view 2"): each fold is decided with the threshold that is best on all
    others. Candidates are the midpoints between neighbouring scores and both ends; of equally good ones the smallest
    is taken. The accuracy is that of all decisions together, which is the usual mean over folds when these are equally
    large, and stays meaningful when they are small. Folds without pairs do not count; with fewer than two folds
    nothing can be learnt and the accuracy is none.
    """
    values, labels, folds = np.asarray(scores, np.float64), np.asarray(same, bool), np.asarray(fold)
    if values.ndim != 1 or values.shape != labels.shape or values.shape != folds.shape:
        raise ValueError(f"expected three arrays (n,), got {values.shape}, {labels.shape} and {folds.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite scores, got {int((~np.isfinite(values)).sum())} that are not")
    present = np.unique(folds)
    hits = np.zeros(len(values), dtype=bool)
    if len(present) < 2:
        return FoldAccuracy(accuracy=None, thresholds={}, n=len(values), hits=hits)
    kappas = _best_without(values, labels, np.searchsorted(present, folds), len(present))
    thresholds = dict(zip(present.astype(int).tolist(), kappas.tolist(), strict=True))
    hits = (values > kappas[np.searchsorted(present, folds)]) == labels
    return FoldAccuracy(accuracy=float(hits.mean()), thresholds=thresholds, n=len(values), hits=hits)


def _best_without(scores: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64], folds: int) -> Floats:
    """For each fold, the `best_threshold` of all pairs outside of it, ``(folds,)``; of all folds at once."""
    levels, where = np.unique(scores, return_inverse=True)
    inside = np.zeros((2, folds, len(levels)))
    np.add.at(inside, (same.astype(int), fold, where), 1)
    impostor, genuine = inside.sum(1, keepdims=True) - inside  # (folds, levels) each
    none = np.zeros((folds, 1))
    accepted = np.hstack([none, np.cumsum(genuine, 1)])
    right = np.hstack([none, np.cumsum(impostor, 1)]) + accepted[:, -1:] - accepted
    best = np.argmax(right, 1)  # the first of equals follows a level that is there, or no level
    there = impostor + genuine > 0
    found = np.empty(folds)
    for k, i in enumerate(best):
        above = levels[i:][there[k, i:]]
        if i == 0:
            found[k] = np.nextafter(above[0], -np.inf)
        elif not len(above):
            found[k] = levels[i - 1]
        else:
            middle = levels[i - 1] + (above[0] - levels[i - 1]) / 2
            found[k] = middle if middle < above[0] else levels[i - 1]
    return found


def best_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    """The threshold with the highest accuracy of ``score > threshold`` on pairs ``(n,)``; the smallest of equals."""
    if not len(scores):
        raise ValueError("expected at least one pair, got none")
    levels, where = np.unique(scores, return_inverse=True)
    genuine = np.bincount(where, weights=same, minlength=len(levels))
    impostor = np.bincount(where, weights=~same, minlength=len(levels))
    # candidate i accepts the levels from i on: right are the impostors below it and the genuine pairs from it on
    right = np.concatenate([[0], np.cumsum(impostor)]) + genuine.sum() - np.concatenate([[0], np.cumsum(genuine)])
    middle = levels[:-1] + (levels[1:] - levels[:-1]) / 2
    middle = np.where(middle < levels[1:], middle, levels[:-1])  # neighbouring floats have no middle
    candidates = np.concatenate([[np.nextafter(levels[0], -np.inf)], middle, [levels[-1]]])
    return float(candidates[np.argmax(right)])


def balanced_threshold(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """The threshold with the highest mean of ``P(genuine > threshold)`` and ``P(impostor <= threshold)``, for scores
    ``(g,)`` and ``(i,)``; the smallest of equals. Raises ValueError without one of both.

    The best accuracy if both kinds of pairs were equally many, as they are in verification protocols.
    """
    high, low = np.sort(np.asarray(genuine, np.float64)), np.sort(np.asarray(impostor, np.float64))
    if not len(high) or not len(low):
        raise ValueError(f"expected genuine and impostor scores, got {len(high)} and {len(low)}")
    levels = np.unique(np.concatenate([high, low]))
    middle = levels[:-1] + (levels[1:] - levels[:-1]) / 2
    candidates = np.concatenate([[np.nextafter(levels[0], -np.inf)], middle, [levels[-1]]])
    accepted = 1 - np.searchsorted(high, candidates, "right") / len(high)
    rejected = np.searchsorted(low, candidates, "right") / len(low)
    return float(candidates[np.argmax(accepted + rejected)])


def threshold_at_fmr(impostor: ArrayLike, fmr: float) -> float:
    """The smallest threshold whose false match rate on these impostor scores ``(n,)`` is at most ``fmr`` in [0, 1).

    The share of scores greater than it is at most ``fmr``; any smaller threshold lets more through (ISO/IEC 19795-1).
    With ``floor(fmr n)`` matches allowed it is the next highest score. Raises ValueError without scores.
    """
    values = np.asarray(impostor, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected impostor scores (n,), got shape {values.shape}")
    if not 0 <= fmr < 1:
        raise ValueError(f"expected a false match rate in [0, 1), got {fmr}")
    allowed = math.floor(fmr * len(values) + 1e-9)  # 0.29 * 100 is a little less than 29
    rank = len(values) - 1 - allowed
    return float(np.partition(values, rank)[rank])


def separation(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """How well scores tell genuine pairs ``(g,)`` from impostor pairs ``(i,)``: the chance that a genuine one is
    higher, ties counting half; in [0, 1], higher is better, .5 is guessing. Raises ValueError
    without one of both.

    The area under the ROC curve as the statistic of Mann and Whitney (1947).
    """
    high, low = np.sort(np.asarray(genuine, np.float64)), np.sort(np.asarray(impostor, np.float64))
    if not len(high) or not len(low):
        raise ValueError(f"expected genuine and impostor scores, got {len(high)} and {len(low)}")
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / (2 * len(low)))


def false_match_rate(impostor: ArrayLike, kappa: float) -> float | None:
    """Share of impostor scores ``(n,)`` above ``kappa``, in [0, 1]; lower is better for a recogniser."""
    values = np.asarray(impostor)
    return float((values > kappa).mean()) if len(values) else None


def false_non_match_rate(genuine: ArrayLike, kappa: float) -> float | None:
    """Share of genuine scores ``(n,)`` that are not above ``kappa``, in [0, 1]; lower is better for a recogniser."""
    values = np.asarray(genuine)
    return float((~(values > kappa)).mean()) if len(values) else None


def impostor_scores(embeddings: ArrayLike, subjects: ArrayLike) -> Floats:
    """Cosines of all pairs of different subjects: ``(n, d)`` and ``(n,)`` to ``(pairs,)``, each pair once."""
    return _pair_scores(embeddings, subjects, genuine=False)


def genuine_scores(embeddings: ArrayLike, subjects: ArrayLike) -> Floats:
    """Cosines of all pairs of one subject: ``(n, d)`` and ``(n,)`` to ``(pairs,)``, each pair once."""
    return _pair_scores(embeddings, subjects, genuine=True)


def _pair_scores(embeddings: ArrayLike, subjects: ArrayLike, *, genuine: bool) -> Floats:
    vectors, who = np.asarray(embeddings, np.float64), np.asarray(subjects)
    if vectors.ndim != 2 or who.shape != vectors.shape[:1]:
        raise ValueError(f"expected embeddings (n, d) and subjects (n,), got {vectors.shape} and {who.shape}")
    with np.errstate(invalid="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = np.arange(len(unit))
    parts = []
    for part in _slices(len(unit)):
        later = columns[part, None] < columns[None, :]
        alike = who[part, None] == who[None, :]
        parts.append((unit[part] @ unit.T)[later & (alike == genuine)])
    return np.clip(np.concatenate(parts), -1, 1) if parts else np.empty(0)


# ---- attacks: reconstruction and attributes --------------------------------------------------------------------------


def reconstruction_success(cos: ArrayLike, kappa: float | ArrayLike) -> NDArray[np.bool_]:
    """Whether each reconstruction is recognised as its original; its mean is the paper's SRRA (section 6.2).

    ``cos = cos(f(x^), f(x))``, ``(n,)``, to bool ``(n,)``: ``cos > kappa``, with one threshold or one per sample;
    false where the cosine is undefined. For the authorised model it is utility, and higher is better; for a judge
    that took no part it is re-identification, and lower is better.
    """
    recognised: NDArray[np.bool_] = np.asarray(cos, np.float64) > np.asarray(kappa, np.float64)
    return recognised


def identification_ranks(
    probes: ArrayLike, gallery: ArrayLike, own: ArrayLike, subjects: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Rank of each probe's own image among a gallery, by cosine: ``(n, d)``, ``(m, d)``, ``(n,)`` to ``(n,)``.

    Rank in closed-set identification (ISO/IEC 19795-1), in [1, m]; lower is better for the attacker, and the share of
    rank 1 is the rank-1 identification rate. ``own`` are indices into the gallery. The rank is 1 + the images with a
    higher score + half of those with the same one (to 1e-12), rounded down: a second copy of the own image costs
    nothing, and a probe that is as like to everybody ends in the middle instead of at rank 1. With the gallery's
    ``subjects (m,)`` the best image of the own subject counts, and its other images are no rivals. Raises ValueError
    for other shapes, indices outside the gallery, and vectors that have no direction.
    """
    left, right, index = _unit_rows(probes), _unit_rows(gallery), np.asarray(own)
    if left.shape[1:] != right.shape[1:] or index.shape != left.shape[:1]:
        raise ValueError(f"expected (n, d), (m, d) and (n,), got {left.shape}, {right.shape} and {index.shape}")
    if len(index) and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= len(right)):
        raise ValueError(f"expected indices in [0, {len(right)}), got {index.min()} to {index.max()}")
    who = np.arange(len(right)) if subjects is None else np.asarray(subjects)
    if who.shape != right.shape[:1]:
        raise ValueError(f"expected one subject per gallery image ({len(right)},), got {who.shape}")
    ranks = np.empty(len(left), dtype=np.int64)
    for part in _slices(len(left)):
        scores = left[part] @ right.T
        mine = who[index[part], None] == who[None, :]
        lead = scores - np.where(mine, scores, -np.inf).max(axis=1, keepdims=True)
        ahead, level = (lead > _TIE) & ~mine, (np.abs(lead) <= _TIE) & ~mine
        ranks[part] = 1 + ahead.sum(axis=1) + level.sum(axis=1) // 2
    return ranks


def _unit_rows(vectors: ArrayLike) -> Floats:
    values = np.asarray(vectors, np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected vectors (n, d), got {values.shape}")
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("expected finite vectors other than zero")
    unit: Floats = values / lengths
    return unit


# ---- images ----------------------------------------------------------------------------------------------------------


# ---- uncertainty -----------------------------------------------------------------------------------------------------
