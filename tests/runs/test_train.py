"""``bench train``: every entry is checked before any network is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api.datasets import TrainingJob
from bench.core.errors import BenchError, PluginError, SuiteError
from bench.registry.discovery import Registry
from bench.runs.train import train_suite

SUITE = """\
[suite]
name = "zoo"

[recipe]
epochs = 2
rate = 0.1

[[train]]
model = "toy-a"
data = { plugin = "toy-training", identities = 3 }
seed = 5
validate_on = ["toy-faces"]
[train.recipe]
rate = 0.5

[[train]]
model = "toy-lost"
data = "toy-training"
"""


@pytest.fixture
def train(tmp_path: Path, toy_installed: Registry) -> Any:
    """Return a function that trains a suite and returns the logged lines."""

    def run(text: str, *only: str, overrides: tuple[str, ...] = ()) -> list[str]:
        (tmp_path / "zoo.toml").write_text(text)
        said: list[str] = []
        train_suite(tmp_path / "zoo.toml", overrides, only, tmp_path / "work", said.append)
        return said

    return run


def test_models_are_trained_one_after_the_other(train: Any, tmp_path: Path) -> None:
    said = train(SUITE)
    assert said == [
        "training toy-a",
        "trained toy-a: sha256 of 6 images",
        "training toy-lost",
        "trained toy-lost: sha256 of 8 images",
    ]
    job = json.loads((tmp_path / "work" / "toy-a.json").read_text())
    assert job == {
        "images": 6,
        "shape": [2, 3, 32, 32],
        "seed": 5,
        "recipe": {"epochs": 2, "rate": 0.5},
        "validate_on": ["toy-faces"],
    }


def test_an_attack_is_trained_like_a_model(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_abuse import Abuse

    jobs = []

    def learn(self: Abuse, job: TrainingJob) -> dict[str, str]:
        jobs.append(job)
        return {"sha256": "of nothing"}

    monkeypatch.setattr(Abuse, "train", learn)
    said = train(SUITE.replace('model = "toy-lost"', 'attack = "abuse"\nseed = 9'), "abuse")
    assert said == ["training abuse", "trained abuse: sha256 of nothing"]
    (job,) = jobs
    assert (job.name, job.seed, job.recipe) == ("abuse", 9, {"epochs": 2, "rate": 0.1})
    assert len(job.data.labels()) == 8
    assert job.work == tmp_path / "work"


def test_an_attack_that_cannot_be_trained_says_so(train: Any) -> None:
    with pytest.raises(BenchError, match=r"Abuse has no train\(\)"):
        train(SUITE.replace('model = "toy-lost"', 'attack = "abuse"'), "abuse")


def test_a_training_set_without_attribute_labels_says_so(registry: Registry) -> None:
    toys = registry.find("training_set", "toy-training", "here").cls()
    with pytest.raises(BenchError, match="ToyTraining has no attribute labels"):
        toys.attributes(np.arange(2))


def test_hook_bench_training_sets(registry: Registry) -> None:
    cls = registry.find("training_set", "toy-training", "here").cls
    assert list(cls(identities=2).labels()) == [0, 0, 1, 1]


def test_only_some_are_trained(train: Any, tmp_path: Path) -> None:
    assert train(SUITE, "toy-a") == ["training toy-a", "trained toy-a: sha256 of 6 images"]
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["toy-a.json"]


def test_a_model_that_is_not_in_the_suite(train: Any, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"--only toy-b: .*trains nothing of that name; did you mean 'toy-a'\?"):
        train(SUITE, "toy-b")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("old", "new", "kind", "fragments"),
    [
        ('"toy-lost"', '"toy-x"', PluginError, ["train[1].model", "model", "'toy-x'"]),
        ('data = "toy-training"', 'data = "toy-faces"', PluginError, ["train[1].data", "training set", "'toy-faces'"]),
        ("identities", "identites", SuiteError, ["train[0].data.identites", "did you mean 'identities'?"]),
        ("identities = 3", 'identities = "x"', SuiteError, ["train[0].data.identities", "integer"]),
        ('["toy-faces"]', '["toy"]', PluginError, ["train[0].validate_on[0]", "data set", "'toy'"]),
        ("seed = 5", "sead = 5", SuiteError, ["train[0].sead", "did you mean 'seed'?"]),
        ('model = "toy-lost"', "", SuiteError, ["train[1]", "expected one model, defense, attack or metric to train"]),
        (
            'model = "toy-lost"',
            'model = "toy-lost"\nattack = "abuse"',
            SuiteError,
            ["train[1]", "one model, defense, attack or metric"],
        ),
        ('model = "toy-lost"', 'attack = "abus"', PluginError, ["train[1].attack", "did you mean 'abuse'?"]),
        ('model = "toy-lost"', 'attack = "toy-a"', PluginError, ["train[1].attack", "'toy-a'"]),
        ('model = "toy-lost"', "model = { seed = 1 }", SuiteError, ["train[1].model.plugin", "expected the name"]),
        ('"toy-lost"', '"toy-a"', SuiteError, ["train[1].model", "'toy-a'", "twice"]),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(
    train: Any, tmp_path: Path, old: str, new: str, kind: type[BenchError], fragments: list[str]
) -> None:
    assert old in SUITE
    with pytest.raises(kind) as caught:
        train(SUITE.replace(old, new, 1))
    for fragment in ["zoo.toml", *fragments]:
        assert fragment in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_a_suite_without_training(train: Any) -> None:
    with pytest.raises(SuiteError, match=r"expected at least one \[\[train\]\], found none; .*bench run"):
        train('[suite]\nname = "zoo"\n')


def test_a_training_without_a_card_is_no_crash(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.models import ToyModel

    monkeypatch.setattr(ToyModel, "train", lambda self, job: None)
    with pytest.raises(BenchError, match=r"toy-a.*train\(\)"):
        train(SUITE)


def test_a_model_that_cannot_be_trained_says_so(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.models import ToyModel

    monkeypatch.delattr(ToyModel, "train")
    with pytest.raises(BenchError, match=r"ToyA has no train\(\)"):
        train(SUITE)
