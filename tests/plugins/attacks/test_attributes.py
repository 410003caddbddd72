"""The attribute attack: what it declares without torch, its bundled network, and how that is trained."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_attributes
import numpy as np
import pytest
import torch
from bench_attributes import CLASSES, Attributes
from bench_attributes.builtin import _network
from bench_attributes.evaluate import measure
from bench_attributes.network import AttributeNetwork, build
from bench_attributes.training import Recipe, _balance, _rows, encode, fit, train_attributes
from bench_synthfaces import SynthLfw, SynthTraining
from bench_synthfaces.generator import EMOTIONS, GENDERS, GROUPS, render
from bench_synthfaces.protocols import SEED
from bench_training.data import MappedData, TrainData
from numpy.typing import NDArray

from bench import ContractError, DataError, Faces, SuiteError, TrainingSet
from bench.api.datasets import TrainingJob

CTX: Any = SimpleNamespace()


@pytest.fixture(scope="module")
def unseen() -> Faces:
    """Faces of people that nothing was trained on."""
    faces, _ = SynthLfw().evaluation(60, CTX)
    return faces


def test_classes_are_those_of_the_generator() -> None:
    assert {"gender": GENDERS, "emotion": EMOTIONS, "group": GROUPS} == CLASSES
    assert Attributes().classes() == CLASSES
    assert Attributes(attributes=("age", "emotion")).classes() == {"emotion": EMOTIONS}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"attributes": ("race",)}, "expected some of age, gender, emotion, group for builtin, got 'race'"),
        ({"backend": "deepface", "attributes": ("group",)}, "age, gender, emotion, race for deepface, got 'group'"),
        ({"attributes": ("age", "age")}, "got 'age' more than once"),
    ],
)
def test_attributes_that_a_backend_does_not_know(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attributes(**params)


def test_the_built_in_estimator_works_without_other_plugins() -> None:
    code = (
        "import sys; sys.modules['bench_uniface'] = sys.modules['bench_facenets'] = None;"  # importing them fails
        "from bench_attributes import Attributes; a = Attributes(backend='builtin');"
        "print(len(a.fingerprint()), sorted(a.classes()), a.license, a.estimated)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("64 ['emotion', 'gender', 'group'] same as this project")


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys; from bench_attributes import Attributes; a = Attributes();"
        "print(len(a.fingerprint()), sorted(a.classes()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[0] == "64 ['emotion', 'gender', 'group'] False"


def test_the_weights_are_bundled_and_meet_the_bars() -> None:
    path = bench_attributes.weights()
    card = json.loads(path.with_suffix(".json").read_text())
    content = path.read_bytes()
    assert len(content) < 1_500_000
    assert card["sha256"] == Attributes().fingerprint() == hashlib.sha256(content).hexdigest()
    assert card["classes"] == {name: list(names) for name, names in CLASSES.items()}
    clean = card["evaluation"]["synth-lfw"]
    assert clean["images"] == 1000
    assert clean["gender"]["accuracy"] > 0.93
    assert clean["emotion"]["balanced"] > 0.68
    assert clean["group"]["accuracy"] > 0.35
    assert clean["age"]["error_years"] < 8.0 < 10.0 < clean["age"]["constant"]


@pytest.mark.slow
def test_estimates_are_ages_and_probabilities(unseen: Faces) -> None:
    images = torch.from_numpy(unseen.images[:9]).float() / 255
    before = images.clone()
    found = Attributes().estimate(images, CTX)
    assert torch.equal(images, before)
    assert list(found) == ["age", *CLASSES]
    assert found["age"].shape == (9,)
    assert ((found["age"] > 0) & (found["age"] < 100)).all()
    for name, names in CLASSES.items():
        assert found[name].shape == (9, len(names))
        assert (found[name] >= 0).all()
        assert found[name].sum(1).tolist() == pytest.approx([1] * 9, abs=1e-5)
    alone = Attributes(attributes=("emotion",)).estimate(images[3:4], CTX)
    assert list(alone) == ["emotion"]
    assert torch.allclose(alone["emotion"][0], found["emotion"][3], atol=1e-5)


def test_images_of_any_size_are_taken(unseen: Faces) -> None:
    images = torch.from_numpy(unseen.images[:8]).float() / 255
    larger = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear")
    exact, resized = (Attributes(attributes=("gender",)).estimate(x, CTX)["gender"] for x in (images, larger))
    assert torch.nn.functional.cosine_similarity(exact, resized).mean() > 0.95


@pytest.mark.slow
def test_the_card_holds_on_faces_drawn_now(unseen: Faces) -> None:
    """120 of the card's 1000 images; a number may differ by chance, but not by much."""
    card = json.loads(bench_attributes.weights().with_suffix(".json").read_text())
    network = _network(bench_attributes.weights(), "cpu")
    for sigma, label in ((0.0, "synth-lfw"), (0.3, "synth-lfw, noise 0.3")):
        measured, written = measure(network, unseen, sigma), card["evaluation"][label]
        assert measured["age"]["error_years"] == pytest.approx(written["age"]["error_years"], abs=1.5)
        for name in CLASSES:
            assert measured[name]["accuracy"] == pytest.approx(written[name]["accuracy"], abs=0.12)


def test_measures_against_hand_worked_ones(unseen: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = Faces(
        images=unseen.images[:4],
        subjects=np.array([1, 1, 2, 3]),
        sample_ids=unseen.sample_ids[:4],
        attributes={
            "age": np.array([20.0, 30.0, 40.0, 50.0]),
            "gender": np.array(["man", "man", "man", "woman"]),
            "emotion": np.array(["happy"] * 4),
            "group": np.array(["group-a", "group-b", "group-b", "group-c"]),
        },
    )
    always = {"age": np.full(4, 35.0), **{name: np.eye(len(names))[[1] * 4] for name, names in CLASSES.items()}}
    monkeypatch.setattr("bench_attributes.evaluate.estimates", lambda *args: always)
    found = measure(build(0), faces)
    assert (found["images"], found["people"]) == (4, 3)
    assert found["age"] == {"error_years": 10.0, "constant": 10.0}
    assert found["gender"] == {"accuracy": 0.75, "constant": 0.75, "balanced": 0.5}
    assert found["emotion"] == {"accuracy": 0.0, "constant": 1.0, "balanced": 0.0}
    assert found["group"] == {"accuracy": 0.5, "constant": 0.5, "balanced": pytest.approx(1 / 3)}


def test_missing_and_foreign_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_attributes, "WEIGHTS", tmp_path)
    for call in (Attributes().fingerprint, lambda: Attributes().estimate(torch.rand(1, 3, 112, 112), CTX)):
        with pytest.raises(DataError, match=r"attributes\.safetensors.*missing.*bench train suites/attributes\.toml"):
            call()
    (tmp_path / "attributes.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="expected the weights of the attribute network"):
        Attributes().estimate(torch.rand(1, 3, 112, 112), CTX)


# Labels of the training set


@pytest.mark.slow
def test_training_labels_are_those_of_the_drawn_pictures() -> None:
    """Each picture is drawn again from its label: the age decides pixels, so equal pixels mean equal ages."""
    source = SynthTraining(groups=((20, 2), (10, 3)), any_age_share=0.5, frontal_share=0.3)
    rows = np.random.default_rng(0).permutation(70)[:24]
    labels, images, subjects = source.attributes(rows), source.images(rows), source.labels()[rows]
    everyone = source.labels()
    shots = rows - np.searchsorted(everyone, subjects)  # pictures of a person follow each other
    ages = torch.from_numpy(labels["age"])
    drawn = [render(SEED, subjects, shots, age=ages, style=style) for style in ("wild", "frontal")]
    same = [(d.images.numpy() == images).all((1, 2, 3)) for d in drawn]
    assert (same[0] | same[1]).all()
    assert same[0].any()
    assert same[1].any()
    assert [EMOTIONS[i] for i in drawn[0].emotion] == labels["emotion"].tolist()
    assert [GENDERS[i] for i in drawn[0].gender] == labels["gender"].tolist()
    assert [GROUPS[i] for i in drawn[0].group] == labels["group"].tolist()
    assert np.array_equal(source.attributes(rows[3:5])["age"], labels["age"][3:5])


# Training


class Patches(TrainingSet):
    """Pictures in which each attribute has a separate grey value, so that it is easily learnt. 48 pixels wide."""

    def fingerprint(self) -> str:
        return "patches"

    def labels(self) -> NDArray[np.int64]:
        return np.arange(96, dtype=np.int64)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.zeros((len(rows), 3, 112, 112), np.uint8)
        out[:, 0] = (rows % 2 * 200)[:, None, None]
        out[:, 1] = (rows % 7 * 30)[:, None, None]
        out[:, 2] = (rows % 6 * 40)[:, None, None]
        return out

    def attributes(self, rows: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        named = {name: np.array(names)[rows % len(names)] for name, names in CLASSES.items()}
        return {"age": 20.0 + 40 * (rows % 2), **named}


SMALL = Recipe(images=48, batch=8, small_share=0.8, small_size=32, noise_share=0.3, lr=1e-3)


def patches() -> tuple[TrainData, dict[str, torch.Tensor]]:
    source, rows = Patches(), np.arange(96)
    data = MappedData(images=source.images(rows).transpose(0, 2, 3, 1), labels=source.labels())
    return data, encode(source.attributes(rows), "patches")


@pytest.mark.slow
def test_training_learns_and_an_interruption_changes_nothing(tmp_path: Path) -> None:
    data, targets = patches()
    said: list[str] = []
    straight = fit(SMALL, 1, data, targets, tmp_path / "straight.pt", "run", said.append)
    assert said[0].startswith("step 6/6 size 112 losses age ")
    stopped = fit(SMALL, 1, data, targets, tmp_path / "stopped.pt", "run", said.append, stop_after=4)
    assert stopped.step == 4
    continued = fit(SMALL, 1, data, targets, tmp_path / "stopped.pt", "run", said.append)
    assert continued.step == straight.step == SMALL.steps == 6
    assert not continued.net.training
    other = fit(SMALL, 2, data, targets, tmp_path / "other.pt", "run", said.append)
    for (name, one), two, three in zip(
        straight.net.state_dict().items(),
        continued.net.state_dict().values(),
        other.net.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, two), name
        assert "num_batches" in name or not torch.equal(one, three)
    with pytest.raises(DataError, match=r"stopped\.pt: belongs to another run \(run\), expected another"):
        fit(SMALL, 1, data, targets, tmp_path / "stopped.pt", "another", said.append)


@pytest.mark.slow
def test_a_longer_training_tells_easy_patterns_apart(tmp_path: Path) -> None:
    data, targets = patches()
    recipe = Recipe(images=16 * 40, batch=16, small_share=1, small_size=32, lr=3e-3)
    net = fit(recipe, 1, data, targets, tmp_path / "c.pt", "run", lambda line: None).net
    small = torch.nn.functional.interpolate(data.batch(np.arange(96)).float() / 255, size=(32, 32))
    with torch.no_grad():
        found = net(small)
    assert (found["gender"].argmax(1) == targets["gender"]).float().mean() > 0.95
    assert (found["emotion"].argmax(1) == targets["emotion"]).float().mean() > 0.6
    assert (found["age"] - targets["age"]).abs().mean() < 8


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        name="attributes",
        data=SynthTraining(groups=((6, 2),)),
        seed=3,
        recipe={"images": 24, "batch": 12, "small_size": 32},
        validate_on={"synth-lfw": SynthLfw()},
        validation_pairs=20,
        work=tmp_path / "work",
        log=lambda line: None,
        where="train[0].recipe",
    )


@pytest.mark.slow
def test_a_job_becomes_weights_with_a_card(job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_attributes, "WEIGHTS", tmp_path / "weights")
    card = Attributes().train(job)
    written = json.loads((tmp_path / "weights" / "attributes.json").read_text())
    assert written == card
    assert card["sha256"] == Attributes().fingerprint()
    assert card["data"]["fingerprint"] == job.data.fingerprint()
    assert (card["data"]["identities"], card["data"]["images"], card["seed"]) == (6, 12, 3)
    assert card["recipe"]["images"] == 24
    assert set(card["evaluation"]) == {"synth-lfw", "synth-lfw, noise 0.3"}
    assert card["evaluation"]["synth-lfw"]["images"] == 40
    assert Attributes().estimate(torch.rand(2, 3, 112, 112), CTX)["emotion"].shape == (2, 7)


def test_recipes_and_labels_that_make_no_sense(job: TrainingJob, tmp_path: Path) -> None:
    def changed(**changes: Any) -> TrainingJob:
        return TrainingJob(**{**vars(job), **changes})

    with pytest.raises(SuiteError, match=r"train\[0\]\.recipe\.image: unknown parameter .* did you mean 'images'"):
        train_attributes(changed(recipe={"image": 3}), tmp_path)
    with pytest.raises(SuiteError, match=r"train\[0\]\.recipe\.images: expected a value"):
        train_attributes(changed(recipe={}), tmp_path)
    with pytest.raises(SuiteError, match=r"train\[0\]\.recipe: deepface is not trained by bench"):
        Attributes(backend="deepface").train(job)
    labels = dict(Patches().attributes(np.arange(4)))
    with pytest.raises(ContractError, match=r"toys: emotion: expected labels of \['angry', .*got \['bored'\]"):
        encode({**labels, "emotion": np.array(["bored"] * 4)}, "toys")
    del labels["group"]
    with pytest.raises(ContractError, match="toys: the training set has no labels for group"):
        encode(labels, "toys")


def test_schedules() -> None:
    recipe = Recipe(images=1000, batch=10, small_share=0.45, small_size=64, lr=0.1, warmup=0.1)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert np.argmax(rates) in (9, 10)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert [recipe.size(step) for step in (0, 44, 45, 99)] == [64, 64, 112, 112]


def test_every_image_is_seen_once_per_pass() -> None:
    recipe = Recipe(images=120, batch=8)
    rows = np.concatenate([_rows(recipe, 5, step, 30) for step in range(15)])
    assert np.bincount(rows).tolist() == [4] * 30
    assert not np.array_equal(_rows(recipe, 5, 0, 30), _rows(recipe, 6, 0, 30))


def test_every_class_counts_the_same() -> None:
    weights = _balance(torch.tensor([0, 0, 0, 1, 2, 2]), 3)
    assert (weights * torch.tensor([3, 1, 2])).tolist() == pytest.approx([2, 2, 2])


def test_the_networks_size() -> None:
    assert sum(p.numel() for p in AttributeNetwork().parameters()) < 700_000
    one, two = (build(seed).state_dict() for seed in (1, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
