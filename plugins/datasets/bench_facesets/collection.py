"""The one thing that every format is read to: encoded images with what is known about them, and pairs.

`resolve` turns people and pairs into samples with subjects: by name where names are known, else from the pairs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import DataError
from bench_facesets.readers.images import Encoded

Ints = NDArray[np.int64]
FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Pairs in the order of the protocol, ``(m,)`` each; ``fold`` is -1 where the protocol names none."""

    left: Ints
    right: Ints
    same: NDArray[np.bool_]
    fold: Ints

    def __len__(self) -> int:
        return len(self.left)


def pair_table(rows: Sequence[tuple[int, int, bool, int]]) -> PairTable:
    """Pairs from rows ``(left, right, same, fold)``."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return PairTable(left=columns[0], right=columns[1], same=columns[2].astype(bool), fold=columns[3])


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """Encoded images and what is known about them.

    ``ids`` name the images, unique; ``people`` who they show (none where only the pairs tell); ``files`` are all
    files that decide it, for the fingerprint, below ``root``; ``notes`` is what a reader should know.
    """

    layout: str
    root: Path
    files: Sequence[Path]
    encoded: Encoded
    ids: Sequence[str]
    people: Sequence[str] | None = None
    pairs: PairTable | None = None
    notes: tuple[str, ...] = field(default=())

    @functools.cached_property
    def codes(self) -> tuple[Ints, list[str]]:
        """The number of every image's person, ``(n,)``, and their names, in order of first appearance."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(name, len(known)) for name in self.people or ()]
        return np.array(numbers, dtype=np.int64), list(known)

    @functools.cached_property
    def resolved(self) -> Resolved:
        """Samples and subjects of the pairs; the images are read once where people are not known."""
        return resolve(self)

    @functools.cached_property
    def grouped(self) -> Collection:
        """The images of a person together, as training sets must be; `DataError` when it is not known who they show."""
        return _by_person(self)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Samples of a protocol: which image each is (``rows``), who it shows, its id; pairs index samples.

    ``named``: the subjects are known people, so that two subjects are never the same person. ``contradicted``: pairs
    whose label contradicts what is known. Their images, and those of the people that they join, are samples of
    subjects of their own in every such pair.
    """

    rows: Ints
    subjects: Ints
    ids: list[str]
    left: Ints
    right: Ints
    named: bool
    contradicted: NDArray[np.bool_]


def with_folds(pairs: PairTable) -> PairTable:
    """Pairs of which every one has a fold: the k-th genuine pair of G gets fold ``10 k // G``, impostors likewise.

    On lists that are blocks of folds already (``lfw.bin``) these are those folds, and each fold is balanced.
    """
    fold = pairs.fold.copy()
    for label in (True, False):
        members = np.flatnonzero(pairs.same == label)
        if len(members) and (fold[members] < 0).any():
            fold[members] = np.arange(len(members)) * FOLDS // len(members)
    return PairTable(left=pairs.left, right=pairs.right, same=pairs.same, fold=fold)


def resolve(collection: Collection) -> Resolved:
    """Subjects by name, or by what the pairs say: two images of a genuine pair, and equal images, are one person."""
    pairs = collection.pairs
    if pairs is None:
        raise TypeError("a collection without pairs has no protocol")
    n = len(collection.encoded)
    named = collection.people is not None
    if named:
        row_of, group = np.arange(n), collection.codes[0]
    else:
        row_of = _first_equal(collection.encoded)
        group = _joined(n, row_of, pairs)
    contradicted = (group[pairs.left] == group[pairs.right]) != pairs.same
    apart = contradicted.copy()
    if not named:  # a wrong label has joined two people: nobody of that group is known
        doubtful = np.zeros(group.max(initial=-1) + 1, dtype=bool)
        doubtful[group[pairs.left[contradicted]]] = True
        apart |= doubtful[group[pairs.left]] | doubtful[group[pairs.right]]
    return _samples(collection, pairs, row_of, group, contradicted, apart)


def _samples(
    collection: Collection,
    pairs: PairTable,
    row_of: Ints,
    group: Ints,
    contradicted: NDArray[np.bool_],
    alone: NDArray[np.bool_],
) -> Resolved:
    """One sample per image; two of their own for every pair in ``alone``."""
    used = np.zeros(len(row_of), dtype=bool)
    used[row_of[pairs.left[~alone]]] = used[row_of[pairs.right[~alone]]] = True
    rows = np.flatnonzero(used)
    number = np.full(len(row_of), -1)
    number[rows] = np.arange(len(rows))
    own = np.flatnonzero(alone)
    start = len(rows) + 2 * np.arange(len(own))
    left, right = number[row_of[pairs.left]], number[row_of[pairs.right]]
    left[own], right[own] = start, start + 1
    extra = np.stack([pairs.left[own], pairs.right[own]], axis=1).reshape(-1)
    first = int(group.max(initial=-1)) + 1 + 2 * np.arange(len(own))
    strangers = np.stack([first, first + ~pairs.same[own]], axis=1).reshape(-1)
    ids = [collection.ids[r] for r in rows.tolist()]
    ids += [f"{collection.ids[r]} (pair {own[k // 2]})" for k, r in enumerate(extra.tolist())]
    return Resolved(
        rows=np.concatenate([rows, extra]),
        subjects=np.concatenate([group[rows], strangers]),
        ids=ids,
        left=left,
        right=right,
        named=collection.people is not None and not alone.any(),
        contradicted=contradicted,
    )


def digests(encoded: Encoded) -> list[bytes]:
    """A digest of every encoded image, read one at a time."""
    return [hashlib.sha256(encoded.read(k)).digest()[:16] for k in range(len(encoded))]


def _first_equal(encoded: Encoded) -> Ints:
    """For every image the first one with the same bytes."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(d, k) for k, d in enumerate(digests(encoded))], dtype=np.int64)


def _joined(n: int, row_of: Ints, pairs: PairTable) -> Ints:
    """Connected groups of images ``(n,)``: equal images, and the two of a genuine pair."""
    parent = row_of.tolist()

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in zip(pairs.left[pairs.same].tolist(), pairs.right[pairs.same].tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    roots = np.array([root(k) for k in range(n)], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


class _Reordered:
    """Encoded images in another order."""

    def __init__(self, encoded: Encoded, rows: Ints) -> None:
        self._encoded = encoded
        self._rows = rows.tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int) -> bytes:
        return self._encoded.read(self._rows[row])

    def name(self, row: int) -> str:
        return self._encoded.name(self._rows[row])


def _by_person(collection: Collection) -> Collection:
    if collection.people is None:
        raise DataError(f"{collection.files[-1]}: expected to know who the images show; these files do not say it")
    codes = collection.codes[0]
    if (np.diff(codes) >= 0).all():
        return collection
    rows = np.argsort(codes, kind="stable")
    return dataclasses.replace(
        collection,
        encoded=_Reordered(collection.encoded, rows),
        ids=[collection.ids[k] for k in rows.tolist()],
        people=[collection.people[k] for k in rows.tolist()],
        pairs=None,
    )
