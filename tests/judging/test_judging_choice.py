"""The interval and the chance of the best of several preprocessings, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from support import benchmark

from bench.judging.choice import best_interval, by_chance, effective_photos


def test_several_photos_of_a_person_count_as_one() -> None:
    assert effective_photos(np.arange(4)) == 4
    assert effective_photos(np.array([0, 0, 1, 1])) == 2
    assert effective_photos(np.array([0, 0, 0, 1])) == 1
    assert effective_photos(np.array([0, 0, 1, 2, 3])) == 2
    assert effective_photos(np.zeros(0, np.int64)) == 0


def test_the_interval_of_one_way_is_the_exact_one_and_of_more_is_wider() -> None:
    low, high = best_interval(0.5, 2, 1)  # One of two: low² + 2 low (1 - low) = .025
    assert 2 * low - low**2 == pytest.approx(0.025)
    assert high == pytest.approx(1 - low)
    low, high = best_interval(0.5, 2, 10)
    assert 2 * low - low**2 == pytest.approx(0.0025)
    low, high = best_interval(0.0, 10, 5)
    assert (low, (1 - high) ** 10) == (0.0, pytest.approx(0.005))
    assert best_interval(1.0, 10, 5)[1] == 1.0


def test_a_share_between_two_counts_of_photos_takes_the_nearer_one_for_each_end() -> None:
    low, high = best_interval(0.6, 4, 1)  # 2.4 of 4 photos
    assert low == best_interval(0.5, 4, 1)[0]
    assert high == best_interval(0.75, 4, 1)[1]


@pytest.mark.parametrize("photos", [1, 3, 10, 40])
@pytest.mark.parametrize("ways", [1, 10])
def test_an_interval_above_chance_and_a_likely_chance_never_go_together(photos: int, ways: int) -> None:
    for share in np.linspace(0, 1, 41).tolist():
        low, high = best_interval(share, photos, ways)
        assert low <= share <= high
        for chance in (1e-3, 0.01, 0.05, 0.2, 0.5):
            assert low <= chance or by_chance(share, photos, chance, ways) <= 0.025


def test_the_chance_of_the_best_by_hand() -> None:
    assert by_chance(0.5, 2, 0.1, 1) == pytest.approx(0.19)
    assert by_chance(1.0, 2, 0.1, 3) == pytest.approx(0.03)
    assert by_chance(0.5, 2, 0.1, 10) == 1.0
    assert by_chance(0.0, 20, 0.05, 10) == 1.0
    assert by_chance(0.4, 2, 0.1, 1) == 1.0, "less than one photo is no hit"
    assert by_chance(0.9, 2, 0.1, 1) == by_chance(0.5, 2, 0.1, 1), "1.8 photos count as one"
    assert by_chance(0.5, 2, 0.0, 10) == 0.0


@pytest.mark.parametrize(("photos", "ways"), [(0, 10), (20, 0)])
def test_nothing_was_chosen_from_nothing(photos: int, ways: int) -> None:
    for call in (lambda: best_interval(0.5, photos, ways), lambda: by_chance(0.5, photos, 0.1, ways)):
        with pytest.raises(ValueError, match="expected photos and preprocessings, got"):
            call()


def test_simulated_judgements_of_twenty_photos_find_nothing_where_nobody_is_recognised() -> None:
    """A short form of ``make statistics``."""
    ways = benchmark("best_of_ways")
    for by in ("chance", "interval"):
        assert ways.alarms(ways.Scene(by=by), 20, 400) <= 0.05
        assert ways.alarms(ways.Scene(by=by, alike=0.8), 20, 400) <= 0.05
        assert ways.alarms(ways.Scene(by=by, chance=0.05, skewed=True), 100, 400) <= 0.05, "by Kish's number, 30 %"
    assert ways.alarms(ways.Scene(by="uncorrected"), 20, 400) > 0.3
    assert ways.alarms(ways.Scene(by="chance", leak=0.5), 20, 100) > 0.9
