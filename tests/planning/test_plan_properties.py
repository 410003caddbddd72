"""Properties of every plan: order and labels of a suite change no stage, and plugins are called once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import document_of

from bench.core.domain import Stage
from bench.core.memoize import remembered
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.suite.suite import load

AXES = ("datasets", "authorised", "evaluated", "defenses", "attacks")
quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

Document = dict[str, Any]


def some(*references: Any) -> st.SearchStrategy[list[Any]]:
    """Generate some of these references in any order."""
    return st.lists(st.sampled_from(references), min_size=1, max_size=3, unique_by=str)


def several(name: str, parameter: str, *values: Any) -> list[Any]:
    """Generate references to one plugin with several parameters, each with its own label."""
    return [{"plugin": name, parameter: value, "label": f"{name} {value}"} for value in values]


def peek(first: Any) -> Document:
    """Return an attack on the reconstructions of another attack."""
    return {"plugin": "toy-attributes", "via": first, "label": f"peek at {first if isinstance(first, str) else 'it'}"}


ADAPTIVE = {"plugin": "toy-learner", "learns": "defense", "label": "adaptive"}
experiments = st.fixed_dictionaries(
    {
        "datasets": some("toy-faces", *several("toy-faces", "seed", 1, 2)),
        "authorised": some("toy-a", "toy-b", ["toy-a", "toy-b"], "toy-closed"),
        "evaluated": some("toy-a", "toy-b", "toy-large"),
        "defenses": some("identity", "toy-mean", "toy-step", "toy-features", *several("noise", "sigma", 0.1, 0.2)),
        "attacks": some("abuse", "toy-upsample", "toy-descent", "toy-denoise", ADAPTIVE, "toy-attributes")
        | some(peek("toy-upsample"), peek(ADAPTIVE), "toy-attributes", "toy-descent"),
        "repeats": st.integers(1, 2),
    },
    optional={"upload": st.sampled_from(["images", "features"]), "fmr": st.sampled_from([0.1, 0.5])},
)
suites = st.lists(experiments, min_size=1, max_size=3).map(
    lambda found: [{"name": f"number-{i}", **experiment} for i, experiment in enumerate(found)]
)


@pytest.fixture
def plan_of(tmp_path: Path, registry: Registry) -> Callable[[Sequence[Document]], Plan]:
    """A function that plans a suite of these experiments."""

    def make(found: Sequence[Document]) -> Plan:
        path = tmp_path / "suite.toml"
        path.write_text(document_of({"suite": {"name": "toy", "seed": 3}, "experiment": list(found)}), encoding="utf-8")
        return make_plan(load(path, registry), registry, "cpu")

    return make


def work(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """Return everything that decides the results of each stage, and its cost."""

    def of(stage: Stage) -> tuple[Any, ...]:
        plugins = {
            role: [(c.name, c.params, c.via and c.via.name) for c in group] for role, group in stage.components.items()
        }
        return stage.kind, plugins, dict(stage.options), dict(stage.inputs), stage.seed, stage.units, stage.size

    return {key: of(stage) for key, stage in plan.stages.items()}


@pytest.mark.slow
@quick
@given(found=suites, data=st.data())
def test_the_order_of_a_suite_changes_no_stage_and_no_cell(plan_of: Any, found: list[Document], data: Any) -> None:
    other = [
        {key: data.draw(st.permutations(value)) if key in AXES else value for key, value in experiment.items()}
        for experiment in data.draw(st.permutations(found))
    ]
    one, two = plan_of(found), plan_of(other)
    assert work(one) == work(two)
    assert {c.id: (c.skip, c.stages) for c in one.cells} == {c.id: (c.skip, c.stages) for c in two.cells}
    assert one.requested == two.requested


def relabelled(reference: Any) -> Any:
    """Return a reference with other labels, also for its nested references."""
    if isinstance(reference, list):
        return [relabelled(one) for one in reference]
    table = {"plugin": reference} if isinstance(reference, str) else reference
    label = table.get("label", table["plugin"])
    return {**table, "label": f"{label}, renamed"} | ({"via": relabelled(table["via"])} if "via" in table else {})


@pytest.mark.slow
@quick
@given(found=suites, data=st.data())
def test_labels_change_no_stage(plan_of: Any, found: list[Document], data: Any) -> None:
    chosen = data.draw(
        st.sets(st.sampled_from([("datasets",), ("authorised", "evaluated"), ("defenses",), ("attacks",)]))
    )
    axes = {axis for group in chosen for axis in group}  # authorised and evaluated models share their labels
    other = [
        {key: [relabelled(one) for one in value] if key in axes else value for key, value in experiment.items()}
        for experiment in found
    ]
    one, two = plan_of(found), plan_of(other)
    assert work(one) == work(two)
    assert [cell.stages for cell in one.cells] == [cell.stages for cell in two.cells]
    called = {c.label for cell in two.cells for c in cell.components if c.kind == "defense"}
    assert all(label.endswith(", renamed") for label in called) == ("defenses" in axes)


@pytest.mark.slow
@quick
@given(found=suites)
def test_ids_of_cells_are_unique_and_inputs_of_stages_come_first(plan_of: Any, found: list[Document]) -> None:
    plan = plan_of(found)
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(key)
    assert seen == {key for cell in plan.cells for key in plan.path_of(cell)}


# ---- many cells ------------------------------------------------------------------------------------------------------


def test_plugins_are_called_once_however_many_cells_there_are(plan_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.attacks import ToyUpsample
    from bench_toy.defenses import ToyStep

    asked: Counter[str] = Counter()

    def counted(cls: Any, name: str) -> None:
        method = getattr(cls, name)

        def count(*arguments: Any) -> Any:
            asked[f"{cls.__name__}.{name}"] += 1
            return method(*arguments)

        monkeypatch.setattr(cls, name, count)

    counted(ToyStep, "splits")
    counted(ToyStep, "check_authorised")
    counted(ToyUpsample, "splits")
    plan = plan_of(
        [
            {
                "name": "many",
                "datasets": several("toy-faces", "seed", *range(4)),
                "authorised": ["toy-a", "toy-b"],
                "evaluated": ["toy-a", "toy-b"],
                "defenses": ["toy-step"],
                "attacks": ["abuse", "toy-upsample"],
                "repeats": 10,
            }
        ]
    )
    assert len(plan.cells) == 4 * 2 * 2 * 2 * 10
    # once for each model, for each data set and model, and for each model
    assert asked == {"ToyStep.splits": 2, "ToyStep.check_authorised": 8, "ToyUpsample.splits": 2}


def test_repeated_stages_share_their_options_and_components(plan_of: Any) -> None:
    plan = plan_of(
        [
            {
                "name": "many",
                "datasets": ["toy-faces"],
                "authorised": ["toy-a"],
                "evaluated": ["toy-a"],
                "defenses": ["toy-step"],
                "repeats": 5,
            }
        ]
    )
    protects = [stage for stage in plan.stages.values() if stage.kind == "protect"]
    assert len(protects) == 5
    assert len({id(stage.options) for stage in protects}) == len({id(stage.components) for stage in protects}) == 1


def test_a_remembered_method_is_cached_by_arguments_and_object() -> None:
    calls: list[tuple[int, int]] = []

    class Adder:
        def __init__(self, first: int) -> None:
            self.first = first

        @remembered
        def add(self, second: int) -> int:
            """The sum."""
            calls.append((self.first, second))
            if second < 0:
                raise ValueError("negative")
            return self.first + second

    one, two = Adder(1), Adder(2)
    assert [one.add(1), one.add(1), two.add(1), one.add(2)] == [2, 2, 3, 3]
    assert calls == [(1, 1), (2, 1), (1, 2)]
    for _ in range(2):  # what went wrong is tried again
        with pytest.raises(ValueError, match="negative"):
            one.add(-1)
    assert len(calls) == 5
