"""Protected auxiliary faces are computed once for all budgets of faces, and each attack receives exactly its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.core.domain import Stage
from bench.planning.plan import Plan
from bench.planning.shares import shares
from bench.runs import record
from bench.stages.shares import person_by_person, uploads_of
from bench.stages.stage_inputs import Job, read_faces

PlanOf = Callable[..., Plan]

SUITE = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["DEFENSE"]
attacks = [ATTACKS]
auxiliary = { plugin = "toy-faces", auxiliary_images = 260, label = "others" }
pairs = 20
"""


def attack(faces: int | None, **more: Any) -> str:
    budget = f'spends = "faces", much = {faces}, ' if faces else ""
    rest = "".join(f", {key} = {value}" for key, value in more.items())
    return f'{{ plugin = "embeds", learns = "defense", {budget}label = "with {faces}"{rest} }}'


def suite(*attacks: str, defense: str = "noisy") -> str:
    return SUITE.replace("ATTACKS", ", ".join(attacks)).replace("DEFENSE", defense)


def protecting(plan: Plan, faces: int | None) -> list[Stage]:
    """Return the stages whose protected faces the attack with this budget learns from."""
    (fit,) = (s for s in plan.stages.values() if s.kind == "fit_attack" and s.name.startswith(f"with {faces} "))
    return [plan.stages[key] for role, key in fit.inputs.items() if role.startswith("protected")]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, [(0, 1)]),
        (100, [(0, 100)]),
        (101, [(0, 100), (100, 101)]),
        (400, [(0, 100), (100, 200), (200, 400)]),
        (1600, [(0, 100), (100, 200), (200, 400), (400, 800), (800, 1600)]),
    ],
)
def test_shares_cover_the_budget_once(most: int, expected: list[tuple[int, int]]) -> None:
    assert list(shares(most)) == expected


def test_a_larger_budget_uses_what_was_protected_for_a_smaller_one(plan_of: PlanOf) -> None:
    plan = plan_of(suite(*(attack(faces) for faces in (100, 200, 250))))
    keys = {faces: [s.key for s in protecting(plan, faces)] for faces in (100, 200, 250)}
    assert keys[200][:1] == keys[100]
    assert keys[250][:2] == keys[200]
    assert [s.units for s in protecting(plan, 250)] == [100, 100, 50]


def test_the_stages_of_an_attack_do_not_depend_on_the_other_attacks(plan_of: PlanOf) -> None:
    alone, beside = plan_of(suite(attack(250))), plan_of(suite(attack(250), attack(100), attack(400)))
    assert [s.key for s in protecting(alone, 250)] == [s.key for s in protecting(beside, 250)]
    assert alone.cells[0].stages == beside.cells[0].stages


def test_a_defense_of_the_whole_set_is_not_divided(plan_of: PlanOf) -> None:
    plan = plan_of(suite(attack(250), defense="family-k-same"))
    assert [s.options.get("share") for s in protecting(plan, 250)] == [None]


def test_without_a_budget_all_faces_are_protected_at_once(plan_of: PlanOf) -> None:
    assert [s.options.get("share") for s in protecting(plan_of(suite(attack(None))), None)] == [None]


@pytest.mark.parametrize("faces", [100, 250, 400])  # There are 260.
def test_an_attack_receives_what_it_would_without_shares(faces: int, computed_of: Callable[..., Any]) -> None:
    done = computed_of(suite(attack(faces, seen='["images", "uploads"]', many=2), attack(None)))
    (whole,) = protecting(done.plan, None)
    (fit,) = (s for s in done.plan.stages.values() if s.kind == "fit_attack" and s.name.startswith(f"with {faces} "))
    job = Job(fit, done.cache)
    shown = read_faces(job.input("faces"))
    all_faces = read_faces(Job(whole, done.cache).input("faces"))
    rows = [all_faces.sample_ids.tolist().index(one) for one in shown.sample_ids]
    assert len(rows) == min(faces, 260)
    first, second = (uploads_of(job, role, shown.subjects).tensors["images"] for role in ("protected", "further 1"))
    expected = done.cache.read(whole.key).tensors["images"]
    np.testing.assert_array_equal(first[np.arange(len(rows))], expected[rows])
    np.testing.assert_array_equal(np.asarray(first)[::7], first[::7])
    assert first.shape == second.shape == (len(rows), 3, 32, 32)
    assert not np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("faces", [260, 261])
def test_a_budget_of_more_faces_than_there_are_is_noted(faces: int, computed_of: Callable[..., Any]) -> None:
    done = computed_of(suite(attack(faces)))
    noticed = record.noticed_by(done.plan, done.plan.stages.values(), done.cache)
    notes = [note for found in noticed.values() for note in found]
    fewer = "its budget is 261 faces, but it learnt from 260: others has no more to learn from"
    assert notes == ([fewer] if faces > 260 else [])


def test_faces_of_one_person_that_lie_apart_are_counted_together() -> None:
    assert person_by_person(np.array([7, 3, 7, 5, 3])).tolist() == [0, 2, 1, 4, 3]
