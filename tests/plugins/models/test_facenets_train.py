"""``bench train`` on full-size networks and a folder of faces: from a suite to weights that are found and loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_facenets import NAMED
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.preprocess import Preprocess
from bench_facenets.networks import build
from bench_facenets.train import FaceNetConfig, train_facenet
from bench_training.export import check_file
from bench_zoo import MODELS as ZOO
from bench_zoo import WEIGHTS
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from support import TESTS
from torch import Tensor

from bench.api.datasets import TrainingJob
from bench.core.errors import BenchError, DataError, SuiteError
from bench.registry.components import instantiate
from bench.registry.discovery import discover
from bench.runs.train import train_suite
from bench.suite.suite import read

SUITES = TESTS.parent / "suites"
SUITE = """\
[suite]
name = "mine"

[recipe]
batch = 6
precision = "float32"
checkpoint_every = 1
log_every = 2
draw_up_to_gb = 4.0
embedding_size = 64

[[recipe.phases]]
images = 24
lr = 0.02
margin = 1.0

[[train]]
model = "mobileface"
data = { plugin = "face-set", path = "faces" }
seed = 3
validate_on = ["lfw", "synth-lfw"]
validation_pairs = 20
"""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("BENCH_DATA", "BENCH_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a suite and 24 generated faces of 6 people, in which the test runs."""
    for person in range(6):
        folder = tmp_path / "faces" / f"person-{person}"
        folder.mkdir(parents=True)
        for shot in range(4):
            colours = np.random.default_rng([person]).integers(40, 216, (7, 7, 3))
            noise = np.random.default_rng([person, shot]).integers(-30, 31, (7, 7, 3))
            pixels = np.kron(colours + noise, np.ones((16, 16, 1), np.int64)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{shot}.png")
    (tmp_path / "mine.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(home: Path) -> Callable[..., list[str]]:
    """Return a function that trains the suite in this process, with overrides, and returns the logged lines."""

    def run(*overrides: str, work: str = "work") -> list[str]:
        said: list[str] = []
        train_suite(home / "mine.toml", overrides, (), home / work, said.append)
        return said

    return run


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def embedded(path: Path, images: Tensor, pixels: Pixels) -> Tensor:
    """What the network in a file makes of images, by our own hands."""
    net = build("mobileface", embedding_size=64)
    net.load_state_dict(load_file(path), strict=True)
    with torch.no_grad():
        out: Tensor = net.eval()(Preprocess(pixels)(images))
    return out


@pytest.mark.slow
def test_a_folder_of_faces_becomes_weights_that_load(home: Path, train: Callable[..., list[str]]) -> None:
    said = train("recipe.channels='bgr'", "recipe.std=128.0")
    card = json.loads((home / "work" / "weights" / "mobileface.json").read_text())
    path = check_file(home / "work" / "weights" / "mobileface.json")
    assert said[-1] == f"trained mobileface: sha256 {card['sha256']}"
    assert any("phase 1/1 step 4/4" in line for line in said)
    assert any(line.startswith("mobileface is not validated on lfw: ") for line in said)
    assert (card["data"]["identities"], card["data"]["images"], card["processes"]) == (6, 24, [1])
    assert "license" in card["data"]
    assert len(card["data"]["fingerprint"]) == 64
    assert (card["recipe"]["margin"], card["recipe"]["scale"], card["recipe"]["embedding_size"]) == (0.5, 64.0, 64)
    assert [(row["name"], row["pairs"]) for row in card["verification"]] == [("synth-lfw", 20)]
    assert list(card["verification_missing"]) == ["lfw"]
    assert card["command"].startswith("bench train ")
    assert "--set=recipe.std=128.0" in card["command"]
    told = metadata(path)
    assert (told["bench.channels"], json.loads(told["bench.mean"]), json.loads(told["bench.std"])) == (
        "bgr",
        [127.5] * 3,
        [128.0] * 3,
    )
    assert (told["bench.recipe"], told["bench.embedding_size"]) == (card["recipe_digest"], "64")
    images = torch.rand((2, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    ours = embedded(path, images, Pixels(channels="bgr", std=(128.0,) * 3))
    assert ours.shape == (2, 64)


@pytest.mark.slow
def test_the_host_finds_and_loads_what_was_trained(
    home: Path, train: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train()
    monkeypatch.setenv("BENCH_WEIGHTS", str(home / "work" / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    model = next(cls for cls in NAMED if cls.name == "mobileface")()
    assert model.weights() == home / "work" / "weights" / "mobileface.safetensors"
    images = torch.rand((2, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    network = model.load()
    with torch.no_grad():
        loaded = network(images)
    torch.testing.assert_close(loaded, embedded(model.weights(), images, Pixels()), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_faces_decoded_on_the_fly_train_the_same_weights(train: Callable[..., list[str]], home: Path) -> None:
    train(work="drawn")
    assert any("decoded on the fly" in line for line in train("recipe.draw_up_to_gb=0.0", work="decoded"))
    drawn, decoded = (home / work / "weights" / "mobileface.safetensors" for work in ("drawn", "decoded"))
    assert drawn.read_bytes() == decoded.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("gigabytes", ["0.0", "4.0"])
def test_a_damaged_image_is_named(train: Callable[..., list[str]], home: Path, gigabytes: str) -> None:
    damaged = home / "faces" / "person-4" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DataError, match=r"person-4/2\.png"):
        train(f"recipe.draw_up_to_gb={gigabytes}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.batch=1", "train[0].recipe.batch: input should be greater than or equal to 2"),
        ("recipe.precision='half'", "train[0].recipe.precision: input should be 'float32', 'bf16' or 'fp16'"),
        ("recipe.loss='contrastive'", "train[0].recipe.loss: input should be"),
        ("recipe.loss=['softmax']", "train[0].recipe.loss: input should be"),
        ("recipe.phases[0].lr='fast'", "train[0].recipe.phases[0].lr: input should be a valid number"),
        ("recipe.phases[0].identities=7", "train[0].recipe.phases[0].identities: expected at most the 6 people"),
        ("recipe.mean=0.5", "train[0].recipe: mean = 0.5: expected a mean for pixels from 0 to 255"),
        ("recipe.channels='rbg'", "train[0].recipe.channels: input should be 'rgb' or 'bgr'"),
        ("recipe.architecture='ir50'", "train[0].recipe.architecture: mobileface fixes it as 'mobileface'"),
        ("recipe.workers=-1", "train[0].recipe.workers: input should be greater than or equal to 0"),
    ],
)
def test_mistakes_in_recipes_are_named(train: Callable[..., list[str]], override: str, message: str) -> None:
    with pytest.raises(SuiteError, match="mine.toml: " + re.escape(message)):
        train(override)


# --- processes --------------------------------------------------------------------------------------------------


def command(home: Path, work: str, *launch: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", *launch, "bench", "train", "mine.toml", "--work", work]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=home, text=True, env=environment, **pipes)


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_a_killed_training_ends_at_the_same_weights(home: Path, train: Callable[..., list[str]]) -> None:
    (home / "mine.toml").write_text(SUITE.replace("images = 24", "images = 72").replace('"lfw", "synth-lfw"', ""))
    train(work="straight")
    checkpoint = home / "killed" / "checkpoints" / "mobileface.checkpoint.pt"
    process = command(home, "killed")
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (home / "killed" / "weights").exists()
    assert "continues from" in end(command(home, "killed"))
    straight, killed = (home / work / "weights" / "mobileface.safetensors" for work in ("straight", "killed"))
    assert straight.read_bytes() == killed.read_bytes()


@pytest.mark.slow
def test_torchrun_trains_with_two_processes(home: Path) -> None:
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    out = end(command(home, "two", *launch))
    assert out.count("training mobileface") == 1
    assert out.count("phase 1/1 step 4/4") == 1
    card = json.loads(check_file(home / "two" / "weights" / "mobileface.json").with_suffix(".json").read_text())
    assert card["processes"] == [2]


# --- the suites in the repository -------------------------------------------------------------------------------


def recipes(suite: str) -> dict[str, dict[str, Any]]:
    """The recipe of every entry of a suite, as the plugin gets it."""
    file = read(SUITES / suite, ()).tables
    return {str(table.subject[1]): {**file.recipe, **table.recipe} for table in file.train}


def test_casia_trains_the_six_by_the_published_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read(SUITES / "casia.toml", ()).tables
    registry, made = discover(), {}

    def record(job: TrainingJob, config: FaceNetConfig, options: Any, **_: Any) -> dict[str, Any]:
        made[job.name] = config
        return {}

    monkeypatch.setattr("bench_facenets.train.train_job", record)
    for table in file.train:
        name = str(table.subject[1])
        model = registry.find("model", name, "here").cls()
        assert [registry.find("dataset", str(label), "here") for label in table.validate_on]
        job = TrainingJob(
            name=name,
            data=registry.find("training_set", str(table.data), "here").cls(),
            seed=table.seed,
            recipe={**file.recipe, **table.recipe},
            validate_on={},
            validation_pairs=table.validation_pairs,
            work=tmp_path,
            log=print,
            where="train[0].recipe",
        )
        model.train(job)
        assert made[name].loss == model.loss
        train_facenet(name, model.architecture, model.loss, TrainingJob(**{**vars(job), "recipe": _bare(job.recipe)}))
    assert len({config.seed for config in made.values()}) == len(made) == 6
    for config in made.values():
        assert [config.steps(i) for i in range(3)] == [20_000, 8_000, 4_000]
        assert (config.batch, config.embedding_size, config.pixels()) == (512, 512, Pixels())
    assert {c.loss: (c.margin, c.scale) for c in made.values() if c.loss != "softmax"} == {
        "arcface": (0.5, 64.0),
        "sphereface": (1.5, 30.0),
    }


def _bare(recipe: Any) -> dict[str, Any]:
    """A recipe that leaves loss, margin and scale to the model: the published ones are the same."""
    return {key: value for key, value in recipe.items() if key not in ("loss", "margin", "scale")}


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_recipes_of_the_zoo_are_those_on_its_cards(name: str) -> None:
    recipe = recipes("zoo.toml")[name]
    card = json.loads((WEIGHTS / f"{name}.json").read_text())["recipe"]
    if "bf16" in card:  # Cards of an earlier trainer: one key for the precision, and no batches by person.
        card |= {"precision": "bf16" if card.pop("bf16") else "float32", "per_person": 0, "embedding_size": 128}
    fixed = {key: card[key] for key in ("name", "architecture", "loss", "seed")}
    phases = recipe.pop("phases")
    from bench_training.config import Phase, TrainConfig

    made = [instantiate(Phase, phase, f"phases[{i}]") for i, phase in enumerate(phases)]
    config: TrainConfig = instantiate(TrainConfig, {**recipe, **fixed, "phases": made}, name)
    found = json.loads(json.dumps(config.as_dict()))
    assert found == card


def test_nothing_is_trained_without_faces(home: Path) -> None:
    with pytest.raises(BenchError, match="casia-webface"):
        train_suite(SUITES / "casia.toml", (), ("mobileface",), home / "work", lambda _: None)
