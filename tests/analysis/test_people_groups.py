"""Who is told apart best, and which groups the labels of a data set make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, rewritten, write_fake_run

from bench.analysis.people_groups import EXPOSED, PeopleGroup, known_groups, most_exposed, ranked, told_apart
from bench.analysis.rows import Rows
from bench.analysis.verification_scores import VerificationScores

N = 40


def scores(person: list[int], other: list[int], cosines: list[float]) -> VerificationScores:
    """Return scores of pairs, of which only the clean cosines matter."""
    given: dict[str, Any] = {"cell": "c", "person": np.array(person), "other": np.array(other), "older": False}
    given |= {"cos_clean": np.array(cosines), "same": np.array(person) == np.array(other)}
    nothing = {f.name: np.zeros(len(person)) for f in fields(VerificationScores)}
    return VerificationScores(**{**nothing, **given})


def test_a_person_is_told_apart_by_genuine_minus_impostor_cosines() -> None:
    found = told_apart(scores([1, 1, 2, 3, 1], [1, 1, 2, 9, 2], [0.9, 0.7, 0.6, 0.0, 0.2]))
    assert found == pytest.approx({1: 0.8 - 0.2, 2: 0.6 - 0.2})  # Person 3 has no genuine pair.


def test_without_an_own_impostor_pair_all_of_them_count() -> None:
    assert told_apart(scores([1, 2], [1, 3], [0.9, 0.3])) == pytest.approx({1: 0.6})
    assert told_apart(scores([1, 2], [1, 2], [0.9, 0.3])) == {}
    assert told_apart(scores([1, 2], [1, 3], [np.nan, np.nan])) == {}


def test_equal_values_share_their_ranks() -> None:
    assert ranked(np.array([0.2, 0.5, 0.2, 0.1])).tolist() == [2.5, 4.0, 2.5, 1.0]


def _run(folder: Path, first: Mapping[str, int]) -> Rows:
    """Write a run of 20 genuine pairs in which each recogniser tells one person, and person 0, apart best."""
    spec = FakeRun(pairs=N, datasets={"synth-lfw": "LFW"}, models={name: name.upper() for name in first})
    results = write_fake_run(folder, FakeRun(**{**vars(spec), "authorised": ((next(iter(first)),),)}))

    def change(table: pd.DataFrame) -> None:
        person = table["left_subject"].to_numpy()
        own = table["evaluated"].map(first).to_numpy()
        table["cos_clean"] = np.where(table["same"], 0.5 + 0.2 * (person == own) + 0.1 * (person == 0), 0.1)

    return Rows(rewritten(results, verification=change))


def test_the_recogniser_that_judges_does_not_choose(tmp_path: Path) -> None:
    """Person 2 is outstanding to net-a alone, so that net-a has no part in calling the person exposed to net-a."""
    (group,) = most_exposed(_run(tmp_path, {"net-a": 2, "net-b": 4, "net-c": 4}))
    assert (group.attribute, group.name) == (EXPOSED, "the tenth told apart best")
    chosen = {j: {p for p, inside in own.items() if inside} for j, own in group.members["synth-lfw"].items()}
    assert chosen["net-a"] == {0, 4}  # Two of 20 people with genuine pairs.
    assert chosen["net-b"] == {0, 2}  # By net-a and net-c, 2 and 4 are equal, and the first one counts.
    assert chosen[""] == {0, 4}
    assert set(group.members["synth-lfw"]["net-a"]) == set(range(0, N, 2))  # The others have no genuine pair.


def test_one_recogniser_alone_chooses_nobody(tmp_path: Path) -> None:
    assert most_exposed(_run(tmp_path, {"net-a": 2})) == []


def test_the_choice_does_not_depend_on_protected_pictures(tmp_path: Path) -> None:
    first = {"net-a": 2, "net-b": 4}
    rows = _run(tmp_path / "one", first)
    other = rewritten(_run(tmp_path / "two", first).results, verification=lambda t: t.update(t[["cos_self"]] * 0))
    assert most_exposed(rows)[0].members == most_exposed(Rows(other))[0].members


def people(attribute: str, labels: list[Any], pictures: int = 2) -> pd.DataFrame:
    numbers = [x if isinstance(x, float) else None for x in labels]
    return pd.DataFrame(
        {
            "dataset": "set",
            "subject": range(len(labels)),
            "attribute": attribute,
            "label": [x if isinstance(x, str) else None for x in labels],
            "value": pd.array(numbers, dtype="Float64").to_numpy(np.float64, na_value=np.nan),
            "pictures": pictures,
        }
    )


def names(found: list[PeopleGroup]) -> list[str]:
    return [group.name for group in found]


def test_each_label_is_a_group_beside_the_rest() -> None:
    woman, man = sorted(known_groups(people("gender", ["man", "woman", "man"])), key=lambda g: g.label, reverse=True)
    assert (woman.name, man.name) == ("gender: woman", "gender: man")
    assert woman.members["set"][""] == {0: False, 1: True, 2: False}


def test_ages_become_bands_of_twenty_years() -> None:
    found = known_groups(people("age", [19.9, 20.0, 39.0, 60.0]))
    assert names(found) == ["age: under 20", "age: 20 to 39", "age: 60 and over"]
    assert found[1].members["set"][""] == {0: False, 1: True, 2: True, 3: False}


@pytest.mark.parametrize(
    "rows",
    [
        people("emotion", ["happy", None, None, "sad"]),  # Differs between pictures.
        people("gender", ["man", "man"]),
        people("name", [f"person {i}" for i in range(13)]),
        people("height", [1.7, 1.8]),
        people("gender", []),
    ],
    ids=["of pictures", "one label", "too many labels", "another number", "no rows"],
)
def test_what_describes_no_group_makes_none(rows: pd.DataFrame) -> None:
    assert known_groups(rows) == []


def test_people_without_a_label_belong_to_neither_side() -> None:
    rows = people("gender", ["man", "woman", *["man"] * 18, None])
    assert 20 not in known_groups(rows)[0].members["set"][""]
