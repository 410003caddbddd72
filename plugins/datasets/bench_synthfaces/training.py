"""The training pictures: subject, shot, age, style and labels of each.

Two sets of people exist. `bench_synthfaces.SynthTraining` shows those on whom the networks are trained that suites
authorise. `bench_synthfaces.SynthTrainingJudges` shows those of held-out recognisers: other identity numbers, drawn
with another seed and photographed in another style.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._identity import Style, draw_person, draw_shot, subject_labels
from ._landmarks import landmarks
from .generator import EMOTIONS, GENDERS, GROUPS, render

Ints = NDArray[np.int64]
AGES = (18.0, 78.0)  #: The range of the random ages, in years.
_CHUNK = 1024  # The number of pictures that `describe` processes at once.


@dataclass(frozen=True, kw_only=True)
class People:
    """A range of identity numbers, the seed with which they are drawn, and the style of pictures that are not
    frontal."""

    numbers: range
    seed: int
    style: Style


def table(groups: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints]:
    """Return the person and the shot number of every picture, two ``(n,)`` vectors.

    ``groups`` are (people, pictures of each), in order; people are numbered from 0, consecutively over all groups.
    """
    people, shots, first = [], [], 0
    for count, pictures in groups:
        people.append(np.repeat(np.arange(first, first + count), pictures))
        shots.append(np.tile(np.arange(pictures), count))
        first += count
    return np.concatenate(people).astype(np.int64), np.concatenate(shots).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Shots:
    """Training pictures: the persons' numbers within ``people`` and the shot numbers, ``(n,)`` each.

    Age and style are pure functions of (person, shot): ``frontal_share`` of the pictures are in the style "frontal",
    the others in that of ``people``; ``any_age_share`` show the person at a random age in `AGES`, the others near the
    usual one.
    """

    people: People
    persons: Ints
    shots: Ints
    frontal_share: float
    any_age_share: float

    def draw(self) -> NDArray[np.uint8]:
        """Draw the pictures, uint8 ``(n, 3, 112, 112)``."""
        seed, subjects = self.people.seed, self.subjects()
        out = np.empty((len(subjects), 3, 112, 112), np.uint8)
        for rows, age, style in self._conditions():
            out[rows] = render(seed, subjects[rows], self.shots[rows], age=age, style=style).images.numpy()
        return out

    def describe(self) -> dict[str, NDArray[Any]]:
        """Return the labels ``(n,)`` of the pictures without drawing them: ``age`` in years (float32); ``gender``,
        ``emotion`` and ``group`` as text."""
        seed, subjects = self.people.seed, self.subjects()
        years, emotion = np.empty(len(subjects), np.float32), np.empty(len(subjects), np.int64)
        gender, group = subject_labels(seed, subjects)
        for chosen, age, style in self._conditions():
            for start in range(0, len(chosen), _CHUNK):
                part = slice(start, start + _CHUNK)
                rows = chosen[part]
                person = draw_person(seed, subjects[rows])
                shot = draw_shot(seed, subjects[rows], self.shots[rows], person, age[part], style)
                years[rows], emotion[rows] = shot.age.numpy(), shot.emotion.numpy()
        return {
            "age": years,
            "gender": np.array(GENDERS)[gender],
            "emotion": np.array(EMOTIONS)[emotion],
            "group": np.array(GROUPS)[group],
        }

    def landmarks(self) -> NDArray[np.float32]:
        """Return where the landmarks are in the pictures, ``(n, 5, 2)`` (see `bench.TrainingSet.landmarks`)."""
        seed, subjects = self.people.seed, self.subjects()
        found = np.empty((len(subjects), 5, 2), np.float32)
        for chosen, age, style in self._conditions():
            for start in range(0, len(chosen), _CHUNK):
                part = slice(start, start + _CHUNK)
                person = draw_person(seed, subjects[chosen[part]])
                shot = draw_shot(seed, subjects[chosen[part]], self.shots[chosen[part]], person, age[part], style)
                found[chosen[part]] = landmarks(person, shot).numpy()
        return found

    def subjects(self) -> Ints:
        """Return the identity numbers of the persons, ``(n,)``."""
        return self.persons + self.people.numbers.start

    def _conditions(self) -> Iterator[tuple[Ints, torch.Tensor, Style]]:
        """Yield the rows of each style, their ages in years (NaN: near the usual one), and the style."""
        # Additive recurrences with irrational steps give each picture numbers in [0, 1) that are spread evenly.
        persons, shots = self.persons, self.shots
        frontal = np.modf(persons * 0.754877666 + shots * 0.569840291)[0] < self.frontal_share
        free = np.modf(persons * 0.569840291 + shots * 0.754877666)[0] < self.any_age_share
        years = AGES[0] + (AGES[1] - AGES[0]) * np.modf(persons * 0.618033989 + shots * 0.414213562)[0]
        years[~free] = np.nan
        styles: tuple[tuple[NDArray[np.bool_], Style], ...] = ((~frontal, self.people.style), (frontal, "frontal"))
        for mask, style in styles:
            rows = np.flatnonzero(mask)
            if len(rows):
                yield rows, torch.from_numpy(years[rows]).float(), style
