"""The compact networks, their losses and the training loop, on tiny random data."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_zoo
import numpy as np
import pytest
import torch
from bench_training import losses
from bench_training.config import Phase, RunOptions, TrainConfig, read_recipe
from bench_training.data import MappedData, TrainData, prepare
from bench_training.evaluate import PairList, stratified_folds, ten_fold, verify
from bench_training.export import check_file, half_weights
from bench_training.jobs import train_job
from bench_training.loop import State, train
from bench_training.schedules import learning_rate, margin_share
from bench_zoo.loading import from_half, load
from bench_zoo.networks import ARCHITECTURES, N_STAGES, FaceNetwork, PReLU, build, count_flops, count_parameters
from bench_zoo.zoo_training import rounded
from numpy.typing import NDArray
from torch import Tensor

from bench import DataError, Dataset, Faces, Pairs, SuiteError, TrainingSet
from bench.api.context import Context
from bench.api.datasets import TrainingJob
from bench.metrics import recognition

CARDS = sorted((Path(bench_zoo.__file__).parent / "weights").glob("*.json"))
NAMES = sorted(ARCHITECTURES)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny batches gain nothing from threads and lose much when the cores are busy; sums keep their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(n: int, size: int = 112, seed: int = 0) -> Tensor:
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(seed))


# --- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_costs_stay_within_the_bars(name: str) -> None:
    net = build(name)
    assert count_flops(net) < 80e6
    assert count_parameters(net) < 1_000_000
    if name == "mobilenet":
        assert count_flops(net) < 26e6


def test_flops_by_hand() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 16, 5),
    )
    expected = 2 * (16 * 8 * 27 + 16 * 8 * 9 + 8 * 16 * 5)
    assert count_flops(net, size=8) == expected


@pytest.mark.parametrize("name", NAMES)
def test_five_stages_end_at_seven_by_seven(name: str) -> None:
    net = build(name).eval()
    x = images(2)
    maps = net.features(x)
    assert len(net.stages) == len(maps) == N_STAGES
    sides = [m.shape[-1] for m in maps]
    assert sides[0] == 56
    assert sides[-1] == 7
    assert sides == sorted(sides, reverse=True)
    embedding = net(x)
    assert embedding.shape == (2, 128)
    assert torch.equal(embedding, net.embed_features(maps[-1]))


@pytest.mark.parametrize("name", NAMES)
def test_features_run_nothing_beyond(name: str) -> None:
    net = build(name).eval()
    ran: list[int] = []
    for i, stage in enumerate(net.stages):
        stage.register_forward_hook(lambda *_, i=i: ran.append(i))
    short = net.features(images(1), upto=2)
    assert ran == [0, 1]
    assert all(torch.equal(a, b) for a, b in zip(short, net.features(images(1)), strict=False))
    for wrong in (0, 6):
        with pytest.raises(ValueError, match="upto"):
            net.features(images(1), upto=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_pixels_and_batches_do_not_mix(name: str) -> None:
    net = build(name).eval().requires_grad_(False)
    x = images(3).requires_grad_()
    net.features(x)[-1].square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().flatten(1).sum(1) > 0).all())
    alone = images(3)[1:2].requires_grad_()
    net.features(alone)[-1].square().sum().backward()
    assert alone.grad is not None
    torch.testing.assert_close(alone.grad[0], x.grad[1], rtol=1e-3, atol=1e-3 * float(x.grad.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_smaller_pictures_and_seeds(name: str) -> None:
    net = build(name, seed=1).eval()
    assert net(images(1, size=64)).shape == (1, 128)
    same, other = build(name, seed=1).state_dict(), build(name, seed=2).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in net.state_dict().items())
    assert not torch.equal(net.state_dict()["stages.0.0.weight"], other["stages.0.0.weight"])


def test_build_names_what_it_knows() -> None:
    with pytest.raises(ValueError, match="mobilenet"):
        build("lenet")


@pytest.mark.parametrize("slope", [0.25, -0.4, 0.99, 1.3])
def test_prelu_matches_the_built_in(slope: float) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((2, 5, 6, 7), generator=generator).contiguous(memory_format=torch.channels_last)
    grad = torch.randn((2, 5, 6, 7), generator=generator)
    ours, reference = PReLU(), torch.nn.PReLU()
    ours.weight.data.fill_(slope)
    reference.weight.data.fill_(slope)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours(a).backward(grad)
    reference(b).backward(grad)
    torch.testing.assert_close(ours(a), reference(b))
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.weight.grad, reference.weight.grad, rtol=1e-3, atol=1e-4)


# --- losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [5.0, 40.0, 90.0, 130.0, 175.0])
def test_margin_functions_by_hand(degrees: float) -> None:
    theta = math.radians(degrees)
    cosine = torch.tensor([math.cos(theta)], dtype=torch.float64)
    arc = math.cos(theta + 0.3) if theta + 0.3 < math.pi else math.cos(theta) - 0.3 * math.sin(0.3)
    assert losses.arcface(cosine, 0.3).item() == pytest.approx(arc, abs=1e-5)
    assert losses.cosface(cosine, 0.2).item() == pytest.approx(math.cos(theta) - 0.2)
    # A-softmax with m = 4, case by case as in the paper's definition
    k = int(degrees // 45)
    psi = (-1) ** k * math.cos(4 * theta) - 2 * k
    assert losses.sphereface(cosine, 4.0).item() == pytest.approx(psi, abs=1e-4)


@pytest.mark.parametrize("margin", [1.0, 1.35, 1.7, 3.0, 4.0])
def test_sphereface_falls_monotonously_from_one(margin: float) -> None:
    theta = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    psi = losses.sphereface(theta.cos(), margin)
    assert bool((psi.diff() < 0).all())
    assert bool((psi <= theta.cos() + 1e-9).all())
    assert psi[0].item() == pytest.approx(1.0, abs=1e-2)


def test_logits_by_hand() -> None:
    embeddings = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    classes = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    labels = torch.tensor([0, 1])
    cosine = torch.tensor([[0.6, 0.8], [0.0, 1.0]])

    def run(loss: losses.Loss, margin: float) -> Tensor:
        return losses.logits(loss, embeddings, classes, labels, scale=10.0, margin=margin)

    torch.testing.assert_close(run("softmax", 0.0), torch.tensor([[3.0, 20.0], [0.0, 10.0]]))
    torch.testing.assert_close(run("normface", 0.0), 10 * cosine)
    torch.testing.assert_close(run("cosface", 0.2), torch.tensor([[4.0, 8.0], [0.0, 8.0]]))
    torch.testing.assert_close(run("arcface", 0.0), 10 * cosine)
    arc = run("arcface", 0.5)
    assert arc[0, 0].item() == pytest.approx(10 * math.cos(math.acos(0.6) + 0.5), abs=1e-4)
    assert arc[0, 1].item() == pytest.approx(8.0, abs=1e-5)
    sphere = run("sphereface", 1.5)
    assert sphere[0, 0].item() == pytest.approx(10 * math.cos(1.5 * math.acos(0.6)), abs=1e-4)


def test_logits_refuse_what_they_do_not_know() -> None:
    x = torch.ones(1, 2)
    y = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="arcface"):
        losses.logits("triplet", x, x, y, scale=1.0, margin=0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        losses.logits("sphereface", x, x, y, scale=1.0, margin=0.5)


def test_spread_by_hand() -> None:
    embeddings = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    # cosines of different people: (0, 1) 0.6 and (0, 2) 0.0; the pair (1, 2) is one person
    assert losses.spread(embeddings, labels).item() == pytest.approx(0.3**2 + max(0.0, 0.18 - 0.5))
    close = torch.tensor([[1.0, 0.0], [4.0, 3.0]])
    assert losses.spread(close, labels[:2]).item() == pytest.approx(0.8**2 + 0.64 - 0.5)
    assert losses.spread(close, labels[1:]).item() == 0.0
    many = torch.randn((400, 128), generator=torch.Generator().manual_seed(0))
    assert losses.spread(many, torch.arange(400)).item() < 1e-4


def batch_of_pairs() -> tuple[Tensor, Tensor]:
    """Cosines (0, 1) .8, (0, 2) .6, (1, 2) 0 of two people: 0 and 1 are pictures of one, 2 of another."""
    cosine = torch.tensor([[1.0, 0.8, 0.6], [0.8, 1.0, 0.0], [0.6, 0.0, 1.0]], dtype=torch.float64)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    return cosine, same


def test_supcon_by_hand() -> None:
    cosine, same = batch_of_pairs()
    first = math.log(1 + math.exp(10 * (0.6 - 0.8)))
    second = math.log(1 + math.exp(10 * (0.0 - 0.8)))
    assert losses.supcon(cosine, same, 10.0).item() == pytest.approx((first + second) / 2)  # 2 has no second picture
    alone = torch.eye(3, dtype=torch.bool)
    assert losses.supcon(cosine, alone, 10.0).item() == 0.0


def test_triplet_by_hand() -> None:
    cosine, same = batch_of_pairs()
    # Picture 2 has no second picture. Of 0 and 1 there is one triplet each.
    first = math.log(1 + math.exp(10 * (0.6 - 0.8 + 0.1)))
    second = math.log(1 + math.exp(10 * (0.0 - 0.8 + 0.1)))
    assert losses.triplet(cosine, same, 10.0, 0.1).item() == pytest.approx((first + second) / 2)
    hinges = [max(0.0, 0.6 - 0.8 + 0.3), max(0.0, 0.0 - 0.8 + 0.3)]
    assert losses.triplet(cosine, same, 1e4, 0.3).item() / 1e4 == pytest.approx(sum(hinges) / 2)
    assert losses.triplet(cosine, torch.ones_like(same), 10.0, 0.1).item() == 0.0


@pytest.mark.parametrize("loss", sorted(losses.PAIR_LOSSES))
def test_losses_of_pairs_pull_people_together(loss: losses.Loss) -> None:
    """Descent separates the people of a batch, and neither the order of pictures nor their lengths matter."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn((12, 8), generator=generator).requires_grad_()
    labels = torch.arange(12) % 4
    options = {"scale": 16.0, "margin": 0.1}
    first = losses.pair_loss(loss, embeddings, labels, **options)
    order = torch.randperm(12, generator=generator)
    again = losses.pair_loss(loss, 3 * embeddings[order], labels[order], **options)
    assert again.item() == pytest.approx(first.item(), rel=1e-5)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(losses.pair_loss(loss, embeddings, labels, **options), embeddings)
        assert bool(gradient.isfinite().all())
        embeddings = (embeddings - 0.2 * gradient).detach().requires_grad_()
    unit = torch.nn.functional.normalize(embeddings.detach())
    same = labels[:, None] == labels[None, :]
    cosine = unit @ unit.T
    assert float(cosine[same].min()) > float(cosine[~same].max())
    last = losses.pair_loss(loss, embeddings, labels, **options)
    assert last.item() < first.item()


def test_a_loss_has_a_class_matrix_or_compares_pairs() -> None:
    x, y = torch.eye(2), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="supcon"):
        losses.pair_loss("arcface", x, y, scale=1.0, margin=0.0)
    with pytest.raises(ValueError, match="arcface"):
        losses.logits("supcon", x, x, y, scale=1.0, margin=0.0)


# --- schedules and configuration --------------------------------------------------------------------------------


def test_learning_rate_and_margin_by_hand() -> None:
    phase = Phase(images=1, identities=1, lr=0.2, lr_end=0.1, warmup=0.5, margin=1.0, margin_from=0.5, ramp=0.5)
    assert [learning_rate(phase, t) for t in (0.0, 0.25, 0.5, 0.75)] == pytest.approx([0.0, 0.1, 0.2, 0.15])
    assert [margin_share(phase, t) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.5, 0.75, 1.0, 1.0])


def job(recipe: dict[str, Any], tmp_path: Path, validate_on: dict[str, Dataset] | None = None) -> TrainingJob:
    return TrainingJob(
        name="tiny",
        data=Flat(),
        seed=3,
        recipe=recipe,
        validate_on=validate_on or {},
        validation_pairs=40,
        work=tmp_path,
        log=print,
        where="train[0].recipe",
        command="bench train tiny.toml",
    )


FIXED = {"architecture": "ir", "loss": "sphereface", "embedding_size": 128}


def test_a_recipe_becomes_a_configuration(tmp_path: Path) -> None:
    recipe = {"margin": 1.5, "log_every": 7, "phases": [{"images": 300, "identities": 2}]}
    config, options = read_recipe(TrainConfig, job(recipe, tmp_path), FIXED)
    assert config.total_steps == 3
    assert config.margin_at(0.5) == pytest.approx(1.25)
    assert config.digest != replace(config, seed=2).digest
    assert options == RunOptions(log_every=7)
    other, _ = read_recipe(TrainConfig, job({**recipe, "log_every": 8}, tmp_path), FIXED)
    assert other.digest == config.digest


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"epochs": 3}, "train[0].recipe.epochs: unknown parameter"),
        ({"phases": []}, "expected at least one phase"),
        ({"phases": 3}, "train[0].recipe.phases: expected tables"),
        ({"phases": [{"images": "many", "identities": 2}]}, "train[0].recipe.phases[0].images: input should be"),
        ({"phases": [{"identities": 2}]}, "train[0].recipe.phases[0].images: expected a value"),
        ({"phases": [{"images": 300, "lr": -1.0}]}, "train[0].recipe.phases[0].lr: input should be greater than 0"),
        ({"margin": 0.5, "phases": [{"images": 300, "identities": 2}]}, "expected a margin of at least 1"),
        ({"loss": "softmax"}, "train[0].recipe.loss: tiny fixes it"),
        ({"bf16": True}, 'train[0].recipe.bf16: expected precision = "bf16"'),
        ({"precision": "fp8"}, "train[0].recipe.precision: input should be 'float32', 'bf16' or 'fp16'"),
        ({"loss": "supcon", "per_person": 1, "phases": [{"images": 300}]}, "expected per_person of at least 2"),
        ({"batch": 128, "per_person": 3, "margin": 1.5, "phases": [{"images": 300}]}, "multiple of per_person = 3"),
        ({"workers": -1}, "train[0].recipe.workers: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, recipe: dict[str, Any], message: str) -> None:
    fixed = FIXED if recipe.get("loss") != "supcon" else {k: v for k, v in FIXED.items() if k != "loss"}
    with pytest.raises(SuiteError, match=re.escape(message)):
        read_recipe(TrainConfig, job(recipe, tmp_path), fixed)


# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Flat(TrainingSet):
    """Flat colours: a colour per person, and a little noise per picture."""

    seed: int = 5
    groups: tuple[tuple[int, int], ...] = ((6, 8), (4, 4))

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def labels(self) -> NDArray[np.int64]:
        people = np.repeat(np.arange(len(self.groups)), [n for n, _ in self.groups])
        return np.repeat(np.arange(len(people)), [self.groups[g][1] for g in people])

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        labels, out = self.labels(), np.empty((len(rows), 3, 112, 112), np.uint8)
        for i, row in enumerate(rows.tolist()):
            colour = np.random.default_rng([self.seed, int(labels[row])]).integers(20, 236, (3, 4, 4))
            noise = np.random.default_rng([self.seed, 1000 + row]).integers(-10, 11, (3, 4, 4))
            out[i] = np.kron(colour + noise, np.ones((1, 28, 28), np.int64)).astype(np.uint8)
        return out


class Refusing(Flat):
    """The same faces, which must not be drawn."""

    def fingerprint(self) -> str:
        return Flat().fingerprint()

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise AssertionError("drawn again")


TINY = TrainConfig(
    name="tiny",
    architecture="mobilenet",
    loss="arcface",
    seed=3,
    margin=0.3,
    batch=16,
    phases=(
        Phase(images=96, identities=6, size=32, lr=0.05),
        Phase(images=64, identities=10, size=32, lr=0.05, margin=1.0, spread=1.0),
    ),
)


SOURCE = Flat()


@pytest.fixture
def data(tmp_path: Path) -> MappedData:
    return prepare(SOURCE, tmp_path / "cache", progress=lambda _: None)


def test_prepare_renders_once(tmp_path: Path, data: MappedData) -> None:
    assert data.images.shape == (64, 112, 112, 3)
    assert data.labels.tolist() == sorted(data.labels.tolist())
    assert data.prefix(6) == 48

    again = prepare(Refusing(), tmp_path / "cache")
    assert np.array_equal(again.images, data.images)
    assert np.array_equal(SOURCE.images(np.array([60, 3])), data.images[[60, 3]].transpose(0, 3, 1, 2))
    changed = (replace(SOURCE, groups=((6, 8),)), replace(SOURCE, seed=6))
    assert len({s.fingerprint() for s in (SOURCE, *changed)}) == 3
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npy"]


def fit(config: TrainConfig, data: TrainData, folder: Path, **more: Any) -> State | None:
    def first() -> FaceNetwork:
        return build(config.architecture, config.seed)

    return train(config, data, first, folder, fingerprint="flat", progress=lambda _: None, **more)


@pytest.mark.slow
def test_training_continues_to_the_same_weights(tmp_path: Path, data: TrainData) -> None:
    sizes: list[int] = []
    straight = fit(TINY, data, tmp_path / "a", validate=lambda _, size: sizes.append(size))
    assert sizes == [32, 32]
    pieces = 0
    while (resumed := fit(TINY, data, tmp_path / "b", stop_after=4)) is None:
        pieces += 1
    assert pieces == 2
    assert straight is not None
    weights = straight.learner.net.state_dict()
    for (name, a), b in zip(weights.items(), resumed.learner.net.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(DataError, match="belongs to another recipe"):
        fit(replace(TINY, seed=4), data, tmp_path / "b")


@dataclass(frozen=True, kw_only=True)
class Seen(Dataset):
    """Pairs of the people of `Flat`."""

    def fingerprint(self) -> str:
        return "seen"

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        rows, i = np.arange(48), np.arange(pairs)
        same = i % 2 == 0
        left = i % 6 * 8
        faces = Faces(images=SOURCE.images(rows), subjects=SOURCE.labels()[rows], sample_ids=rows.astype(str))
        right = np.where(same, left + 1, (left + 8) % 48)
        return faces, Pairs(left=left, right=right, same=same, fold=stratified_folds(same))

    def calibration(self, ctx: Context) -> Faces:
        raise AssertionError("no threshold is set here")


@pytest.mark.slow
def test_loss_falls_and_the_card_is_complete(tmp_path: Path) -> None:
    lines: list[str] = []
    phase = Phase(images=50 * 8 * 2, identities=10, size=112, lr=0.05)
    config = replace(TINY, loss="cosface", batch=8, phases=(phase,))
    card = train_job(
        replace(job({}, tmp_path, {"seen": Seen()}), log=lines.append),
        config,
        RunOptions(),
        build=lambda: build(config.architecture, config.seed),
        finish=lambda net: rounded(config.architecture, net),
        weights_dir=tmp_path / "weights",
    )
    first, second = (float(s.split("loss ")[1].split()[0]) for s in lines if " loss " in s)
    assert second < first
    path = check_file(tmp_path / "weights" / "tiny.json")
    assert load("mobilenet", path, ["a"])(images(2)).shape == (2, 128)
    assert card == json.loads((tmp_path / "weights" / "tiny.json").read_text())
    assert card["verification"][0]["pairs"] == 40
    low, high = card["verification"][0]["interval"]
    assert low <= card["verification"][0]["accuracy"] <= high
    assert card["data"]["fingerprint"] == SOURCE.fingerprint()
    assert (card["processes"], card["command"]) == ([1], "bench train tiny.toml")
    assert card["recipe_digest"] == config.digest
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="sha256"):
        check_file(tmp_path / "weights" / "tiny.json")


# --- evaluation -------------------------------------------------------------------------------------------------


def test_ten_fold_by_hand() -> None:
    same = np.array([True, False] * 10)
    fold = np.arange(20) // 2
    scores = np.where(same, 0.8, 0.2)
    accuracies, thresholds = ten_fold(scores, same, fold)
    assert accuracies.tolist() == [1.0] * 10
    assert thresholds == pytest.approx(0.5)
    scores[0] = 0.1  # a genuine pair below the impostors: wrong in its own fold only
    assert ten_fold(scores, same, fold)[0].tolist() == [0.5] + [1.0] * 9


def test_ten_fold_agrees_with_the_hosts() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(1200) % 2 == 0
    scores = rng.normal(size=1200) + 2 * same
    fold = stratified_folds(same)
    host = recognition.ten_fold_accuracy(scores, same, fold)
    accuracies, thresholds = ten_fold(scores, same, fold)
    assert host.accuracy == pytest.approx(accuracies.mean(), abs=0.002)  # equally good thresholds may differ
    assert len(host.thresholds) == len(thresholds) == 10


def test_ten_fold_of_chance_is_half() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(4000) % 2 == 0
    accuracies, _ = ten_fold(rng.normal(size=4000), same, stratified_folds(same))
    assert accuracies.mean() == pytest.approx(0.5, abs=0.04)


def test_half_precision_round_trip() -> None:
    net = build("ir", seed=2).eval()
    weights = half_weights(net)
    assert sum(w.numel() * w.element_size() for w in weights.values()) < 2e6
    again = from_half("ir", weights)
    torch.testing.assert_close(again(images(1)), net(images(1)), rtol=0.05, atol=0.05)
    with torch.no_grad():
        net.stages[0][0].weight.fill_(1e6)  # type: ignore[index]
    with pytest.raises(ValueError, match="half precision"):
        half_weights(net)


def test_verify_is_symmetric_under_mirroring() -> None:
    net = build("mobilenet", seed=2)
    x = (images(4) * 255).to(torch.uint8)
    both = torch.cat([x, x.flip(3)])
    same = np.array([True] * 4)
    pairs = PairList(
        name="mirror",
        images=both.numpy(),
        left=np.concatenate([np.arange(4), np.arange(4)]),
        right=np.concatenate([np.arange(4) + 4, (np.arange(4) + 1) % 4]),
        same=np.concatenate([same, ~same]),
        fold=np.array([0, 1, 0, 1, 0, 1, 0, 1]),
    )
    assert verify(net, pairs).genuine_mean == pytest.approx(1.0, abs=1e-4)


# --- bundled weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card_path", CARDS, ids=lambda p: p.stem)
def test_bundled_weights_match_their_card(card_path: Path) -> None:
    path = check_file(card_path)
    card = json.loads(card_path.read_text())
    load(card["architecture"], path, [])
    assert card["bytes"] < 2_000_000
    assert card["mflops"] < 80
    assert card["parameters"] == count_parameters(build(card["architecture"]))
    accuracy = {v["name"]: v["accuracy"] for v in card["verification"]}
    bars = {"synth-lfw": 0.97, "synth-cfp-ff": 0.97, "synth-agedb30": 0.95, "synth-calfw": 0.93}
    for name, bar in bars.items():
        assert accuracy[name] >= bar, name
    for v in card["verification"]:
        assert v["pairs"] >= 1000
        # Judges have calibrated thresholds only; see docs/design/embedded-default.md.
        assert v["impostor_std"] <= (0.20 if card["name"].startswith("zoo-judge-") else 0.15), v["name"]
