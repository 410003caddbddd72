"""LPIPS: which weights are found and used, and the distance compared with the package lpips and with the formula."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.core.errors import DataError
from bench.metrics import lpips as lpips_module
from bench.metrics.lpips import VGG_FILE, VGG_SHA256, Lpips, MissingVgg, VggWeights, find_vgg


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the weights of this machine, if it has any."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (lpips_module.VARIABLE, "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    lpips_module._loaded.cache_clear()
    yield
    lpips_module._loaded.cache_clear()


def _put(path: Path, content: bytes = b"weights") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


# ---- finding the weights ---------------------------------------------------------------------------------------------


def test_the_expected_hash_is_the_one_in_the_published_name() -> None:
    assert len(VGG_SHA256) == 64
    assert f"vgg16-{VGG_SHA256[:8]}.pth" == VGG_FILE
    import torchvision  # It takes seconds, which no other test has to wait for.

    published = torchvision.models.get_model_weights("vgg16").IMAGENET1K_V1.url  # type: ignore[attr-defined]
    assert published == lpips_module.VGG_URL


@pytest.mark.parametrize("known", ["pip install 'face-privacy-bench'", None])
def test_a_missing_package_is_named_with_a_command(known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(lpips_module, "how_to_install", lambda name: known)
    assert find_vgg().reason == f"LPIPS needs the package lpips: {known or 'pip install lpips'}"


def test_without_weights_the_reason_names_file_and_place() -> None:
    found = find_vgg()
    assert isinstance(found, MissingVgg)
    assert (found.path, found.sha256) == (None, None)
    for part in (VGG_FILE, f"~/.cache/torch/hub/checkpoints/{VGG_FILE}", "$BENCH_LPIPS_VGG", "528 MB", "https://"):
        assert part in found.reason


@pytest.mark.parametrize(
    "environment",
    [{}, {"XDG_CACHE_HOME": "xdg"}, {"TORCH_HOME": "torch-home"}, {"XDG_CACHE_HOME": "xdg", "TORCH_HOME": "~/mine"}],
)
def test_the_cache_is_the_one_of_torch_hub(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value if value.startswith("~") else str(tmp_path / value))
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    assert str(path).startswith(str(tmp_path))
    digest = _put(path)
    assert find_vgg(digest) == VggWeights(path=path, sha256=digest)


def test_another_file_in_the_cache_is_not_used_and_the_reason_says_so(tmp_path: Path) -> None:
    path = tmp_path / "home/.cache/torch/hub/checkpoints" / VGG_FILE
    digest = _put(path, b"half a download")
    found = find_vgg()
    assert isinstance(found, MissingVgg)
    for part in (
        "expected sha256 397923af8e79cdbb",
        f"got {digest[:16]}",
        f"~/.cache/torch/hub/checkpoints/{VGG_FILE}",
    ):
        assert part in found.reason
    path.unlink()
    path.mkdir()
    folder = find_vgg()
    assert isinstance(folder, MissingVgg)
    assert "expected the file" in folder.reason


def test_a_named_file_comes_first_and_must_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path / "home/.cache/torch/hub/checkpoints" / VGG_FILE, b"another")
    named = tmp_path / "home" / "vgg.pth"
    monkeypatch.setenv(lpips_module.VARIABLE, "~/vgg.pth")
    with pytest.raises(DataError, match=r"\$BENCH_LPIPS_VGG: expected the file vgg16-397923af.pth, found nothing"):
        find_vgg()
    digest = _put(named)
    assert find_vgg(digest) == VggWeights(path=named, sha256=digest)
    with pytest.raises(DataError, match=rf"\$BENCH_LPIPS_VGG: ~/vgg.pth is not .*, got {digest[:16]}"):
        find_vgg()
    monkeypatch.setenv(lpips_module.VARIABLE, "")  # An empty variable counts as not set.
    assert isinstance(find_vgg(), MissingVgg)


def test_finding_does_not_import_torch() -> None:
    code = "import sys; from bench.metrics.lpips import find_vgg; find_vgg(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"


def test_load_says_what_is_missing() -> None:
    with pytest.raises(DataError, match=VGG_FILE):
        lpips_module.load("cpu")


# ---- the distance ----------------------------------------------------------------------------------------------------


class Trunk:
    """A VGG-16 trunk with seeded weights, as a file in torchvision's format and as layers for a reference."""

    def __init__(self, folder: Path) -> None:
        import torchvision

        vgg = torchvision.models.vgg
        self.layers: nn.Sequential = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.layers.parameters():
                scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        self.state = {f"features.{name}": value for name, value in self.layers.state_dict().items()}
        self.state["classifier.0.weight"] = torch.zeros(2, 3)  # The file also contains the classifier.
        self.path = folder / VGG_FILE
        torch.save(self.state, self.path, _use_new_zipfile_serialization=False)  # the format of the published file
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()

    def distance(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute Equation 1 of Zhang et al. 2018 directly, with the published heads."""
        path = Path(str(importlib.resources.files("lpips"))) / "weights/v0.1/vgg.pth"
        heads = torch.load(path, weights_only=True, map_location="cpu")
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

        def maps(images: NDArray[np.uint8]) -> list[Tensor]:
            x = (torch.from_numpy(images) / 127.5 - 1 - shift[:, None, None]) / scale[:, None, None]
            found = []
            for index, layer in enumerate(self.layers[:30]):
                x = layer(x)
                if index in (3, 8, 15, 22, 29):  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
                    found.append(nn.functional.normalize(x, dim=1, eps=1e-10))
            return found

        with torch.no_grad():
            total = torch.zeros(len(a))
            for level, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
                weight = heads[f"lin{level}.model.1.weight"][0]
                total += ((x - y) ** 2 * weight).sum(dim=1).mean(dim=(1, 2))
        return total.double().numpy()


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Trunk:
    return Trunk(tmp_path_factory.mktemp("vgg"))


@pytest.fixture(scope="module")
def metric(trunk: Trunk) -> Lpips:
    return Lpips(trunk.path, torch.device("cpu"), trunk.sha256)


def _images(seed: int, n: int = 3, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


@pytest.mark.slow
def test_distance_equals_the_formula(metric: Lpips, trunk: Trunk) -> None:
    a, b = _images(0), _images(1)
    b[0] = np.clip(a[0].astype(int) + 20, 0, 255)
    found = metric.distance(a, b)
    assert found.dtype == np.float64
    assert found.shape == (3,)
    np.testing.assert_allclose(found, trunk.distance(a, b), rtol=1e-4)
    assert found[0] < found[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*pretrained.*:UserWarning")
def test_distance_equals_lpips_that_loads_the_trunk_itself(
    metric: Lpips, trunk: Trunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lpips

    def vgg16(pretrained: bool) -> Any:
        assert pretrained  # Return what torchvision would return after downloading.
        return SimpleNamespace(features=trunk.layers)

    monkeypatch.setattr(lpips.pretrained_networks.tv, "vgg16", vgg16)
    own = lpips.LPIPS(net="vgg", verbose=False)
    a, b = _images(2), _images(3)
    with torch.no_grad():
        expected = own(torch.from_numpy(a) / 127.5 - 1, torch.from_numpy(b) / 127.5 - 1)
    assert expected.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(metric.distance(a, b), expected.flatten().numpy(), rtol=1e-4)


@pytest.mark.slow
def test_distance_is_zero_for_equal_images_symmetric_and_per_image(metric: Lpips) -> None:
    a, b = _images(4, 18, 16), _images(5, 18, 16)  # more images than one piece
    found = metric.distance(a, b)
    assert (found > 0).all()
    np.testing.assert_allclose(metric.distance(b, a), found, rtol=1e-5)
    np.testing.assert_allclose(metric.distance(a[17:], b[17:]), found[17:], rtol=1e-5)
    assert metric.distance(a, a).tolist() == [0.0] * 18
    assert metric.distance(a[:0], b[:0]).shape == (0,)


@pytest.mark.slow
def test_distance_of_floats_is_the_same_and_checks_the_range(metric: Lpips) -> None:
    a, b = _images(6), _images(7)
    x, y = torch.from_numpy(a) / 255, torch.from_numpy(b) / 255
    np.testing.assert_allclose(metric.distance_of(x, y), metric.distance(a, b), rtol=1e-5)
    np.testing.assert_allclose(metric.distance_of(x.double().requires_grad_(), y), metric.distance(a, b), rtol=1e-5)
    for wrong in (2 * x - 1, 255 * x, x + torch.nan):
        with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
            metric.distance_of(x, wrong)
    with pytest.raises(ValueError, match="float images"):
        metric.distance_of(x, torch.from_numpy(b))


def test_distance_refuses_other_types_and_shapes(metric: Lpips) -> None:
    with pytest.raises(ValueError, match="uint8"):
        metric.distance(_images(0), _images(0) / 255)
    for a, b in [(_images(0), _images(0, 1)), (_images(0)[0], _images(0)[0]), (_images(0)[:, :1], _images(0)[:, :1])]:
        with pytest.raises(ValueError, match="one shape"):
            metric.distance(a, b)
    with pytest.raises(ValueError, match="16x16 pixels, got 15x15"):
        metric.distance(_images(0, 1, 15), _images(0, 1, 15))


def test_loading_is_silent_frozen_and_draws_no_random_numbers(trunk: Trunk, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.random.get_rng_state()
    network = Lpips(trunk.path, "cpu", trunk.sha256)._network
    assert torch.equal(before, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    loaded = {name.partition(".")[2]: value for name, value in network.net.state_dict().items()}
    assert len(loaded) == 26
    assert all(torch.equal(value, trunk.state[f"features.{name}"]) for name, value in loaded.items())


def test_load_reads_the_weights_once(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_module, "find_vgg", lambda: VggWeights(path=trunk.path, sha256=trunk.sha256))
    first = lpips_module.load("cpu")
    assert lpips_module.load(torch.device("cpu")) is first


# ---- files that must not be used -------------------------------------------------------------------------------------


def test_unverified_weights_are_refused(trunk: Trunk) -> None:
    with pytest.raises(DataError, match="expected sha256 397923af8e79cdbb"):
        Lpips(trunk.path, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["lacks a weight", "has another shape", "is no weights file"])
def test_damaged_weights_are_refused(damage: str, trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / VGG_FILE
    state = dict(trunk.state)
    if damage == "lacks a weight":
        del state["features.28.bias"]
    elif damage == "has another shape":
        state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    torch.save(state, path)
    if damage == "is no weights file":
        path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="expected the weights of a VGG-16"):
        Lpips(path, "cpu", hashlib.sha256(path.read_bytes()).hexdigest())


class Payload:
    """An object whose unpickling runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    witness, path = tmp_path / "ran", tmp_path / VGG_FILE
    path.write_bytes(pickle.dumps(Payload(f"touch {witness}")))
    with pytest.raises(DataError, match="expected the weights of a VGG-16"):
        Lpips(path, "cpu", hashlib.sha256(path.read_bytes()).hexdigest())
    assert not witness.exists()
