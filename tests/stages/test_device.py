"""``--device cuda`` without a GPU: the same code path, on a device that refuses what a GPU refuses (see `devices`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from devices import Elsewhere
from support import ATTACKS, Computed, InlineEngine, compute, names

from bench.cli import main
from bench.engine import factory
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.stages import stage_inputs
from bench.store.artifacts import Cache

Run = Callable[..., Computed]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A pretended ``cuda`` device for the duration of a test."""
    stage_inputs.forget_networks()  # Networks that were loaded before are on another device.
    with Elsewhere() as mode:
        yield mode
    stage_inputs.forget_networks()


# ---- the pretended device --------------------------------------------------------------------------------------------


def test_the_pretended_device_refuses_what_a_gpu_refuses(elsewhere: Elsewhere) -> None:
    here = torch.ones(2, 3)
    there = here.to("cuda")
    assert (here.device.type, there.device.type, (there + 1).device.type) == ("cpu", "cuda", "cuda")
    assert torch.equal(there.cpu(), here)
    mixed: list[Callable[[], Any]] = [
        lambda: there + here,
        lambda: torch.cat([there, here]),
        lambda: torch.nn.functional.linear(there, here),
        lambda: torch.nn.Linear(3, 1)(there),
    ]
    for mix in mixed:
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    reads: list[Callable[[], Any]] = [there.numpy, lambda: np.asarray(there)]
    for read in reads:
        with pytest.raises(TypeError, match="numpy"):
            read()
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, device=there.device, generator=torch.Generator())


def test_networks_and_gradients_stay_on_their_device(elsewhere: Elsewhere) -> None:
    import copy

    network = copy.deepcopy(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2)).to("cuda"))
    images = torch.rand(2, 3, 5, 5).to("cuda").requires_grad_()
    loss = network(images).square().sum()
    (gradient,) = torch.autograd.grad(loss, [images])
    tensors = [images, loss, gradient, *network.state_dict().values(), torch.zeros_like(images), images[0, :, 1:]]
    assert {t.device.type for t in tensors} == {"cuda"}
    assert elsewhere.moved >= 5


# ---- every stage -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stages_compute_the_same_on_another_device(computed: Run, elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Every kind of stage, defense and attack keeps its tensors on the device and gives the rows of the processor."""
    few = [f"experiment[{i}].pairs=6" for i in range(3)]
    there = computed(ATTACKS, *few, device="cuda", cache=tmp_path / "there")
    assert there.failures() == []
    assert elsewhere.moved > 100
    here = computed(ATTACKS, *few, cache=tmp_path / "here")
    assert here.failures() == []
    assert names(here.plan) == names(there.plan)
    assert not set(here.plan.stages) & set(there.plan.stages), "the device is part of every key"
    assert {result.device for result in there.results.values()} == {"cuda"}
    for one, other in zip(here.plan.stages.values(), there.plan.stages.values(), strict=True):
        left, right = here.cache.read(one.key), there.cache.read(other.key)
        assert left.tensors.keys() == right.tensors.keys()
        for name, array in left.tensors.items():
            np.testing.assert_array_equal(array, right.tensors[name], err_msg=f"{one.name}: {name}")
        assert left.tables == right.tables, one.name


@pytest.mark.slow
def test_plugins_are_called_with_the_device(
    computed: Run, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy import attacks, defenses

    seen: dict[str, set[str]] = {}

    def watch(cls: Any, method: str) -> None:
        original = getattr(cls, method)

        def watched(self: Any, first: Any, ctx: Any) -> Any:
            held = [first] if isinstance(first, torch.Tensor) else []
            if hasattr(first, "features"):
                held = [t for t in (first.images, *first.features.values()) if t is not None]
            elif hasattr(first, "received"):
                held = list(first.received(np.arange(3)).features.values())
            elif hasattr(first, "subjects"):
                held = []
            places = {t.device.type for t in [*held, *ctx.state.values()]} | {ctx.device.type}
            seen.setdefault(f"{cls.__name__}.{method}", set()).update(places)
            return original(self, first, ctx)

        monkeypatch.setattr(cls, method, watched)

    watch(defenses.ToyStep, "protect")
    watch(defenses.ToyMean, "protect")
    watch(defenses.ToyMean, "fit")
    watch(attacks.ToyUpsample, "reconstruct")
    watch(attacks.ToyLearner, "reconstruct")
    watch(attacks.ToyLearner, "fit")
    watch(attacks.ToyDescent, "reconstruct")
    watch(attacks.ToyAttributes, "estimate")
    few = [f"experiment[{i}].pairs=4" for i in range(3)]
    done = computed(ATTACKS, *few, 'experiment[0].defenses=["toy-step", "toy-mean"]', device="cuda")
    assert done.failures() == []
    assert len(seen) == 8
    assert set().union(*seen.values()) == {"cuda"}


@pytest.mark.slow
def test_a_plugin_that_forgets_the_device_is_a_failed_stage(
    computed: Run, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.attacks import ToyDenoise

    from bench import Reconstructed

    def forgetful(self: Any, received: Any, ctx: Any) -> Reconstructed:
        return Reconstructed(images=(received.images + torch.zeros(3, 32, 32)).clamp(0, 1))

    monkeypatch.setattr(ToyDenoise, "reconstruct", forgetful)
    few = [f"experiment[{i}].pairs=4" for i in range(3)]
    done = computed(ATTACKS, *few, 'experiment[0].attacks=["toy-denoise"]', device="cuda")
    (reason,) = set(done.failures())
    assert "same device" in reason


# ---- the command -----------------------------------------------------------------------------------------------------


def test_a_run_on_cuda_has_rows_that_say_so(
    inline: None, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Any] = []

    class Engine(InlineEngine):
        def __init__(self, workers: int = 0, threads: int = 0, gpus: Sequence[str] = ()) -> None:
            super().__init__(workers, threads)
            made.append((workers, gpus))

    monkeypatch.setattr(factory, "LocalEngine", Engine)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    suite = tmp_path / "attacks.toml"
    suite.write_text(ATTACKS)
    args = ["run", "--no-report", str(suite), "--out", str(tmp_path), "--device", "cuda", "--pairs", "4"]
    done = CliRunner().invoke(main, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert made == [(2, ("0", "3"))]  # one process for each GPU
    (folder,) = (tmp_path / "results" / "attacks").iterdir()
    cells = pd.read_parquet(folder / "cells.parquet")
    assert set(cells["device"]) == {"cuda"}
    run = json.loads((folder / "run.json").read_text())
    assert (run["device"], run["status"]) == ("cuda", "complete")
    assert elsewhere.moved > 100


# ---- built-in plugins ------------------------------------------------------------------------------------------------

BUILT_IN = """\
[suite]
name = "built-in"

[[experiment]]
name = "attacks"
datasets = [{ plugin = "synth-lfw", calibration_identities = 10, auxiliary_identities = 10 }]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-mobileface"]
defenses = ["noise"]
attacks = [
    { plugin = "inversion", steps = 2 },
    { plugin = "recface", steps = 2, channels = 8 },
    "attributes",
]
pairs = 2

[[experiment]]
name = "defenses"
datasets = [{ plugin = "synth-lfw", calibration_identities = 10, auxiliary_identities = 10 }]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-mobileface"]
defenses = [{ plugin = "pmt", steps = 2 }, { plugin = "mr-pmt", steps = 2 }, { plugin = "pmt-noise", steps = 2 }]
upload = "features"
pairs = 2
"""


@pytest.mark.slow
def test_built_in_plugins_keep_to_the_device(
    plan_text: Callable[..., Plan], toy_installed: Registry, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """Only stages that call plugins are computed; scores are code of the host."""
    plan = plan_text(BUILT_IN, device="cuda")
    wanted = [s for s in plan.stages.values() if s.kind in ("fit_defense", "protect", "fit_attack", "attack")]
    tried = {c.name for s in wanted for role in ("defense", "attack") for c in s.components.get(role, ())}
    assert tried == {"noise", "pmt", "mr-pmt", "pmt-noise", "inversion", "recface", "attributes"}
    results = compute(plan, Cache(tmp_path), [s.key for s in wanted])
    assert [r.reason for r in results.values() if r.status != "ok"] == []
    assert elsewhere.moved > 100
