"""Corrects the interval and the probability by chance of the best of several preprocessings for having been chosen.

Where several are tried on the same photos, one of them is high by chance. All are therefore bounded together
(Bonferroni): each has 1 / k of the accepted error, so that what is said of the best of k holds whichever it is, and
however alike they are. Bounds are the exact ones of the binomial distribution (Clopper and Pearson 1934), for the
effective number of photos (Korn and Graubard 1998): several photos of one person say no more than one.
``make statistics`` measures how often anything is found where nobody is recognised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ERROR = 0.05  # The accepted error of an interval, and of calling something more than chance.


def effective_photos(clusters: NDArray[np.int64]) -> float:
    """Return how many independent photos say as much as the photos of people ``clusters (n,)``, if all photos of a
    person agree (Kish 1965): n² / the sum of the squared numbers of photos of each person. 0 without photos."""
    counts = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def best_interval(share: float, photos: float, ways: int) -> tuple[float, float]:
    """Return the 95 % interval of the largest of the shares of ``ways`` preprocessings, over so many effective
    ``photos``. Raise ValueError unless there are photos and ways."""
    from scipy import special

    _check(photos, ways)
    error, found = ERROR / ways / 2, share * photos
    low = float(special.betaincinv(found, photos - found + 1, error)) if found > 0 else 0.0
    high = float(special.betaincinv(found + 1, photos - found, 1 - error)) if found < photos else 1.0
    return low, high


def by_chance(share: float, photos: float, chance: float, ways: int) -> float:
    """Return at most how probable it is that the best of ``ways`` preprocessings has a share as large as this one, if
    each photo is a hit with the probability ``chance``."""
    from scipy import special

    _check(photos, ways)
    found = np.floor(share * photos + 1e-9)  # With fewer effective photos than photos, a count is rounded down.
    if not found:
        return 1.0
    return min(1.0, ways * float(special.betainc(found, photos - found + 1, min(1.0, max(0.0, chance)))))


def _check(photos: float, ways: int) -> None:
    if photos <= 0 or ways < 1:
        raise ValueError(f"expected photos and preprocessings, got {photos} and {ways}")
