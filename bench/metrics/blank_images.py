"""Baseline images, which show nothing of a face: every image similarity is compared with theirs.

Without a baseline a similarity says little: a plain grey image already has an SSIM of .4 with a face. Images are uint8
``(n, 3, h, w)`` RGB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Images, slices

SPREADS = {"noise": 0.25, "wide_noise": 1.0}  # Standard deviations of the noise before it is clamped, in [0, 1] units.


def baseline_images(
    images: Images, subjects: ArrayLike, others: Images, seed: int, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[slice, dict[str, Images]]]:
    """Yield images to compare with ``images[rows]`` in place of the protected ones, a few at a time.

    ``rows`` selects ``n`` of the images uint8 ``(m, c, h, w)``, by default all. Each item is a slice of ``range(n)``
    and the images for it, one array ``(length of the slice, c, h, w)`` per baseline:

    - ``mean_face``: the mean of ``others (k, c, h, w)``, faces of people who are not scored; left out without others
    - ``grey``: the value 128 everywhere
    - ``another_face``: the image of another one of the ``subjects (n,)`` (see `other_subject`); left out if there is
      only one subject
    - ``noise`` and ``wide_noise``: ``.5 + s N(0, 1)``, clamped to [0, 1], with the spread ``s`` of `SPREADS` (.25, 1);
      both scale the same draws. PMT by default starts from the wide one; less noise is nearer to every face

    Raises ValueError if ``others`` have another shape than the images.
    """
    if images.shape[1:] != others.shape[1:]:
        raise ValueError(f"expected others of shape (m, *{images.shape[1:]}), got {others.shape}")
    rng = np.random.default_rng(seed)
    total = np.zeros(images.shape[1:])
    for part in slices(len(others)):
        total += others[part].sum(axis=0, dtype=np.float64)
    chosen = np.arange(len(images)) if rows is None else rows
    another = chosen[other_subject(subjects, seed)] if len(np.unique(np.asarray(subjects))) > 1 else None
    for part in slices(len(chosen)):
        shape = (len(chosen[part]), *images.shape[1:])
        noise = {name: np.empty(shape, np.uint8) for name in SPREADS}
        for i in range(shape[0]):
            draw = rng.standard_normal(shape[1:])
            for name, spread in SPREADS.items():
                noise[name][i] = np.rint(np.clip(0.5 + spread * draw, 0, 1) * 255)
        baselines = {"grey": np.full(shape, 128, np.uint8), **noise}
        if len(others):
            baselines["mean_face"] = np.broadcast_to(np.rint(total / len(others)).astype(np.uint8), shape).copy()
        if another is not None:
            baselines["another_face"] = images[another[part]]
        yield part, dict(sorted(baselines.items()))


def other_subject(subjects: ArrayLike, seed: int) -> NDArray[np.int64]:
    """Choose for each sample the index of a sample of another subject: ``(n,)`` to int64 ``(n,)``.

    The result is a permutation if no subject has more than half of the samples: all samples are sorted by subject, and
    each gets the one that lies further by the number of samples of the largest subject. Where that is a sample of the
    same subject, another one is drawn at random. The same seed gives the same result. Raises ValueError if there is
    only one subject.
    """
    person = np.asarray(subjects)
    names, inverse, counts = np.unique(person, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"expected at least two subjects, got {len(names)}")
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(person)), rng.permutation(len(names))[inverse]))
    chosen = np.empty(len(person), dtype=np.int64)
    chosen[order] = np.roll(order, -counts.max())
    for i in np.flatnonzero(person[chosen] == person):
        chosen[i] = rng.choice(np.flatnonzero(person != person[i]))
    return chosen
