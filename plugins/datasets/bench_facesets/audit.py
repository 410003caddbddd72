"""The checks of ``bench data verify``: counts, decodable images, the pair protocol, and overlap with training sets.

Images are streamed; only a hash and a thumbnail of each are kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench import BenchError, Check, DataError, TrainingSet, comparable_name
from bench_facesets import headers
from bench_facesets.collection import Collection, Resolved, with_folds
from bench_facesets.copies import Copies
from bench_facesets.readers.images import decode

NEAR = 4  #: Hashes of near-duplicates differ in at most so many of 64 bits.
ALIKE = 0.98  #: Thumbnails of near-duplicates have at least this rank correlation.
ALIKE_OF_ONE = 0.99  #: The same for two images of one person, whose photographs may resemble each other.
COPIES = 0.01  #: The largest share of genuine pairs that may be near-duplicates.
MOST = 50_000  #: In a set of more images, changed copies are not looked for.
_BATCH = 512
_NAMED = 5  # The number of examples that a check lists.


def verify(
    collection: Collection,
    fingerprint: str,
    published: Mapping[str, int],
    max_pairs: Callable[[], int],
    training: Mapping[str, TrainingSet],
) -> Iterator[Check]:
    """Yield the checks of a data set, each as soon as it is done.

    ``published``: how many images, people and pairs the set should have; ``max_pairs`` returns how many pairs can be
    drawn from a set without a pair protocol; ``training``: the training sets that it is compared with, by label.
    """
    yield Check(what="fingerprint", ok=True, found=fingerprint)
    yield _counts(collection, published)
    yield Check(what="layout", ok=True, found="; ".join([collection.layout, *collection.notes]))
    if collection.passed_over:
        yield Check(what="passed over", ok=False, found=collection.passed_over)
    seen = _looked_at(collection)
    looks, valid, damaged, numbers = seen.looks, seen.rows, seen.damaged, seen.numbers
    total = len(collection.encoded)
    found = f"{total - len(damaged)} of {total} images of 112 x 112"
    yield Check(what="images", ok=not damaged, found="; ".join([found, *_examples(damaged)]))
    for what, sentence in headers.in_words(collection.encoded, numbers).items():
        yield Check(what=what, ok=True, found=sentence)
    if collection.pairs is not None:
        yield from _protocol(collection)
        yield _near_pairs(collection, seen, same=False)
        yield _near_pairs(collection, seen, same=True)
        known = np.arange(total)
    else:
        yield _drawn(max_pairs)
        if collection.people is not None:
            copies = Copies.within(collection, fingerprint)
            known, found = copies.picture, "; ".join(copies.notes(collection))
            yield Check(what="copies of pictures", ok=not found, found=found or "none")
    if collection.people is not None:
        yield _changed_copies(collection, seen, known)
    for name, other in training.items():
        yield from _against(collection, looks, valid, name, other)


def _counts(collection: Collection, published: Mapping[str, int]) -> Check:
    """Report the counts beside the published ones. This check never fails: distributed copies of a set differ, and
    files without people contain two images per pair instead of the set's images."""
    counts = {"images": len(collection.encoded)}
    if collection.people is not None:
        counts["people"] = len(collection.codes[1])
    if collection.pairs is not None:
        counts["pairs"] = len(collection.pairs)
    whole = ("pairs",) if collection.people is None else ("images", "people", "pairs")
    expected = {what: f" (published: {n})" for what, n in published.items() if what in whole}
    words = [f"{n} {what}{expected.get(what, '')}" for what, n in counts.items()]
    return Check(what="counts", ok=True, found=", ".join(words))


def _drawn(max_pairs: Callable[[], int]) -> Check:
    """Check how many pairs can be drawn without a protocol; with too few people the check fails, but others follow."""
    try:
        return Check(what="pairs", ok=True, found=f"drawn by a seed, at most {max_pairs()}")
    except DataError as error:
        return Check(what="pairs", ok=False, found=str(error))


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The k images that can be decoded: their ``rows (k,)``, their `Looks`, and those of their mirror images.

    ``damaged``: the errors of the other images; ``numbers (n,)``: what the headers of all images tell (see
    `headers.in_words`).
    """

    rows: NDArray[np.int64]
    looks: Looks
    mirrored: Looks
    damaged: list[str]
    numbers: NDArray[np.int64]


def _looked_at(collection: Collection) -> _Seen:
    """Decode all images, a batch at a time."""
    valid: list[int] = []
    damaged: list[str] = []
    numbers = np.zeros(len(collection.encoded), dtype=np.int64)
    found: list[Looks] = []
    mirrored: list[Looks] = []
    for start in range(0, len(collection.encoded), _BATCH):
        batch = []
        for row in range(start, min(len(collection.encoded), start + _BATCH)):
            try:
                data = collection.encoded.read(row)
                batch.append(decode(data, collection.encoded.name(row)))
                valid.append(row)
                numbers[row] = headers.number_of(data)
            except DataError as error:
                damaged.append(str(error))
        if batch:
            images = np.stack(batch)
            found.append(Looks.of(images))
            mirrored.append(Looks.of(images[..., ::-1]))
    return _Seen(
        rows=np.array(valid, dtype=np.int64), looks=Looks.joined(found), mirrored=Looks.joined(mirrored),
        damaged=damaged, numbers=numbers,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Compact descriptions of n images: 64-bit difference hashes ``(n,)`` to find candidates for duplicates, and grey
    thumbnails uint8 ``(n, 256)`` to confirm them.

    Each bit of a hash says which of two neighbours on a grid of 8 rows and 9 columns is brighter. Aligned faces look
    similar: on the 400 faces of the AT&T database, 62 of 78,000 impostor pairs have hashes within 4 bits, but none of
    them has thumbnails with a rank correlation above .96. Copies stay above .98 if they are brighter, darker, of
    another contrast or gamma, noisy, mirrored or compressed to quality 15: 99 % of them are found, and 88 % (contrast)
    to 100 % at .99, which 8 of the 1,800 genuine pairs exceed.
    """

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Looks:
        """Return the description of images ``(n, 3, 112, 112)``."""
        n, grey = len(images), images.astype(np.float32).mean(axis=1)
        grid = grey[:, :, 2:110].reshape(n, 8, 14, 9, 12).mean(axis=(2, 4))
        bits = (grid[:, :, 1:] > grid[:, :, :-1]).reshape(n, 64)
        thumbnails = grey.reshape(n, 16, 7, 16, 7).mean(axis=(2, 4)).reshape(n, 256)
        hashes = np.packbits(bits, axis=1).view(np.uint64).reshape(-1)
        return cls(hashes=hashes, thumbnails=np.rint(thumbnails).astype(np.uint8))

    @classmethod
    def joined(cls, parts: Sequence[Looks]) -> Looks:
        """Return the concatenation of several descriptions."""
        hashes = [np.zeros(0, dtype=np.uint64), *(p.hashes for p in parts)]
        thumbnails = [np.zeros((0, 256), dtype=np.uint8), *(p.thumbnails for p in parts)]
        return cls(hashes=np.concatenate(hashes), thumbnails=np.concatenate(thumbnails))

    def alike(
        self, rows: NDArray[np.int64], other: Looks, others: NDArray[np.int64], least: float = ALIKE
    ) -> NDArray[np.bool_]:
        """Return whether image ``rows[k]`` and image ``others[k]`` of ``other`` are near-duplicates, bool ``(m,)``;
        ``least`` is their lowest rank correlation."""
        near: NDArray[np.bool_] = np.bitwise_count(self.hashes[rows] ^ other.hashes[others]) <= NEAR
        for at in np.array_split(np.flatnonzero(near), near.sum() // 4096 + 1):
            a, b = (_ranks(x) for x in (self.thumbnails[rows[at]], other.thumbnails[others[at]]))
            near[at] = (a * b).sum(axis=1) >= least
        return near


def _ranks(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the ranks of the values of each thumbnail, centred, as vectors of length 1: a change of brightness or
    contrast does not alter them."""
    values: NDArray[np.float32] = rankdata(thumbnails, axis=1).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values


def near_duplicates(looks: Looks, other: Looks, limit: int = 1000, later: bool = False) -> NDArray[np.int64]:
    """Return the index pairs ``(k, 2)`` of near-duplicates, up to about ``limit``; with ``later``, those whose second
    index is larger. They are searched in blocks, so that half a million images need little memory."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(looks.hashes), 64):
        block = looks.hashes[start : start + 64, None]
        for begin in range(0, len(other.hashes), 1 << 15):
            near = np.bitwise_count(block ^ other.hashes[None, begin : begin + (1 << 15)]) <= NEAR
            rows, others = (i + offset for i, offset in zip(np.nonzero(near), (start, begin), strict=True))
            if later:
                rows, others = rows[rows < others], others[rows < others]
            confirmed = looks.alike(rows, other, others)
            found.append(np.stack([rows[confirmed], others[confirmed]], axis=1))
        if sum(map(len, found)) >= limit:
            break
    return np.concatenate(found)[:limit]


# ---- the pair protocol -----------------------------------------------------------------------------------------------


def _protocol(collection: Collection) -> Iterator[Check]:
    pairs = collection.pairs
    if pairs is None:
        return
    genuine = int(pairs.same.sum())
    found = f"{genuine} genuine and {len(pairs) - genuine} impostor pairs"
    # Pairs that are left out may be of one kind.
    yield Check(what="balance", ok=abs(2 * genuine - len(pairs)) <= collection.left_out, found=found)
    folds = with_folds(pairs).fold
    counts = [
        (int((pairs.same & (folds == f)).sum()), int((~pairs.same & (folds == f)).sum())) for f in np.unique(folds)
    ]
    origin = "from the protocol" if (pairs.fold >= 0).all() else "not part of the files: tenth by tenth of each kind"
    if collection.left_out:
        origin = "as in the whole protocol"
    shown = ", ".join(dict.fromkeys(f"{g} + {i}" for g, i in counts))
    uneven = max(map(max, counts)) - min(map(min, counts)) > collection.left_out
    yield Check(
        what="folds", ok=len(set(counts)) == 1 or not uneven, found=f"{len(counts)} folds of {shown} pairs; {origin}"
    )
    known = collection.resolved  # If people are not known, images with equal bytes count as one image.
    both = np.sort(np.stack([known.left, known.right], axis=1), axis=1)
    repeated = len(both) - len(np.unique(both, axis=0))
    itself = int((known.left == known.right).sum())
    found = f"{repeated} pairs occur twice, {itself} compare an image with itself"
    yield Check(what="duplicate pairs", ok=not repeated and not itself, found=found)
    yield _contradictions(collection, known)
    yield _across_folds(folds, known)


def _examples(errors: Sequence[str]) -> list[str]:
    """Return the first of some errors, with what to do at their end if it is the same for all of them."""
    shown = list(errors[:_NAMED])
    advice = {error.rpartition("; ")[2] for error in shown}
    if len(shown) < 2 or len(advice) > 1 or not all("; " in error for error in shown):
        return shown
    return [*(error.rpartition("; ")[0] for error in shown), *advice]


def _contradictions(collection: Collection, known: Resolved) -> Check:
    wrong = np.flatnonzero(known.contradicted).tolist()
    by = "the names of the people" if collection.people is not None else "the genuine pairs and equal images"
    shown = ", ".join(f"pair {k}" for k in wrong[:_NAMED])
    found = f"{len(wrong)} pairs whose label contradicts {by}" + (f": {shown}" if wrong else "")
    return Check(what="labels", ok=not wrong, found=found)


def _across_folds(folds: NDArray[np.int64], known: Resolved) -> Check:
    subjects = np.concatenate([known.subjects[known.left], known.subjects[known.right]])
    seen = np.unique(np.stack([subjects, np.concatenate([folds, folds])], axis=1), axis=0)
    _, counts = np.unique(seen[:, 0], return_counts=True)
    shared, people = int((counts > 1).sum()), "people" if known.named else "people (as far as the pairs show)"
    found = f"{shared} of {len(counts)} {people} are in several folds"
    return Check(
        what="identities across folds", ok=True, found=found + ("; thresholds may depend on them" if shared else "")
    )


def _near_pairs(collection: Collection, seen: _Seen, same: bool) -> Check:
    """Check how many genuine or impostor pairs consist of two copies of one picture, also changed ones."""
    pairs = collection.pairs
    if pairs is None:
        raise TypeError("a collection without pairs has no genuine or impostor pairs")
    at = np.full(len(collection.encoded), -1)
    at[seen.rows] = np.arange(len(seen.rows))
    tested = np.flatnonzero((pairs.same == same) & (at[pairs.left] >= 0) & (at[pairs.right] >= 0))
    left, right = at[pairs.left[tested]], at[pairs.right[tested]]
    least = ALIKE_OF_ONE if same else ALIKE
    near = seen.looks.alike(left, seen.looks, right, least) | seen.looks.alike(left, seen.mirrored, right, least)
    which = tested[near].tolist()
    shown = [f"{collection.ids[pairs.left[k]]} and {collection.ids[pairs.right[k]]}" for k in which[:_NAMED]]
    kind = "genuine" if same else "impostor"
    found = "; ".join([f"{len(which)} {kind} pairs look like one picture", *shown])
    ok = len(which) <= (COPIES * len(tested) if same else 0)
    return Check(what=f"near-duplicates in {kind} pairs", ok=ok, found=found)


def _changed_copies(collection: Collection, seen: _Seen, picture: NDArray[np.int64]) -> Check:
    """Check that no two images are one picture that was changed; images with equal numbers in ``picture`` are known to
    be copies and are not counted again."""
    if len(seen.rows) > MOST:
        found = f"not looked for in more than {MOST:,} images"
        return Check(what="changed copies", ok=True, found=found)
    near = [near_duplicates(seen.looks, other, limit=10_000, later=True) for other in (seen.looks, seen.mirrored)]
    both = np.unique(np.concatenate(near), axis=0)
    codes = collection.codes[0][seen.rows]
    one = codes[both[:, 0]] == codes[both[:, 1]]
    sure = seen.looks.alike(both[:, 0], seen.looks, both[:, 1], ALIKE_OF_ONE)
    sure |= seen.looks.alike(both[:, 0], seen.mirrored, both[:, 1], ALIKE_OF_ONE)
    new = picture[seen.rows[both[:, 0]]] != picture[seen.rows[both[:, 1]]]
    parts, groups = [], {"different people": both[new & ~one], "one person": both[new & one & sure]}
    for who, found in groups.items():
        names = [" and ".join(collection.ids[k] for k in seen.rows[pair].tolist()) for pair in found[:_NAMED]]
        parts += [f"{len(found)} pairs of images of {who} ({'; '.join(names)})"] if names else []
    counts = np.bincount(codes)
    genuine = int((counts * (counts - 1) // 2).sum())
    ok = not len(groups["different people"]) and len(groups["one person"]) <= COPIES * genuine
    words = "look like one picture that was mirrored, made brighter or darker, or saved again"
    return Check(what="changed copies", ok=ok, found=f"{' and '.join(parts)} {words}" if parts else "none")


# ---- training sets ---------------------------------------------------------------------------------------------------


def _against(
    collection: Collection, looks: Looks, rows: NDArray[np.int64], name: str, other: TrainingSet
) -> Iterator[Check]:
    """Check which people and pictures a training set shares with this set."""
    try:
        status = other.status()
        if status.missing is not None or status.where in (None, "", "generated"):
            why = "it is missing" if status.missing is not None else "it is drawn by formulas"
            yield Check(what=f"against {name}", ok=True, found=f"not compared: {why}")
            return
        yield _shared_people(collection, name, other.people())
        yield _shared_pictures(collection, looks, rows, name, other)
    except BenchError as error:
        yield Check(what=f"against {name}", ok=False, found=f"not compared: {error}")


def _shared_people(collection: Collection, name: str, people: Sequence[str]) -> Check:
    what = f"identities shared with {name}"
    mine = {comparable_name(p): p for p in collection.codes[1]} if collection.people is not None else {}
    theirs = {comparable_name(p) for p in people}
    mine.pop("", None)
    theirs.discard("")
    if not mine or not theirs:
        return Check(what=what, ok=True, found="not known: no names on one side")
    shared = sorted(mine[key] for key in mine.keys() & theirs)
    found = "; ".join([f"{len(shared)} of {len(mine)} people", *shared[:_NAMED]])
    return Check(what=what, ok=not shared, found=found)


def _shared_pictures(
    collection: Collection, looks: Looks, rows: NDArray[np.int64], name: str, other: TrainingSet
) -> Check:
    total = len(other.labels())
    batches = (np.arange(start, min(total, start + _BATCH)) for start in range(0, total, _BATCH))
    near = near_duplicates(looks, Looks.joined([Looks.of(other.images(batch)) for batch in batches]))
    shown = [f"{collection.ids[rows[k]]} and image {j}" for k, j in near[:_NAMED].tolist()]
    found = "; ".join([f"{len(near)} pairs of pictures look the same (of {len(rows)} and {total})", *shown])
    return Check(what=f"near-duplicates in {name}", ok=not len(near), found=found)
