"""uniface's networks as models: found, verified, loaded with gradients and split points, with uniface's pixels."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_facenets.checks.selfcheck import probe_images
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.splitting import embedding_difference
from bench_uniface import FETCHABLE, MODELS, RECOGNISERS, UnifaceNet, library
from facenets_toys import onnx_bytes
from support import TESTS

from bench import DataError
from bench.planning.plan import make_plan
from bench.registry.discovery import discover
from bench.suite.suite import load

uniface = pytest.importorskip("uniface", reason="the extra real is not installed")

CLASSES = {
    "mobilenetv": uniface.MobileFace,
    "sphere": uniface.SphereFace,
    "arcface": uniface.ArcFace,
    "adaface": uniface.AdaFace,
    "edgeface": uniface.EdgeFace,
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """uniface's cache with a tiny network under every name, and a table of uniface in which these are the true ones."""
    table = dict(uniface.constants.MODEL_REGISTRY)
    for i, file in enumerate(FETCHABLE.values()):
        content = onnx_bytes(seed=i, reshape=(1, -1) if i % 2 else (0, -1), batch=1 if i % 3 else "n")
        (tmp_path / file.file).write_bytes(content)
        known = library.entry(file.stem)
        digest = hashlib.sha256(content).hexdigest()
        table[known.identifier] = uniface.constants.ModelInfo(url=known.urls[0], sha256=digest)
    monkeypatch.setattr(uniface.constants, "MODEL_REGISTRY", table)
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cards"))
    for variable in ("BENCH_WEIGHTS", "BENCH_DATA"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_every_recogniser_of_the_catalogue_is_a_registered_model() -> None:
    assert list(MODELS) == list(RECOGNISERS)
    assert set(MODELS) <= set(discover().names("model"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_a_network_gives_the_embeddings_of_the_librarys_own_class(name: str, cache: Path) -> None:
    model = MODELS[name]()
    own = next(cls for prefix, cls in CLASSES.items() if name.startswith(prefix))
    identifier = library.entry(model.fetchable().stem).identifier
    theirs = own(model_name=identifier, providers=["CPUExecutionProvider"])
    rgb = (probe_images() * 255).round().byte()
    bgr = np.ascontiguousarray(rgb.flip(1).permute(0, 2, 3, 1).numpy())
    expected = torch.from_numpy(np.concatenate([theirs.get_embedding(face) for face in bgr]))
    network = model.load()
    assert embedding_difference(network(rgb.float() / 255), expected) < 1e-5
    assert model.status().where == str(cache / f"{identifier.value}.onnx")


@pytest.mark.slow
def test_the_published_suite_uses_fetched_files(cache: Path) -> None:
    registry = discover()
    suite = load(TESTS.parent / "suites" / "real-networks.toml", registry, ['suite.data="auto"'])
    cells = make_plan(suite, registry, "cpu").cells
    assert not [cell.skip for cell in cells if cell.skip]
    used = {component.name for cell in cells for component in cell.components}
    assert {"arcface-mnet", "arcface-resnet", "mobilenetv2", "edgeface-xxs", "attributes", "synth-lfw"} <= used
    names = "arcface-mnet arcface-resnet mobilenetv2 edgeface-xxs fairface age-gender"
    assert f"bench models fetch {names}\n" in suite.path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_gradients_and_split_points(cache: Path) -> None:
    model = MODELS["adaface-ir-50"]()
    network = model.load()
    assert model.splits == {"28x28": (4, 28, 28), "7x7": (6, 7, 7)}
    assert model.embedding_size == 8
    pixels = probe_images().requires_grad_(True)
    maps = network.features(pixels, ["28x28"])[0]
    torch.testing.assert_close(network.from_features(maps, "28x28"), network(pixels))
    (gradient,) = torch.autograd.grad(network(pixels).square().sum(), pixels)
    assert float(gradient.abs().min(dim=0).values.max()) > 0


def test_a_file_with_another_content_is_refused_unless_the_suite_names_it(cache: Path) -> None:
    other = onnx_bytes(seed=99)
    (cache / "sphere20.onnx").write_bytes(other)
    with pytest.raises(DataError, match=r"sphere20.onnx: expected the sha256 \w{64} that uniface .* lists, found \w+"):
        MODELS["sphere20"]().weights()
    with pytest.raises(DataError, match="bench models fetch sphere20"):
        MODELS["sphere20"]().status()
    named = MODELS["sphere20"](weights_file=str(cache / "sphere20.onnx"))
    assert named.fingerprint() == hashlib.sha256(other).hexdigest()
    assert named.license == "unknown"


def test_without_the_library_files_are_used_and_the_missing_check_is_noted(cache: Path, monkeypatch: object) -> None:
    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    assert MODELS["sphere20"]().status().notes == ()
    monkeypatch.setattr(library, "installed", lambda: None)
    status = MODELS["sphere20"]().status()
    assert status.where == str(cache / "sphere20.onnx")
    assert status.notes[-1].startswith("its sha256 was not compared, because uniface is not installed (pip install")


@pytest.mark.parametrize("name", list(MODELS))
def test_licenses_name_a_place_to_look_and_no_network_claims_to_be_free(name: str) -> None:
    model = MODELS[name]()
    assert "see https://github.com/" in model.license
    assert model.license != "MIT"
    assert not model.synthetic
    assert isinstance(model, UnifaceNet)


def test_pixels_of_an_own_file_are_those_that_it_asks_for() -> None:
    measured = Pixels(mean=(0.0,) * 3, std=(1.0,) * 3)
    own = MODELS["adaface-ir-18"](weights_file="mine.onnx")
    assert str(own.pixels(measured)) == "112x112 bgr, (x - 0) / 1"
    assert own.pixels(replace(measured, channels="grey")).channels == "grey"
    assert str(replace(own, std=2.0).pixels(measured)) == "112x112 bgr, (x - 0) / 2"
    assert str(replace(own, weights_file="").pixels(measured)) == "112x112 bgr, (x - 127.5) / 127.5"


def test_pixels_are_those_of_uniface(cache: Path) -> None:
    wanted = {"rgb": "112x112 rgb, (x - 127.5) / 127.5", "bgr": "112x112 bgr, (x - 127.5) / 127.5"}
    for name in ("adaface-ir-18", "edgeface-xxs"):
        order = "bgr" if name.startswith("adaface") else "rgb"
        assert MODELS[name]().card().pixels == wanted[order]
    assert "127.5) / 128" in MODELS["adaface-ir-18"](std=128.0).card().pixels
