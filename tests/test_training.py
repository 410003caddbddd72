"""``bench train``: every entry is checked before any network is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, PluginError, SuiteError
from bench.plugins import Registry
from bench.training import train_suite

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
    """A function that trains a suite and returns what was said."""

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


def test_hook_bench_training_sets(registry: Registry) -> None:
    cls = registry.find("training_set", "toy-training", "here").cls
    assert list(cls(identities=2).labels()) == [0, 0, 1, 1]


def test_only_some_are_trained(train: Any, tmp_path: Path) -> None:
    assert train(SUITE, "toy-a") == ["training toy-a", "trained toy-a: sha256 of 6 images"]
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["toy-a.json"]


def test_a_model_that_is_not_in_the_suite(train: Any, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"--only toy-b: .*trains no such model; did you mean 'toy-a'\?"):
        train(SUITE, "toy-b")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("old", "new", "kind", "fragments"),
    [
        ('"toy-lost"', '"toy-x"', PluginError, ["train[1].model", "model", "'toy-x'"]),
        ('data = "toy-training"', 'data = "toy-faces"', PluginError, ["train[1].data", "training set", "'toy-faces'"]),
        ("identities", "identites", SuiteError, ["train[0].data.identites", "did you mean 'identities'?"]),
        ("identities = 3", 'identities = "x"', SuiteError, ["train[0].data.identities", "integer"]),
        ('["toy-faces"]', '["toy"]', PluginError, ["train[0].validate_on[0]", "dataset", "'toy'"]),
        ("seed = 5", "sead = 5", SuiteError, ["train[0].sead", "did you mean 'seed'?"]),
        ('model = "toy-lost"', "", SuiteError, ["train[1].model", "expected a value"]),
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
