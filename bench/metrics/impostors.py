"""Match rates of impostors: the threshold that an adversary would set, and how often chance alone makes a match.

A *probe* is what an adversary ends with, the protected or the reconstructed picture of a person. The *gallery* holds
clean pictures. A probe and a gallery picture of another person are an *impostor pair*. Protection changes how impostor
pairs score, so a threshold for clean pictures has another false match rate (FMR) on protected ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.arrays import Floats, slices, unit_rows
from bench.metrics.recognition import threshold_at_fmr

MOST_GROUPS = 10
Ints = NDArray[np.int64]


def people_groups(left: ArrayLike, right: ArrayLike, most: int = MOST_GROUPS) -> tuple[NDArray[np.generic], Ints]:
    """Divide the people of pairs into groups for cross-fitting, so that the two people of a pair are in one group.

    ``left (n,)`` and ``right (n,)`` are the people of each pair. Returns the distinct people ``(p,)``, sorted, and the
    group of each, int64 ``(p,)`` in [0, g) with g at most ``most``. People whom pairs join, directly or through others,
    stay together, unless they are everybody or more than twice the share of a group: they are then divided, neighbours
    first. There are at least two groups, unless all pairs show the same one or two people. The groups depend on nothing
    but the arguments.
    Raises ValueError for arrays of different length and for ``most`` below 2.
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
    """

    kappa: Floats
    impostors: Ints
    people: Ints


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
    scores, other = _impostor_scores(probes, gallery, probe_people, gallery_people)
    rows, columns = (np.asarray(group, np.int64) for group in (probe_group, gallery_group))
    if (len(rows), len(columns)) != scores.shape:
        raise ValueError(f"expected one group per picture, got {len(rows)} and {len(columns)} for {scores.shape}")
    who, whom = np.asarray(probe_people), np.asarray(gallery_people)
    groups = 1 + max(rows.max(initial=-1), columns.max(initial=-1))
    kappa, impostors, people = np.full(groups, np.nan), np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    for group in range(groups):
        kept = other & (rows != group)[:, None] & (columns != group)[None, :]
        impostor = scores[kept]
        if len(impostor):
            kappa[group], impostors[group] = threshold_at_fmr(impostor, fmr), len(impostor)
            people[group] = len(np.union1d(who[kept.any(1)], whom[kept.any(0)]))
    return CrossFitted(kappa=kappa, impostors=impostors, people=people)


def impostor_match_shares(
    probes: ArrayLike,
    gallery: ArrayLike,
    probe_people: ArrayLike,
    gallery_people: ArrayLike,
    kappa: float | ArrayLike,
) -> Floats:
    """Return the share of the gallery pictures of other people that each probe matches, in [0, 1].

    Embeddings ``(n, d)`` and ``(m, d)`` with the person of each, and one threshold or one per probe ``(n,)``, to shares
    ``(n,)``: of the pictures of other people, those with a cosine greater than ``kappa``. The mean is the realised
    false match rate (ISO/IEC 19795-1), and so the level that a match of the right person has by chance. NaN where the
    gallery shows nobody else or ``kappa`` is NaN. Raises ValueError for other shapes, and for embeddings that are zero
    or not finite.
    """
    left, right, who, whom = _checked(probes, gallery, probe_people, gallery_people)
    limit = np.broadcast_to(np.asarray(kappa, np.float64), who.shape)
    shares = np.full(len(left), np.nan)
    for part in slices(len(left)):
        other = who[part, None] != whom[None, :]
        matched = ((left[part] @ right.T) > limit[part, None]) & other
        known = other.any(axis=1) & np.isfinite(limit[part])
        shares[part] = np.where(known, matched.sum(axis=1) / np.maximum(other.sum(axis=1), 1), np.nan)
    return shares


def _impostor_scores(
    probes: ArrayLike, gallery: ArrayLike, probe_people: ArrayLike, gallery_people: ArrayLike
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the cosine of each probe and each gallery picture, and whether they show different people, (n, m) each."""
    left, right, who, whom = _checked(probes, gallery, probe_people, gallery_people)
    scores: Floats = np.clip(left @ right.T, -1, 1)
    return scores, who[:, None] != whom[None, :]


def _checked(
    probes: ArrayLike, gallery: ArrayLike, probe_people: ArrayLike, gallery_people: ArrayLike
) -> tuple[Floats, Floats, NDArray[np.generic], NDArray[np.generic]]:
    left, right, who, whom = unit_rows(probes), unit_rows(gallery), np.asarray(probe_people), np.asarray(gallery_people)
    if left.shape[1:] != right.shape[1:] or who.shape != left.shape[:1] or whom.shape != right.shape[:1]:
        raise ValueError(
            f"expected embeddings (n, d) and (m, d) with people (n,) and (m,), got {left.shape}, {right.shape}, "
            f"{who.shape} and {whom.shape}"
        )
    return left, right, who, whom
