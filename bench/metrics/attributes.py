"""Metrics of estimated attributes: how much of gender, age and the like an adversary reads off a face."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bench.metrics.arrays import Floats
from bench.metrics.recognition import cosine

_YEARS = 100.0  # an error of so many years is as wrong as it gets


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
