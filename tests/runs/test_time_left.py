"""The estimated time until a run ends, compared with values computed by hand."""

from __future__ import annotations

import pytest

from bench.runs.time_left import Expected, TimeLeftEstimator


def stages(*costs: float, name: str = "x", behind: float = 0.0) -> dict[str, Expected]:
    """Stages of one cost name that nothing waits for, called by it and their place."""
    return {f"{name}{i}": Expected(cost=c, cost_name=name, behind=behind or c) for i, c in enumerate(costs)}


def test_nothing_to_do_takes_no_time() -> None:
    left = TimeLeftEstimator(2, {})
    assert (left.left(5.0), left.share()) == (0.0, 1.0)


def test_before_anything_ends_the_plan_is_believed() -> None:
    assert TimeLeftEstimator(1, stages(10, 10, 10)).left(0.0) == 30
    assert TimeLeftEstimator(3, stages(10, 10, 10)).left(0.0) == 10


def test_what_is_left_is_scaled_by_what_its_like_cost() -> None:
    left = TimeLeftEstimator(1, {**stages(10, 10, 10), **stages(10, 10, name="y")})
    left.started("x0", 0.0)
    left.ended("x0", 30.0, 30.0)
    left.started("y0", 30.0)
    left.ended("y0", 35.0, 5.0)
    assert left.left(35.0) == 2 * 30 + 5
    assert left.share() == pytest.approx(20 / 50)


def test_names_that_were_not_seen_take_the_factor_of_all() -> None:
    left = TimeLeftEstimator(1, {**stages(10, 10), **stages(4, name="y")})
    left.started("x0", 0.0)
    left.ended("x0", 20.0, 20.0)
    assert left.left(20.0) == pytest.approx(20 + 4 * (20 + 1.2) / (10 + 1.2))  # a twentieth of 24 seconds is believed


def test_the_longest_path_is_the_least() -> None:
    """Four workers do not help a chain: x0, and behind it stages of 50 seconds."""
    todo = {"x0": Expected(cost=10, cost_name="x", behind=60), "x1": Expected(cost=50, cost_name="x", behind=50)}
    left = TimeLeftEstimator(4, todo)
    assert left.left(0.0) == 60
    left.started("x0", 0.0)
    left.reported("x0", 0.0, 0.0)
    assert left.left(4.0) == 56
    left.ended("x0", 20.0, 20.0)
    assert left.left(20.0) == 100
    left.started("x1", 20.0)
    assert left.left(20.0) == 100


def test_the_first_short_stage_does_not_speak_for_all_others() -> None:
    left = TimeLeftEstimator(1, {**stages(0.1), **stages(100, name="y")})
    left.started("x0", 0.0)
    left.ended("x0", 4.0, 4.0)
    assert 100 < left.left(4.0) < 200


def test_a_stage_goes_on_at_its_speed() -> None:
    left = TimeLeftEstimator(1, stages(10))
    left.started("x0", 0.0)
    left.reported("x0", 0.0, 2.0)  # the worker took two seconds to start
    left.reported("x0", 0.5, 52.0)
    assert left.left(52.0) == pytest.approx(50)
    assert left.left(72.0) == pytest.approx(30)
    assert left.share() == 0.5


def test_what_one_stage_tells_counts_for_those_like_it_that_wait() -> None:
    left = TimeLeftEstimator(1, {**stages(10, 10), **stages(10, name="y")})
    left.started("x0", 0.0)
    left.reported("x0", 0.5, 50.0, since=0.0)
    assert left.left(50.0) == pytest.approx(50 + 100 + 10)


def test_a_worker_that_has_not_begun_is_not_slow() -> None:
    left = TimeLeftEstimator(1, stages(1, 1))
    left.started("x0", 0.0)
    assert left.left(30.0) == 2


def test_silence_lets_the_estimate_climb_no_more_than_it_must() -> None:
    """A stage of 10 seconds that is silent for 100: a tenth of its time again, and nothing of other names."""
    left = TimeLeftEstimator(1, {**stages(10), **stages(10, 10, name="y")})
    left.started("x0", 0.0)
    left.reported("x0", 0.0, 0.0, since=0.0)
    found = [left.left(float(at)) for at in range(101)]
    assert found[0] == pytest.approx(30)
    assert found[:9] == sorted(found[:9], reverse=True)
    assert found[100] == pytest.approx(20 + 10)
    assert max(found) == pytest.approx(found[0])


def test_time_beside_the_stages_counts() -> None:
    """Ten trivial stages of which each takes a second until it is ended; the first also starts the worker."""
    left = TimeLeftEstimator(1, stages(*[0.1] * 10))
    at = 0.0
    for i in range(5):
        took = 6.0 if i == 0 else 1.1
        left.started(f"x{i}", at)
        left.ended(f"x{i}", at + took, 0.1)
        at += took
    assert left.left(at) == pytest.approx(5 * 1.1)


def test_what_another_run_computed_costs_nothing() -> None:
    left = TimeLeftEstimator(1, stages(10, 10))
    left.ended("x0", 3.0, None)
    left.ended("x0", 4.0, None)
    left.ended("unknown", 4.0, 3.0)
    left.started("unknown", 4.0)
    left.reported("unknown", 0.5, 4.0)
    assert left.left(4.0) == 10
    left.ended("x1", 5.0, 5.0)
    assert (left.left(5.0), left.share()) == (0.0, 1.0)


def test_a_stage_that_begins_again_begins_anew() -> None:
    left = TimeLeftEstimator(1, stages(10, 10))
    left.started("x0", 0.0)
    left.reported("x0", 0.9, 20.0, since=0.0)
    left.started("x0", 20.0)
    assert left.share() == 0.0
    assert left.left(20.0) == 20


def test_estimates_of_nothing_scale_nothing() -> None:
    left = TimeLeftEstimator(1, stages(0, 0, 0))
    left.started("x0", 0.0)
    left.ended("x0", 2.0, 2.0)
    assert left.left(2.0) == 0.0
