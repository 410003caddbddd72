"""Which pictures a recognition network is trained on: subject, shot, age and style of every one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .generator import Style, render
from .protocols import SEED

Ints = NDArray[np.int64]
AGES = (18.0, 78.0)  #: bounds of the random ages, in years


def table(groups: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints]:
    """Subject and shot number of every picture, two ``(n,)`` vectors.

    ``groups`` are (people, pictures of each), in order; people are numbered through the groups.
    """
    subjects, shots, first = [], [], 0
    for people, pictures in groups:
        subjects.append(np.repeat(np.arange(first, first + people), pictures))
        shots.append(np.tile(np.arange(pictures), people))
        first += people
    return np.concatenate(subjects).astype(np.int64), np.concatenate(shots).astype(np.int64)


def draw(subjects: Ints, shots: Ints, frontal_share: float, any_age_share: float) -> NDArray[np.uint8]:
    """Pictures uint8 ``(n, 3, 112, 112)``; age and style are pure functions of (subject, shot).

    ``frontal_share`` of them are in the style "frontal", the others "wild"; ``any_age_share`` show the person at a
    random age in `AGES`, the others near the usual one.
    """
    out = np.empty((len(subjects), 3, 112, 112), np.uint8)
    # Two numbers in [0, 1) per picture: additive recurrences with irrational steps spread them evenly.
    frontal = np.modf(subjects * 0.754877666 + shots * 0.569840291)[0] < frontal_share
    free = np.modf(subjects * 0.569840291 + shots * 0.754877666)[0] < any_age_share
    years = AGES[0] + (AGES[1] - AGES[0]) * np.modf(subjects * 0.618033989 + shots * 0.414213562)[0]
    years[~free] = np.nan
    for chosen, style in ((~frontal, "wild"), (frontal, "frontal")):
        rows = np.flatnonzero(chosen)
        if len(rows):
            age = torch.from_numpy(years[rows]).float()
            out[rows] = _render(subjects[rows], shots[rows], age, style)
    return out


def _render(subjects: Ints, shots: Ints, age: torch.Tensor, style: Style) -> NDArray[np.uint8]:
    return render(SEED, subjects, shots, age=age, style=style).images.numpy()
