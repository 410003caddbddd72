"""Probes on embeddings, and the attribute estimator that is trained on protected pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_attributes.network import build
from bench_probes import AttributeProbe, AttributesAdapted, bench_attacks
from bench_probes.labels import targets
from bench_probes.regression import fit_probe, read_probe
from learner_examples import Pictures, Recogniser, grey, other_colours, recogniser_context
from safetensors.torch import save_file
from torch import Tensor

from bench import Attack, CapabilityError, DataError, Received
from bench.testing import check_state, estimate_checked

NAMES = ("cold", "warm")


class Described(Pictures):
    """Pictures of people whose tone is warm if they have more red than blue in the left half, and of some age."""

    def __init__(self, **more: Any) -> None:
        protect = more.pop("protect", None)
        super().__init__(**more)
        people = np.unique(self.subjects, return_inverse=True)[1]
        warm = np.random.default_rng(int(self.subjects[0])).random(len(self.subjects))[people] < 0.5
        self.images[warm, 0] = 128 + self.images[warm, 0] // 2
        self.images[~warm, 2] = 128 + self.images[~warm, 2] // 2
        clean = self.clean(slice(None))
        self.sent = protect(clean) if protect else clean
        self.attributes = {"tone": np.array(NAMES)[warm.astype(int)], "age": np.where(warm, 60.0, 20.0)}


def probe(**params: Any) -> AttributeProbe:
    return AttributeProbe(**({"attribute": "tone", "names": NAMES, "steps": 30, "batch": 32, "rate": 0.01} | params))


def context(attack: Attack, state: Any = None) -> Any:
    service: Any = Recogniser(seed=7).eval()
    return recogniser_context(attack, state, models={"service": (service, ())})


def learnt(attack: Attack, examples: Described) -> dict[str, Tensor]:
    """Return the state of the attack as the host stores it and gives it back."""
    stored = check_state(attack.fit(examples, context(attack)), "attack learner")
    return {name: torch.from_numpy(value) for name, value in stored.items()}


def right(attack: Attack, protect: Any = None) -> float:
    """Return the share of new people whose tone the attack reads from their uploads."""
    state = learnt(attack, Described(people=120, protect=protect))
    others = Described(people=60, each=1, seed=4, protect=protect)
    ctx = context(attack, state)
    ctx.upload = Received(images=others.sent)
    found = estimate_checked(attack, others.sent, ctx)["tone"]
    assert found.shape == (60, 2)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    return float(np.mean(np.array(NAMES)[found.argmax(1)] == others.attributes["tone"]))


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_registration_without_torch() -> None:
    assert set(bench_attacks()) == {"attribute-probe", "attributes-adapted"}
    code = "import sys, bench_probes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("params", "sees", "trains_on", "budget"),
    [
        ({}, {"recogniser"}, "clean", {"faces": 1600}),
        ({"learns": "defense"}, {"recogniser", "defense"}, "defense", {"faces": 1600}),
        ({"of": "insider"}, {"full_model"}, "clean", {"faces": 1600}),
        ({"of": "insider", "learns": "defense"}, {"full_model", "defense"}, "defense", {"faces": 1600}),
        ({"of": "adapted", "steps": 9}, {"recogniser", "defense"}, "defense", {"faces": 1600, "steps": 9}),
    ],
)
def test_what_probes_declare(params: Any, sees: set[str], trains_on: str, budget: Any) -> None:
    attack = AttributeProbe(**params)
    assert attack.sees == {"images", "labels", *sees}
    assert (attack.outputs, attack.trains_on, attack.budget()) == ("attributes", trains_on, budget)
    assert attack.classes() == {"gender": ("woman", "man")}
    assert "gender" in attack.threat


def test_threats_of_probes_differ() -> None:
    several = [
        {"of": of, "learns": learns} for of in ("insider", "outsider", "adapted") for learns in ("clean", "defense")
    ]
    assert len({AttributeProbe(**params).threat for params in several}) == 6


def test_classes_of_probes() -> None:
    assert AttributeProbe(attribute="emotion").classes()["emotion"][0] == "angry"
    assert AttributeProbe(attribute="age").classes() == {}
    assert AttributeProbe(attribute="race", names=("a", "b")).classes() == {"race": ("a", "b")}
    with pytest.raises(ValueError, match=r"names: expected at least two classes of the attribute 'race', found \[\]"):
        AttributeProbe(attribute="race")
    with pytest.raises(ValueError, match="names: expected none, because an age is a number"):
        AttributeProbe(attribute="age", names=("a", "b"))


def test_what_the_adapted_estimator_declares() -> None:
    attack = AttributesAdapted(attributes=("gender", "age"), steps=9)
    assert (attack.outputs, attack.trains_on, attack.synthetic) == ("attributes", "defense", True)
    assert attack.sees == {"images", "labels", "defense"}
    assert attack.budget() == {"faces": 1600, "steps": 9}
    assert attack.estimated == ("age", "gender")
    assert attack.classes() == {"gender": ("woman", "man")}
    assert attack.weights().is_file()
    with pytest.raises(ValueError, match="expected each one once"):
        AttributesAdapted(attributes=("age", "age"))


# ---- probes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"learns": "defense"}, {"of": "insider"}])
def test_a_probe_reads_unprotected_pictures(params: Any) -> None:
    assert right(probe(**params)) > 0.9


@pytest.mark.parametrize(
    "params", [{}, {"learns": "defense"}, {"of": "adapted"}, {"of": "adapted", "learns": "defense"}]
)
def test_a_probe_is_at_chance_on_a_picture_without_the_face(params: Any) -> None:
    assert right(probe(**params), grey) < 0.7  # The larger class of the 60 people has 33 or fewer.


@pytest.mark.parametrize("params", [{"learns": "defense"}, {"of": "adapted"}, {"of": "insider", "learns": "defense"}])
def test_a_probe_that_learns_from_the_defense_reads_what_others_cannot(params: Any) -> None:
    assert right(probe(), other_colours) < 0.8
    assert right(probe(**params), other_colours) > 0.9


def test_the_insider_reads_the_embeddings_of_the_service() -> None:
    attack, images = probe(of="insider"), torch.rand(2, 3, 16, 16)
    state = learnt(attack, Described())
    with torch.no_grad():
        unit = torch.nn.functional.normalize(Recogniser(seed=7).eval()(images), dim=1)
    x = (unit - state["probe.mean"]) / state["probe.scale"]
    expected = (x @ state["probe.weight"] + state["probe.bias"]).softmax(1)
    assert torch.allclose(attack.estimate(images, context(attack, state))["tone"], expected, atol=1e-5)


def test_a_probe_reads_ages() -> None:
    attack = AttributeProbe(attribute="age")
    state, others = learnt(attack, Described(people=120)), Described(people=60, each=1, seed=4)
    found = attack.estimate(others.sent, context(attack, state))["age"].numpy()
    assert np.abs(found - others.attributes["age"]).mean() < 12  # A constant is 20 years wrong.


def test_faces_whose_label_is_unknown_are_not_learnt_from() -> None:
    examples = Described(people=120)
    examples.attributes["tone"] = np.where(np.arange(240) % 3 == 0, "", examples.attributes["tone"])
    state = learnt(probe(), examples)
    assert state["probe.weight"].shape == (24, 2)
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


def test_a_probe_has_a_class_that_nobody_has() -> None:
    attack = probe(names=(*NAMES, "hot"))
    state, others = learnt(attack, Described(people=120)), Described(people=20, each=1, seed=4)
    ctx = context(attack, state)
    ctx.upload = Received(images=others.sent)
    found = estimate_checked(attack, others.sent, ctx)["tone"]
    assert found.shape == (20, 3)
    assert found[:, 2].max() < 0.01


# ---- regression ------------------------------------------------------------------------------------------------------


def test_a_regression_has_all_classes_and_its_penalty_suits_held_out_people() -> None:
    """A class that nobody has gets nothing; where nobody is held out, the largest penalty holds."""
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    labels = (x[:, 0] > 0).long()
    labels[::7] = -1
    learning, held_out = np.arange(300), np.arange(300, 400)
    state = fit_probe(x, labels, 3, learning, held_out)
    found, known = read_probe(x, state, 3), labels >= 0
    assert (found.argmax(1) == labels)[known].float().mean() > 0.95
    assert found[:, 2].max() < 0.01
    only = fit_probe(x, labels, 3, learning, held_out[:0])
    assert only["probe.weight"].norm() < state["probe.weight"].norm() / 10


def test_a_regression_finds_a_linear_map_to_numbers() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    numbers = 2 * x[:, 0] + 7
    numbers[::7] = torch.nan
    state = fit_probe(x, numbers, 0, np.arange(300), np.arange(300, 400))
    found = read_probe(torch.tensor([[0.0] * 5, [1.0] * 5, [-9.0] * 5]), state, 0)
    assert torch.allclose(found, torch.tensor([7.0, 9.0, 0.0]), atol=0.02)  # Numbers are not negative.


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_labels_as_targets() -> None:
    examples, ctx = Described(people=3), recogniser_context(probe())
    examples.attributes = {
        "tone": np.array(["warm", "cold", "?", "warm", "cold", "warm"]),
        "age": np.array(["4"] * 5 + ["x"]),
    }
    assert targets(examples, "tone", NAMES, ctx).tolist() == [1, 0, -1, 1, 0, 1]
    with pytest.raises(DataError, match="learns the attribute 'age': expected different numbers, found 4, x"):
        targets(examples, "age", (), ctx)
    with pytest.raises(DataError, match="expected labels of at least two of small, tall, found"):
        targets(examples, "tone", ("small", "tall"), ctx)
    with pytest.raises(DataError, match=r"found the attributes: age, tone; name a data set with such labels as"):
        targets(examples, "gender", ("woman", "man"), ctx)
    examples.attributes["age"] = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    assert targets(examples, "age", (), ctx).isnan().tolist() == [False, False, True, False, False, False]


def test_attacks_on_images_have_no_recogniser_unless_they_say_so() -> None:
    attack = AttributesAdapted()
    ctx = recogniser_context(attack)
    ctx.capabilities = type(ctx.capabilities).of_attack(attack.sees, {}, image_size=(16, 16))
    with pytest.raises(CapabilityError, match="'attributes' with 'recogniser' in its sees"):
        ctx.evaluated()


# ---- the estimator ---------------------------------------------------------------------------------------------------


class Labelled(Pictures):
    """Pictures of women, which are dark, and of men; protection inverts them."""

    def __init__(self, people: int, seed: int = 0) -> None:
        super().__init__(people=people, each=1, seed=seed)
        men = np.arange(people) % 2 == 0
        self.images[:] = (self.images // 4 + np.where(men, 150, 30)[:, None, None, None]).astype(np.uint8)
        self.sent = 1 - self.clean(slice(None))
        self.attributes = {"gender": np.array(["woman", "man"])[men.astype(int)]}


def test_the_estimator_learns_from_protected_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "attributes.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in build(1).state_dict().items()}, path)
    monkeypatch.setattr(AttributesAdapted, "weights", lambda self: path)
    attack = AttributesAdapted(attributes=("gender",), steps=12, batch=16, rate=0.005, statistics="learn")
    ctx = recogniser_context(attack)
    state = {name: torch.from_numpy(v) for name, v in check_state(attack.fit(Labelled(48), ctx), "attack").items()}
    others = Labelled(16, seed=3)
    ctx = recogniser_context(attack, state)
    found = estimate_checked(attack, others.sent, ctx)
    assert set(found) == {"gender"}
    assert np.mean(np.array(["woman", "man"])[found["gender"].argmax(1)] == others.attributes["gender"]) > 0.9
