"""Confidence intervals: Wilson for a share, the bootstrap over people for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
