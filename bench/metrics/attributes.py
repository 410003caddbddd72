"""Attribute metrics: how much an adversary learns about gender, age and other attributes of a face."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.arrays import Floats, slices
from bench.metrics.recognition import cosine

_YEARS = 100.0  # an age difference of this many years is the largest possible distance, 1


def attribute_similarity(a: ArrayLike, b: ArrayLike) -> Floats:
    """Return the similarity of two attribute vectors per sample (CosSim, Equation 11); lower is better for a defense.

    It is the `cosine` of ``A(x~)`` and ``A(x)``: two arrays ``(n, k)`` to ``(n,)``. It lies in [0, 1] for class
    probabilities, which are not negative, and is hardly ever near 0: seven equal probabilities against one certain
    class already give .378. Compare it with `permuted_baseline`. NaN for a row of zeros; raises ValueError for other
    shapes.
    """
    return cosine(a, b)


def age_difference(a: ArrayLike, b: ArrayLike) -> Floats:
    """Return the absolute difference of two ages in years per sample; higher is better for a defense.

    ``|a - b|``: two arrays ``(n,)`` to ``(n,)``, from 0. The paper uses it for age instead of Equation 11 (section
    6.2). Raises ValueError for other shapes.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"expected two arrays (n,) of one shape, got {left.shape} and {right.shape}")
    return np.abs(left - right)


def constant_predictor(vectors: ArrayLike) -> Floats:
    """Return the best constant answer on the calibration split: that of an adversary who sees no face.

    For attribute vectors ``(m, k)`` it is the mean of the vectors of length 1, itself scaled to length 1, ``(k,)``: no
    other constant has a higher mean `attribute_similarity` to them. It is NaN if that mean is zero; vectors of zeros do
    not count. For numbers such as ages ``(m,)`` it is the median, ``()``: no other constant has a lower mean
    `age_difference` from them. Raises ValueError without samples or for other shapes.
    """
    values = np.asarray(vectors, np.float64)
    if values.ndim not in (1, 2) or not len(values):
        raise ValueError(f"expected calibration vectors (m, k) or numbers (m,), got shape {values.shape}")
    if values.ndim == 1:
        return np.asarray(np.median(values))
    lengths = np.linalg.norm(values, axis=1)
    total = (values[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.linalg.norm(total))


def constant_baseline(originals: ArrayLike, calibration: ArrayLike) -> Floats:
    """Return the score of `constant_predictor` on each original.

    For vectors, ``(n, k)`` and ``(m, k)`` to ``(n,)``, it is their `attribute_similarity` to the constant; for numbers,
    ``(n,)`` and ``(m,)`` to ``(n,)``, their `age_difference` from it. It says what can be answered without a picture,
    not whether a defense leaks: answers that depend on the face can score below it, because they also vary for other
    reasons (see `permuted_baseline`). Raises ValueError if the two arrays differ in ``k``.
    """
    values, constant = np.asarray(originals, np.float64), constant_predictor(calibration)
    if values.shape[1:] != constant.shape:
        raise ValueError(f"expected originals (n, *{constant.shape}), got {values.shape}")
    predictions = np.broadcast_to(constant, values.shape)
    return attribute_similarity(predictions, values) if values.ndim == 2 else age_difference(predictions, values)


def permuted_baseline(received: ArrayLike, originals: ArrayLike, subjects: ArrayLike) -> Floats:
    """Return the score that each original would have if the answers on the received pictures changed hands.

    For sample ``i`` it is the mean of the score between the answer on the received picture ``j`` and the answer on the
    original ``i`` over all samples ``j`` of other subjects: the exact expectation of a permutation of the answers over
    people. The score is `attribute_similarity` of vectors ``(n, k)`` or `age_difference` of numbers ``(n,)``;
    ``subjects (n,)``; the result is ``(n,)``. Answers that do not depend on the face reach this baseline, whatever
    their distribution is. NaN where no other subject exists or no score is defined. Raises ValueError for other shapes.
    """
    answers, known, people = np.asarray(received, np.float64), np.asarray(originals, np.float64), np.asarray(subjects)
    if answers.ndim not in (1, 2) or answers.shape != known.shape or people.shape != answers.shape[:1]:
        shapes = f"{answers.shape}, {known.shape} and {people.shape}"
        raise ValueError(f"expected two arrays (n, k) or (n,) of one shape and subjects (n,), got {shapes}")
    vector = answers.ndim == 2
    if vector:
        with np.errstate(invalid="ignore"):
            answers, known = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (answers, known))
    found: Floats = np.full(len(known), np.nan)
    for part in slices(len(known)):
        scores = known[part] @ answers.T if vector else np.abs(known[part, None] - answers[None])
        counts = (people[part, None] != people[None]) & np.isfinite(scores)
        n = counts.sum(axis=1)
        found[part] = np.divide(np.where(counts, scores, 0).sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
    return found


def attribute_distance(kind: Literal["cosine", "years"], a: ArrayLike, b: ArrayLike) -> Floats:
    """Return Dist of Equation 9 for one privacy-infringing model m_i, per sample; higher is better for a defense.

    The paper does not define Dist. Here the kind ``cosine`` is 1 - CosSim of attribute vectors, two arrays ``(n, k)``
    to ``(n,)``, cut off at 1 for vectors of opposite directions. The kind ``years`` is ``min(|a - b| / 100, 1)`` of
    ages, two arrays ``(n,)`` to ``(n,)``. Both lie in [0, 1]. NaN where the cosine is undefined. Raises ValueError for
    another kind or other shapes.
    """
    if kind == "cosine":
        return np.clip(1 - attribute_similarity(a, b), 0, 1)
    if kind == "years":
        return np.minimum(age_difference(a, b) / _YEARS, 1)
    raise ValueError(f"expected the distance 'cosine' or 'years', got {kind!r}")


def utility_privacy(cos: ArrayLike, dist: ArrayLike, kappa: float) -> Floats:
    """Return the utility-privacy trade-off of Equation 9 per sample; its mean is UP(sigma, kappa). Higher is better.

    ``1[cos > kappa] + mean_i Dist(m_i(x), m_i(x~))``, ``(n,)``, in [0, 2] for distances in [0, 1]. ``cos (n,)`` is
    ``cos(f(x~ + n), f(x + n'))`` with environment noise of standard deviation sigma on both images. ``dist (n, K)``
    holds the distances of K privacy-infringing models m_i; it is ``(n,)`` for a single model (the paper uses LPIPS) or
    for the mean of several. The paper prints K + 1 terms, i = 0 .. K, divided by K; here it is the mean of the K
    distances, which stays in [0, 1]. NaN where a distance is NaN. Raises ValueError for other shapes.
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
