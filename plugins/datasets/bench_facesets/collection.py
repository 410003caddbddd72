"""The common representation that every reader returns: encoded images, the people they show, and pairs.

`resolve` assigns a subject to every image of the pairs: by name if names are known, else from the pairs themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import DataError, comparable_name
from bench_facesets.readers.images import Encoded

Ints = NDArray[np.int64]
FOLDS = 10
MAX_LACKING = 0.05  #: The largest share of a pair protocol's images that may be lacking; pairs of them are left out.


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Pairs in the order of the protocol, ``(m,)`` each; ``fold`` is -1 if the protocol gives no fold."""

    left: Ints
    right: Ints
    same: NDArray[np.bool_]
    fold: Ints

    def __len__(self) -> int:
        return len(self.left)


def pair_table(rows: Sequence[tuple[int, int, bool, int]]) -> PairTable:
    """Return a table of pairs from rows ``(left, right, same, fold)``."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return PairTable(left=columns[0], right=columns[1], same=columns[2].astype(bool), fold=columns[3])


@dataclass(frozen=True, eq=False, kw_only=True)
class Collection:
    """Encoded images with the people they show and their pairs.

    ``ids``: unique names of the images; ``people``: the person in each image, or None if only the pairs are known;
    ``files``: all files that the fingerprint depends on, below ``root``; ``notes``: remarks for the user;
    ``nameless``: why people are not known, if the user can change that;
    ``passed_over``: a sentence about files beside the images that are not read, empty if there are none;
    ``left_out``: the number of pairs of the protocol that cannot be used.
    """

    layout: str
    root: Path
    files: Sequence[Path]
    encoded: Encoded
    ids: Sequence[str]
    people: Sequence[str] | None = None
    pairs: PairTable | None = None
    notes: tuple[str, ...] = field(default=())
    nameless: str = ""
    passed_over: str = ""
    left_out: int = 0

    @functools.cached_property
    def codes(self) -> tuple[Ints, list[str]]:
        """The number of every image's person, ``(n,)``, and the people's names, in order of first appearance."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(name, len(known)) for name in self.people or ()]
        return np.array(numbers, dtype=np.int64), list(known)

    @functools.cached_property
    def spelt_alike(self) -> list[str]:
        """The people's names in the order of `codes`, without differences that mean nothing between sets (see
        `bench.comparable_name`); names that would then be equal within this set stay as they are."""
        names = self.codes[1]
        keys = [comparable_name(name) or name for name in names]
        counts = Counter(keys)
        return [key if counts[key] == 1 else name for key, name in zip(keys, names, strict=True)]

    @functools.cached_property
    def resolved(self) -> Resolved:
        """The samples and subjects of the pairs. If people are not known, every image is read once for this."""
        return resolve(self)

    @functools.cached_property
    def grouped(self) -> Collection:
        """The collection sorted by person, as training sets must be. Raises DataError if the people are not known."""
        return _by_person(self)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The samples of a protocol: the image of each (``rows``), its subject and its id; pairs index samples.

    ``named``: the names of the people are known, so that two subjects are never the same person. Otherwise, the
    subjects are groups of images that genuine pairs and equal bytes join. ``contradicted (m,)``: the pairs whose label
    disagrees with these subjects. Each of their images becomes a sample of its own with a new subject. Without names,
    the same happens to all pairs with an image in the group of such a pair, because a wrong label may have joined two
    people.
    """

    rows: Ints
    subjects: Ints
    ids: list[str]
    left: Ints
    right: Ints
    named: bool
    contradicted: NDArray[np.bool_]


def complete(collection: Collection) -> Collection:
    """Return a collection without the pairs that lack an image (row -1) or compare an image with itself.

    They are counted in ``left_out``, and those with themselves in a note. The others keep the folds that they have
    within the whole protocol; a note counts those that occur several times.
    """
    pairs = collection.pairs
    if pairs is None:
        return collection
    lacking = (pairs.left < 0) | (pairs.right < 0)
    itself = (pairs.left == pairs.right) & ~lacking
    notes = collection.notes
    if repeated := _repeated(pairs, ~lacking & ~itself):
        notes += (f"{repeated:,} of {len(pairs):,} pairs repeat another pair, and count each time",)
    if not lacking.any() and not itself.any():
        return dataclasses.replace(collection, notes=notes)
    if itself.any():
        notes += (f"{int(itself.sum()):,} of {len(pairs):,} pairs are left out: they compare an image with itself",)
    kept = ~lacking & ~itself
    whole = with_folds(pairs)
    found = PairTable(left=pairs.left[kept], right=pairs.right[kept], same=pairs.same[kept], fold=whole.fold[kept])
    left_out = collection.left_out + int((~kept).sum())
    return dataclasses.replace(collection, pairs=found, notes=notes, left_out=left_out)


def _repeated(pairs: PairTable, kept: NDArray[np.bool_]) -> int:
    """Return how many of the pairs that are kept compare the same two images as one before them, in either order."""
    both = np.sort(np.stack([pairs.left[kept], pairs.right[kept]], axis=1), axis=1)
    return len(both) - len(np.unique(both, axis=0))


def check_lacking(lacking: int, total: int, what: str) -> None:
    """Raise DataError, which starts with ``what``, if too many of the ``total`` images of a protocol are lacking."""
    if lacking > MAX_LACKING * total:
        raise DataError(
            f"{what} ({lacking:,} of the {total:,} images of the pair protocol, {100 * lacking / total:.1f} %); pairs "
            f"are left out if at most {100 * MAX_LACKING:.0f} % are lacking: the set is incomplete"
        )


def subset(collection: Collection, rows: Sequence[int], why: str) -> Collection:
    """Return the images ``rows`` of a collection; pairs with another image get the row -1 for it (see `complete`).

    ``why`` says in messages what the other images have in common. Raises DataError if more than `MAX_LACKING` of the
    images of the pair protocol are not among ``rows``.
    """
    people, pairs, chosen = collection.people, collection.pairs, np.array(rows, dtype=np.int64)
    notes = collection.notes
    if pairs is not None:
        at = np.full(len(collection.encoded) + 1, -1)  # Row -1, a missing image, stays -1.
        at[chosen] = np.arange(len(chosen))
        shown = np.unique(np.concatenate([pairs.left, pairs.right]))
        lacking = int((at[shown[shown >= 0]] < 0).sum())
        check_lacking(lacking, len(shown), f"{collection.files[-1]}: too many images {why}")
        gone = ((at[pairs.left] < 0) | (at[pairs.right] < 0)) & (pairs.left >= 0) & (pairs.right >= 0)
        if gone.any():
            notes += (f"{int(gone.sum()):,} of {len(pairs):,} pairs are left out: {lacking:,} of their images {why}",)
        pairs = dataclasses.replace(pairs, left=at[pairs.left], right=at[pairs.right])
    return dataclasses.replace(
        collection,
        encoded=_Chosen(collection.encoded, chosen),
        ids=[collection.ids[k] for k in rows],
        people=None if people is None else [people[k] for k in rows],
        pairs=pairs,
        notes=notes,
    )


def with_folds(pairs: PairTable) -> PairTable:
    """Return the pairs with a fold for each: the k-th of G genuine pairs gets fold ``10 k // G``, impostors likewise.

    Only missing folds are set. For lists that consist of blocks of folds (``lfw.bin``) the result equals these folds,
    and each fold is balanced.
    """
    fold = pairs.fold.copy()
    for label in (True, False):
        members = np.flatnonzero(pairs.same == label)
        if len(members) and (fold[members] < 0).any():
            fold[members] = np.arange(len(members)) * FOLDS // len(members)
    return PairTable(left=pairs.left, right=pairs.right, same=pairs.same, fold=fold)


def resolve(collection: Collection) -> Resolved:
    """Assign subjects by name or, without names, from the pairs: the two images of a genuine pair show one person, and
    so do images with equal bytes."""
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
    if not named:  # A wrong label may have joined two people, so no subject of that group is reliable.
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
    """Return one sample per image, and two separate samples for every pair in ``alone``."""
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


def digests(encoded: Encoded, rows: Ints) -> NDArray[np.str_]:
    """Return a digest of the bytes of some encoded images; they are read one at a time."""
    return np.array([hashlib.sha256(encoded.read(k)).hexdigest()[:32] for k in rows.tolist()], dtype="U32")


def _first_equal(encoded: Encoded) -> Ints:
    """Return, for every image, the first image with the same bytes, ``(n,)``."""
    _, first, where = np.unique(digests(encoded, np.arange(len(encoded))), return_index=True, return_inverse=True)
    rows: Ints = first[where].astype(np.int64)
    return rows


def _joined(n: int, row_of: Ints, pairs: PairTable) -> Ints:
    """Return the connected group of every image ``(n,)``: equal images and the images of a genuine pair belong
    together."""
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


class _Chosen:
    """Some of a list of encoded images, in any order."""

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
        why = collection.nameless or "these files do not name people"
        raise DataError(f"{collection.files[-1]}: expected the person in each image; {why}")
    codes = collection.codes[0]
    if (np.diff(codes) >= 0).all():
        return collection
    without_pairs = dataclasses.replace(collection, pairs=None)
    return subset(without_pairs, np.argsort(codes, kind="stable").tolist(), "")
