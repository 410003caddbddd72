"""Images that hold nothing of a face: the yardstick of every similarity between images.

A blank picture already has an SSIM of .4 with a face. Images are uint8 ``(n, 3, h, w)`` RGB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Images = NDArray[np.uint8]

_PIECE = 64  # images at a time


def floor_images(
    images: Images, subjects: ArrayLike, others: Images, seed: int, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[slice, dict[str, Images]]]:
    """Stand-ins for ``images[rows]`` uint8 ``(n, c, h, w)`` (all, unless rows are given) that show nothing of each
    face, a few at a time: which of the ``n`` they are for, and arrays of their shape by name.

    A blank picture already scores an SSIM of .4 against a face, so every similarity is read against these:
    ``mean_face`` is the mean of ``others (m, c, h, w)``, faces of people that are not scored; ``grey`` is 128;
    ``another_face`` is the image of another of the ``subjects (n,)`` (see `other_subject`; left out when there is only
    one); ``noise`` is .5 + .25 N(0, 1), clamped, which is where PMT starts. Raises ValueError for unequal shapes.
    """
    if images.shape[1:] != others.shape[1:]:
        raise ValueError(f"expected others of shape (m, *{images.shape[1:]}), got {others.shape}")
    rng = np.random.default_rng(seed)
    total = np.zeros(images.shape[1:])
    for part in _pieces(len(others)):
        total += others[part].sum(axis=0, dtype=np.float64)
    chosen = np.arange(len(images)) if rows is None else rows
    another = chosen[other_subject(subjects, seed)] if len(np.unique(np.asarray(subjects))) > 1 else None
    for part in _pieces(len(chosen)):
        shape = (len(chosen[part]), *images.shape[1:])
        noise = np.empty(shape, np.uint8)
        for i in range(len(noise)):
            noise[i] = np.rint(np.clip(0.5 + 0.25 * rng.standard_normal(shape[1:]), 0, 1) * 255)
        floors = {"grey": np.full(shape, 128, np.uint8), "noise": noise}
        if len(others):
            floors["mean_face"] = np.broadcast_to(np.rint(total / len(others)).astype(np.uint8), shape).copy()
        if another is not None:
            floors["another_face"] = images[another[part]]
        yield part, dict(sorted(floors.items()))


def other_subject(subjects: ArrayLike, seed: int) -> NDArray[np.int64]:
    """For each of ``(n,)`` samples the index of one of another subject; ``(n,)``, the same for the same seed.

    A permutation without fixed subjects whenever no subject has more than half of the samples: sorted by subject,
    every sample gets the one that stands as many places further as the largest subject is long. Otherwise drawn.
    Raises ValueError when there is only one subject.
    """
    who = np.asarray(subjects)
    names, inverse, counts = np.unique(who, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"expected at least two subjects, got {len(names)}")
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(who)), rng.permutation(len(names))[inverse]))
    chosen = np.empty(len(who), dtype=np.int64)
    chosen[order] = np.roll(order, -counts.max())
    for i in np.flatnonzero(who[chosen] == who):
        chosen[i] = rng.choice(np.flatnonzero(who != who[i]))
    return chosen


def _pieces(n: int) -> Iterator[slice]:
    for first in range(0, n, _PIECE):
        yield slice(first, min(first + _PIECE, n))
