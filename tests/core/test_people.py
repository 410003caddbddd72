"""Names of people that are compared across data sets, and the halves for a defense and an adversary."""

from __future__ import annotations

import unicodedata

import pytest

from bench import comparable_name
from bench.core.people import half_of, is_local, learnable, may_be_scored, part_of, person_key


@pytest.mark.parametrize(
    "name",
    [
        "Zoë_Müller",
        "zoë müller",
        " ZOË  MÜLLER ",
        "Zoë-Müller",
        unicodedata.normalize("NFD", "Zoë_Müller"),
        "Ｚoë_Müller",
    ],
)
def test_spellings_of_one_name_are_equal(name: str) -> None:
    assert comparable_name(name) == "zoëmüller"
    assert half_of(name) == half_of("Zoë_Müller")


@pytest.mark.parametrize("name", ["", "0000045", "s12", "n000001", "person_3", "ID 7", "subject-01", "٣"])
def test_a_number_is_no_name(name: str) -> None:
    assert comparable_name(name) == ""
    assert is_local(person_key(name, "files"))
    assert person_key(name, "files") != person_key(name, "others")


@pytest.mark.parametrize(
    ("one", "other"), [("Anna_A", "Anna_B"), ("José", "Jose"), ("Anna_1", "Anna_2"), ("अमर", "अमीर")]
)
def test_other_names_stay_apart(one: str, other: str) -> None:
    assert "" != comparable_name(one) != comparable_name(other)


def test_everybody_is_in_one_half() -> None:
    names = [f"Somebody_{k:03d}_X" for k in range(400)]
    halves = [half_of(name) for name in names]
    assert 160 < halves.count("defense") < 240
    assert set(halves) == {"defense", "attack"}


def test_who_may_be_learnt_from() -> None:
    allowed = learnable({person_key("Anna B", "a")}, "a", None)
    assert not allowed("anna_b")
    assert allowed("Anna_C")
    for half in ("defense", "attack"):
        some = learnable(set(), "a", half)  # type: ignore[arg-type]
        assert some("Anna_C") == (half_of("Anna_C") == half)


@pytest.mark.parametrize(
    ("overlap", "found"),
    [
        (None, False),
        ("none by name", False),
        ("none within the data set", False),
        ("none, one set is generated", False),
        ("unknown", True),
        ("1 person left out", True),
        ("3 people left out, others unknown", True),
        ("recface: none by name; mean: unknown", True),
        ("recface: 3 people left out; mean: none by name", True),
        ("unknown x: none by name; 3 people left out there: none within the data set", False),
        ("net: 1 person of casia-webface", True),
        ("none by name; others unknown", True),
    ],
)
def test_who_may_be_scored_does_not_depend_on_labels(overlap: str | None, found: bool) -> None:
    assert may_be_scored(overlap) is found


def test_what_is_stated_of_one_learner() -> None:
    assert part_of("3 people left out, others unknown", "recface") == "3 people left out, others unknown"
    both = "mean: none by name; rec (2): 3 people left out, others unknown"
    assert part_of(both, "rec (2)") == "3 people left out, others unknown"
    assert part_of(both, "mean") == "none by name"
