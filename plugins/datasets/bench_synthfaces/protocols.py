"""Verification protocols over synthetic people: which pictures exist, and which pairs are compared.

Pictures are only specified here (subjects, shots, ages, style); `Pictures.render` draws them.

- People are numbers, and the ranges below never overlap: training, calibration, auxiliary and evaluation sets are
  identity-disjoint by construction.
- Settings of defenses and attacks are chosen on other people: every range but that of training exists a second time,
  with `constants.TUNING` added to the numbers. The functions below return these people for ``shift = TUNING``.
- Pair 2k is genuine and pair 2k + 1 an impostor pair. Both are drawn from 25 identity numbers that no other pair uses.
  Every genuine pair has its own subject and every impostor pair two, so scores are independent, no identity occurs in
  two folds, and the first m pairs of a longer list are the list of m pairs.
- For three quarters of the impostor pairs, a partner of equal gender and group is searched among 23 candidates and
  found in 86 % of the cases: about 67 % of the impostor pairs are matched, so neither label separates the classes.
- If genuine pairs have an age gap, impostor pairs have an age gap from the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ._rng import Stream, combine
from .constants import BLOCK, DUO, EVALUATION_START, MAX_PAIRS, SEED
from .generator import Rendered, Style, render, subject_labels

CALIBRATION = range(200_000, 300_000)  #: Identity numbers on which thresholds are set; a quarter for each protocol.
FOLDS = 10
MATCHED_WISH = 0.75  #: The share of impostor pairs for which a partner of equal gender and group is searched.

Ints = NDArray[np.int64]
Ages = NDArray[np.float32]  #: Ages in years; NaN stands for the subject's usual age, within 6 years.


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the pictures of a pair are taken.

    ``gap`` is the range of the age difference in years, or None for usual ages; ``youngest`` is the range of the age
    in the younger picture, if there is a gap.
    """

    name: str
    index: int
    style: Style = "wild"
    gap: tuple[float, float] | None = None
    youngest: tuple[float, float] = (20.0, 45.0)

    @property
    def identities(self) -> range:
        """The identity numbers for the pairs of this protocol."""
        start = EVALUATION_START + self.index * BLOCK
        return range(start, start + BLOCK)

    @property
    def calibration(self) -> range:
        """The identity numbers on which the thresholds of this protocol are set."""
        quarter = len(CALIBRATION) // 4
        return CALIBRATION[self.index * quarter : (self.index + 1) * quarter]


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(name="synth-lfw", index=0),
        Protocol(name="synth-agedb30", index=1, gap=(30.0, 30.0)),
        Protocol(name="synth-calfw", index=2, gap=(10.0, 25.0)),
        Protocol(name="synth-cfp-ff", index=3, style="frontal"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A specification of n pictures: subjects, shots and ages are vectors of shape (n,)."""

    subjects: Ints
    shots: Ints
    ages: Ages
    style: Style
    seed: int = SEED

    def __len__(self) -> int:
        return len(self.subjects)

    def render(self, rows: Ints | slice = slice(None)) -> Rendered:
        """Draw some (default: all) of the pictures; a picture does not depend on the others."""
        ages = torch.from_numpy(self.ages[rows])
        return render(self.seed, self.subjects[rows], self.shots[rows], age=ages, style=self.style)


@dataclass(frozen=True, kw_only=True)
class PairList:
    """m pairs of pictures; every picture occurs in one pair.

    ``pictures`` are 2m pictures: left and right of pair 0, left and right of pair 1, ...; ``left (m,)`` and
    ``right (m,)`` index them; ``same (m,)``: whether a pair is genuine; ``fold (m,)`` 0-9. Pairs 2k and 2k + 1 share a
    fold, so each fold has pairs of both kinds.
    """

    pictures: Pictures
    left: Ints
    right: Ints
    same: NDArray[np.bool_]
    fold: Ints


def get_protocol(name: str) -> Protocol:
    """Return the protocol of a name. Raises ValueError for an unknown name."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]


def pairs(name: str, count: int, shift: int = 0) -> PairList:
    """Return the first ``count`` pairs of a protocol; ``shift``, 0 or `constants.TUNING`, is added to people's numbers.

    Raises ValueError if the protocol is unknown or ``count`` is not in 2 .. MAX_PAIRS.
    """
    protocol = get_protocol(name)
    if not 2 <= count <= MAX_PAIRS:
        raise ValueError(f"pairs: expected 2 to {MAX_PAIRS} pairs, got {count}")
    duos = np.arange((count + 1) // 2, dtype=np.int64)
    base = protocol.identities.start + shift + duos * DUO
    subjects = np.empty((len(duos), 2, 2), dtype=np.int64)  # The axes are: duo, pair of the duo, side.
    subjects[:, 0] = base[:, None]
    subjects[:, 1, 0] = base + 1
    subjects[:, 1, 1] = _partners(base)
    pair_subjects = subjects.reshape(-1, 2)[:count]
    ages = _pair_ages(protocol, pair_subjects[:, 0], np.arange(count, dtype=np.int64))
    left = 2 * np.arange(count, dtype=np.int64)
    pictures = Pictures(
        subjects=pair_subjects.reshape(-1),
        shots=np.tile(np.array([0, 1], dtype=np.int64), count),
        ages=ages.reshape(-1),
        style=protocol.style,
    )
    number = np.arange(count, dtype=np.int64)
    return PairList(pictures=pictures, left=left, right=left + 1, same=number % 2 == 0, fold=(number // 2) % FOLDS)


def further_pictures(name: str, count: int, each: int, shift: int = 0) -> Pictures:
    """Return ``each`` pictures of every person in the first ``count`` pairs that are in no pair, at the usual age."""
    people = np.unique(pairs(name, count, shift).pictures.subjects)
    subjects = np.repeat(people, each)
    return Pictures(
        subjects=subjects,
        shots=np.tile(np.arange(2, 2 + each, dtype=np.int64), len(people)),
        ages=np.full(len(subjects), np.nan, dtype=np.float32),
        style=get_protocol(name).style,
    )


def _partners(base: Ints) -> Ints:
    """Return the second subject of each duo's impostor pair: a matched one if wished and found, else the first
    candidate."""
    candidates = base[:, None] + np.arange(2, DUO, dtype=np.int64)
    gender, group = subject_labels(SEED, candidates.reshape(-1))
    own_gender, own_group = subject_labels(SEED, base + 1)
    equal = (gender.reshape(candidates.shape) == own_gender[:, None]) & (
        group.reshape(candidates.shape) == own_group[:, None]
    )
    wish = Stream(combine(SEED, base)).uniform64("matched", 1)[:, 0] < MATCHED_WISH
    choice = np.where(wish, equal.argmax(axis=1), 0)
    return np.asarray(candidates[np.arange(len(base)), choice])


def _young_and_old(protocol: Protocol, keys: NDArray[np.uint64]) -> tuple[Ages, Ages]:
    """Return the ages (n,) of the younger and the older picture; NaN for protocols without an age gap."""
    if protocol.gap is None:
        nothing = np.full(len(keys), np.nan, dtype=np.float32)
        return nothing, nothing
    u = Stream(keys).uniform64("ages", 2)
    young = protocol.youngest[0] + (protocol.youngest[1] - protocol.youngest[0]) * u[:, 0]
    old = young + protocol.gap[0] + (protocol.gap[1] - protocol.gap[0]) * u[:, 1]
    return young.astype(np.float32), old.astype(np.float32)


def _pair_ages(protocol: Protocol, subjects: Ints, number: Ints) -> Ages:
    """Return the ages (m, 2) of the left and the right picture; either may be the older one."""
    keys = combine(SEED, subjects, number)
    young, old = _young_and_old(protocol, keys)
    swap = Stream(keys).uniform64("swap", 1)[:, 0] < 0.5
    return np.stack([np.where(swap, old, young), np.where(swap, young, old)], axis=1).astype(np.float32)


def _grid(people: range, identities: int, per_identity: int, shift: int) -> tuple[Ints, Ints]:
    """Return subjects and shots, (n,) each, of ``per_identity`` pictures of each of ``identities`` people.

    ``shift`` is added to the numbers of the people. Raises ValueError if there are not enough people, or if no picture
    would be left.
    """
    if identities < 1 or per_identity < 1 or identities > len(people):
        raise ValueError(
            f"identities: expected 1 to {len(people)} people with at least one picture, "
            f"got {identities} with {per_identity}"
        )
    first = people.start + shift
    subjects = np.repeat(np.arange(first, first + identities, dtype=np.int64), per_identity)
    return subjects, np.tile(np.arange(per_identity, dtype=np.int64), identities)


def calibration_pictures(name: str, identities: int, per_identity: int, shift: int = 0) -> Pictures:
    """Return the pictures on which a protocol's threshold is set; their people are in no other set.

    In protocols with an age gap, odd shots are older than even shots by a gap of the protocol's distribution: compare
    even with odd shots.
    """
    protocol = get_protocol(name)
    subjects, shots = _grid(protocol.calibration, identities, per_identity, shift)
    young, old = _young_and_old(protocol, combine(SEED, subjects))
    ages = np.where(shots % 2 == 0, young, old).astype(np.float32)
    return Pictures(subjects=subjects, shots=shots, ages=ages, style=protocol.style)


def auxiliary_pictures_of(people: Ints, per_identity: int) -> Pictures:
    """Return the pictures of the people with the identity numbers ``people (n,)``, from which an attacker or a defense
    learns. Even shots show the usual age, and odd shots any age from 18 to 78 years."""
    subjects = np.repeat(people, per_identity)
    shots = np.tile(np.arange(per_identity, dtype=np.int64), len(people))
    drawn = Stream(combine(SEED, subjects, shots)).uniform64("any-age", 1)[:, 0] * 60 + 18
    ages = np.where(shots % 2 == 0, np.nan, drawn).astype(np.float32)
    return Pictures(subjects=subjects, shots=shots, ages=ages, style="wild")
