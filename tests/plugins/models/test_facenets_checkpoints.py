"""Checkpoints in every public wrapping load to equal weights and outputs; what does not fit is one clear error."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_facenets.files import checkpoints, formats, known_checkpoints
from bench_facenets.files.known_checkpoints import LAYOUTS
from bench_facenets.networks import build
from safetensors.torch import save_file
from torch import Tensor, nn

from bench import DataError, MissingDataError

State = dict[str, Tensor]
SMALL = 16  # embedding size of the networks made here


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return build("mobileface", SMALL, seed=1).eval()


@pytest.fixture(scope="module")
def state(net: nn.Sequential) -> State:
    return {key: value.clone() for key, value in net.state_dict().items()}


def prefixed(state: Mapping[str, Tensor], prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def tiny(name: str) -> State:
    """The state dict of a layout whose values take no room: every tensor is one value, expanded."""
    tensors = LAYOUTS[name].tensors()
    return {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith("num_batches_tracked")
        else torch.zeros(()).expand(shape)
        for key, shape in tensors.items()
    }


# --- what loads -------------------------------------------------------------------------------------------------------

HEAD = {"head.kernel": torch.zeros(8, 4), "head.t": torch.zeros(1), "head.batch_mean": torch.ones(1)}
WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "ordered": collections.OrderedDict,
    "state_dict and module.": lambda s: {"epoch": 3, "state_dict": prefixed(s, "module."), "best": 0.99},
    "net_state_dict": lambda s: {"epoch": 68, "net_state_dict": s},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}, "param_groups": []}},
    "model": lambda s: {"model": s},
    "backbone": lambda s: {"backbone": prefixed(s, "module."), "head": {"weight": torch.zeros(3, 3)}},
    "nested": lambda s: {"model": {"state_dict": prefixed(s, "module.model.")}},
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "lightning": lambda s: {
        "epoch": 1,
        "pytorch-lightning_version": "1.4.4",
        "state_dict": {**prefixed(s, "model."), **HEAD},
        "hyper_parameters": {"arch": "x"},
    },
    "head in the wrapper": lambda s: prefixed({**s, "arcface.weight": torch.zeros(8, 4)}, "module."),
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "double": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
    "without counters": lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    "counters as numbers": lambda s: {k: v.float() for k, v in s.items()},
    "parameters": lambda s: {k: nn.Parameter(v) if k.endswith("conv.weight") else v for k, v in s.items()},
    "entries that are no tensors": lambda s: {**s, "version": 3, "names": ["a"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_loads_to_the_same_weights(
    wrapping: str, zipped: bool, net: nn.Sequential, state: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth.tar"
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=zipped)
    loaded = checkpoints.load(path, "mobileface")
    assert loaded.layout.name == "robfr-mobileface"
    assert loaded.embedding_size == SMALL
    found = loaded.net.state_dict()
    assert found.keys() == state.keys()
    tolerance = 1e-3 if wrapping == "half" else 0
    for key, value in found.items():
        assert value.dtype == state[key].dtype
        torch.testing.assert_close(value, state[key], rtol=tolerance, atol=tolerance)
    assert not loaded.net.training
    assert not any(p.requires_grad for p in loaded.net.parameters())


@pytest.mark.slow
def test_loaded_networks_give_equal_outputs(net: nn.Sequential, state: State, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = net(x).detach()
    torch.save(WRAPPINGS["lightning"](state), tmp_path / "a.ckpt")
    save_file(prefixed(state, "net."), tmp_path / "b.safetensors")
    for name in ("a.ckpt", "b.safetensors"):
        out = checkpoints.load(tmp_path / name, "mobileface").net(x)
        assert torch.equal(out.detach(), expected)
        assert torch.autograd.grad(out.square().sum(), x)[0].abs().max() > 0


@pytest.mark.slow
def test_ignored_and_stripped_parts_are_named(state: State, tmp_path: Path) -> None:
    torch.save(WRAPPINGS["lightning"](state), tmp_path / "a.ckpt")
    found = checkpoints.compare(tmp_path / "a.ckpt", "mobileface")
    assert found.fits
    assert (found.wrapper, found.prefix) == ("state_dict", "model.")
    assert found.ignored == ("head.kernel", "head.t", "head.batch_mean")
    assert found.parameters == sum(p.numel() for p in build("mobileface", SMALL).parameters())
    torch.save(WRAPPINGS["entries that are no tensors"](state), tmp_path / "b.pth")
    assert checkpoints.load(tmp_path / "b.pth", "mobileface").ignored == ("version", "names")


DISTINCT = {layout.family + str(dict(layout.options)): name for name, layout in LAYOUTS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTINCT.values())
def test_a_file_of_every_layout_loads_strictly(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": prefixed(tiny(name), "module.")}, path)
    loaded = checkpoints.load(path, layout.architecture)
    assert loaded.layout.architecture == layout.architecture
    assert {key: tuple(t.shape) for key, t in loaded.net.state_dict().items()} == dict(layout.tensors())
    assert not any(t.is_meta for t in loaded.net.state_dict().values())
    assert bool(loaded.ambiguous) == bool(known_checkpoints.alternatives(layout))
    chosen = checkpoints.load(path, layout.architecture, layout=layout)
    assert chosen.layout is layout
    assert chosen.ambiguous == ""


@pytest.mark.slow
def test_equal_keys_are_reported_as_ambiguous_unless_the_name_tells(tmp_path: Path) -> None:
    torch.save(tiny("robfr-ir50"), tmp_path / "mine.pth")
    loaded = checkpoints.load(tmp_path / "mine.pth", "ir50")
    assert loaded.layout.pixels.channels == "bgr"
    assert "face-evolve-ir50 (112x112 rgb, (x - 127.5) / 127.5)" in loaded.ambiguous
    assert "set channels" in loaded.ambiguous
    torch.save(tiny("robfr-ir50"), tmp_path / "CASIA-ArcFace.pth")
    loaded = checkpoints.load(tmp_path / "CASIA-ArcFace.pth", "ir50")
    assert (loaded.layout.name, loaded.layout.pixels.channels, loaded.ambiguous) == ("robfr-ir50-casia", "rgb", "")


@pytest.mark.slow
def test_a_file_of_bench_train_says_what_its_pixels_are(state: State, tmp_path: Path) -> None:
    metadata = {"bench.channels": "rgb", "bench.mean": "[127.5, 127.5, 127.5]", "bench.std": json.dumps([128.0] * 3)}
    save_file(state, tmp_path / "a.safetensors", metadata)
    loaded = checkpoints.load(tmp_path / "a.safetensors", "mobileface")
    assert str(loaded.layout.pixels) == "112x112 rgb, (x - 127.5) / 128"
    assert loaded.ambiguous == ""
    for wrong in ({"bench.channels": "grey"}, {"bench.mean": "no list"}, {"bench.std": "[0, 0, 0]"}):
        save_file(state, tmp_path / "b.safetensors", {**metadata, **wrong})
        with pytest.raises(DataError, match=r"metadata that bench did not write"):
            checkpoints.load(tmp_path / "b.safetensors", "mobileface")


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_known_frameworks_beside_the_weights_become_nothing(
    zipped: bool, state: State, tmp_path: Path
) -> None:
    import argparse
    import pathlib

    beside = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("x")),
        "best": np.float64(0.5),
        "curve": np.arange(3),
        "meters": collections.defaultdict(list, {"loss": [1.0]}),
    }
    trusted = set(torch.serialization.get_safe_globals())
    torch.save({"state_dict": state, **beside}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    loaded = checkpoints.load(tmp_path / "a.pth", "mobileface")
    assert torch.equal(loaded.net.state_dict()["conv1.conv.weight"], state["conv1.conv.weight"])
    assert set(torch.serialization.get_safe_globals()) == trusted


def test_numpy_calls_beside_the_weights_are_not_carried_out(state: State, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Saves:
        def __reduce__(self) -> Any:
            return np.savetxt, (str(canary), [1])

    torch.save({"state_dict": state, "x": Saves()}, tmp_path / "a.pth")
    checkpoints.load(tmp_path / "a.pth", "mobileface")
    assert not (canary).exists()


def test_the_keys_of_a_foreign_network_stay_as_it_has_them(tmp_path: Path) -> None:
    """With ``wanted``, prefixes and heads are only stripped as far as the network itself has none."""
    foreign = {"backbone.fc.weight": torch.ones(2, 2), "backbone.fc.bias": torch.ones(2)}
    headed = {"head.weight": torch.ones(2, 2), "trunk.weight": torch.ones(2, 2)}
    for wanted in (foreign, headed):
        torch.save({"state_dict": prefixed(wanted, "module.")}, tmp_path / "a.pth")
        assert checkpoints.read_weights(tmp_path / "a.pth", wanted).tensors.keys() == wanted.keys()
    torch.save(foreign, tmp_path / "b.pth")
    found = checkpoints._read(tmp_path / "b.pth", checkpoints.ALL_LAYOUTS).view.tensors
    assert found.keys() == {"fc.weight", "fc.bias"}


# --- what does not fit ------------------------------------------------------------------------------------------------


def refused(path: Path, *needles: str, architecture: str = "mobileface") -> str:
    with pytest.raises(DataError) as caught:
        checkpoints.load(path, architecture)
    message = str(caught.value)
    assert type(caught.value) is DataError
    assert message.startswith(str(path))
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for needle in needles:
        assert needle in message
    return message


def test_a_mismatch_says_what_is_missing_unexpected_and_of_another_shape(state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    wrong = {key: value for key, value in state.items() if not key.startswith("linear7.")}
    wrong |= {"extra.weight": torch.zeros(1), "conv1.conv.weight": torch.zeros(64, 1, 3, 3)}
    torch.save(wrong, path)
    refused(
        path,
        "expected the 333 tensors of robfr-mobileface",
        "found 328, 5 missing: linear7.conv.weight, linear7.bn.weight, linear7.bn.bias, linear7.bn.running_mean and 1",
        "1 unexpected: extra.weight",
        "1 of another shape: conv1.conv.weight (64, 1, 3, 3) instead of (64, 3, 3, 3)",
        "the nearest layout is robfr-mobileface, with 97% of all tensors in common",
    )
    found = checkpoints.compare(path, LAYOUTS["robfr-mobileface"])
    assert not found.fits
    assert found.guessed is None
    assert (len(found.missing), found.unexpected) == (5, ("extra.weight",))
    assert found.mismatched == (("conv1.conv.weight", (64, 1, 3, 3), (64, 3, 3, 3)),)


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_is_named(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    refused(
        tmp_path / "a.pth",
        "it is a checkpoint of the layout robfr-mobileface, architecture 'mobileface'",
        architecture="ir50",
    )
    found = checkpoints.compare(tmp_path / "a.pth", "robfr-mobilenet")
    assert found.guessed is LAYOUTS["robfr-mobileface"]
    assert not found.fits
    with pytest.raises(DataError, match="expected the"):
        checkpoints.load(tmp_path / "a.pth", "mobileface", layout=LAYOUTS["xiaoccer-mobileface"])
    with pytest.raises(ValueError, match="unknown layout"):
        checkpoints.load(tmp_path / "a.pth", "vgg")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, state: State, tmp_path: Path) -> None:
    wrong = {**state, "linear1.bn.running_var": torch.full((SMALL,), value)}
    torch.save(prefixed(wrong, "module."), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "module.linear1.bn.running_var", f"found {SMALL} of {SMALL} NaN or infinite")


@pytest.mark.slow
def test_several_networks_none_and_integers_are_refused(state: State, tmp_path: Path) -> None:
    path, first = tmp_path / "a.pth", "conv1.conv.weight"
    for content, needle in (
        ({"model": state, "net": state}, "expected one network, found model, net"),
        ({"state_dict": {"a": 1}}, "found no tensors under 'state_dict' (a)"),
        ({}, "found no tensors"),
        ([torch.zeros(1)], "expected a state dict, found a list"),
        (torch.zeros(3), "expected a state dict, found one tensor"),
        ({**state, first: torch.zeros(64, 3, 3, 3, dtype=torch.int8)}, f"found integers: {first}"),
        ({**state, first: torch.zeros(64, 3, 3, 3, dtype=torch.complex64)}, "torch.complex64"),
        ({**state, "huge": torch.zeros(()).expand(1 << 20, 1 << 20)}, "values, found tensors of more"),
    ):
        torch.save(content, path)
        refused(path, needle)


@pytest.mark.parametrize("file", ["a.pth", "a.safetensors"])
def test_more_tensors_than_any_network_has_are_refused(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "MAX_TENSORS", 50)
    many = {str(i): torch.zeros(1) for i in range(51)}
    (save_file if file.endswith("safetensors") else torch.save)(many, tmp_path / file)
    refused(tmp_path / file, "expected at most 50 tensors")


def test_a_file_that_is_absent_is_missing_and_a_folder_is_not(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="found none"):
        checkpoints.load(tmp_path / "none.pth", "mobileface")
    link = tmp_path / "annexed.pth"
    link.symlink_to(".git/annex/objects/aa/bb/SHA256E-s1--00/SHA256E-s1--00")
    with pytest.raises(MissingDataError, match="git annex get"):
        checkpoints.load(link, "mobileface")
    with pytest.raises(DataError, match="found a folder"):
        checkpoints.load(tmp_path, "mobileface")


def test_a_file_beyond_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with path.open("wb") as file:
        file.truncate(formats.MAX_BYTES + 1)  # sparse
    refused(path, "expected at most 4 GiB of weights")


# --- one real network -------------------------------------------------------------------------------------------------

REAL = os.environ.get("BENCH_REAL", "")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder with a real network and real faces")
def test_a_real_mobilefacenet_loads_strictly_and_reaches_its_known_figures() -> None:
    from PIL import Image

    root = Path(REAL)
    path = root / "weights" / "mobilefacenet-112x96.ckpt"
    loaded = checkpoints.load(path, "mobileface")
    assert (loaded.layout.name, loaded.embedding_size) == ("xiaoccer-mobileface", 128)
    assert (loaded.ignored, loaded.ambiguous) == ((), "")
    found = checkpoints.compare(path, "mobileface")
    assert (found.fits, found.wrapper, found.parameters) == (True, "net_state_dict", 999_552)

    files = sorted((root / "faces-att").glob("s*/*.png"))
    subjects = np.array([file.parent.name for file in files])
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    faces = (torch.from_numpy(pixels).permute(0, 3, 1, 2)[..., 8:104].float() - 127.5) / 128
    with torch.no_grad():
        out = torch.cat([loaded.net(batch) for batch in faces.split(50)])
    unit = nn.functional.normalize(out).numpy()
    left, right = np.triu_indices(len(files), 1)
    cosines, same = (unit @ unit.T)[left, right], subjects[left] == subjects[right]
    genuine, impostor = np.sort(cosines[same]), np.sort(cosines[~same])
    kappas = np.linspace(0, 0.8, 801)
    accepted = 1 - np.searchsorted(genuine, kappas, side="right") / len(genuine)
    rejected = np.searchsorted(impostor, kappas, side="right") / len(impostor)
    balanced = (accepted + rejected) / 2
    assert balanced.max() == pytest.approx(0.993, abs=0.001)
    assert kappas[balanced.argmax()] == pytest.approx(0.41, abs=0.01)
    assert (genuine.mean(), impostor.mean()) == (pytest.approx(0.81, abs=0.01), pytest.approx(0.10, abs=0.01))
    assert (accepted[200], rejected[200]) == (pytest.approx(1.0, abs=0.005), pytest.approx(0.81, abs=0.01))
