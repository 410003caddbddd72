"""Tests that shuffle people: exact small cases, the correction for many comparisons, false alarms, power."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from support import benchmark

from bench.analysis.pooling import Floats, Pool, SampleScores
from bench.analysis.shuffle_tests import GroupGap, group_gaps, paired


@pytest.fixture(scope="module")
def groups() -> ModuleType:
    """The part of ``make statistics`` on groups of people."""
    return benchmark("group_gaps")


def gap(values: Floats, member: Floats, sign: int = 1) -> GroupGap:
    """Return one score per person, or per judge and person."""
    values, member = np.atleast_2d(values), np.atleast_2d(member)
    return GroupGap(sums=values.astype(np.float64), counts=np.ones(values.shape), member=member.astype(int), sign=sign)


def pool(values: Floats) -> Pool:
    return Pool([SampleScores(values.astype(np.float64), np.arange(len(values)))])


def test_a_gap_is_compared_with_all_ways_to_deal_the_people() -> None:
    # Three of ten people form the group, and only they are matched: one of 120 ways to choose three.
    values = np.arange(10) < 3
    (found,) = group_gaps(np.zeros(10, np.int64), [gap(values, values)])
    assert found.difference == 1.0
    assert found.p == pytest.approx(1 / 120, abs=0.005)
    assert found.significant


def test_the_side_that_is_looked_for_decides() -> None:
    values = np.arange(40) < 10
    higher, lower = group_gaps(np.zeros(40, np.int64), [gap(values, values, 1), gap(values, values, -1)])
    assert (higher.difference, higher.significant) == (1.0, True)
    assert (lower.difference, lower.significant) == (1.0, False)


def test_people_of_neither_side_do_not_count() -> None:
    values = np.repeat([1.0, 0.0, 1.0], 10)
    member = np.repeat([1, 0, -1], 10)
    (found,) = group_gaps(np.zeros(30, np.int64), [gap(values, member)])
    assert found.difference == 1.0


def test_each_judge_can_have_a_group_of_its_own() -> None:
    member = np.array([np.arange(20) < 5, np.arange(20) >= 15])
    (found,) = group_gaps(np.zeros(20, np.int64), [gap(member, member)])
    assert (found.difference, found.significant) == (1.0, True)


def test_what_the_strata_explain_is_no_gap_of_the_group() -> None:
    # Everybody of the first data set is matched, nobody of the second; the group is in the first one only.
    values, member = np.repeat([1.0, 0.0], 20), np.arange(40) < 10
    strata = np.repeat([0, 1], 20)
    assert group_gaps(np.zeros(40, np.int64), [gap(values, member)])[0].significant
    assert not group_gaps(strata, [gap(values, member)])[0].significant


def test_nothing_to_compare_is_no_part_of_the_family() -> None:
    some = np.arange(40) < 10
    empty, flat, real = gap(some, np.zeros(40)), gap(np.ones(40), some), gap(some, some)
    found = group_gaps(np.zeros(40, np.int64), [empty, flat, real])
    assert [test.p for test in found[:2]] == [1.0, 1.0]
    assert found[2].family == 1
    assert np.isnan(found[0].difference)
    assert group_gaps(np.zeros(0, np.int64), []) == []


def test_false_alarms_of_runs_without_a_gap_are_at_most_5_percent(groups: ModuleType) -> None:
    assert groups.alarms(people=60, repeats=60) <= 7 / 60  # At a rate of 5 %, more happen in 1 % of the seeds.


def test_a_tenth_that_leaks_40_points_more_is_found(groups: ModuleType) -> None:
    assert groups.found(people=100, effect=0.4, repeats=10) >= 0.9


def test_a_weaker_attack_that_equals_a_stronger_one_is_hardly_ever_said_to_win(groups: ModuleType) -> None:
    assert groups.overtaken(people=60, repeats=60) <= 7 / 60


def test_the_interval_of_a_gap_of_ten_people_contains_the_truth(groups: ModuleType) -> None:
    assert groups.covered(people=100, rates=(0.95, 0.5), repeats=100) >= 0.9


def test_a_pair_of_attacks_is_compared_person_by_person() -> None:
    # Seven people are matched by the first attack only: all seven the same way happens in 1 of 128 draws.
    few = np.arange(20) < 3
    (found,) = paired([(pool(np.arange(20) < 10), pool(few))])
    assert found.difference == pytest.approx(0.35)
    assert found.p == pytest.approx(1 / 128, abs=0.004)
    (turned,) = paired([(pool(few), pool(np.arange(20) < 10))])
    assert (turned.significant, turned.p > 0.9) == (False, True)


def test_more_comparisons_need_more() -> None:
    rng = np.random.default_rng(3)
    first = (pool(np.arange(40) < 7), pool(np.arange(40) < 2))  # One of 32 draws.
    others = [(pool(rng.random(40) < 0.5), pool(rng.random(40) < 0.5)) for _ in range(9)]
    assert paired([first])[0].significant
    assert not paired([first, *others])[0].significant
    assert {t.family for t in paired([first, *others])} == {10}


def test_attacks_on_nobody_in_common_are_not_compared() -> None:
    (found,) = paired([(pool(np.ones(5)), Pool())])
    assert (found.p, found.family) == (1.0, 0)


def test_p_values_are_words() -> None:
    values = np.arange(60) < 20
    (found,) = group_gaps(np.zeros(60, np.int64), [gap(values, values)])
    assert found.words == "corrected p below 0.001 of 1 comparison"
