"""What a run records of the people whom scored pictures show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from support import Computed

from bench.api.types import Faces
from bench.stages.people import people_table


def faces(subjects: list[int], **attributes: Any) -> Faces:
    return Faces(
        images=np.zeros((len(subjects), 3, 2, 2), np.uint8),
        subjects=np.array(subjects),
        sample_ids=np.array([str(i) for i in range(len(subjects))]),
        attributes={name: np.array(values) for name, values in attributes.items()},
    )


def rows(found: Faces) -> list[tuple[Any, ...]]:
    table = people_table(found)
    assert table is not None
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_label_is_what_all_pictures_of_a_person_share() -> None:
    found = rows(faces([7, 3, 7, 3], gender=["man", "woman", "man", "woman"], mood=["sad", "sad", "glad", "sad"]))
    assert found == [
        (3, "gender", "woman", None, 2),
        (7, "gender", "man", None, 2),
        (3, "mood", "sad", None, 2),
        (7, "mood", None, None, 2),
    ]


def test_numbers_are_averaged_and_unknown_labels_do_not_count() -> None:
    assert rows(faces([1, 1, 2], age=[30.0, 40.0, np.nan])) == [(1, "age", None, 35.0, 2), (2, "age", None, None, 0)]
    assert rows(faces([1, 1], gender=["", "man"])) == [(1, "gender", "man", None, 1)]


def test_a_data_set_without_labels_has_no_such_rows() -> None:
    assert people_table(faces([1, 2])) is None


def test_people_are_a_table_of_the_score_that_every_cell_has(computed: Callable[..., Computed]) -> None:
    suite = '[suite]\nname = "toy"\n[[experiment]]\nname = "one"\ndatasets = ["toy-faces"]\nauthorised = ["toy-a"]\n'
    done = computed(f'{suite}evaluated = ["toy-a"]\ndefenses = ["identity"]\npairs = 20\n')
    found = done.table("baselines of the image metrics on toy-faces", "people")
    shown = done.artifact("evaluation faces of toy-faces").tables["faces"]
    ages = {n: v for n, v, a in zip(found["subject"], found["value"], found["attribute"], strict=True) if a == "age"}
    people = np.array(shown["subject"])
    for person in np.unique(people):
        assert ages[person] == np.mean(np.array(shown["attribute_age"])[people == person])
