"""``bench models check``: what a file is, and whether it recognises faces."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_facenets import bench_commands
from bench_facenets.commands import check
from bench_facenets.loading import factory
from click.testing import CliRunner, Result
from facenets_toys import SOURCE, onnx_bytes, weights_file
from PIL import Image

from bench import BenchError

COLOURS = '''

class Colours(Net):
    """Knows people by the colour of their faces."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([4.0, 3.0, 2.0]))

    def forward(self, x):
        seen = torch.tanh(0.05 * x * self.scale[:, None, None]) + 1e-4 * self.stem(x).mean()  # a pattern of its own
        return seen.mean((2, 3))

def colours():
    return Colours()
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a factory with weights, and a folder of faces of twelve people in their own colours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("BENCH_WEIGHTS", "BENCH_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SOURCE + COLOURS)
    torch.manual_seed(0)
    weights_file(factory.call("nets.py:make", {}), tmp_path / "net.pth")
    weights_file(factory.call("nets.py:colours", {}), tmp_path / "colours.pth")
    rng = np.random.default_rng(0)
    for person in range(24):
        folder = tmp_path / "faces" / f"person{person:02}"
        folder.mkdir(parents=True)
        colour = rng.uniform(40, 215, 3)
        for i in range(4):
            face = (colour + rng.normal(0, 6, 3) + rng.normal(0, 20, (112, 112, 3))).clip(0, 255)
            Image.fromarray(face.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def run(*args: str) -> Result:
    """The command in this process; a `BenchError` passes through."""
    done = CliRunner().invoke(check, [*args], catch_exceptions=True)
    if isinstance(done.exception, BenchError):
        raise done.exception
    return done


def test_the_command_is_registered() -> None:
    assert bench_commands() == {"models check": check}


def test_a_torch_module_without_faces(home: Path) -> None:
    done = run("net.pth", "--factory", "nets.py:make")
    assert done.exit_code == 0, done.output
    assert "layout: torch module nets.py:make; input 112x112 rgb, (x - 127.5) / 127.5" in done.output
    assert "split 28x28 (stem): 4x28x28; a client holds 112 parameters" in done.output
    assert "self-check: embeddings, batches, gradients and split points are in order" in done.output
    assert "no real data set was found" in done.output


@pytest.mark.slow
def test_an_onnx_file_needs_no_name(home: Path) -> None:
    (home / "net.onnx").write_bytes(onnx_bytes(reshape=(1, -1)))
    done = run("net.onnx")
    assert done.exit_code == 0, done.output
    assert "layout: ONNX" in done.output
    assert "note: a batch size of one is baked in" in done.output


@pytest.mark.slow
def test_faces_are_tried_and_the_figures_are_there_as_json(home: Path) -> None:
    done = run("colours.pth", "--factory", "nets.py:colours", "--data", "faces", "--pairs", "60", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    figures = found["sanity"]["separation"]
    assert figures["auc"] > 0.95
    assert figures["genuine_mean"] > figures["impostor_mean"]
    assert found["card"]["embedding_size"] == 3
    assert found["sanity"]["better"] is None
    assert found["card"]["splits"] == {}
    assert "no split points were found" in found["card"]["warnings"][0]


def test_notes_on_the_faces_are_shown(home: Path) -> None:
    (home / "faces" / "person00" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    options = ["colours.pth", "--factory", "nets.py:colours", "--data", "faces", "--pairs", "20"]
    noticed = "passed over, not read as images"
    shown = run(*options).output
    assert noticed in shown[shown.index("note on faces: ") :].splitlines()[0]
    assert any(noticed in note for note in json.loads(run(*options, "--json").output)["data notes"])


@pytest.mark.slow
def test_wrong_pixels_are_told(home: Path) -> None:
    options = ["colours.pth", "--factory", "nets.py:colours", "--data", "faces", "--pairs", "60"]
    done = run(*options, "--set", "mean=0", "--set", "std=1")
    assert "warning: your normalisation or channel order looks wrong: channels = " in done.output
    assert "separates better (AUC " in done.output


@pytest.mark.slow
def test_a_network_that_recognises_nobody_fails(home: Path) -> None:
    for i, path in enumerate(sorted((home / "faces").rglob("*.png"))):
        noise = np.random.default_rng(i)
        Image.fromarray(noise.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
    done = run("net.pth", "--factory", "nets.py:make", "--data", "faces", "--pairs", "60")
    assert done.exit_code == 1, done.output
    assert "failed: genuine pairs do not score above impostor pairs" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["net.pth"], "--as: expected the name of a network, found none; known: "),
        (["net.pth", "--as", "mobilface"], r"found 'mobilface'; did you mean 'mobileface'\?"),
        (["net.pth", "--factory", "nets.py:make", "--data", "lfx"], "--data: expected a data set or a path"),
        (["net.pth", "--factory", "nets.py:make", "--set", "meen=3"], r"unknown parameter 'meen'; did you mean 'mean'"),
        (["net.pth", "--as", "mobileface"], r"net.pth: expected the \d+ tensors of .*architecture .mobileface"),
        (["faces/person00/0.png", "--as", "onnx-model"], "expected an ONNX file"),
    ],
)
def test_mistakes_are_one_error(args: list[str], says: str, home: Path) -> None:
    with pytest.raises(BenchError, match=says):
        run(*args)


# ---- a real network --------------------------------------------------------------------------------------------------

REAL = os.environ.get("BENCH_REAL", "")
real = pytest.mark.skipif(not REAL, reason="BENCH_REAL does not name a folder with a real network and faces")


@real
@pytest.mark.slow
def test_a_real_network_is_recognised_and_recognises(home: Path) -> None:
    weights = f"{REAL}/weights/mobilefacenet-112x96.ckpt"
    done = run(weights, "--as", "mobileface", "--data", f"{REAL}/faces-att", "--pairs", "200", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["wrapper"] == "net_state_dict"
    assert not any(found["keys"].values())
    assert found["sanity"]["separation"]["accuracy"] > 0.98
    assert found["sanity"]["separation"]["genuine_mean"] == pytest.approx(0.81, abs=0.05)
    assert found["sanity"]["better"] is None


@real
@pytest.mark.slow
def test_a_real_network_in_onnx_with_a_baked_batch_gives_the_same(home: Path) -> None:
    import onnx
    from bench_facenets import MobileFace, OnnxModel
    from bench_facenets.checks.selfcheck import probe_images
    from bench_facenets.loading.splitting import embedding_difference
    from facenets_toys import mobileface_onnx

    original = MobileFace(weights_file=f"{REAL}/weights/mobilefacenet-112x96.ckpt").load()
    (home / "baked.onnx").write_bytes(mobileface_onnx(original.net))  # type: ignore[attr-defined]
    onnx.checker.check_model(onnx.load(home / "baked.onnx"))
    model = OnnxModel(weights_file="baked.onnx", mean=127.5, std=128.0)
    network = model.load()
    images = probe_images()
    assert model.card().looped
    assert embedding_difference(network(images), original(images)) < 1e-4
    assert {"7x6", "trunk"} <= set(model.splits)
    pixels, twin = (probe_images().requires_grad_(True) for _ in range(2))
    (gradient,) = torch.autograd.grad(torch.nn.functional.normalize(network(pixels)).sum(), pixels)
    (expected,) = torch.autograd.grad(torch.nn.functional.normalize(original(twin)).sum(), twin)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-2)
