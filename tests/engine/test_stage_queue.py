"""The order of stages on a small graph: whole cells first, until the longest path becomes urgent."""

from __future__ import annotations

import pytest

from bench.core.domain import Stage, StageResult
from bench.engine.stage_queue import StageQueue, finishing_order, inputs_first, longest_paths

# Two cells need the long stage "fit", two others the stage "protect", and one nothing but the faces.
COSTS = {"faces": 1.0, "fit": 40.0, "protect": 10.0, "a": 1.0, "b": 1.0, "c": 2.0, "d": 2.0, "e": 3.0}
INPUTS = {"fit": ["faces"], "protect": ["faces"], "a": ["fit"], "b": ["fit"], "c": ["protect"], "d": ["protect"]}
CELLS = [["a"], ["b"], ["c"], ["d"], ["e"]]


def stage(key: str, cost: float, inputs: list[str]) -> Stage:
    """Return a stage that only has a cost and inputs."""
    named = {name: name for name in inputs}
    about = {"kind": "score", "name": key, "components": {}, "options": {"batch": 1}, "seed": 0, "units": 1}
    return Stage(key=key, inputs=named, cost=cost, declared=cost, cost_name="", size=0, **about)  # type: ignore[arg-type]


@pytest.fixture
def stages() -> dict[str, Stage]:
    """Return the stages of the graph."""
    return {key: stage(key, cost, INPUTS.get(key, ["faces"] if key == "e" else [])) for key, cost in COSTS.items()}


def ended(key: str, status: str = "ok") -> StageResult:
    """Return the result of a stage."""
    return StageResult(key=key, status=status, cached=False, seconds=1.0, peak_mb=1.0, device="cpu")  # type: ignore[arg-type]


def started(stages: dict[str, Stage], slots: int, order: dict[str, int] | None = None) -> list[str]:
    """Return the order in which stages start one after another, for a queue that believes to have ``slots``."""
    queue = StageQueue({}, finishing_order(stages, CELLS) if order is None else order)
    queue.add(stages)
    found = []
    while (task := queue.next(slots)) is not None:
        found.append(task.stage.key)
        queue.end(ended(task.stage.key))
    return found


def test_cells_follow_each_other_by_what_they_still_cost(stages: dict[str, Stage]) -> None:
    # e costs 3.2 s with its share of the faces, c and d 7.2 s each, a and b 21.2 s.
    order = finishing_order(stages, CELLS)
    assert sorted(order, key=lambda key: order[key]) == ["faces", "e", "protect", "c", "d", "fit", "a", "b"]


def test_a_stage_that_many_cells_share_comes_before_one_of_the_same_cost(stages: dict[str, Stage]) -> None:
    stages |= {"own": stage("own", 10.0, ["faces"]), "f": stage("f", 2.0, ["own"])}
    order = finishing_order(stages, [["f"], *CELLS])
    assert order["protect"] < order["own"] < order["fit"]


def test_stages_that_need_not_be_computed_cost_nothing(stages: dict[str, Stage]) -> None:
    missing = {key: found for key, found in stages.items() if key not in ("faces", "fit")}
    order = finishing_order(missing, CELLS)
    assert sorted(order, key=lambda key: order[key])[:2] == ["a", "b"]
    assert set(order) == set(missing)


def test_whole_cells_are_finished_before_a_long_stage_that_is_not_urgent(stages: dict[str, Stage]) -> None:
    # The path through the faces and fit takes 42 s. With many other cells, this is a small part of the run.
    stages |= {f"other{i}": stage(f"other{i}", 50.0, []) for i in range(10)}
    assert started(stages, 1, finishing_order(stages, CELLS))[:8] == [
        *(f"other{i}" for i in range(8)),  # Of no cell: something else waits for them.
    ]
    order = finishing_order(stages, [*CELLS, *([f"other{i}"] for i in range(10))])
    assert started(stages, 1, order)[:8] == ["faces", "e", "protect", "c", "d", "fit", "a", "b"]


def test_the_longest_path_comes_first_once_it_is_urgent(stages: dict[str, Stage]) -> None:
    # The whole graph takes 60 s, of which the path through fit takes 42 s.
    assert started(stages, 1)[:3] == ["faces", "fit", "protect"]


@pytest.mark.parametrize(("slots", "second"), [(1, "e"), (8, "fit")])
def test_a_path_becomes_urgent_earlier_with_more_slots(stages: dict[str, Stage], slots: int, second: str) -> None:
    stages |= {f"other{i}": stage(f"other{i}", 20.0, []) for i in range(10)}
    order = finishing_order(stages, [*CELLS, *([f"other{i}"] for i in range(10))])
    assert [key for key in started(stages, slots, order) if not key.startswith("other")][:2] == ["faces", second]


def test_a_stage_that_is_pushed_again_starts_again(stages: dict[str, Stage]) -> None:
    queue = StageQueue({}, finishing_order(stages, CELLS))
    queue.add(stages)
    first = queue.next(1)
    assert first is not None
    assert queue.next(1) is None
    queue.push(first.stage.key)
    assert queue.next(1) is first
    assert queue.next(1) is None


def test_the_rest_of_the_run_shrinks_as_stages_end(stages: dict[str, Stage]) -> None:
    queue = StageQueue({}, {})
    queue.add(stages)
    assert queue.left_s == sum(COSTS.values())
    queue.add({"faces": stages["faces"]})  # It is there already.
    assert queue.left_s == sum(COSTS.values())
    queue.end(ended("faces"))
    assert queue.left_s == sum(COSTS.values()) - 1.0
    assert [found.key for found in queue.end(ended("fit", "failed"))] == ["a", "b"]


def test_paths_of_some_stages_hold_their_inputs_only(stages: dict[str, Stage]) -> None:
    assert inputs_first(stages, ["c", "gone"]) == ["faces", "protect", "c"]
    assert longest_paths(stages)["faces"] == 42.0
