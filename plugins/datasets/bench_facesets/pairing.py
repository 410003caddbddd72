"""Which pairs are scored and in what order, what thresholds are calibrated on, and what attackers learn from.

Sets with a protocol: pairs of the folds 0 to 7 come first, alternating genuine and impostor and going round the folds,
then those of the folds 8 and 9, whose people attackers may learn from as long as those pairs are not scored.
Sets without one: people are divided by a seed, and pairs are drawn among those that are neither calibrated nor learnt
on, within folds that share no people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import DataError, Faces, MissingDataError, Pairs
from bench_facesets.collection import FOLDS, Collection, Ints, PairTable, with_folds
from bench_facesets.readers.images import DecodedImages

LAST_FOLDS = (8, 9)
MAX_PAIRS = 1_000_000  #: of a set without a protocol
MIN_LEFTOVER = 20  #: people in no pair that are worth learning from
EXTRA_IMPOSTORS = 10  #: per calibration image
PER_PERSON = 2  #: auxiliary images of a person
PER_CALIBRATION_PERSON = 4


def faces(collection: Collection, rows: Ints, subjects: Ints, ids: Sequence[str]) -> Faces:
    """`Faces` whose images are decoded when they are asked for."""
    return Faces(
        images=DecodedImages(collection.encoded, np.asarray(rows, dtype=np.int64)),
        subjects=np.asarray(subjects, dtype=np.int64),
        sample_ids=np.array(ids, dtype=np.str_),
    )


# ---- sets with a protocol --------------------------------------------------------------------------------------------


def order(pairs: PairTable, last: Sequence[int] = LAST_FOLDS) -> tuple[Ints, int]:
    """The pairs in the order in which they are scored, and how many there are before the ``last`` folds begin."""
    late = np.isin(pairs.fold, last)
    first, second = (_alternating(pairs, np.flatnonzero(part)) for part in (~late, late))
    return np.concatenate([first, second]), len(first)


def _alternating(pairs: PairTable, members: Ints) -> Ints:
    """Genuine, impostor, genuine ... of the folds in turn; as many of each as there are of the rarer kind."""
    sides = []
    for label in (True, False):
        chosen = members[pairs.same[members] == label]
        rank = np.zeros(len(chosen), dtype=np.int64)
        for fold in np.unique(pairs.fold[chosen]):
            at = np.flatnonzero(pairs.fold[chosen] == fold)
            rank[at] = np.arange(len(at))
        sides.append(chosen[np.lexsort((pairs.fold[chosen], rank))])
    count = min(map(len, sides))
    return np.stack([side[:count] for side in sides], axis=1).reshape(-1)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A collection with pairs of its own."""

    collection: Collection
    pairs: PairTable
    order: Ints
    early: int  # pairs before the last folds

    @classmethod
    def of(cls, collection: Collection) -> Protocol:
        """The protocol of a collection; `DataError` when it has no pairs of both kinds."""
        if collection.pairs is None:
            raise MissingDataError(
                f"{collection.files[-1]}: the images are there, but no pairs; convert the set together with its pair "
                f"protocol, or use the data set face-set, which draws pairs"
            )
        pairs = with_folds(collection.pairs)
        found, early = order(pairs)
        if not len(found):
            raise DataError(f"{collection.files[-1]}: expected genuine and impostor pairs, found only one kind")
        return cls(collection=collection, pairs=pairs, order=found, early=early)

    def chosen(self, chosen: Ints) -> tuple[Faces, Pairs]:
        """Some pairs with their images, each image once."""
        known = self.collection.resolved
        samples, index = np.unique(
            np.stack([known.left[chosen], known.right[chosen]], axis=1).reshape(-1), return_inverse=True
        )
        left, right = index.reshape(-1, 2).T
        found = faces(
            self.collection, known.rows[samples], known.subjects[samples], [known.ids[k] for k in samples.tolist()]
        )
        same, fold = self.pairs.same[chosen], self.pairs.fold[chosen]
        return found, Pairs(left=left.astype(np.int64), right=right.astype(np.int64), same=same, fold=fold)

    def evaluation(self, pairs: int) -> tuple[Faces, Pairs]:
        """The first pairs of the order."""
        return self.chosen(self.order[:pairs])

    def calibration(self, pairs: int) -> tuple[Faces, Pairs]:
        """The first pairs of the folds 0 to 7; where people are known, with more impostor pairs within each fold."""
        found, chosen = self.chosen(self.order[: min(pairs, self.early)])
        if not self.collection.resolved.named:
            return found, chosen
        more = _more_impostors(found.subjects, chosen)
        columns = {
            name: np.concatenate([getattr(chosen, name), getattr(more, name)])
            for name in ("left", "right", "same", "fold")
        }
        return found, Pairs(**columns)

    def leftover(self) -> Ints:
        """Images of people who are in no pair, ``(n,)``; empty when they are too few or not known."""
        codes, people = self.collection.codes
        if not people:
            return np.zeros(0, dtype=np.int64)
        used = np.unique(codes[np.concatenate([self.pairs.left, self.pairs.right])])
        free = np.flatnonzero(~np.isin(codes, used))
        return free if len(np.unique(codes[free])) >= MIN_LEFTOVER else free[:0]

    def auxiliary(self, identities: int) -> Faces:
        """People who are in no pair, or those of the last folds who are in no other."""
        free = self.leftover()
        if len(free):
            codes, people = self.collection.codes
            rows = _some_of_each([people[c] for c in codes[free]], identities)
            chosen = free[rows]
            return faces(self.collection, chosen, codes[chosen], [self.collection.ids[k] for k in chosen.tolist()])
        known = self.collection.resolved
        late = np.isin(self.pairs.fold, LAST_FOLDS)
        members = [np.unique(np.concatenate([known.left[part], known.right[part]])) for part in (late, ~late)]
        samples = members[0][~np.isin(known.subjects[members[0]], known.subjects[members[1]])]
        if not len(samples):
            raise DataError(
                f"{self.collection.files[-1]}: nobody is in the folds 8 and 9 alone, so there are no faces to learn "
                f"from; use fewer learning attacks, or a set with more pairs"
            )
        samples = samples[_some_of_each([str(s) for s in known.subjects[samples].tolist()], identities)]
        ids = [known.ids[k] for k in samples.tolist()]
        return faces(self.collection, known.rows[samples], known.subjects[samples], ids)


def _some_of_each(people: Sequence[str], identities: int) -> Ints:
    """Rows of up to `PER_PERSON` images of some people, ascending: first those with several images, else by chance
    (a digest of the name, so that one letter of the alphabet is not all there is)."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(people):
        rows.setdefault(name, []).append(row)
    chosen = sorted(
        rows, key=lambda name: (len(rows[name]) < 2, hashlib.sha256(name.encode("utf-8", "replace")).digest())
    )
    return np.array(sorted(r for name in chosen[:identities] for r in rows[name][:PER_PERSON]), dtype=np.int64)


def _more_impostors(subjects: Ints, pairs: Pairs) -> Pairs:
    """Impostor pairs of images of one fold, about `EXTRA_IMPOSTORS` for each image."""
    rng = np.random.default_rng(0)
    columns: list[Ints] = []
    for fold in np.unique(pairs.fold).tolist():
        inside = pairs.fold == fold
        members = np.unique(np.concatenate([pairs.left[inside], pairs.right[inside]]))
        left = np.repeat(members, EXTRA_IMPOSTORS)
        both = np.sort(np.stack([left, rng.choice(members, len(left))], axis=1), axis=1)
        both = np.unique(both[subjects[both[:, 0]] != subjects[both[:, 1]]], axis=0)
        columns.append(np.column_stack([both, np.full(len(both), fold)]))
    found = np.concatenate(columns)
    same = np.zeros(len(found), dtype=bool)
    return Pairs(left=found[:, 0], right=found[:, 1], same=same, fold=found[:, 2])


# ---- sets without a protocol -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Division:
    """People of a folder, divided: the rows of each group's images, and the fold of every scored image."""

    collection: Collection
    calibration: Ints
    auxiliary: Ints
    scored: Ints
    fold: Ints  # of the scored images
    seed: int

    @classmethod
    def of(cls, collection: Collection, seed: int, calibration: float, auxiliary: float) -> Division:
        """Divide by the seed; people with one image are dealt apart, so that every group has its share of genuine
        pairs. `DataError` says how many people are needed."""
        if collection.people is None:
            raise DataError(f"{collection.files[-1]}: expected pairs, or to know who the images show; found neither")
        codes, people = collection.codes
        counts = np.bincount(codes, minlength=len(people))
        rng = np.random.default_rng(seed)
        parts: list[list[Ints]] = [[], [], []]
        for group in (np.flatnonzero(counts >= 2), np.flatnonzero(counts == 1)):
            shuffled = rng.permutation(group)
            first = round(calibration * len(group))
            second = first + round(auxiliary * len(group))
            for part, chosen in zip(parts, np.split(shuffled, [first, second]), strict=True):
                part.append(chosen)
        several, single = parts[2]
        if len(parts[0][0]) < 2 or len(parts[1][0]) < 2 or len(several) < 4:
            share = min(calibration, auxiliary, (1 - calibration - auxiliary) / 2)
            raise DataError(
                f"{collection.root}: expected at least {int(np.ceil(2 / share))} people with two or more images (2 to "
                f"calibrate on, 2 to learn from, 4 to score), found {int((counts >= 2).sum())} of {len(people)} people"
            )
        folds = min(FOLDS, len(several) // 2)
        fold_of = np.full(len(people), -1)
        fold_of[np.concatenate([several, single])] = np.arange(len(several) + len(single)) % folds
        rows = [np.flatnonzero(np.isin(codes, np.concatenate(part))) for part in parts]
        return cls(
            collection=collection, calibration=rows[0], auxiliary=rows[1], scored=rows[2],
            fold=fold_of[codes[rows[2]]], seed=seed,
        )  # fmt: skip

    def _faces(self, rows: Ints) -> Faces:
        return faces(
            self.collection, rows, self.collection.codes[0][rows], [self.collection.ids[k] for k in rows.tolist()]
        )

    def calibration_faces(self, identities: int) -> Faces:
        """Up to `PER_CALIBRATION_PERSON` images of people with two or more."""
        return self._faces(self._some(self.calibration, identities, PER_CALIBRATION_PERSON, 2))

    def auxiliary_faces(self, identities: int) -> Faces:
        """Up to `PER_PERSON` images of each."""
        return self._faces(self._some(self.auxiliary, identities, PER_PERSON, 1))

    def _some(self, rows: Ints, identities: int, each: int, least: int) -> Ints:
        codes = self.collection.codes[0][rows]
        people, counts = np.unique(codes, return_counts=True)
        able = people[counts >= least]
        chosen = np.random.default_rng([self.seed, each]).permutation(able)[:identities]
        return np.concatenate([rows[codes == person][:each] for person in np.sort(chosen)])

    def folds(self) -> list[Fold]:
        """The scored images of every fold, people together."""
        codes = self.collection.codes[0][self.scored]
        return [
            Fold.of(self.scored[at], codes[at]) for at in (np.flatnonzero(self.fold == f) for f in np.unique(self.fold))
        ]

    def max_pairs(self) -> int:
        """Twice the rarer kind, up to `MAX_PAIRS`."""
        folds = self.folds()
        return min(MAX_PAIRS, 2 * min(sum(f.genuine for f in folds), sum(f.impostor for f in folds)))

    def evaluation(self, pairs: int) -> tuple[Faces, Pairs]:
        """The first pairs of the drawn order: the folds in turn, genuine and impostor alternating."""
        folds = self.folds()
        half = self.max_pairs() // 2
        drawn = []
        for label in (True, False):
            possible = np.array([f.genuine if label else f.impostor for f in folds])
            for k, count in enumerate(_quotas(possible, half).tolist()):
                rng = np.random.default_rng([self.seed, int(label), k])
                numbers = (
                    rng.choice(int(possible[k]), size=count, replace=False) if count else np.zeros(0, dtype=np.int64)
                )
                both = folds[k].genuine_pairs(numbers) if label else folds[k].impostor_pairs(numbers)
                drawn.append((both, label, k))
        left, right = np.concatenate([both for both, *_ in drawn]).T
        table = PairTable(
            left=left,
            right=right,
            same=np.concatenate([np.full(len(both), label) for both, label, _ in drawn]),
            fold=np.concatenate([np.full(len(both), k) for both, _, k in drawn]),
        )
        chosen = order(table, last=())[0][:pairs]
        rows, index = np.unique(np.stack([left[chosen], right[chosen]], axis=1).reshape(-1), return_inverse=True)
        first, second = index.reshape(-1, 2).astype(np.int64).T
        return self._faces(rows), Pairs(left=first, right=second, same=table.same[chosen], fold=table.fold[chosen])


def _quotas(possible: Ints, total: int) -> Ints:
    """How many of each fold make up the total when they are taken in turn."""
    quotas = np.zeros_like(possible)
    while (missing := total - int(quotas.sum())) > 0 and (quotas < possible).any():
        open_ = np.flatnonzero(quotas < possible)
        if missing < len(open_):
            quotas[open_[:missing]] += 1
        else:
            quotas[open_] = np.minimum(possible[open_], quotas[open_] + missing // len(open_))
    return quotas


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The images of one fold, those of a person together; pairs are numbered, so that they can be drawn by number."""

    rows: Ints
    starts: Ints  # where each person's images begin
    counts: Ints
    later: Ints  # images of later people, for every image

    @classmethod
    def of(cls, rows: Ints, codes: Ints) -> Fold:
        """Images and their people."""
        at = np.argsort(codes, kind="stable")
        _, starts, counts = np.unique(codes[at], return_index=True, return_counts=True)
        later = len(rows) - np.repeat(starts + counts, counts)
        return cls(rows=rows[at], starts=starts, counts=counts, later=later)

    @property
    def genuine(self) -> int:
        """How many genuine pairs there are."""
        return int((self.counts * (self.counts - 1) // 2).sum())

    @property
    def impostor(self) -> int:
        """How many impostor pairs there are."""
        return int(self.later.sum())

    def genuine_pairs(self, numbers: Ints) -> Ints:
        """Rows ``(k, 2)`` of genuine pairs by number."""
        ends = np.cumsum(self.counts * (self.counts - 1) // 2)
        person = np.searchsorted(ends, numbers, side="right")
        within = numbers - np.where(person > 0, ends[person - 1], 0)
        high = ((1 + np.sqrt(1 + 8 * within.astype(np.float64))) // 2).astype(
            np.int64
        )  # 1 + ... + (high - 1) <= within
        high -= high * (high - 1) // 2 > within
        high += (high + 1) * high // 2 <= within
        low = within - high * (high - 1) // 2
        start = self.starts[person]
        return self.rows[np.stack([start + low, start + high], axis=1)]

    def impostor_pairs(self, numbers: Ints) -> Ints:
        """Rows ``(k, 2)`` of impostor pairs by number."""
        ends = np.cumsum(self.later)
        one = np.searchsorted(ends, numbers, side="right")
        within = numbers - np.where(one > 0, ends[one - 1], 0)
        first_later = len(self.rows) - self.later[one]
        return self.rows[np.stack([one, first_later + within], axis=1)]
