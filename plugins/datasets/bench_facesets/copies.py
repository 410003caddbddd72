"""Copies of a picture within a set: the same pixels in several files, or a file that was saved again.

Two images are copies if the luma of their pixels differs by at most `SAVED_AGAIN` of 255 levels (root mean square). On
the 400 faces of the AT&T database, a face saved as JPEG of quality 50 or better differs by at most 5.2 levels from the
original, and two photographs of one person by at least 14. To find such pairs, thumbnails are compared first.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from bench import DataError
from bench_facesets.collection import Collection, Ints
from bench_facesets.readers.images import Encoded, decode
from bench_facesets.remembered import remembered

SAVED_AGAIN = 5.5  #: The largest difference of copies, in levels of 255.
BLOCKS = 8  #: The largest difference of the luma of their blocks of 7 x 7 pixels.
QUARTERS = 4  #: The largest difference of the mean colours of their quarters. JPEG blurs colour, but only locally.
MAX_COMPARED = 100_000  #: In a set of more different pictures, only images with equal thumbnails are copies.
_BATCH = 512
_VERSION = 1  # Change it with the definition of copies, so that remembered numbers are not used.


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Which images of a set are usable if each picture may count once.

    ``picture (n,)``: the number of the picture that each image shows, equal for copies; ``usable (n,)``: the first
    image of each picture of a person; ``shared (n,)``: the images whose picture is labelled with several people, so
    that nobody knows whom it shows. These are not usable.
    """

    picture: Ints
    usable: NDArray[np.bool_]
    shared: NDArray[np.bool_]

    @classmethod
    def within(cls, collection: Collection, fingerprint: str) -> Copies:
        """Compare all images of a collection with people; ``fingerprint`` is the digest of its files.

        The numbers of the pictures are kept in ``copies`` of `bench.cache_folder`, by this digest.
        """
        n = len(collection.encoded)
        picture = remembered("copies", _VERSION, collection, fingerprint, n, lambda: pictures(collection.encoded))
        one = np.unique(np.stack([picture, collection.codes[0]], axis=1), axis=0)
        people = np.bincount(one[:, 0], minlength=picture.max(initial=-1) + 1)
        shared = people[picture] > 1
        first = np.zeros(len(picture), dtype=bool)
        first[np.unique(picture, return_index=True)[1]] = True
        return cls(picture=picture, usable=first & ~shared, shared=shared)

    def notes(self, collection: Collection) -> tuple[str, ...]:
        """Return sentences about the images that are not usable, with an example of each kind."""
        found, total = [], len(self.picture)
        again = np.flatnonzero(~self.usable & ~self.shared)
        if len(again):
            first = np.flatnonzero(self.picture == self.picture[again[0]])[0]
            found.append(
                f"{len(again):,} of {total:,} images are copies of another image of the same person and are left out, "
                f"such as {collection.ids[again[0]]} of {collection.ids[first]}"
            )
        if self.shared.any():
            first, second = np.flatnonzero(self.picture == self.picture[np.flatnonzero(self.shared)[0]])[:2]
            found.append(
                f"{int(self.shared.sum()):,} of {total:,} images show a picture that is labelled with several people "
                f"and are left out, such as {collection.ids[first]} and {collection.ids[second]}"
            )
        return tuple(found)


def pictures(encoded: Encoded) -> Ints:
    """Return the number of the picture that each image shows, ``(n,)``; copies have equal numbers.

    An image that cannot be decoded is a picture of its own; whoever uses it gets the error.
    """
    kept: list[NDArray[np.uint8]] = []
    rows: list[int] = []
    for start in range(0, len(encoded), _BATCH):
        batch = []
        for row in range(start, min(len(encoded), start + _BATCH)):
            with contextlib.suppress(DataError):
                batch.append(decode(encoded.read(row), encoded.name(row)))
                rows.append(row)
        if batch:
            kept.append(_thumbnails(np.stack(batch)))
    if not rows:
        return np.arange(len(encoded))
    known = np.array(rows, dtype=np.int64)
    different, first, where = np.unique(np.concatenate(kept), axis=0, return_index=True, return_inverse=True)
    near = _near(different) if len(different) <= MAX_COMPARED else np.zeros((0, 2), dtype=np.int64)
    near = near[_saved_again(encoded, known[first][near])]
    graph = coo_array((np.ones(len(near)), near.T), shape=(len(different), len(different)))
    number: Ints = np.arange(len(encoded)) + len(different)
    number[known] = connected_components(graph, directed=False)[1][where.reshape(-1)]
    return np.unique(number, return_inverse=True)[1].astype(np.int64)


def _luma(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the luma (ITU-R BT.601) of images: ``(n, 3, h, w)`` to ``(n, h, w)``."""
    luma: NDArray[np.float32] = np.einsum("nchw,c->nhw", images, np.array([0.299, 0.587, 0.114], dtype=np.float32))
    return luma


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return descriptions of images ``(n, 3, 112, 112)``, ``(n, 268)``: the luma of 16 x 16 blocks, and the mean
    colours of the quarters."""
    n = len(images)
    blocks = _luma(images).reshape(n, 16, 7, 16, 7).mean(axis=(2, 4)).reshape(n, -1)
    quarters = images.reshape(n, 3, 2, 56, 2, 56).mean(axis=(3, 5), dtype=np.float32).reshape(n, -1)
    found: NDArray[np.float32] = np.concatenate([blocks, quarters], axis=1)
    return np.rint(found).astype(np.uint8)


def _near(thumbnails: NDArray[np.uint8]) -> Ints:
    """Return the pairs ``(m, 2)`` of different thumbnails that may belong to copies."""
    quarters = thumbnails[:, 256:].astype(np.float32)
    candidates = KDTree(quarters).query_pairs(QUARTERS, p=np.inf, output_type="ndarray")
    found = [np.zeros((0, 2), dtype=np.int64)]
    for part in np.array_split(candidates, len(candidates) // 4096 + 1):
        a, b = (thumbnails[side, :256].astype(np.int16) for side in part.T)
        found.append(part[(np.abs(a - b) <= BLOCKS).all(axis=1)])
    return np.concatenate(found)


def _saved_again(encoded: Encoded, pairs: Ints) -> NDArray[np.bool_]:
    """Return for pairs of rows ``(m, 2)`` whether the images are copies; they are decoded again."""

    @functools.lru_cache(maxsize=1024)
    def luma(row: int) -> NDArray[np.float32]:
        return _luma(decode(encoded.read(row), encoded.name(row))[None])

    differences = [float(np.sqrt(np.mean((luma(a) - luma(b)) ** 2))) for a, b in pairs.tolist()]
    return np.array(differences, dtype=np.float64) <= SAVED_AGAIN
