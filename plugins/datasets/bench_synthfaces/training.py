"""The training pictures: subject, shot, age, style and labels of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._identity import Style, draw_person, draw_shot, subject_labels
from .constants import SEED
from .generator import EMOTIONS, GENDERS, GROUPS, render

Ints = NDArray[np.int64]
AGES = (18.0, 78.0)  #: The range of the random ages, in years.
STYLES: tuple[Style, Style] = ("wild", "frontal")
_CHUNK = 1024  # The number of pictures that `describe` processes at once.


def table(groups: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints]:
    """Return the subject and the shot number of every picture, two ``(n,)`` vectors.

    ``groups`` are (people, pictures of each), in order; people are numbered consecutively over all groups.
    """
    subjects, shots, first = [], [], 0
    for people, pictures in groups:
        subjects.append(np.repeat(np.arange(first, first + people), pictures))
        shots.append(np.tile(np.arange(pictures), people))
        first += people
    return np.concatenate(subjects).astype(np.int64), np.concatenate(shots).astype(np.int64)


def draw(subjects: Ints, shots: Ints, frontal_share: float, any_age_share: float) -> NDArray[np.uint8]:
    """Draw pictures uint8 ``(n, 3, 112, 112)``; age and style are pure functions of (subject, shot).

    ``frontal_share`` of them are in the style "frontal", the others "wild"; ``any_age_share`` show the person at a
    random age in `AGES`, the others near the usual one.
    """
    out = np.empty((len(subjects), 3, 112, 112), np.uint8)
    for rows, age, style in _conditions(subjects, shots, frontal_share, any_age_share):
        out[rows] = render(SEED, subjects[rows], shots[rows], age=age, style=style).images.numpy()
    return out


def describe(subjects: Ints, shots: Ints, frontal_share: float, any_age_share: float) -> dict[str, NDArray[Any]]:
    """Return the labels ``(n,)`` of the pictures that `draw` returns for the same arguments, without drawing them:
    ``age`` in years (float32); ``gender``, ``emotion`` and ``group`` as text."""
    years, emotion = np.empty(len(subjects), np.float32), np.empty(len(subjects), np.int64)
    gender, group = subject_labels(SEED, subjects)
    for chosen, age, style in _conditions(subjects, shots, frontal_share, any_age_share):
        for start in range(0, len(chosen), _CHUNK):
            part = slice(start, start + _CHUNK)
            rows = chosen[part]
            person = draw_person(SEED, subjects[rows])
            shot = draw_shot(SEED, subjects[rows], shots[rows], person, age[part], style)
            years[rows], emotion[rows] = shot.age.numpy(), shot.emotion.numpy()
    return {
        "age": years,
        "gender": np.array(GENDERS)[gender],
        "emotion": np.array(EMOTIONS)[emotion],
        "group": np.array(GROUPS)[group],
    }


def _conditions(
    subjects: Ints, shots: Ints, frontal_share: float, any_age_share: float
) -> Iterator[tuple[Ints, torch.Tensor, Style]]:
    """Yield the rows of each style, their ages in years (NaN: near the usual one), and the style."""
    # Additive recurrences with irrational steps give each picture numbers in [0, 1) that are spread evenly.
    frontal = np.modf(subjects * 0.754877666 + shots * 0.569840291)[0] < frontal_share
    free = np.modf(subjects * 0.569840291 + shots * 0.754877666)[0] < any_age_share
    years = AGES[0] + (AGES[1] - AGES[0]) * np.modf(subjects * 0.618033989 + shots * 0.414213562)[0]
    years[~free] = np.nan
    for mask, style in zip((~frontal, frontal), STYLES, strict=True):
        rows = np.flatnonzero(mask)
        if len(rows):
            yield rows, torch.from_numpy(years[rows]).float(), style
