"""Recognition metrics: verification and its thresholds, identification, re-identification of reconstructions.

A *genuine* pair shows one subject, an *impostor* pair two. A pair is accepted if its score, the cosine of two
embeddings, is *greater than* the threshold kappa. The false match rate (FMR) is the share of impostor pairs that are
accepted, the false non-match rate (FNMR) the share of genuine pairs that are rejected (ISO/IEC 19795-1).

Where a metric is undefined, it is NaN in an array and None by itself; both are stored as null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Floats, slices, unit_rows

_TIE = 1e-12  # Cosines that differ by less are equal: products of large matrices differ in their last digits.


def cosine(a: ArrayLike, b: ArrayLike) -> Floats:
    """Return the cosine similarity of corresponding rows, in [-1, 1]; higher means more alike (section 6.2, COS).

    ``sum(a * b) / (|a| |b|)``: two arrays ``(n, d)`` to ``(n,)``. NaN for a row of zeros. Raises ValueError for other
    shapes.
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
    """Return for each pair whether verification succeeds (Equation 10); the mean is the paper's accuracy.

    True if the protected face still matches its original, ``cos_self = cos(f(x1'), f(x1)) > kappa``, *and* the decision
    on the pair is correct, ``(cos_cross = cos(f(x1'), f(x2)) > kappa) == same``. All arrays are ``(n,)``; ``same`` is
    True for genuine pairs, ``kappa`` is one threshold or one per pair ``(n,)``. The result is bool ``(n,)``. Higher is
    better for an authorised model, lower for any other.
    """
    matches_original = np.asarray(cos_self) > kappa
    accepted = np.asarray(cos_cross) > kappa
    hits: NDArray[np.bool_] = matches_original & (accepted == np.asarray(same, dtype=bool))
    return hits


@dataclass(frozen=True, kw_only=True)
class FoldAccuracy:
    """The result of `ten_fold_accuracy`.

    - ``accuracy``: the share of correct decisions, in [0, 1]; None if it is undefined
    - ``thresholds``: by fold, the threshold that was applied to its pairs
    - ``n``: the number of pairs
    - ``hits``: bool ``(n,)``, whether the decision on each pair was correct
    """

    accuracy: float | None
    thresholds: Mapping[int, float]
    n: int
    hits: NDArray[np.bool_]


def ten_fold_accuracy(scores: ArrayLike, same: ArrayLike, fold: ArrayLike) -> FoldAccuracy:
    """Return the cross-validated verification accuracy: each fold is decided with a threshold from the other folds.

    The protocol of LFW (Huang et al. 2007, "view 2"): the pairs of a fold are decided with the `best_threshold` of all
    pairs outside of it. ``scores``, ``same`` (True for genuine pairs) and ``fold`` are ``(n,)``. The accuracy is the
    share of all correct decisions, in [0, 1]; higher is better for a recogniser. If all folds have the same size, it
    equals the usual mean over folds; it stays meaningful for small folds. Folds without pairs do not count. With fewer
    than two folds no threshold can be chosen, and the accuracy is None. Raises ValueError for other shapes and for
    scores that are not finite.
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
    """Compute for each fold the `best_threshold` of all pairs outside of it, ``(folds,)``, for all folds at once."""
    levels, level_of = np.unique(scores, return_inverse=True)
    inside = np.zeros((2, folds, len(levels)))
    np.add.at(inside, (same.astype(int), fold, level_of), 1)
    impostor, genuine = inside.sum(1, keepdims=True) - inside  # numbers of pairs outside, (folds, levels) each
    zero = np.zeros((folds, 1))
    genuine_below = np.hstack([zero, np.cumsum(genuine, 1)])
    correct = np.hstack([zero, np.cumsum(impostor, 1)]) + genuine_below[:, -1:] - genuine_below
    best = np.argmax(correct, 1)  # The first maximum is at 0, or just above a level that occurs outside of the fold.
    occurs = impostor + genuine > 0
    thresholds = np.empty(folds)
    for k, i in enumerate(best):
        above = levels[i:][occurs[k, i:]]
        if i == 0:
            thresholds[k] = np.nextafter(above[0], -np.inf)
        elif not len(above):
            thresholds[k] = levels[i - 1]
        else:
            middle = levels[i - 1] + (above[0] - levels[i - 1]) / 2
            thresholds[k] = middle if middle < above[0] else levels[i - 1]
    return thresholds


def best_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest verification accuracy, ``mean((scores > threshold) == same)``.

    ``scores`` and ``same`` are ``(n,)``. The candidates are the midpoints between neighbouring scores, one threshold
    that accepts all pairs, and one that rejects all; of equally good candidates the smallest is returned. Raises
    ValueError without pairs.
    """
    if not len(scores):
        raise ValueError("expected at least one pair, got none")
    levels, level_of = np.unique(scores, return_inverse=True)
    genuine = np.bincount(level_of, weights=same, minlength=len(levels))
    impostor = np.bincount(level_of, weights=~same, minlength=len(levels))
    # Candidate i accepts the levels from i on: it is correct for impostor pairs below and for genuine pairs from there.
    correct = np.concatenate([[0], np.cumsum(impostor)]) + genuine.sum() - np.concatenate([[0], np.cumsum(genuine)])
    middle = levels[:-1] + (levels[1:] - levels[:-1]) / 2
    middle = np.where(middle < levels[1:], middle, levels[:-1])  # There is no float between neighbouring floats.
    candidates = np.concatenate([[np.nextafter(levels[0], -np.inf)], middle, [levels[-1]]])
    return float(candidates[np.argmax(correct)])


def balanced_threshold(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """Return the threshold with the highest balanced accuracy on genuine scores ``(g,)`` and impostor scores ``(i,)``.

    Balanced accuracy is the mean of ``P(genuine > threshold)`` and ``P(impostor <= threshold)``: the accuracy if there
    were as many genuine as impostor pairs, as in verification protocols. Of equally good thresholds the smallest is
    returned. Raises ValueError if either array is empty.
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
    """Return the smallest threshold whose false match rate on impostor scores ``(n,)`` is at most ``fmr``.

    The false match rate is the share of impostor scores greater than the threshold (ISO/IEC 19795-1). At most
    ``floor(fmr n)`` scores may be greater, so the threshold is the next highest score; any smaller one accepts more.
    Raises ValueError without scores or unless 0 <= fmr < 1.
    """
    values = np.asarray(impostor, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected impostor scores (n,), got shape {values.shape}")
    rank = len(values) - 1 - allowed_matches(len(values), fmr)
    return float(np.partition(values, rank)[rank])


def allowed_matches(impostors: int, fmr: float) -> int:
    """Return how many of a number of impostor scores may be greater than a threshold with this false match rate.

    Raises ValueError unless 0 <= fmr < 1.
    """
    if not 0 <= fmr < 1:
        raise ValueError(f"expected a false match rate in [0, 1), got {fmr}")
    return math.floor(fmr * impostors + 1e-9)  # In floating point, 0.29 * 100 is slightly less than 29.


def separation(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """Return the area under the ROC curve: how well scores separate genuine ``(g,)`` from impostor pairs ``(i,)``.

    It is the probability that a genuine score is higher than an impostor score, with ties counted half (the statistic
    of Mann and Whitney, 1947); in [0, 1], where .5 is guessing. Higher is better for a recogniser. Raises ValueError if
    either array is empty.
    """
    high, low = np.sort(np.asarray(genuine, np.float64)), np.sort(np.asarray(impostor, np.float64))
    if not len(high) or not len(low):
        raise ValueError(f"expected genuine and impostor scores, got {len(high)} and {len(low)}")
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / (2 * len(low)))


def false_match_rate(impostor: ArrayLike, kappa: float) -> float | None:
    """Return the share of impostor scores ``(n,)`` above ``kappa``, in [0, 1]; lower is better for a recogniser.

    FMR of ISO/IEC 19795-1. None without scores.
    """
    values = np.asarray(impostor)
    return float((values > kappa).mean()) if len(values) else None


def false_non_match_rate(genuine: ArrayLike, kappa: float) -> float | None:
    """Return the share of genuine scores ``(n,)`` not above ``kappa``, in [0, 1]; lower is better for a recogniser.

    FNMR of ISO/IEC 19795-1. None without scores.
    """
    values = np.asarray(genuine)
    return float((~(values > kappa)).mean()) if len(values) else None


def impostor_scores(embeddings: ArrayLike, subjects: ArrayLike) -> Floats:
    """Return the cosine of every pair of embeddings of different subjects, each pair once.

    Embeddings ``(n, d)`` and subjects ``(n,)`` to ``(pairs,)`` in [-1, 1]. Raises ValueError for other shapes.
    """
    return _pair_scores(embeddings, subjects, genuine=False)


def genuine_scores(embeddings: ArrayLike, subjects: ArrayLike) -> Floats:
    """Return the cosine of every pair of embeddings of the same subject, each pair once.

    Embeddings ``(n, d)`` and subjects ``(n,)`` to ``(pairs,)`` in [-1, 1]. Raises ValueError for other shapes.
    """
    return _pair_scores(embeddings, subjects, genuine=True)


def _pair_scores(embeddings: ArrayLike, subjects: ArrayLike, *, genuine: bool) -> Floats:
    """Return the cosines of all pairs of one subject if ``genuine``, else of all pairs of different subjects."""
    vectors, person = np.asarray(embeddings, np.float64), np.asarray(subjects)
    if vectors.ndim != 2 or person.shape != vectors.shape[:1]:
        raise ValueError(f"expected embeddings (n, d) and subjects (n,), got {vectors.shape} and {person.shape}")
    with np.errstate(invalid="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = np.arange(len(unit))
    parts = []
    for part in slices(len(unit)):
        later = columns[part, None] < columns[None, :]
        same = person[part, None] == person[None, :]
        parts.append((unit[part] @ unit.T)[later & (same == genuine)])
    return np.clip(np.concatenate(parts), -1, 1) if parts else np.empty(0)


def reconstruction_success(cos: ArrayLike, kappa: float | ArrayLike) -> NDArray[np.bool_]:
    """Return whether each reconstruction is recognised as its original; the mean is the paper's SRRA (section 6.2).

    ``cos > kappa`` with ``cos = cos(f(x^), f(x))``: ``(n,)`` to bool ``(n,)``, with one threshold or one per sample.
    False where the cosine is NaN. For the authorised model it is utility, and higher is better. For a held-out
    recogniser it is re-identification, and lower is better.
    """
    recognised: NDArray[np.bool_] = np.asarray(cos, np.float64) > np.asarray(kappa, np.float64)
    return recognised


@dataclass(frozen=True, kw_only=True, eq=False)
class Identified:
    """Closed-set identification of probes: the rank of each, ``ranks`` int64 ``(n,)`` from 1, and the probability that
    an image of its subject is the first, ``first (n,)`` in [0, 1], if equal scores are ordered at random."""

    ranks: NDArray[np.int64]
    first: Floats


def identification_ranks(
    probes: ArrayLike,
    gallery: ArrayLike,
    own: ArrayLike,
    subjects: ArrayLike | None = None,
    left_out: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Return the rank of each probe's own image in a gallery, ordered by cosine (see `identified`)."""
    return identified(probes, gallery, own, subjects, left_out).ranks


def identified(
    probes: ArrayLike,
    gallery: ArrayLike,
    own: ArrayLike,
    subjects: ArrayLike | None = None,
    left_out: ArrayLike | None = None,
) -> Identified:
    """Return the rank of each probe's own image in a gallery, ordered by cosine, and its probability of rank 1.

    Closed-set identification (ISO/IEC 19795-1): probes ``(n, d)``, gallery ``(m, d)`` and ``own (n,)``, the index of
    each probe's own image in the gallery, to ranks ``(n,)`` in [1, m] (lower is better for the attacker). The mean
    probability of rank 1 is the rank-1 identification rate.

    The probability is 0 if a gallery image of somebody else has a higher score than the best one of the probe's
    subject. Otherwise it is the share of the images with the best score (up to 1e-12) that show the subject: 1 without
    a tie, 1 / m for a probe that is equally similar to m images of different people. The rank is 1 + the number of
    images with a higher score + half of the number with the same score, rounded down: the middle one of those possible.
    So a second copy of the own image does no harm. With the gallery's ``subjects (m,)``, the best image of the probe's
    subject counts, and its other images do not compete with it. ``left_out``, bool ``(n, m)``, are the gallery images
    that do not exist for a probe, such as the very image that it was made from.

    Raises ValueError for other shapes, for indices outside the gallery, for embeddings that are zero or not finite, and
    if no image of a probe's subject remains.
    """
    left, right, index = unit_rows(probes), unit_rows(gallery), np.asarray(own)
    if left.shape[1:] != right.shape[1:] or index.shape != left.shape[:1]:
        raise ValueError(f"expected (n, d), (m, d) and (n,), got {left.shape}, {right.shape} and {index.shape}")
    if len(index) and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= len(right)):
        raise ValueError(f"expected indices in [0, {len(right)}), got {index.min()} to {index.max()}")
    person = np.arange(len(right)) if subjects is None else np.asarray(subjects)
    if person.shape != right.shape[:1]:
        raise ValueError(f"expected one subject per gallery image ({len(right)},), got {person.shape}")
    hidden = np.zeros((len(left), 1), bool) if left_out is None else np.asarray(left_out, bool)
    if left_out is not None and hidden.shape != (len(left), len(right)):
        raise ValueError(f"expected left_out ({len(left)}, {len(right)}), got {hidden.shape}")
    ranks, first = np.empty(len(left), np.int64), np.empty(len(left))
    for part in slices(len(left)):
        scores, present = left[part] @ right.T, ~hidden[part]
        same = person[index[part], None] == person[None, :]
        if not (same & present).any(axis=1).all():
            raise ValueError("expected an image of each probe's subject in the gallery, got a probe without one")
        lead = scores - np.where(same & present, scores, -np.inf).max(axis=1, keepdims=True)
        rival, level = ~same & present, np.abs(lead) <= _TIE
        ahead, tied = ((which & rival).sum(axis=1) for which in (lead > _TIE, level))
        ranks[part] = 1 + ahead + tied // 2
        best = (level & same & present).sum(axis=1)
        first[part] = np.where(ahead, 0, best / (best + tied))
    return Identified(ranks=ranks, first=first)
