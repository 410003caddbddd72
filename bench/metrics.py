"""Measurements: pure functions on arrays, each with its formula, shapes, range, direction and source.

Vocabulary: a *genuine* pair shows one subject, an *impostor* pair two. The false match rate (FMR) is the share of
impostor pairs that are accepted, the false non-match rate (FNMR) the share of genuine pairs that are rejected
(ISO/IEC 19795-1). A pair is accepted when its score is *greater than* the threshold kappa.

Images are uint8 ``(n, 3, h, w)`` RGB: scores are those of the 8-bit image that leaves a client, not of floats.
Undefined values are NaN or none here and become null where they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]

SSIM_VARIANT = "Gaussian window, sigma 1.5, 11x11, valid region; population covariance; RGB mean; data range 1; uint8"

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5  # 3.5 sigma, rounded, as scikit-image and Wang et al. (11x11) have it
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_TIE = 1e-12  # cosines nearer than this are the same: products of large matrices differ in their last digits
_YEARS = 100.0  # an error of so many years is as wrong as it gets
_CHUNK = 64  # images, or rows of a similarity matrix, at a time


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


def attribute_similarity(a: ArrayLike, b: ArrayLike) -> Floats:
    """CosSim per sample (Equation 11): attribute vectors ``(n, k)`` twice to ``(n,)``; lower is better for a defense.

    `cosine` of ``A(x~)`` and ``A(x)``. In [0, 1] for class probabilities, which are not negative, and hardly ever
    near 0: seven equal probabilities against one certain class already give .378. Read it against `constant_floor`.
    """
    return cosine(a, b)


def age_difference(a: ArrayLike, b: ArrayLike) -> Floats:
    """Absolute difference of ages in years per sample, ``(n,)`` twice to ``(n,)``; higher is better for a defense.

    What the paper takes for age in place of Equation 11 (section 6.2). Raises ValueError for other shapes.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"expected two arrays (n,) of one shape, got {left.shape} and {right.shape}")
    return np.abs(left - right)


def constant_predictor(vectors: ArrayLike) -> Floats:
    """What someone who sees no face would answer: the mean of calibration vectors ``(m, k)`` to ``(k,)``, or of
    numbers such as ages ``(m,)`` to ``()``. Raises ValueError without samples or for other shapes."""
    values = np.asarray(vectors, np.float64)
    if values.ndim not in (1, 2) or not len(values):
        raise ValueError(f"expected calibration vectors (m, k) or numbers (m,), got shape {values.shape}")
    return np.asarray(values.mean(axis=0))


def constant_floor(originals: ArrayLike, calibration: ArrayLike) -> Floats:
    """What `constant_predictor` of the calibration vectors scores on each original: ``(n, k)`` or ``(n,)`` to ``(n,)``.

    `attribute_similarity` for vectors, `age_difference` for numbers. A defense that reaches it leaves nothing of the
    attribute in its images. Raises ValueError when the two differ in ``k``.
    """
    values, constant = np.asarray(originals, np.float64), constant_predictor(calibration)
    if values.shape[1:] != constant.shape:
        raise ValueError(f"expected originals (n, *{constant.shape}), got {values.shape}")
    answers = np.broadcast_to(constant, values.shape)
    return attribute_similarity(answers, values) if values.ndim == 2 else age_difference(answers, values)


def attribute_distance(measure: Literal["cosine", "years"], a: ArrayLike, b: ArrayLike) -> Floats:
    """Dist of Equation 9 for one privacy-infringing model m_i, per sample, in [0, 1]; higher is better for a defense.

    The paper leaves Dist open. Ours: ``cosine`` is 1 - CosSim of vectors ``(n, k)``, where opposed ones count as 1;
    ``years`` is ``min(|a - b| / 100, 1)`` of ages ``(n,)``. NaN where the cosine is undefined.
    """
    if measure == "cosine":
        return np.clip(1 - attribute_similarity(a, b), 0, 1)
    if measure == "years":
        return np.minimum(age_difference(a, b) / _YEARS, 1)
    raise ValueError(f"expected the measure 'cosine' or 'years', got {measure!r}")


def utility_privacy(cos: ArrayLike, dist: ArrayLike, kappa: float) -> Floats:
    """Equation 9 per sample, in [0, 2] for distances in [0, 1]; its mean is UP(sigma, kappa). Higher is better.

    ``1[cos > kappa] + mean_i Dist(m_i(x), m_i(x~))``: ``cos (n,)`` is ``cos(f(x~ + n), f(x + n'))`` under environment
    noise of standard deviation sigma on both; ``dist`` holds the distances ``(n, K)`` of K privacy-infringing models
    m_i, or ``(n,)`` for one (the paper's choice is LPIPS) or for their mean. Printed are K + 1 terms, i = 0 .. K,
    divided by K; we take their mean, which stays in [0, 1]. NaN where a distance is. Raises ValueError for other
    shapes.
    """
    similar, distances = np.asarray(cos, np.float64), np.asarray(dist, np.float64)
    if similar.ndim != 1 or distances.ndim not in (1, 2) or len(distances) != len(similar):
        raise ValueError(f"expected cosines (n,), distances (n,) or (n, K); got {similar.shape}, {distances.shape}")
    if distances.ndim == 2:
        if not distances.shape[1]:
            raise ValueError("expected the distance of at least one model, got none")
        distances = distances.mean(axis=1)
    value: Floats = (similar > kappa) + distances
    return value


# ---- images ----------------------------------------------------------------------------------------------------------


def ssim(a: Images, b: Images) -> Floats:
    """Structural similarity per image: uint8 ``(n, c, h, w)`` twice to ``(n,)`` in [-1, 1]; 1 for equal images.

    Wang et al. 2004, "Image quality assessment", Equation 13, with a Gaussian window of sigma 1.5 (see
    `SSIM_VARIANT`): the mean over channels and over all windows inside the image of
    ``(2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))``, C1 = .01^2, C2 = .03^2.
    Equals scikit-image's ``structural_similarity(gaussian_weights=True, use_sample_covariance=False,
    channel_axis=..., data_range=1)``. Lower is better for a defense; compare with `bench.floors`.
    Raises ValueError for images smaller than 11x11, other types or unequal shapes.
    """
    _check_images(a, b)
    h, w = a.shape[2:]
    if min(h, w) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"expected images of at least 11x11 pixels, got {h}x{w}")
    rows, columns = _valid_gaussian(h), _valid_gaussian(w).T.copy()

    def blurred(x: Floats) -> Floats:
        return rows @ (x.reshape(-1, w) @ columns).reshape(*x.shape[:-1], -1)

    value = np.empty(len(a))
    for part in _slices(len(a), 8):  # a few images at a time stay in the processor's cache
        x, y = a[part] / 255.0, b[part] / 255.0
        mean_x, mean_y = blurred(x), blurred(y)
        of_means, mean_squares = mean_x * mean_y, mean_x**2 + mean_y**2
        covariance, variances = blurred(x * y) - of_means, blurred(x * x + y * y) - mean_squares
        similar = (2 * of_means + _SSIM_C1) * (2 * covariance + _SSIM_C2)
        value[part] = (similar / ((mean_squares + _SSIM_C1) * (variances + _SSIM_C2))).mean(axis=(1, 2, 3))
    return value


def _valid_gaussian(size: int) -> Floats:
    """Matrix ``(size - 10, size)`` that filters along one side with the SSIM window, where all of it fits."""
    window = np.exp(-(np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1) ** 2) / (2 * _SSIM_SIGMA**2))
    matrix = np.zeros((size - 2 * _SSIM_RADIUS, size))
    for i, row in enumerate(matrix):
        row[i : i + len(window)] = window / window.sum()
    return matrix


def psnr(a: Images, b: Images) -> Floats:
    """Peak signal-to-noise ratio per image in dB: uint8 ``(n, c, h, w)`` twice to ``(n,)``; higher is more alike.

    ``10 log10(255^2 / mean((a - b)^2))``, the mean over channels and pixels of one image. Infinity for equal images:
    store it as null with a flag, and never average it.
    """
    _check_images(a, b)
    error = np.empty(len(a))
    for part in _slices(len(a)):
        error[part] = ((a[part].astype(np.float64) - b[part]) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        value: Floats = 10 * np.log10(255**2 / error)
    return value


def _check_images(a: Images, b: Images) -> None:
    for images in (a, b):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"expected images uint8 (n, c, h, w), got {images.dtype} {images.shape}")
    if a.shape != b.shape:
        raise ValueError(f"expected images of one shape, got {a.shape} and {b.shape}")


def _slices(n: int, size: int = _CHUNK) -> Iterator[slice]:
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


# ---- uncertainty -----------------------------------------------------------------------------------------------------


def wilson_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share of which ``k`` of ``n`` independent trials were seen; within [0, 1].

    Wilson 1927: ``(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)``. Sound at 0 and n, where the usual
    ``p +- z s`` is empty. (0, 1) without trials. Trials that share a person are not independent: use the bootstrap.
    """
    if not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n, got k = {k}, n = {n}")
    _check_level(level)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, spread = k / n, z * z / n
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return (0.0 if k == 0 else max(0.0, low)), (1.0 if k == n else min(1.0, high))


def bootstrap_interval(
    values: NDArray[Any],
    clusters: ArrayLike,
    statistic: Callable[[NDArray[Any]], float],
    seed: int,
    level: float = 0.95,
    draws: int = 1000,
) -> tuple[float, float] | None:
    """Percentile interval of ``statistic(values)`` when samples come in clusters: faces of one person, say.

    ``values (n, ...)``, ``clusters (n,)``. Each draw takes as many clusters as there are, with replacement, and all
    samples of each (Field and Welsh 2007, "cluster bootstrap"). Draws whose statistic is NaN do not count. None when
    there are fewer than two clusters. Too narrow for a handful of clusters. For pairs, the cluster is the person
    whose face was protected.
    """
    _check_level(level)
    values = np.asarray(values)
    names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if values.shape[:1] != inverse.shape:
        raise ValueError(f"expected one cluster per value, got {inverse.shape} and {values.shape}")
    if len(names) < 2:
        return None
    order, sizes = np.argsort(inverse, kind="stable"), np.bincount(inverse)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    results = np.empty(draws)
    for draw in range(draws):
        taken = rng.integers(len(names), size=len(names))
        n = sizes[taken]  # samples of each taken cluster, one cluster after the other
        rows = np.repeat(starts[taken] - (np.cumsum(n) - n), n) + np.arange(n.sum())
        results[draw] = statistic(values[order[rows]])
    results = results[~np.isnan(results)]
    if not len(results):
        return None
    low, high = np.quantile(results, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"expected a confidence level in (0, 1), got {level}")
