"""The deepface backend, end to end and offline: tiny ONNX files in deepface's names and shapes, and its public
``DeepFace.analyze`` as the oracle for our batches."""

from __future__ import annotations

import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from bench_attributes import Attributes, deepface_backend, deepface_files
from bench_attributes.deepface_files import FILES
from onnx import TensorProto, helper, numpy_helper

from bench import DataError

SIDES = {"age": (224, 3), "gender": (224, 3), "emotion": (48, 1), "race": (224, 3)}
CTX: Any = SimpleNamespace()


def write_graph(path: Path, side: int, channels: int, outputs: int, seed: int, batch: int | str = "n") -> None:
    """A classifier of pictures ``(n, side, side, channels)``: means of 4x4 or 7x7 tiles, a matrix, softmax."""
    kernel = side // (7 if side == 224 else 4)
    features = channels * (side // kernel) ** 2
    matrix = np.random.default_rng(seed).normal(0, 12 / features**0.5, (features, outputs)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["channels_first"], ["tiles"], kernel_shape=[kernel] * 2, strides=[kernel] * 2),
        helper.make_node("Flatten", ["tiles"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, side, side, channels])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, path)


def write_home(home: Path, **changes: Any) -> Path:
    """A DEEPFACE_HOME with all four files; returns the folder of the weights."""
    place = home / ".deepface" / "weights"
    for seed, (name, file) in enumerate(FILES.items()):
        write_graph(place / file.name, *SIDES[name], **{"outputs": file.outputs, "seed": seed, **changes})
    return place


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked = []

    def refuse(*args: object, **kwargs: object) -> None:
        asked.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not asked


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("deepface")
    write_home(home)
    return home


@pytest.fixture
def installed(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put all four files in place, with no other setting of deepface; what the backend changes is undone afterwards."""
    for name in ("DEEPFACE_BACKEND_ENGINE", "DEEPFACE_ONNX_PROVIDERS", "DEEPFACE_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("DEEPFACE_HOME", str(shared_home))
    yield shared_home / ".deepface" / "weights"
    deepface_backend._loaded.cache_clear()


def analyze(picture: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the result of deepface itself for an RGB picture uint8 ``(3, h, w)``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from deepface import DeepFace
    (found,) = DeepFace.analyze(
        img_path=np.ascontiguousarray(picture.transpose(1, 2, 0)[:, :, ::-1]),
        actions=["age", "gender", "emotion", "race"],
        detector_backend="skip",
        enforce_detection=False,
        align=False,
        silent=True,
    )
    return dict(found)


def pictures(n: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Random coarse patterns, uint8 ``(n, 3, h, w)``, with black and white in them."""
    tiles = np.random.default_rng(n).integers(0, 256, (n, 3, 5, 5)).astype(np.float32)
    tiles[0, :, 0, 0], tiles[0, :, 4, 4] = 255, 0
    return np.asarray(torch.nn.functional.interpolate(torch.from_numpy(tiles), size=(height, width)).byte().numpy())


@pytest.mark.slow
@pytest.mark.parametrize(("n", "height", "width"), [(1, 112, 112), (19, 112, 112), (3, 90, 120), (2, 250, 250)])
def test_batches_agree_with_analyze(installed: Path, n: int, height: int, width: int) -> None:
    drawn = pictures(n, height, width)
    attack = Attributes(backend="deepface")
    found = attack.estimate(torch.from_numpy(drawn).float() / 255, CTX)
    classes = attack.classes()
    assert list(found) == ["age", "gender", "emotion", "race"]
    assert {k: v.shape for k, v in found.items()} == {"age": (n,), **{k: (n, len(c)) for k, c in classes.items()}}
    spread = []
    for i, picture in enumerate(drawn):
        said = analyze(picture)
        assert int(found["age"][i]) == said["age"]
        for name, names in classes.items():
            assert [label.lower() for label in said[name]] == list(names)
            expected = [float(v) / 100 for v in said[name].values()]
            assert found[name][i].tolist() == pytest.approx(expected, abs=1e-4)
            assert float(found[name][i].sum()) == pytest.approx(1, abs=1e-5)
            spread.append(max(expected) - min(expected))
    assert np.mean(spread) > 0.2  # the tiny graphs distinguish pictures


def test_ages_are_not_truncated_and_channels_are_blue_green_red(installed: Path) -> None:
    faces = torch.from_numpy(pictures(4, 112, 112)).float() / 255
    attack = Attributes(backend="deepface", attributes=("age",))
    ages = attack.estimate(faces, CTX)["age"]
    assert (ages != ages.round()).any()
    assert not torch.allclose(ages, attack.estimate(faces.flip(1), CTX)["age"], atol=0.1)


def test_values_a_little_beyond_one_are_no_eight_bit_picture(installed: Path) -> None:
    """deepface divides a picture by 255 when its largest value is 1.0001."""
    faces = torch.from_numpy(pictures(2, 112, 112)).float() / 255
    attack = Attributes(backend="deepface", attributes=("emotion",))
    assert faces.max() == 1
    expected = attack.estimate(faces, CTX)["emotion"]
    assert torch.allclose(attack.estimate(faces * 1.0001, CTX)["emotion"], expected, atol=1e-3)


def test_graphs_that_take_one_image_are_fed_one_by_one(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = torch.from_numpy(pictures(3, 112, 112)).float() / 255
    attack = Attributes(backend="deepface", attributes=("gender", "age"))
    expected = attack.estimate(faces, CTX)
    for seed, name in enumerate(FILES):
        write_graph(tmp_path / ".deepface/weights" / FILES[name].name, *SIDES[name], FILES[name].outputs, seed, batch=1)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    found = attack.estimate(faces, CTX)
    assert torch.allclose(found["gender"], expected["gender"], atol=1e-5)
    assert torch.allclose(found["age"], expected["age"], atol=1e-3)


def test_damaged_and_foreign_files_are_named(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    place = write_home(tmp_path, outputs=5)
    (place / FILES["race"].name).write_bytes(b"not a graph")
    faces = torch.rand(2, 3, 112, 112)
    with pytest.raises(DataError, match=r"race_model_single_batch\.onnx: expected an ONNX graph"):
        Attributes(backend="deepface", attributes=("race",)).estimate(faces, CTX)
    with pytest.raises(DataError, match=r"gender_model_weights\.onnx: expected a graph with outputs \(n, 2\)"):
        Attributes(backend="deepface", attributes=("gender",)).estimate(faces, CTX)
    (place / FILES["age"].name).unlink()
    with pytest.raises(DataError, match=r"age_model_weights\.onnx"):
        Attributes(backend="deepface").estimate(faces, CTX)


def test_the_fingerprint_is_of_the_files_that_are_used(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Attributes(backend="deepface", attributes=("gender", "emotion"))
    before = both.fingerprint()
    assert len(before) == 64
    assert before == Attributes(backend="deepface", attributes=("emotion", "gender")).fingerprint()
    place = write_home(tmp_path)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    assert both.fingerprint() == before
    (place / FILES["race"].name).unlink()
    assert both.fingerprint() == before
    write_graph(place / FILES["gender"].name, *SIDES["gender"], 2, seed=99)
    assert both.fingerprint() != before


def test_missing_packages_are_named(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepface_files, "PACKAGES", ("deepface", "no_such_package"))
    with pytest.raises(DataError, match=r"needs no_such_package; install with: pip install .*\[deepface\]"):
        Attributes(backend="deepface").fingerprint()


PLANNING = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("something asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
from bench import DataError
from bench_attributes import Attributes
try:
    Attributes(backend="deepface").fingerprint()
except DataError as error:
    print(error)
print("imported:", [m for m in ("torch", "deepface", "onnxruntime", "cv2") if m in sys.modules])
"""


def test_missing_files_are_named_before_anything_is_imported(tmp_path: Path) -> None:
    place = write_home(tmp_path)
    (place / FILES["emotion"].name).unlink()
    (place / FILES["race"].name).unlink()
    done = subprocess.run(
        [sys.executable, "-c", PLANNING],
        env={"DEEPFACE_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "2 of deepface's 4 weights files are missing" in done.stdout
    assert str(place) in done.stdout
    for name in ("emotion", "race"):
        assert FILES[name].name in done.stdout
        assert FILES[name].what in done.stdout
    for name in ("age", "gender"):
        assert FILES[name].name not in done.stdout
    assert "imported: []" in done.stdout
    assert not any(place.parent.rglob("*.part"))


def test_sessions_have_the_threads_of_the_worker(installed: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        client = deepface_backend._client("emotion", deepface_files.folder())
    finally:
        torch.set_num_threads(before)
    assert client.model.get_session_options().intra_op_num_threads == 3
