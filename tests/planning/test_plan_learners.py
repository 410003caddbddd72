"""A defense and an attack that learn: each gets its own half of the auxiliary people, and only where both learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support import Computed

from bench.planning.plan import Plan
from bench.stages.stage_inputs import read_faces

BASE = """\
[suite]
name = "toy"
seed = 3

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["toy-mean"]
attacks = ["abuse"]
pairs = 8
"""
BOTH = 'experiment[0].attacks=["abuse", "toy-learner"]'
PlanOf = Callable[..., Plan]


def auxiliary(plan: Plan) -> dict[str, str]:
    """The stages that load auxiliary faces: their name and their key."""
    return {s.name: s.key for s in plan.stages.values() if s.options.get("split") == "auxiliary"}


def test_a_learner_that_is_alone_gets_everybody(plan_text: PlanOf) -> None:
    alone = auxiliary(plan_text(BASE))
    attack = auxiliary(plan_text(BASE, 'experiment[0].defenses=["identity"]', BOTH))
    assert alone == attack
    assert list(alone) == ["auxiliary faces of toy-faces"]
    two = plan_text(BASE, 'experiment[0].defenses=["identity", "toy-mean"]', BOTH)
    assert auxiliary(two).items() >= alone.items()  # The attack on a defense that does not learn keeps everybody.
    assert {c.learner_overlap for c in two.cells} == {None, "none within the data set"}


def test_an_experiment_has_one_version_of_a_defense(plan_text: PlanOf) -> None:
    """The rows of its uploads belong to the cells of all its attacks."""
    plan = plan_text(BASE, BOTH)
    assert set(auxiliary(plan)) == {f"auxiliary faces of toy-faces for the {half}" for half in ("defense", "attack")}
    assert len([s for s in plan.stages.values() if s.kind == "fit_defense"]) == 1


@pytest.mark.parametrize("learns", ["clean", "defense"])
def test_the_halves_share_nobody(computed: Callable[..., Computed], learns: str) -> None:
    done = computed(BASE, f'experiment[0].attacks=[{{ plugin = "toy-learner", learns = "{learns}" }}]')
    assert not done.failures()
    halves = [
        read_faces(done.artifact(f"auxiliary faces of toy-faces for the {half}")) for half in ("defense", "attack")
    ]
    people = [set(faces.subjects.tolist()) for faces in halves]
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == 20
    assert min(map(len, people)) >= 5
    assert all(np.bincount(f.subjects - f.subjects.min()).max() == 2 for f in halves)  # All pictures of a person.


def test_leaky_attacks_do_not_halve(plan_text: PlanOf) -> None:
    plan = plan_text(BASE, 'experiment[0].attacks=[{ plugin = "toy-learner", learns = "evaluated" }]')
    assert list(auxiliary(plan)) == ["auxiliary faces of toy-faces"]
