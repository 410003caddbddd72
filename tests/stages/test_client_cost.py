"""What it costs the client to protect one face: counted and timed without changing the results of the stage."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import Computed
from support import in_process as bench
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.scheduler import cached_result
from bench.stages import compute
from bench.stages.flops import FlopCounter
from bench.store.reading import RunResults

ONE = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-step"]
pairs = 10
"""
STEP = "toy-faces protected by toy-step for toy-a"
FORWARD = 2 * 16 * 16 * 8 * (3 * 3 * 3) + 2 * 8 * 8 * 16 * (8 * 3 * 3)  # ToyNetwork of 32 x 32 pixels up to `block`

Run = Callable[..., Computed]


def test_time_in_which_the_processor_does_something_else_does_not_count() -> None:
    cpu = torch.device("cpu")
    assert compute._timed(lambda: time.sleep(1), cpu) < 0.5
    ends = time.process_time() + 0.1

    def busy() -> None:
        while time.process_time() < ends:
            pass

    assert compute._timed(busy, cpu) > 0.05


def test_the_operations_of_a_known_network_are_counted_by_hand(computed: Run) -> None:
    """toy-step makes a forward pass for the face, and a forward and a backward pass (to the pixels) for the step."""
    done = computed(ONE)
    assert done.result(STEP).client_flops == 3 * FORWARD
    assert done.result("toy-faces protected by identity").client_flops == 0
    for name in (STEP, "toy-faces protected by identity"):
        assert (done.result(name).client_seconds or 0) > 0
        assert done.result(name).client_reason is None


def test_a_cached_stage_still_has_its_cost(computed: Run) -> None:
    done = computed(ONE)
    manifest = done.cache.manifest(done.key(STEP))
    assert manifest is not None
    assert cached_result(done.key(STEP), manifest).client_flops == 3 * FORWARD


def test_only_stages_that_protect_have_a_cost(computed: Run) -> None:
    done = computed(ONE)
    known = {key for key, result in done.results.items() if result.client_seconds is not None}
    assert known == {key for key, stage in done.plan.stages.items() if stage.kind == "protect"}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_convolutions_and_linear_layers_count_the_same_in_every_mode(mode: Callable[[], Any]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5))
    with mode(), FlopCounter() as counted:
        net(torch.rand(1, 3, 10, 10))
    assert counted.total == 2 * (100 * 8 * 27 + 800 * 5)


def test_an_image_that_enters_a_module_as_a_leaf_is_counted() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)
    face = torch.rand(1, 3, 10, 10, requires_grad=True)
    with FlopCounter() as counted:
        torch.autograd.grad(conv(face).square().sum(), face)
    assert counted.total == 2 * 2 * 100 * 8 * 27


def test_the_count_equals_that_of_torch() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, groups=1), nn.BatchNorm2d(8), nn.PReLU(), nn.Conv2d(8, 8, 3, groups=8)
    )
    totals = []
    for counter in (FlopCounter(), FlopCounterMode(display=False)):
        with counter:
            net(torch.rand(2, 3, 20, 20) * 1).square().sum().backward()
        totals.append(counter.total if isinstance(counter, FlopCounter) else counter.get_total_flops())
    assert totals[0] == totals[1] > 0


def changed(monkeypatch: pytest.MonkeyPatch, protect: Callable[..., Any]) -> None:
    """Make toy-step protect with ``protect(original, self, images, ctx)``."""
    cls = importlib.import_module("bench_toy.defenses").ToyStep
    original = cls.protect
    monkeypatch.setattr(cls, "protect", lambda self, images, ctx: protect(original, self, images, ctx))


class SpeechlessError(Exception):
    """An error whose message cannot be formatted."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("not one <b>alone</b>"), "RuntimeError: not one <b>alone</b>"),
        (SystemExit(3), "SystemExit: 3"),
        (SpeechlessError(), "SpeechlessError, whose message cannot be shown: ValueError"),
    ],
)
def test_a_defense_that_cannot_protect_one_face_has_no_cost_and_a_reason(
    computed: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str
) -> None:
    def protect(original: Any, self: Any, images: Any, ctx: Any) -> Any:
        if len(images) == 1:
            raise error
        return original(self, images, ctx)

    changed(monkeypatch, protect)
    done = computed(ONE)
    assert done.failures() == []
    found = done.result(STEP)
    assert (found.client_flops, found.client_seconds) == (None, None)
    assert found.client_reason == f"the defense cannot protect a face by itself: {reason}"


def test_measuring_the_cost_and_checking_changes_no_artifact_and_no_random_stream(
    computed: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The defense changes the network that it gets, and draws from the random stream of the process."""
    calls = []

    def protect(original: Any, self: Any, images: Any, ctx: Any) -> Any:
        calls.append(len(images))
        noise = torch.rand(()) * 0.01
        for parameter in ctx.shallow("toy-a")._network.parameters():
            parameter.data.mul_(1 + noise)
        return original(self, images, ctx)

    changed(monkeypatch, protect)
    found = []
    for place in ("with", "without"):
        if place == "without":
            monkeypatch.setattr(compute, "_client_cost", lambda *_: {})
            monkeypatch.setattr(compute, "checked_defense", lambda *_, **__: {})
        torch.manual_seed(1)
        done = computed(ONE, cache=tmp_path / place)
        found.append((done.artifact(STEP).tensors["images"], float(torch.rand(()))))
    cost, check = [1, 1], [4, 4, 4, 1, 4]  # four faces, in another order, with another face, alone, and once more
    assert calls == [5, *cost, *check, 5]
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.fixture
def run(tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run of the suite above."""
    monkeypatch.chdir(tmp_path)
    Path("toy.toml").write_text(ONE)
    assert bench("run", "--no-report", "toy.toml", "--device", "cpu").exit_code == 0
    (found,) = Path("results", "toy").iterdir()
    return tmp_path / found


def costs(folder: Path) -> dict[str, Any]:
    """Return the FLOPs of the stages that protect, by key."""
    return {s["name"]: s["client_flops"] for s in RunResults(folder).stages if s["kind"] == "protect"}


def test_results_have_the_client_cost_of_each_cell(run: Path) -> None:
    results = RunResults(run)
    flops = {s["key"]: s["client_flops"] for s in results.stages}
    for cell in results.cells.to_dict("records"):
        (key,) = json.loads(cell["protect"])
        assert flops[key] == (3 * FORWARD if cell["defense"] == "toy-step" else 0)
    assert {s["client_seconds"] for s in results.stages if s["kind"] != "protect"} == {None}
    assert "client" not in " ".join(results.columns("images").names)


def test_seconds_do_not_count_as_a_difference_in_a_replay(run: Path) -> None:
    before = {s["name"]: s["client_seconds"] for s in RunResults(run).stages}
    done = bench("run", "--replay", "toy")
    assert done.exit_code == 0, done.output
    (again,) = run.parent.glob("*-replay")
    assert {s["name"]: s["client_seconds"] for s in RunResults(again).stages} != before
    assert costs(again) == costs(run)


def test_the_cost_is_known_where_everything_was_cached(run: Path) -> None:
    before = costs(run)
    shutil.rmtree(run)
    done = bench("run", "--no-report", "toy.toml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    (again,) = run.parent.iterdir()
    assert costs(again) == before
