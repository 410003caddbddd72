"""The zoo's declarations, made without torch, match its networks; its weights are small and match their cards."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from bench_zoo import MODELS, WEIGHTS
from bench_zoo.loading import SplitNetwork
from bench_zoo.networks import build, count_flops

from bench import DataError, registered

# 10-fold accuracy on identities that were not trained on, per protocol; the spread of impostor cosines on all
ACCURACY = {"synth-lfw": 0.97, "synth-cfp-ff": 0.97, "synth-agedb30": 0.95, "synth-calfw": 0.93}
IMPOSTOR_STD, JUDGES_STD = 0.15, 0.20  # Judges have calibrated thresholds only.


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_declarations_are_true(name: str) -> None:
    model = MODELS[name]()
    network = SplitNetwork(build(model.architecture).eval(), tuple(model.splits))
    images = torch.rand(2, 3, *model.input_size)
    assert network(images).shape == (2, model.embedding_size)
    maps = network.features(images, list(model.splits))
    assert [tuple(m.shape[1:]) for m in maps] == list(model.splits.values())
    assert maps[-1].shape[2:] == (7, 7)
    assert count_flops(network) / 1e6 == pytest.approx(model.mflops, abs=0.05)
    assert model.mflops < (30 if model.architecture == "mobilenet" else 80)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_weights_are_bundled_and_meet_the_bars(name: str) -> None:
    path = MODELS[name]().weights()
    card = json.loads(path.with_suffix(".json").read_text())
    content = path.read_bytes()
    assert len(content) < 2_000_000
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["name"] == name
    assert card["loss"] == MODELS[name].loss
    assert card["data"]["training_set"] == registered("training_set")[MODELS[name].trained_on].__name__
    measured = {row["name"]: row for row in card["verification"]}
    assert set(measured) == set(ACCURACY)
    for protocol, row in measured.items():
        assert row["pairs"] >= 1000
        assert row["accuracy"] >= ACCURACY[protocol], protocol
        assert row["impostor_std"] <= (JUDGES_STD if name.startswith("zoo-judge-") else IMPOSTOR_STD), protocol


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 16_000_000


def test_judges_share_nothing_with_the_stand_ins() -> None:
    judges = {name: model for name, model in MODELS.items() if name.startswith("zoo-judge-")}
    assert len(judges) >= 2
    for name, judge in judges.items():
        assert judge.stands_in_for is None
        for other, model in MODELS.items():
            if other not in judges:
                for fact in ("architecture", "loss_kind", "trained_on", "trained_on_people"):
                    assert getattr(judge, fact)
                    assert getattr(model, fact)
                    assert getattr(judge, fact) != getattr(model, fact), (name, other, fact)


@pytest.mark.parametrize("name", [name for name in sorted(MODELS) if name.startswith("zoo-judge-")])
def test_judges_are_as_strong_as_the_stand_ins(name: str) -> None:
    card = json.loads(MODELS[name]().weights().with_suffix(".json").read_text())
    accuracy = {row["name"]: row["accuracy"] for row in card["verification"]}
    assert accuracy["synth-lfw"] >= 0.99
    assert min(accuracy.values()) >= 0.98


@pytest.mark.slow
def test_networks_are_independent() -> None:
    """Seeds differ, and no two networks give related embeddings of the same images."""
    cards = [json.loads(path.read_text()) for path in sorted(WEIGHTS.glob("*.json"))]
    assert len({card["seed"] for card in cards}) == len(MODELS)
    images = torch.rand(16, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embeddings = [torch.nn.functional.normalize(MODELS[name]().load()(images), dim=1) for name in sorted(MODELS)]
    for i, left in enumerate(embeddings):
        for right in embeddings[:i]:
            assert abs(float((left * right).sum(1).mean())) < 0.5


def test_missing_weights_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("bench_zoo.WEIGHTS", tmp_path)
    with pytest.raises(DataError, match=r"bench train suites/zoo\.toml"):
        MODELS["zoo-resnet"]().weights()
