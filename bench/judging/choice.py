"""Corrects the interval and the probability by chance of the best of several preprocessings for having been chosen.

Where several are tried on the same photos, one of them is high by chance. All are therefore bounded together
(Bonferroni): each has 1 / k of the accepted error, so that what is said of the best of k holds whichever it is, and
however alike they are. Bounds are the exact ones of the binomial distribution (Clopper and Pearson 1934), for the
effective number of photos, so that several photos of one person say no more than one. A share of this number is rarely
a whole count of hits: the lower bound and the probability by chance round it down and the upper bound rounds it up, so
that the interval lies above chance only if the probability by chance is small, too. ``make statistics`` measures how
often anything is found where nobody is recognised.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ERROR = 0.05  # The accepted error of an interval, and of calling something more than chance.


def effective_photos(clusters: NDArray[np.int64]) -> int:
    """Return the number of independent photos by which a share of the photos of people ``clusters (n,)`` is tested: n /
    the largest number of photos of one person, rounded down. 0 without photos.

    Even if all photos of a person agree, no person then counts more than one independent photo. The effective number of
    Kish (1965), n² / the sum of the squared numbers, has the right variance only: if many photos show one person, the
    hit of this person alone is a share that the binomial distribution takes for several.
    """
    counts = np.unique(clusters, return_counts=True)[1]
    return int(counts.sum() // counts.max()) if len(counts) else 0


def best_interval(share: float, photos: int, ways: int) -> tuple[float, float]:
    """Return the 95 % interval of the largest of the shares of ``ways`` preprocessings, over so many effective
    ``photos``. Raise ValueError unless there are photos and ways."""
    from scipy import special

    _check(photos, ways)
    error, least, most = ERROR / ways / 2, _hits(share, photos), photos - _hits(1 - share, photos)
    low = float(special.betaincinv(least, photos - least + 1, error)) if least else 0.0
    high = float(special.betaincinv(most + 1, photos - most, 1 - error)) if most < photos else 1.0
    return low, high


def by_chance(share: float, photos: int, chance: float, ways: int) -> float:
    """Return at most how probable it is that the best of ``ways`` preprocessings has a share as large as this one, if
    each photo is a hit with the probability ``chance``."""
    from scipy import special

    _check(photos, ways)
    found = _hits(share, photos)
    if not found:
        return 1.0
    return min(1.0, ways * float(special.betainc(found, photos - found + 1, min(1.0, max(0.0, chance)))))


def _hits(share: float, photos: int) -> int:
    """Return the number of hits of so many effective photos, rounded down."""
    return math.floor(share * photos + 1e-9)


def _check(photos: int, ways: int) -> None:
    if photos <= 0 or ways < 1:
        raise ValueError(f"expected photos and preprocessings, got {photos} and {ways}")
