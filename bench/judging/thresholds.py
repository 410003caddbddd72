"""What counts as a match: thresholds on the cosine, set for a false match rate on people other than those judged.

The *service* sets its threshold on clean pictures, to which the same preprocessing is applied. The *adversary* sets his
on what he really compares: protected pictures of other people against clean ones. If a folder of other people is there,
clean pictures are theirs; otherwise they are the originals themselves, and nobody takes part in the threshold that is
applied to him (cross-fitting, `bench.metrics.impostors`).

No threshold is invented: with too few people there is none, and the reason is given in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.judging.pictures import OtherPeople, PhotoPeople
from bench.metrics import impostors, recognition
from bench.metrics.arrays import Floats

FEWEST_PEOPLE = 10  # Of fewer people who are protected, a threshold would be that of one of them.


@dataclass(frozen=True, kw_only=True)
class PhotoThreshold:
    """A threshold per photo ``kappa (n,)``, NaN where there is none, and the least numbers of people and of impostor
    scores behind one of them. ``reason`` says why there is none; it is empty if there is one."""

    kappa: Floats
    people: int = 0
    impostors: int = 0
    reason: str = ""


def needed_pairs(fmr: float) -> int:
    """Return how many pairs of different people a false match rate needs: with fewer, not even one may match."""
    return math.ceil(1 / fmr - 1e-9)


def needed_people(fmr: float) -> int:
    """Return how many people have so many pairs among them, at least `FEWEST_PEOPLE`."""
    pairs = needed_pairs(fmr)
    return max(FEWEST_PEOPLE, math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2 - 1e-9))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Embeddings of one judge: of the gallery of originals as they are, ``clean (m, d)``, with the person of each,
    ``who (m,)``; of the strangers as they are, ``other (k, d)``, None if there are none."""

    people: PhotoPeople
    strangers: OtherPeople | None
    clean: NDArray[np.float32]
    who: NDArray[np.int64]
    other: NDArray[np.float32] | None
    fmr: float

    def group(self, who: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the group of people who are judged; nobody takes part in a threshold that is applied to his group."""
        known, groups = impostors.people_groups(self.who, self.who)
        found: NDArray[np.int64] = groups[np.searchsorted(known, who)]
        return found

    def matched_strangers(self, probes: NDArray[np.float32], who: NDArray[np.int64], kappa: Floats) -> Floats:
        """Return the share of pictures of other people that each probe matches at thresholds ``(n, k)``: what chance
        alone gives. NaN where other people are not known."""
        if self.other is not None and self.strangers is not None:
            nobody = np.full(len(who), -1, np.int64)
            return impostors.impostor_match_shares(probes, self.other, nobody, self.strangers.people, kappa)
        if not self.people.known or self.people.count < 2:
            return np.full(kappa.shape, np.nan)
        return impostors.impostor_match_shares(probes, self.clean, who, self.who, kappa)


def of_service(c: Compared, changed: NDArray[np.float32], who: NDArray[np.int64]) -> PhotoThreshold:
    """Return the threshold of a service for the photos of people ``who (n,)``.

    ``changed`` are the embeddings, after the preprocessing, of the pictures on which it is set: of the strangers if
    there are any, else of the gallery.
    """
    if c.strangers is not None and c.other is not None:
        return _of_strangers(c, changed, len(who))
    if not c.people.known:
        return _none(len(who), _unknown(c.fmr))
    left = c.people.count - _largest_group(c)
    if left < needed_people(c.fmr):
        return _none(len(who), _too_few(left, needed_people(c.fmr), c.fmr, "beside those of a photo"))
    groups = c.group(c.who)
    found = impostors.cross_fitted_thresholds(changed, c.clean, c.who, c.who, groups, groups, c.fmr)
    return _applied(found, c.group(who))


def of_adversary(
    c: Compared, probes: NDArray[np.float32], shown: NDArray[np.int64], who: NDArray[np.int64]
) -> PhotoThreshold:
    """Return the threshold of an adversary for the photos of people ``who (n,)``, set on protected pictures ``probes``
    of the people ``shown``, after the preprocessing, against clean pictures of others."""
    if not c.people.known:
        return _none(len(who), "whose the protected pictures are is not known: give one folder per person")
    left = len(np.unique(shown)) - _largest_group(c)
    if left < FEWEST_PEOPLE:
        return _none(
            len(who),
            f"an adversary needs protected pictures of at least {FEWEST_PEOPLE} other people, here are {max(left, 0)}",
        )
    group = c.group(shown)
    if c.strangers is not None and c.other is not None:
        pairs, needed = left * c.strangers.count, math.ceil(needed_pairs(c.fmr) / c.strangers.count)
        apart = np.full(len(c.other), int(group.max()) + 1, np.int64)  # a group of their own, which is never left out
        gallery, own = c.other, -1 - c.strangers.people  # Nobody who is judged has a negative number.
    else:
        pairs, needed = left * (left - 1) // 2, needed_people(c.fmr)
        gallery, own, apart = c.clean, c.who, c.group(c.who)
    if pairs < needed_pairs(c.fmr):
        return _none(len(who), _too_few(left, needed, c.fmr, "who are protected, beside those of a photo"))
    found = impostors.cross_fitted_thresholds(probes, gallery, shown, own, group, apart, c.fmr)
    return _applied(found, c.group(who))


def _of_strangers(c: Compared, changed: NDArray[np.float32], n: int) -> PhotoThreshold:
    assert c.strangers is not None
    assert c.other is not None
    if c.strangers.pairs is not None:
        left, right = c.strangers.pairs.T
        if len(left) < needed_pairs(c.fmr):
            return _none(n, _too_few_pairs(len(left), c.fmr))
        scores = recognition.cosine(changed[left], c.other[right])
        kappa, people = recognition.threshold_at_fmr(scores, c.fmr), len(np.unique(c.strangers.people[[*left, *right]]))
        return PhotoThreshold(kappa=np.full(n, kappa), people=people, impostors=len(scores))
    if c.strangers.count < needed_people(c.fmr):
        return _none(n, _too_few(c.strangers.count, needed_people(c.fmr), c.fmr, "in --calibrate"))
    of = c.strangers.people
    found = impostors.impostor_threshold(changed, c.other, of, of, c.fmr)
    return PhotoThreshold(kappa=np.full(n, found.kappa), people=found.people, impostors=found.impostors)


def _applied(found: impostors.CrossFitted, group: NDArray[np.int64]) -> PhotoThreshold:
    own = np.unique(group)
    return PhotoThreshold(
        kappa=found.kappa[group], people=int(found.people[own].min()), impostors=int(found.impostors[own].min())
    )


def _largest_group(c: Compared) -> int:
    return int(np.bincount(c.group(np.unique(c.who))).max())


def _none(n: int, reason: str) -> PhotoThreshold:
    return PhotoThreshold(kappa=np.full(n, np.nan), reason=reason)


def _unknown(fmr: float) -> str:
    return (
        "which similarity counts as a match is set on pictures of different people, and nothing says who the people of "
        "these photos are. Give a folder of other people, one folder per person, with --calibrate (at least "
        f"{needed_people(fmr)} people for an FMR of {100 * fmr:g} %); or put each person's photos into a folder of "
        "their own; or, if each photo shows another person, use --one-person-each"
    )


def _too_few(people: int, needed: int, fmr: float, which: str) -> str:
    return (
        f"{_one_match(fmr)}, for which {needed:,} people are needed; here are {max(people, 0):,} {which}. Give more "
        "people with --calibrate, or choose a larger --fmr"
    )


def _too_few_pairs(pairs: int, fmr: float) -> str:
    return (
        f"{_one_match(fmr)}; the protocol of the data set has {pairs:,}. Give a folder of people or another data set "
        "with --calibrate, or choose a larger --fmr"
    )


def _one_match(fmr: float) -> str:
    return f"an FMR of {100 * fmr:g} % is one match in {needed_pairs(fmr):,} pairs of different people"
