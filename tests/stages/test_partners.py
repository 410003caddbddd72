"""The pairs of different people that stand for the chance level of links, by hand."""

from __future__ import annotations

import numpy as np

from bench.api.types import Faces
from bench.stages.partners import groups_of_faces, other_pairs

LEFT, RIGHT, ORDER = [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]


def test_a_partner_is_the_next_pair_that_shows_somebody_else() -> None:
    assert other_pairs(LEFT, RIGHT, ORDER).tolist() == [1, 2, 3, 0]
    assert other_pairs([0, 0, 1], [0, 0, 1], [0, 1, 2]).tolist() == [2, 2, 0]
    assert other_pairs([5], [5], [0]).tolist() == [-1]


def test_a_partner_shares_as_many_groups_as_possible_the_first_one_before_others() -> None:
    groups = np.array([[0, 0], [1, 0], [0, 1], [1, 0]])
    assert other_pairs(LEFT, RIGHT, ORDER, (groups, groups)).tolist() == [2, 3, 0, 1]
    alone = np.array([[0, 0], [1, 1], [2, 1], [3, -1]])  # Nobody shares the first group of anybody.
    assert other_pairs(LEFT, RIGHT, ORDER, (alone, alone)).tolist() == [1, 2, 1, 0]
    unknown = np.full((4, 1), -1)
    assert other_pairs(LEFT, RIGHT, ORDER, (unknown, unknown)).tolist() == [1, 2, 3, 0]


def test_groups_are_labels_that_a_person_keeps_and_bands_of_ages() -> None:
    attributes = {
        "age": np.array([18.0, 24.0, 35.0, 70.0, np.nan]),  # Person 0 is 21 on average.
        "gender": np.array(["f", "f", "m", None, "m"], dtype=object),
        "mood": np.array(["glad", "sad", "glad", "sad", "sad"], dtype=object),  # differs between pictures
        "planet": np.array(["earth"] * 5),
        "height": np.array([1.7, 1.7, 1.8, 1.9, 1.6]),  # a number other than an age
    }
    faces = Faces(
        images=np.zeros((5, 3, 2, 2), np.uint8),
        subjects=np.array([0, 0, 1, 2, 3]),
        sample_ids=np.array([f"{i}" for i in range(5)]),
        attributes=attributes,
    )
    found = groups_of_faces(faces)
    assert found[:, 0].tolist() == [0, 0, 0, 1, -1]  # age: 20 to 39, and 60 and over
    assert found[:, 1].tolist() == [0, 0, 1, -1, 1]
    assert found.shape == (5, 2)


def test_without_labels_there_are_no_groups() -> None:
    faces = Faces(images=np.zeros((2, 3, 2, 2), np.uint8), subjects=np.array([0, 1]), sample_ids=np.array(["a", "b"]))
    assert groups_of_faces(faces).shape == (2, 0)
