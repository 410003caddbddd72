"""The evaluation pairs and their order, the calibration split, and the auxiliary faces that attackers learn from.

With a pair protocol, the pairs of the folds 0 to 7 come first: genuine and impostor pairs alternate, and the folds take
turns. Then come the pairs of the folds 8 and 9. As long as these are not scored, attackers may learn from their people.
Without a protocol, people are divided at random by a seed, and pairs are drawn among the people who are used neither
for calibration nor as auxiliary faces, within folds that share no people. Copies of a picture are left out then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench import Allowed, DataError, Faces, MissingDataError, Pairs
from bench_facesets.collection import FOLDS, Collection, Ints, PairTable, digests, with_folds
from bench_facesets.copies import Copies
from bench_facesets.readers.images import DecodedImages

LAST_FOLDS = (8, 9)
MAX_PAIRS = 1_000_000  #: The most pairs that are drawn from a set without a protocol.
MIN_LEFTOVER = 20  #: People in no pair are used as auxiliary faces if there are at least so many.
EXTRA_IMPOSTORS = 10  #: The number of additional impostor pairs per calibration image.
PER_CALIBRATION_PERSON = 4  #: The most calibration images of a person.


def faces(collection: Collection, rows: Ints, subjects: Ints, ids: Sequence[str]) -> Faces:
    """Return `Faces` of some images of a collection, which are decoded on demand."""
    return Faces(
        images=DecodedImages(collection.encoded, np.asarray(rows, dtype=np.int64)),
        subjects=np.asarray(subjects, dtype=np.int64),
        sample_ids=np.array(ids, dtype=np.str_),
    )


def numbered_by_name(collection: Collection, found: Faces) -> Faces:
    """Return faces of a collection whose subject numbers are digests of the people's names, so that a person has the
    same number in every set that names him alike. Subjects without a name get the digest of their number and set."""
    names = collection.spelt_alike
    numbers, where = np.unique(found.subjects, return_inverse=True)
    labels = [names[k] if k < len(names) else f"{collection.layout}\x00{k}" for k in numbers.tolist()]
    digests = [int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") >> 1 for label in labels]
    return replace(found, subjects=np.array(digests, dtype=np.int64)[where])


# ---- sets with a protocol --------------------------------------------------------------------------------------------


def order(pairs: PairTable, last: Sequence[int] = LAST_FOLDS) -> tuple[Ints, int]:
    """Return the pairs in the order in which they are scored, and the number of pairs before the ``last`` folds."""
    late = np.isin(pairs.fold, last)
    first, second = (_alternating(pairs, np.flatnonzero(part)) for part in (~late, late))
    return np.concatenate([first, second]), len(first)


def _alternating(pairs: PairTable, members: Ints) -> Ints:
    """Return genuine and impostor pairs alternately, with the folds in turn; as many of each as of the rarer kind."""
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
    """A collection with its own pair protocol.

    ``order``: the pairs in the order in which they are scored; ``early``: the number of pairs before the last folds.
    """

    collection: Collection
    pairs: PairTable
    order: Ints
    early: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, collection: Collection) -> Protocol:
        """Return the protocol of a collection. Raises DataError unless it has both genuine and impostor pairs."""
        if collection.pairs is None:
            raise MissingDataError(
                f"{collection.files[-1]}: the images exist, but no pairs; convert the set together with its pair "
                f"protocol, or use the data set face-set, which draws pairs"
            )
        pairs = with_folds(collection.pairs)
        found, early = order(pairs)
        if not len(found):
            raise DataError(f"{collection.files[-1]}: expected genuine and impostor pairs, found only one kind")
        return cls(collection=collection, pairs=pairs, order=found, early=early)

    def chosen(self, chosen: Ints) -> tuple[Faces, Pairs]:
        """Return some pairs with their images, each image once."""
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

    def max_pairs(self) -> int:
        """Return the number of pairs that can be scored."""
        return len(self.order)

    def evaluation(self, pairs: int) -> tuple[Faces, Pairs]:
        """Return the first pairs of the order."""
        return self.chosen(self.order[:pairs])

    def calibration(self, pairs: int) -> tuple[Faces, Pairs]:
        """Return the first pairs of the folds 0 to 7; if people are known, with more impostor pairs within each
        fold."""
        found, chosen = self.chosen(self.order[: min(pairs, self.early)])
        if not self.collection.resolved.named:
            return found, chosen
        more = _more_impostors(found.subjects, chosen)
        columns = {
            name: np.concatenate([getattr(chosen, name), getattr(more, name)])
            for name in ("left", "right", "same", "fold")
        }
        return found, Pairs(**columns)

    def people(self, pairs: int) -> set[str]:
        """Return the names of the people in the first pairs of the order; empty if they are not known."""
        names, chosen = self.collection.people, self.order[:pairs]
        if names is None:
            return set()
        return {names[k] for side in (self.pairs.left, self.pairs.right) for k in side[chosen].tolist()}

    def leftover(self) -> Ints:
        """Return the images of people who are in no pair, ``(n,)``; empty if they are too few or not known."""
        codes, people = self.collection.codes
        if not people:
            return np.zeros(0, dtype=np.int64)
        used = np.unique(codes[np.concatenate([self.pairs.left, self.pairs.right])])
        free = np.flatnonzero(~np.isin(codes, used))
        return free if len(np.unique(codes[free])) >= MIN_LEFTOVER else free[:0]

    def auxiliary(self, identities: int, pictures: int, allowed: Allowed) -> Faces:
        """Return faces of people who are in no pair or, if there are too few, of people who are only in the last folds;
        if names are known, of allowed people only. A file that equals that of a scored image is left out: it has a
        wrong name.

        Raises DataError if there are none.
        """
        rows, subjects, ids = self._auxiliary(identities, pictures, allowed)
        scored = self.pairs.fold >= 0 if len(self.leftover()) else ~np.isin(self.pairs.fold, LAST_FOLDS)
        others = self.collection.resolved.rows[_members(self.collection, scored)]
        new = ~np.isin(digests(self.collection.encoded, rows), digests(self.collection.encoded, others))
        rows, subjects, ids = rows[new], subjects[new], [name for name, kept in zip(ids, new, strict=True) if kept]
        if not len(rows):
            raise DataError(
                f"{self.collection.files[-1]}: no person is left to learn from, in no pair or only in the folds 8 and "
                f"9; use fewer learning attacks, or a set with more pairs"
            )
        return faces(self.collection, rows, subjects, ids)

    def auxiliary_people(self, identities: int, pictures: int, allowed: Allowed) -> set[str]:
        """Return the names of the people whom `auxiliary` shows; empty if they are not known."""
        names = self.collection.people
        if names is None:
            return set()
        return {names[k] for k in self._auxiliary(identities, pictures, allowed)[0].tolist()}

    def _auxiliary(self, identities: int, pictures: int, allowed: Allowed) -> tuple[Ints, Ints, list[str]]:
        """Return the images of auxiliary faces, their subjects and their ids."""
        free = self.leftover()
        if len(free):
            codes, people = self.collection.codes
            free = free[_shows_allowed(self.collection, free, allowed)]
            chosen = free[_some_of_each([people[c] for c in codes[free]], identities, pictures)]
            return chosen, codes[chosen], [self.collection.ids[k] for k in chosen.tolist()]
        known = self.collection.resolved
        late = np.isin(self.pairs.fold, LAST_FOLDS)
        members = [_members(self.collection, part) for part in (late, ~late)]
        samples = members[0][~np.isin(known.subjects[members[0]], known.subjects[members[1]])]
        if self.collection.people is not None:
            samples = samples[_shows_allowed(self.collection, known.rows[samples], allowed)]
        samples = samples[_some_of_each([str(s) for s in known.subjects[samples].tolist()], identities, pictures)]
        return known.rows[samples], known.subjects[samples], [known.ids[k] for k in samples.tolist()]


def _members(collection: Collection, chosen: NDArray[np.bool_]) -> Ints:
    """Return the samples of the chosen pairs, ascending."""
    known = collection.resolved
    return np.unique(np.concatenate([known.left[chosen], known.right[chosen]]))


def _shows_allowed(collection: Collection, rows: Ints, allowed: Allowed) -> NDArray[np.bool_]:
    """Return for each of some images whether its person is allowed, ``(n,)``; ``allowed`` is called once per person."""
    codes, people = collection.codes
    shown, person = np.unique(codes[rows], return_inverse=True)
    return np.array([allowed(people[c]) for c in shown.tolist()], dtype=bool)[person]


def _some_of_each(people: Sequence[str], identities: int, pictures: int) -> Ints:
    """Return the rows of up to ``pictures`` images of some people, ascending.

    People with several images are preferred; among equals, a digest of the name decides, so that the choice does not
    follow the alphabet.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(people):
        rows.setdefault(name, []).append(row)
    chosen = sorted(
        rows, key=lambda name: (len(rows[name]) < 2, hashlib.sha256(name.encode("utf-8", "replace")).digest())
    )
    return np.array(sorted(r for name in chosen[:identities] for r in rows[name][:pictures]), dtype=np.int64)


def _more_impostors(subjects: Ints, pairs: Pairs) -> Pairs:
    """Draw impostor pairs within each fold, about `EXTRA_IMPOSTORS` for each image."""
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
    """A division of the people of a set without protocol: the rows of each part's images.

    ``learnt_from``: the images of the people that attackers learn from; ``fold``: the fold of every scored image;
    ``notes``: sentences about images that are left out.
    """

    collection: Collection
    calibration: Ints
    learnt_from: Ints
    scored: Ints
    fold: Ints
    seed: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, collection: Collection, fingerprint: str, seed: int, calibration: float, auxiliary: float) -> Division:
        """Divide the people at random; ``calibration`` and ``auxiliary`` are shares.

        Each picture of a person counts once, and a picture with the labels of several people not at all (see
        `bench_facesets.copies`; ``fingerprint`` is the digest of the files). People with one image are divided
        separately, so that every part has its share of genuine pairs. Raises DataError, which says how many people are
        needed.
        """
        if collection.people is None:
            why = f"; {collection.nameless}" if collection.nameless else ""
            raise DataError(f"{collection.files[-1]}: expected pairs, or the person in each image; found neither{why}")
        codes, people = collection.codes
        copies = Copies.within(collection, fingerprint)
        notes = copies.notes(collection)
        counts = np.bincount(codes[copies.usable], minlength=len(people))
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
                + "".join(f"; {note}" for note in notes)
            )
        folds = min(FOLDS, len(several) // 2)
        fold_of = np.full(len(people), -1)
        fold_of[np.concatenate([several, single])] = np.arange(len(several) + len(single)) % folds
        rows = [np.flatnonzero(np.isin(codes, np.concatenate(part)) & copies.usable) for part in parts]
        return cls(
            collection=collection, calibration=rows[0], learnt_from=rows[1], scored=rows[2],
            fold=fold_of[codes[rows[2]]], seed=seed, notes=notes,
        )  # fmt: skip

    def _faces(self, rows: Ints) -> Faces:
        return faces(
            self.collection, rows, self.collection.codes[0][rows], [self.collection.ids[k] for k in rows.tolist()]
        )

    def calibration_faces(self, identities: int) -> Faces:
        """Return up to `PER_CALIBRATION_PERSON` images of each person with at least two."""
        return self._faces(self._some(self.calibration, identities, PER_CALIBRATION_PERSON, 2))

    def calibration_people(self, identities: int) -> int:
        """Return the number of people whom `calibration_faces` shows."""
        counts = np.unique(self.collection.codes[0][self.calibration], return_counts=True)[1]
        return min(identities, int((counts >= 2).sum()))

    def auxiliary(self, identities: int, pictures: int, allowed: Allowed) -> Faces:
        """Return up to ``pictures`` images of each allowed person. Raises DataError if nobody is allowed."""
        rows = self._auxiliary(identities, pictures, allowed)
        if not len(rows):
            raise DataError(f"{self.collection.files[-1]}: no person is left to learn from")
        return self._faces(rows)

    def auxiliary_people(self, identities: int, pictures: int, allowed: Allowed) -> set[str]:
        """Return the names of the people whom `auxiliary` shows."""
        codes, people = self.collection.codes
        return {people[c] for c in codes[self._auxiliary(identities, pictures, allowed)].tolist()}

    def _auxiliary(self, identities: int, pictures: int, allowed: Allowed) -> Ints:
        rows = self.learnt_from[_shows_allowed(self.collection, self.learnt_from, allowed)]
        return self._some(rows, identities, pictures, 1)

    def people(self, pairs: int) -> set[str]:
        """Return the names of all people of whom pairs may be drawn."""
        codes, people = self.collection.codes
        return {people[c] for c in np.unique(codes[self.scored]).tolist()}

    def _some(self, rows: Ints, identities: int, each: int, least: int) -> Ints:
        """Return up to ``each`` rows of some people with at least ``least``; ``each`` does not decide who these are."""
        codes = self.collection.codes[0][rows]
        people, counts = np.unique(codes, return_counts=True)
        able = people[counts >= least]
        chosen = np.random.default_rng([self.seed, least]).permutation(able)[:identities]
        return np.concatenate([rows[:0], *(rows[codes == person][:each] for person in np.sort(chosen))])

    def folds(self) -> list[Fold]:
        """Return the scored images of every fold, grouped by person."""
        codes = self.collection.codes[0][self.scored]
        return [
            Fold.of(self.scored[at], codes[at]) for at in (np.flatnonzero(self.fold == f) for f in np.unique(self.fold))
        ]

    def max_pairs(self) -> int:
        """Return twice the number of pairs of the rarer kind, at most `MAX_PAIRS`."""
        folds = self.folds()
        return min(MAX_PAIRS, 2 * min(sum(f.genuine for f in folds), sum(f.impostor for f in folds)))

    def evaluation(self, pairs: int) -> tuple[Faces, Pairs]:
        """Return the first of the drawn pairs: the folds take turns, genuine and impostor pairs alternate."""
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
    """Return how many pairs of each fold give the total if the folds take turns."""
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
    """The images of one fold, grouped by person; all pairs are numbered, so that they can be drawn by number.

    ``starts`` and ``counts``: the first image and the number of images of each person; ``later``: for every image, the
    number of images of later people.
    """

    rows: Ints
    starts: Ints
    counts: Ints
    later: Ints

    @classmethod
    def of(cls, rows: Ints, codes: Ints) -> Fold:
        """Return the fold of the images ``rows``, whose people have the numbers ``codes``."""
        at = np.argsort(codes, kind="stable")
        _, starts, counts = np.unique(codes[at], return_index=True, return_counts=True)
        later = len(rows) - np.repeat(starts + counts, counts)
        return cls(rows=rows[at], starts=starts, counts=counts, later=later)

    @property
    def genuine(self) -> int:
        """The number of genuine pairs."""
        return int((self.counts * (self.counts - 1) // 2).sum())

    @property
    def impostor(self) -> int:
        """The number of impostor pairs."""
        return int(self.later.sum())

    def genuine_pairs(self, numbers: Ints) -> Ints:
        """Return the rows ``(k, 2)`` of genuine pairs by number."""
        ends = np.cumsum(self.counts * (self.counts - 1) // 2)
        person = np.searchsorted(ends, numbers, side="right")
        within = numbers - np.where(person > 0, ends[person - 1], 0)
        # Find the largest high with 1 + ... + (high - 1) <= within; the next two lines correct rounding errors.
        high = ((1 + np.sqrt(1 + 8 * within.astype(np.float64))) // 2).astype(np.int64)
        high -= high * (high - 1) // 2 > within
        high += (high + 1) * high // 2 <= within
        low = within - high * (high - 1) // 2
        start = self.starts[person]
        return self.rows[np.stack([start + low, start + high], axis=1)]

    def impostor_pairs(self, numbers: Ints) -> Ints:
        """Return the rows ``(k, 2)`` of impostor pairs by number."""
        ends = np.cumsum(self.later)
        one = np.searchsorted(ends, numbers, side="right")
        within = numbers - np.where(one > 0, ends[one - 1], 0)
        first_later = len(self.rows) - self.later[one]
        return self.rows[np.stack([one, first_later + within], axis=1)]
