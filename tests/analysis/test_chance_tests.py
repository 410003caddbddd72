"""Whether measurements lie beyond chance: rare decisions, many comparisons at once, and the false alarms and the power
of the verdict and the ladder, in a short form of ``make statistics``."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from support import benchmark

from bench.analysis.chance_tests import AgainstChance, beyond_chance, detectable
from bench.analysis.pooling import Pool, SampleScores

PEOPLE = 104


def decisions(positive: int, *, first: int = 0, people: int = PEOPLE, models: int = 1) -> Pool:
    """Return decisions on each person once per model; those on some people, from ``first`` on, are positive."""
    values = np.isin(np.arange(people), np.arange(first, first + positive) % people).astype(np.float64)
    return Pool(SampleScores(values, np.arange(people)) for _ in range(models))


def at_chance(positive: int, **about: int) -> AgainstChance:
    """Return decisions with a chance level of 1 %."""
    return AgainstChance(found=decisions(positive, **about), chance=0.01)


@pytest.fixture(scope="module")
def false_alarms() -> ModuleType:
    """The part of ``make statistics`` on false alarms."""
    return benchmark("false_alarms")


def test_the_worst_of_six_needs_more_than_the_only_one() -> None:
    # Of 104 people, 4 or more are matched by chance in 2 % of attacks; of six attacks, one reaches 4 in 12 %.
    (alone,) = beyond_chance([at_chance(4)])
    assert alone.beyond
    assert alone.p == pytest.approx(0.02, abs=0.01)
    six = beyond_chance([at_chance(4), *(at_chance(1, first=10 * i) for i in range(1, 6))])
    assert not any(test.beyond for test in six)
    assert six[0].p == pytest.approx(0.12, abs=0.03)
    assert {test.family for test in six} == {6}


def test_what_is_plainly_beyond_chance_leaves_the_family() -> None:
    family = [at_chance(60), at_chance(50), at_chance(4, first=90)]
    assert [test.beyond for test in beyond_chance(family)] == [True, True, True]
    assert not beyond_chance([at_chance(0), at_chance(0), at_chance(4)])[2].beyond


def test_nobody_matched_is_never_beyond_chance_and_its_power_is_known() -> None:
    (none,) = beyond_chance([at_chance(0)])
    assert (none.beyond, none.p, none.people) == (False, 1.0, PEOPLE)
    assert none.detectable is not None
    assert 0.03 < none.detectable < 0.06
    many = beyond_chance([at_chance(0) for _ in range(12)])[0].detectable
    assert many is not None
    assert many > none.detectable
    assert detectable(2, 0.5, 1.645) is None
    assert detectable(0, 0.01, 1.645) is None


def test_models_that_decide_alike_are_no_further_people() -> None:
    (test,) = beyond_chance([at_chance(3, models=5)])
    assert (test.people, test.beyond) == (PEOPLE, False)  # 15 of 520 decisions, but on 3 people.


def test_a_chance_level_that_was_measured_as_nothing_is_not_nothing() -> None:
    nobody = Pool([SampleScores(np.zeros(PEOPLE), np.arange(PEOPLE))])
    (one,) = beyond_chance([AgainstChance(found=decisions(1), chance=nobody)])
    assert not one.beyond


def test_means_without_spread_decide_and_those_of_one_person_do_not() -> None:
    same = Pool([SampleScores(np.ones(20), np.arange(20))])
    (plain,) = beyond_chance([AgainstChance(found=same, chance=0.4, share=False)])
    (turned,) = beyond_chance([AgainstChance(found=same, chance=0.4, sign=-1, share=False)])
    assert (plain.beyond, turned.beyond, plain.detectable) == (True, False, None)
    alone = Pool([SampleScores(np.array([0.9, 0.8]), np.zeros(2, np.int64))])
    assert not beyond_chance([AgainstChance(found=alone, chance=0.4, share=False)])[0].beyond


def test_comparisons_without_scores_are_no_part_of_the_family() -> None:
    found = beyond_chance([at_chance(4), AgainstChance(found=Pool(), chance=0.01)])
    assert [test.family for test in found] == [1, 1]
    assert (found[0].beyond, found[1].beyond, found[1].people) == (True, False, 0)
    assert beyond_chance([]) == []


def test_attacks_that_match_the_same_people_count_less_than_independent_ones() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=100)
    values = 0.46 + 0.3 * (values - values.mean()) / values.std()  # Two standard errors above chance.
    people = np.arange(100)
    copies = [AgainstChance(found=Pool([SampleScores(values, people)]), chance=0.4, share=False) for _ in range(12)]
    others = [
        AgainstChance(found=Pool([SampleScores(v, people)]), chance=0.4, share=False)
        for v in (values, *rng.normal(0.4, 0.3, (11, 100)))
    ]
    assert beyond_chance(copies)[0].p < 0.06 < beyond_chance(others)[0].p


def counts(positive: int, people: int, start: int = 0) -> Pool:
    return Pool([SampleScores((np.arange(people) < positive).astype(float), start + np.arange(people))])


@pytest.mark.parametrize(("positive", "chance", "people"), [(5, 1, 40), (3, 0, 20), (4, 2, 60)])
def test_a_counted_chance_level_is_beta_binomial(positive: int, chance: int, people: int) -> None:
    from scipy import stats

    one = AgainstChance(found=counts(positive, people), chance=counts(chance, people, 1000), sampled=True)
    expected = stats.betabinom.sf(positive - 1, people, chance + 1, people - chance)
    assert beyond_chance([one])[0].p == pytest.approx(expected, abs=0.015)  # By draws.
    assert one.counted == (people, chance)


def test_a_counted_chance_level_is_less_certain_than_a_known_one() -> None:
    found, level = counts(5, 40), counts(1, 40, 1000)
    known, counted = (beyond_chance([AgainstChance(found=found, chance=level, sampled=s)])[0] for s in (False, True))
    assert known.p < counted.p
    assert (known.detectable or 0) < (counted.detectable or 1)


# ---- by simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "attackers", "repeats"),
    [
        ("verdict: leaks", 1, 60),
        ("verdict: leaks", 6, 60),
        ("verdict: leaks", 12, 25),
        ("verdict: all channels", 2, 25),
        ("ladder: identity", 3, 25),
        ("ladder: attributes", 3, 25),
        ("ladder: pixels", 6, 60),
        ("ladder: pixel-safe", 6, 60),
    ],
)
def test_false_alarms_are_rare_however_many_attackers(
    false_alarms: ModuleType, rule: str, attackers: int, repeats: int
) -> None:
    scene = false_alarms.Scene(people=PEOPLE, attackers=attackers)
    assert not false_alarms.too_many(false_alarms.alarms(rule, scene, repeats), repeats, false_alarms.LEVEL)


@pytest.mark.parametrize("attackers", [1, 6])
def test_repeats_raise_no_false_alarms_and_leaks_are_seen(false_alarms: ModuleType, attackers: int) -> None:
    scenes = [false_alarms.Scene(people=PEOPLE, attackers=attackers, repeats=3, leak=leak) for leak in (0.0, 0.1)]
    assert not false_alarms.too_many(false_alarms.alarms("verdict: leaks", scenes[0], 60), 60, false_alarms.LEVEL)
    assert false_alarms.alarms("verdict: leaks", scenes[1], 20) >= 0.85


@pytest.mark.parametrize("channel", ["recognition", "linkage", "attributes"])
def test_a_leak_in_one_channel_is_seen_among_all(false_alarms: ModuleType, channel: str) -> None:
    scene = false_alarms.Scene(people=PEOPLE, attackers=2, leak=0.5, channel=channel)
    assert false_alarms.alarms("verdict: all channels", scene, 10) >= 0.9


def test_leaks_are_seen(false_alarms: ModuleType) -> None:
    for leak, least in ((0.05, 0.4), (0.1, 0.85)):  # About .7 and 1 in ``make statistics``.
        scene = false_alarms.Scene(people=PEOPLE, attackers=6, leak=leak)
        assert false_alarms.alarms("verdict: leaks", scene, 20) >= least
