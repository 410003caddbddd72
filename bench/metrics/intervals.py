"""Confidence intervals: Wilson's for a proportion, and the cluster bootstrap for statistics other than a mean.

The interval of a mean or share whose samples show people again is in `bench.metrics.clustering`.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a proportion after ``k`` successes in ``n`` independent trials; in [0, 1].

    Wilson 1927, with p = k/n: ``(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)``. It is valid for k = 0
    and k = n, where the usual ``p +- z s`` has no width. It is (0, 1) without trials. Trials that share a person are
    not independent: use `bench.metrics.pair_interval` for them. Raises ValueError unless 0 <= k <= n and 0 < level < 1.
    """
    if not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n, got k = {k}, n = {n}")
    _check_level(level)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    low, high = wilson_bound(k / n, n, -z), wilson_bound(k / n, n, z)
    return (0.0 if k == 0 else max(0.0, low)), (1.0 if k == n else min(1.0, high))


def wilson_bound(share: float, n: float, z: Any) -> Any:
    """Return the bound of a proportion after a ``share`` of successes in ``n`` trials at a normal deviate ``z`` (a
    number or an array): the upper end of Wilson's interval above 0, the lower end below, and ``share`` at 0.

    ``n`` may be an effective number of trials, which need not be whole.
    """
    spread = z * z / n
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    found = (share + spread / 2 + half) / (1 + spread)
    return found if isinstance(z, np.ndarray) else float(found)


def bootstrap_interval(
    values: NDArray[Any],
    clusters: ArrayLike,
    statistic: Callable[[NDArray[Any]], float],
    seed: int,
    level: float = 0.95,
    draws: int = 1000,
) -> tuple[float, float] | None:
    """Return the percentile interval of ``statistic(values)`` for samples in clusters, such as faces of one person.

    Cluster bootstrap (Field and Welsh 2007): each of the ``draws`` takes as many clusters as exist, with replacement,
    and all samples ``values (n, ...)`` of each; ``clusters (n,)`` names the cluster of each sample. For verification
    pairs, the cluster is the person whose face was protected. Draws whose statistic is NaN are left out. None if there
    are fewer than two clusters, or if the statistic of every draw is NaN. The interval is too narrow for a handful of
    clusters. Raises ValueError for unequal lengths or unless 0 < level < 1.
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
        n = sizes[taken]  # the numbers of samples of the clusters in this draw
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
