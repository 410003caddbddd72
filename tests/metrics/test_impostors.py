"""The adversary's threshold and the match rates of impostors: by hand, and properties that always hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics import impostors, recognition
from bench.metrics.linkage import thresholds_without

# Four people a, b, c, d at 0, 30, 90 and 180 degrees; the probes show a and c, turned by 20 degrees each.
ANGLES = np.array([0, 30, 90, 180])
PEOPLE = np.array(["a", "b", "c", "d"])


def at(degrees: Any) -> np.ndarray:
    """Unit vectors of a plane."""
    angle = np.deg2rad(np.asarray(degrees, float))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


# ---- groups of people ------------------------------------------------------------------------------------------------


def test_people_of_a_pair_are_in_one_group() -> None:
    people, group = impostors.people_groups(["a", "a", "c", "e"], ["a", "b", "d", "f"])
    assert people.tolist() == ["a", "b", "c", "d", "e", "f"]
    assert group.tolist() == [0, 0, 1, 1, 2, 2]


def test_people_whom_pairs_join_to_one_crowd_are_divided() -> None:
    """A chain of 40 people, each in a pair with the next: ten groups of four neighbours."""
    people, group = impostors.people_groups(range(39), range(1, 40))
    assert group.tolist() == [k // 4 for k in people]


def test_few_people_are_left_out_one_by_one() -> None:
    assert impostors.people_groups([0, 1, 2], [1, 2, 0])[1].tolist() == [0, 1, 2]
    assert impostors.people_groups([0, 1], [0, 1])[1].tolist() == [0, 1]
    assert impostors.people_groups([0], [1])[1].tolist() == [0, 0]  # the people of a single pair
    assert impostors.people_groups([], [])[1].tolist() == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60), st.integers(2, 10))
def test_groups_of_people(pairs: list[tuple[int, int]], most: int) -> None:
    left, right = np.array(pairs).T
    people, group = impostors.people_groups(left, right, most)
    assert people.tolist() == sorted(set(left) | set(right))
    assert set(group) == set(range(group.max() + 1))
    assert group.max() < most
    assert group.max() >= 1 or len(people) <= 2
    again = impostors.people_groups(left, right, most)[1]
    assert again.tolist() == group.tolist()
    of = dict(zip(people.tolist(), group.tolist(), strict=True))
    shuffled = np.random.default_rng(0).permutation(len(people))
    renamed = dict(zip(people.tolist(), (1000 + shuffled).tolist(), strict=True))
    sizes = sorted(np.bincount(group).tolist())
    other = impostors.people_groups([renamed[p] for p in left], [renamed[p] for p in right], most)[1]
    if all(of[a] == of[b] for a, b in pairs):  # no crowd was divided: names decide about ties only
        assert sorted(np.bincount(other).tolist()) == sizes


@pytest.mark.parametrize(("left", "right", "most"), [([1], [1, 2], 10), ([[1]], [[1]], 10), ([1, 2], [2, 3], 1)])
def test_groups_refuse(left: Any, right: Any, most: int) -> None:
    with pytest.raises(ValueError, match="at least 2 groups"):
        impostors.people_groups(left, right, most)


# ---- the share of strangers that match -------------------------------------------------------------------------------


def test_impostor_match_shares_by_hand() -> None:
    probes, gallery = at([20, 110]), at(ANGLES)
    # Probe of a at 20 degrees: b is 10 degrees away, c 70, d 160. Probe of c at 110: a 110, b 80, d 70.
    limits = {60: [1 / 3, 0], 75: [2 / 3, 1 / 3], 100: [2 / 3, 2 / 3], 179: [1, 1]}
    for degrees, expected in limits.items():
        kappa = np.cos(np.deg2rad(degrees))
        found = impostors.impostor_match_shares(probes, gallery, ["a", "c"], PEOPLE, kappa)
        assert found.tolist() == pytest.approx(expected)
    own = [np.cos(np.deg2rad(60)), np.cos(np.deg2rad(75))]
    assert impostors.impostor_match_shares(probes, gallery, ["a", "c"], PEOPLE, own).tolist() == pytest.approx(
        [1 / 3, 1 / 3]
    )


def test_a_share_of_nobody_is_undefined() -> None:
    probes = at([0, 10])
    assert np.isnan(impostors.impostor_match_shares(probes, probes, ["a", "a"], ["a", "a"], 0.5)).all()
    found = impostors.impostor_match_shares(probes, probes, ["a", "b"], ["a", "b"], [np.nan, 0.5])
    assert np.isnan(found[0])
    assert found[1] == 1
    assert impostors.impostor_match_shares(np.empty((0, 2)), probes, [], ["a", "b"], 0.5).tolist() == []


# ---- the adversary's threshold ---------------------------------------------------------------------------------------


def test_cross_fitted_thresholds_by_hand() -> None:
    """Every person is a group: the threshold of a is set on b, c and d. At an FMR of 0 it is their highest score."""
    probes, gallery = at(ANGLES + 20), at(ANGLES)
    found = impostors.cross_fitted_thresholds(probes, gallery, PEOPLE, PEOPLE, range(4), range(4), 0.0)
    # Without a: probe b (50) to c is 40 degrees. Without b: probe c (110) to d and probe a (20) to c, both 70.
    # Without c or d: probe a (20) to b is 10.
    assert np.rad2deg(np.arccos(found.kappa)).tolist() == pytest.approx([40, 70, 10, 10])
    assert found.impostors.tolist() == [6, 6, 6, 6]
    assert found.people.tolist() == [3, 3, 3, 3]
    assert found.fmr.tolist() == [0, 0, 0, 0]


def test_the_false_match_rate_that_a_threshold_realises() -> None:
    """Four scores, of which two each are equal: what equals the threshold is not above it."""
    probes, gallery = at([0, 0]), at([40, 60])
    for allowed, angle, above in ((0, 40, 0), (1, 40, 0), (2, 60, 2), (3, 60, 2)):
        found = impostors.impostor_threshold(probes, gallery, ["a", "b"], ["c", "d"], allowed / 4)
        assert np.rad2deg(np.arccos(found.kappa)) == pytest.approx(angle)
        assert found.fmr == above / 4
        assert (found.impostors, found.people) == (4, 2)


def test_an_impostor_threshold_counts_the_people_of_the_smaller_side() -> None:
    found = impostors.impostor_threshold(at([0, 5]), at([30, 60, 90, 95]), ["a", "a"], ["a", "b", "c", "c"], 0.0)
    assert (found.impostors, found.people) == (6, 1)
    assert np.rad2deg(np.arccos(found.kappa)) == pytest.approx(55)


def test_an_impostor_threshold_of_one_person_is_none() -> None:
    for probes, who in ((at([0, 5]), ["a", "a"]), (np.empty((0, 2)), [])):
        found = impostors.impostor_threshold(probes, at([30]), who, ["a"], 0.1)
        assert np.isnan(found.kappa)
        assert np.isnan(found.fmr)
        assert (found.impostors, found.people) == (0, 0)


def test_thresholds_of_links_without_a_group() -> None:
    """Pairs of four people, two in each group: without a group, one pair is left."""
    found = thresholds_without([0.5, 0.7, 0.9], [0, 2, 0], [1, 3, 2], [0, 0, 1, 1], 0.0)
    assert found.kappa.tolist() == [0.7, 0.5]
    assert found.impostors.tolist() == [1, 1]
    assert found.people.tolist() == [2, 2]
    assert found.fmr.tolist() == [0, 0]


def test_without_strangers_there_is_no_threshold() -> None:
    found = impostors.cross_fitted_thresholds(at([0, 9]), at([0, 9]), ["a", "b"], ["a", "b"], [0, 1], [0, 1], 0.01)
    assert np.isnan(found.kappa).all()
    assert found.impostors.tolist() == found.people.tolist() == [0, 0]


@given(st.integers(3, 12), st.integers(1, 3), st.sampled_from([0.0, 0.01, 0.1, 0.3]), st.integers(0, 2**32 - 1))
def test_nobody_takes_part_in_his_own_threshold(people: int, pictures: int, fmr: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), pictures)
    group = np.arange(people)[who] % max(3, people // 2)
    probes, gallery = rng.normal(size=(2, len(who), 4))
    found = impostors.cross_fitted_thresholds(probes, gallery, who, who, group, group, fmr)
    one = int(rng.integers(group.max() + 1))
    moved, shown = probes.copy(), gallery.copy()
    moved[group == one], shown[group == one] = rng.normal(size=(2, int((group == one).sum()), 4))
    again = impostors.cross_fitted_thresholds(moved, shown, who, who, group, group, fmr)
    assert again.kappa[one] == found.kappa[one]
    kept = group != one
    scores = recognition.cosine(
        np.repeat(probes[kept], kept.sum(), axis=0), np.tile(gallery[kept], (int(kept.sum()), 1))
    )
    scores = scores.reshape(int(kept.sum()), -1)[who[kept][:, None] != who[kept][None, :]]
    assert found.impostors[one] == len(scores)
    assert found.people[one] == len(set(who[kept]))
    assert (scores > found.kappa[one] + 1e-12).mean() <= fmr
    assert (scores > found.kappa[one] - 1e-12).mean() > fmr  # a lower threshold would accept more


@pytest.mark.parametrize(
    ("people", "groups", "message"),
    [(["a"], [0, 1], "with people"), (["a", "b"], [0], "one group per picture")],
)
def test_thresholds_refuse(people: Any, groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        impostors.cross_fitted_thresholds(at([0, 9]), at([0, 9]), people, people, groups, groups, 0.01)


# ---- ranks without the probe's own picture ---------------------------------------------------------------------------


def test_identification_ranks_without_some_images() -> None:
    # The own picture (first) would have rank 1; the other picture of the person (fourth) has two rivals before it.
    gallery, subjects = at([0, 10, 20, 30, 40]), ["a", "b", "b", "a", "c"]
    left_out = [[True, False, False, False, False]]
    assert recognition.identification_ranks(at([0]), gallery, [0], subjects).tolist() == [1]
    assert recognition.identification_ranks(at([0]), gallery, [0], subjects, left_out).tolist() == [3]
    rival = [[True, True, False, False, False]]
    assert recognition.identification_ranks(at([0]), gallery, [0], subjects, rival).tolist() == [2]
    nobody = [[True, False, False, True, False]]
    with pytest.raises(ValueError, match="a probe without one"):
        recognition.identification_ranks(at([0]), gallery, [0], subjects, nobody)
    with pytest.raises(ValueError, match="left_out"):
        recognition.identification_ranks(at([0]), gallery, [0], subjects, [True])
