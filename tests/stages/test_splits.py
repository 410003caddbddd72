"""The splits of a data set share no people and no pictures, and a threshold that accepts nothing is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import Computed

from bench.api.types import Faces
from bench.core.errors import ContractError

SUITE = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity"]
attacks = ["abuse"]
pairs = 20
"""
LEARNING_DEFENSE = 'experiment[0].defenses=["toy-mean"]'
LEARNING_ATTACK = 'experiment[0].attacks=[{ plugin = "toy-learner", look = "images" }]'
APART = "whoever is learnt from or calibrated on must not be scored"

Run = Callable[..., Computed]


def of_people(first: int, shot: int = 5) -> Callable[..., Faces]:
    """A split of 40 people from a number on, in pictures that are not scored."""
    from bench_toy.faces import faces

    return lambda self, ctx: faces([(first + i // 2, shot + i % 2) for i in range(80)], self.seed, "others")


def scored_pictures(self: Any, ctx: Any) -> Faces:
    """A split of the scored pictures under other numbers of people."""
    found = self.evaluation(20, ctx)[0]
    return replace(found, subjects=found.subjects + 7_000_000)


def reasons(done: Computed) -> set[str]:
    return set(done.failures())


@pytest.mark.parametrize(
    ("split", "overrides"),
    [("calibration", ()), ("auxiliary", (LEARNING_DEFENSE,)), ("auxiliary", (LEARNING_ATTACK,))],
    ids=["calibration", "defense", "attack"],
)
@pytest.mark.parametrize("what", ["person", "picture"])
def test_faces_of_one_person_in_two_splits_are_refused(
    computed: Run, monkeypatch: pytest.MonkeyPatch, split: str, overrides: tuple[str, ...], what: str
) -> None:
    from bench_toy.faces import ToyFaces

    assert not computed(SUITE, *overrides).failures()
    monkeypatch.setattr(ToyFaces, split, of_people(19) if what == "person" else scored_pictures)
    monkeypatch.setenv("TOY_DATA", f"{split} of scored people, by {what}")
    (reason,) = reasons(computed(SUITE, *overrides))
    shared = {"person": "share 1 person, such as that of the images evaluation-19-0 and others-19-5"}.get(what)
    assert f"the evaluation faces of toy-faces and the {split} faces of toy-faces" in reason
    assert (shared or "share 30 pictures, such as that of the images ") in reason
    assert APART in reason


def test_artifacts_hold_no_labels(computed: Run) -> None:
    done = computed(SUITE, 'experiment[0].datasets=[{ plugin = "toy-faces", label = "mine" }]')
    assert not done.failures()
    found = [done.cache.read(key).facts for key, stage in done.plan.stages.items() if stage.kind == "faces"]
    assert {facts["of"] for facts in found} == {"toy-faces"}


def test_numbers_of_people_of_another_data_set_mean_nothing(computed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces

    other = 'experiment[0].auxiliary={ plugin = "toy-faces", seed = 1, label = "other" }'
    monkeypatch.setattr(ToyFaces, "auxiliary", of_people(0))
    assert not computed(SUITE, LEARNING_ATTACK, other).failures()
    monkeypatch.setattr(ToyFaces, "auxiliary", lambda self, ctx: scored_pictures(ToyFaces(), ctx))
    monkeypatch.setenv("TOY_DATA", "pictures of another set")
    (reason,) = reasons(computed(SUITE, LEARNING_ATTACK, other))
    assert (
        "the evaluation faces of toy-faces and the auxiliary faces of toy-faces (seed = 1) share 30 pictures" in reason
    )


def test_it_is_said_that_real_data_sets_share_no_picture(computed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces

    other = 'experiment[0].auxiliary={ plugin = "toy-faces", seed = 1, label = "other" }'
    monkeypatch.setattr(ToyFaces, "auxiliary", of_people(0))
    noted = []
    for synthetic in (True, False):
        monkeypatch.setattr(ToyFaces, "synthetic", synthetic)
        monkeypatch.setenv("TOY_DATA", f"synthetic: {synthetic}")
        done = computed(SUITE, LEARNING_ATTACK, other)
        assert not done.failures()
        manifests = [done.cache.manifest(key) or {} for key in done.plan.stages]
        noted.append({note for manifest in manifests for note in manifest["notes"]})
    said = (
        "no picture of the auxiliary faces of toy-faces (seed = 1) is among the evaluation faces of toy-faces, by the "
        "pixels of all of them; other pictures of one person are not found by this"
    )
    assert noted == [set(), {said}]


@pytest.mark.parametrize("rule", ["fmr", "accuracy"])
def test_a_threshold_that_accepts_nothing_is_none(computed: Run, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """One placeholder per person: its impostor pairs score 1, and so do no genuine pairs."""
    from bench_toy.faces import CALIBRATION, ToyFaces, faces

    def with_placeholders(self: ToyFaces, ctx: Any) -> Faces:
        found = faces([(CALIBRATION + i // 3, i % 3) for i in range(120)], self.seed, "calibration")
        images = np.array(found.images)
        images[2::3] = 0
        return replace(found, images=images)

    monkeypatch.setattr(ToyFaces, "calibration", with_placeholders)
    done = computed(SUITE, f'experiment[0].threshold="{rule}"')
    if rule == "accuracy":
        assert not done.failures()
        return
    (reason,) = reasons(done)
    assert "there is no threshold for the false match rate 0.01: 1.0000 accepts none of 120 genuine pairs" in reason
    assert "copies of one picture under several names" in reason
    assert reason.endswith("bench data verify. If these are sound, choose a larger fmr")


def test_the_error_about_a_threshold_that_accepts_nothing_names_no_rate_under_the_rule_accuracy() -> None:
    from bench.stages.verification import _check_accepts

    stage = SimpleNamespace(name="score", options={"threshold": "accuracy", "fmr": 0.01})
    job: Any = SimpleNamespace(stage=stage)
    with pytest.raises(ContractError, match="no threshold that separates genuine from impostor pairs") as found:
        _check_accepts(job, 1.0, np.zeros(2), np.ones(2))
    assert "false match rate" not in str(found.value)
    assert "fmr" not in str(found.value)
