"""Match rates of impostors: the threshold that an adversary would set, and how often chance alone makes a match.

A *probe* is what an adversary ends with, the protected or the reconstructed picture of a person. The *gallery* holds
clean pictures. A probe and a gallery picture of another person are an *impostor pair*. Protection changes how impostor
pairs score, so a threshold for clean pictures has another false match rate (FMR) on protected ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Floats, slices, unit_rows
from bench.metrics.recognition import allowed_matches

MOST_GROUPS = 10
_BINS = 4096  # of cosines from -1 to 1, in which impostor scores are counted
Ints = NDArray[np.int64]


def people_groups(left: ArrayLike, right: ArrayLike, most: int = MOST_GROUPS) -> tuple[NDArray[np.generic], Ints]:
    """Divide the people of pairs into groups for cross-fitting, where possible with both people of a pair in one group.

    ``left (n,)`` and ``right (n,)`` are the people of each pair. Returns the distinct people ``(p,)``, sorted, and the
    group of each, int64 ``(p,)`` in [0, g) with g at most ``most``. People whom pairs join, directly or through others,
    stay together. If they are everybody, or more than twice the share of a group, they are divided, and neighbours stay
    together as far as possible. There are at least two groups, unless all pairs show the same one or two people. The
    groups depend on nothing but the arguments. Raises ValueError for arrays of different length and for ``most`` below
    2.
    """
    first, second = np.asarray(left), np.asarray(right)
    if first.ndim != 1 or first.shape != second.shape or most < 2:
        raise ValueError(f"expected two arrays (n,) and at least 2 groups, got {first.shape}, {second.shape}, {most}")
    people, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    neighbours: list[list[int]] = [[] for _ in people]
    for a, b in index.reshape(2, -1).T.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    share = -(-len(people) // most)
    pieces: list[list[int]] = []
    for found in _joined(neighbours):
        crowd = len(found) > 2 * share or 2 < len(found) == len(people)
        size = share if crowd else len(found)
        pieces += [found[start : start + size] for start in range(0, len(found), size)]
    group = np.zeros(len(people), dtype=np.int64)
    sizes = [0] * min(most, len(pieces))
    for piece in sorted(pieces, key=lambda piece: (-len(piece), piece[0])):
        smallest = sizes.index(min(sizes))
        group[piece] = smallest
        sizes[smallest] += len(piece)
    return people, group


def _joined(neighbours: list[list[int]]) -> list[list[int]]:
    """Return the connected people of a graph, each list in the order of a breadth-first search."""
    found, met = [], [False] * len(neighbours)
    for start in range(len(neighbours)):
        if met[start]:
            continue
        met[start], waiting, own = True, deque([start]), []
        while waiting:
            own.append(person := waiting.popleft())
            for other in neighbours[person]:
                if not met[other]:
                    met[other] = True
                    waiting.append(other)
        found.append(own)
    return found


@dataclass(frozen=True, kw_only=True)
class CrossFitted:
    """The result of `cross_fitted_thresholds`, one entry per group ``(g,)``.

    - ``kappa``: the threshold for the probes of the group; NaN if no impostor pair is left without the group
    - ``impostors``: the number of impostor scores that determine it
    - ``people``: the number of people in these impostor pairs
    - ``fmr``: the share of these scores above it; NaN if there are none
    """

    kappa: Floats
    impostors: Ints
    people: Ints
    fmr: Floats


@dataclass(frozen=True, kw_only=True)
class ImpostorThreshold:
    """The result of `impostor_threshold`: the threshold, the number of impostor scores and of people behind it, and the
    share of these scores above it. Threshold and share are NaN if there are no impostor pairs."""

    kappa: float
    impostors: int
    people: int
    fmr: float


def cross_fitted_thresholds(
    probes: ArrayLike,
    gallery: ArrayLike,
    probe_people: ArrayLike,
    gallery_people: ArrayLike,
    probe_group: ArrayLike,
    gallery_group: ArrayLike,
    fmr: float,
) -> CrossFitted:
    """Return for each group of people the threshold that an adversary would set on the impostor pairs of all others.

    Embeddings ``(n, d)`` of probes and ``(m, d)`` of gallery pictures, with the person and the group of each, ``(n,)``
    and ``(m,)``; groups are numbered from 0. The threshold of a group is `bench.metrics.recognition.threshold_at_fmr`
    of the cosines of all impostor pairs without anybody of the group, neither as probe nor in the gallery: nobody takes
    part in the threshold that is applied to him. Raises ValueError for other shapes, and for embeddings that are zero
    or not finite.
    """
    left, right, who, whom = _checked(probes, gallery, probe_people, gallery_people)
    rows, columns = (np.asarray(group, np.int64) for group in (probe_group, gallery_group))
    if (rows.shape, columns.shape) != (who.shape, whom.shape):
        raise ValueError(f"expected one group per picture, got {rows.shape}, {columns.shape}; {len(who)}, {len(whom)}")
    impostors = _impostors_without_each(who, whom, rows, columns)
    ranks = [allowed_matches(int(n), fmr) + 1 for n in impostors]  # The threshold is the score of this rank.
    kappa, people = np.full(len(impostors), np.nan), np.zeros(len(impostors), np.int64)
    realised = np.full(len(impostors), np.nan)
    groups = [int(group) for group in np.flatnonzero(impostors)]
    for group in groups:
        people[group] = len(np.union1d(who[rows != group], whom[columns != group]))
    pairs = _Impostors(left, right, who, whom, rows, columns)
    counts = pairs.counts(len(impostors))
    higher = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]  # the scores of a bin and of those above
    bins = {group: int(np.flatnonzero(higher[group] >= ranks[group])[-1]) for group in groups}
    scores, places, probe, picture = pairs.within(sorted(set(bins.values())))
    for group, place in bins.items():
        own = scores[(places == place) & (rows[probe] != group) & (columns[picture] != group)]
        above = int(higher[group, place] - counts[group, place])  # the scores of higher bins
        rank = len(own) - (ranks[group] - above)
        kappa[group] = np.partition(own, rank)[rank]
        realised[group] = (above + (own > kappa[group]).sum()) / impostors[group]
    return CrossFitted(kappa=kappa, impostors=impostors, people=people, fmr=realised)


def impostor_threshold(
    probes: ArrayLike, gallery: ArrayLike, probe_people: ArrayLike, gallery_people: ArrayLike, fmr: float
) -> ImpostorThreshold:
    """Return the threshold that an adversary sets on the impostor pairs of some probes and gallery pictures.

    Takes embeddings ``(n, d)`` and ``(m, d)`` with the person of each. All pairs of a probe and a picture of another
    person count. They are not independent, since a person occurs in many of them: ``people`` of the result is the
    number of distinct people on the side that shows fewer. Raises ValueError as `cross_fitted_thresholds` does.
    """
    who, whom = np.asarray(probe_people), np.asarray(gallery_people)
    people = min(len(np.unique(who)), len(np.unique(whom)))
    if not people:
        return ImpostorThreshold(kappa=np.nan, impostors=0, people=0, fmr=np.nan)
    everybody = np.ones(len(who), np.int64), np.ones(len(whom), np.int64)  # Group 0 is empty: nobody is left out of it.
    found = cross_fitted_thresholds(probes, gallery, who, whom, *everybody, fmr)
    impostors = int(found.impostors[0])
    return ImpostorThreshold(
        kappa=float(found.kappa[0]),
        impostors=impostors,
        people=people if impostors else 0,
        fmr=float(found.fmr[0]),
    )


def impostor_match_shares(
    probes: ArrayLike,
    gallery: ArrayLike,
    probe_people: ArrayLike,
    gallery_people: ArrayLike,
    kappa: float | ArrayLike,
) -> Floats:
    """Return the share of the gallery pictures of other people that each probe matches, in [0, 1].

    Takes embeddings ``(n, d)`` and ``(m, d)`` with the person of each, and one threshold, one per probe ``(n,)``, or
    several per probe ``(n, k)``. Returns shares ``(n,)`` or ``(n, k)``: of the pictures of other people, those with a
    cosine greater than ``kappa``. The mean is the realised false match rate (ISO/IEC 19795-1), and so the level that a
    match of the right person has by chance. NaN where the gallery shows nobody else or ``kappa`` is NaN. Raises
    ValueError for other shapes, and for embeddings that are zero or not finite.
    """
    left, right, who, whom = _checked(probes, gallery, probe_people, gallery_people)
    given = np.asarray(kappa, np.float64)
    limits = given if given.ndim == 2 else np.broadcast_to(given, who.shape)[:, None]
    if len(limits) != len(left):
        raise ValueError(f"expected thresholds for {len(left)} probes, got shape {given.shape}")
    shares = np.full(limits.shape, np.nan)
    for part in slices(len(left)):
        scores = _scores_of_others(left, right, who, whom, part)
        others = np.isfinite(scores).sum(axis=1)
        for k, limit in enumerate(limits[part].T):
            matched = (scores > limit[:, None]).sum(axis=1)
            known = (others > 0) & np.isfinite(limit)
            shares[part, k] = np.where(known, matched / np.maximum(others, 1), np.nan)
    return shares if given.ndim == 2 else shares[:, 0]


def _impostors_without_each(who: Ints, whom: Ints, rows: Ints, columns: Ints) -> Ints:
    """Return the number of impostor pairs without each group, from the people and the groups of probes and gallery."""
    groups = int(1 + max(rows.max(initial=-1), columns.max(initial=-1)))
    people = int(1 + max(who.max(initial=-1), whom.max(initial=-1)))
    probes, pictures = np.zeros((people, groups), np.int64), np.zeros((people, groups), np.int64)
    np.add.at(probes, (who, rows), 1)
    np.add.at(pictures, (whom, columns), 1)
    own = probes.sum(axis=1, keepdims=True) - probes  # (people, groups): without the group
    shown = pictures.sum(axis=1, keepdims=True) - pictures
    found: Ints = own.sum(axis=0) * shown.sum(axis=0) - (own * shown).sum(axis=0)
    return found


@dataclass(frozen=True)
class _Impostors:
    """The impostor scores of probes and gallery pictures, which would not fit into memory at once.

    They are counted in bins, from -1 to 1, and then only those of some bins are computed again. Arguments are those of
    `cross_fitted_thresholds` after `_checked`.
    """

    left: Floats
    right: Floats
    who: Ints
    whom: Ints
    rows: Ints
    columns: Ints

    def _blocks(self) -> Iterator[tuple[slice, Floats, Ints]]:
        """Yield the scores of some probes at a time, with the bin of each, which is `_BINS` for pairs of one person."""
        for part in slices(len(self.left)):
            scores = _scores_of_others(self.left, self.right, self.who, self.whom, part)
            bins = ((np.clip(scores, -1.0, 1.0) + 1.0) * (0.5 * (_BINS - 1))).astype(np.int64)
            bins[np.isneginf(scores)] = _BINS
            yield part, scores, bins

    def counts(self, groups: int) -> Ints:
        """Return the number of scores in each bin without anybody of each group, ``(groups, _BINS)``."""
        size = _BINS + 1
        of_probe, of_picture, of_both = (np.zeros(groups * size, np.int64) for _ in range(3))
        for part, _, bins in self._blocks():
            row, column = self.rows[part, None], self.columns[None, :]
            of_probe += np.bincount((row * size + bins).ravel(), minlength=groups * size)
            of_picture += np.bincount((column * size + bins).ravel(), minlength=groups * size)
            both = row == column
            of_both += np.bincount((row * size + bins)[both], minlength=groups * size)
        with_group = (of_probe + of_picture - of_both).reshape(groups, size)
        found: Ints = (of_probe.reshape(groups, size).sum(axis=0) - with_group)[:, :_BINS]
        return found

    def within(self, bins: Sequence[int]) -> tuple[Floats, Ints, Ints, Ints]:
        """Return the scores in some bins, with the bin, the index of the probe and that of the picture of each."""
        wanted = np.isin(np.arange(_BINS + 1), bins)
        found, where = [np.empty(0)], [np.empty((3, 0), np.int64)]
        for part, scores, places in self._blocks():
            i, j = np.nonzero(wanted[places])
            found.append(scores[i, j])
            where.append(np.stack([places[i, j], i + part.start, j]))
        place, probe, picture = np.concatenate(where, axis=1)
        return np.concatenate(found), place, probe, picture


def _scores_of_others(left: Floats, right: Floats, who: Ints, whom: Ints, part: slice) -> Floats:
    """Return the cosines of some probes and all gallery pictures, with minus infinity where both show one person."""
    scores: Floats = left[part] @ right.T
    scores[who[part, None] == whom[None, :]] = -np.inf
    return scores


def _checked(
    probes: ArrayLike, gallery: ArrayLike, probe_people: ArrayLike, gallery_people: ArrayLike
) -> tuple[Floats, Floats, Ints, Ints]:
    """Return unit embeddings, and people as numbers from 0. Raises ValueError for other shapes."""
    left, right, who, whom = unit_rows(probes), unit_rows(gallery), np.asarray(probe_people), np.asarray(gallery_people)
    if left.shape[1:] != right.shape[1:] or who.shape != left.shape[:1] or whom.shape != right.shape[:1]:
        raise ValueError(
            f"expected embeddings (n, d) and (m, d) with people (n,) and (m,), got {left.shape}, {right.shape}, "
            f"{who.shape} and {whom.shape}"
        )
    number = np.unique(np.concatenate([who, whom]), return_inverse=True)[1].astype(np.int64)
    return left, right, number[: len(who)], number[len(who) :]
