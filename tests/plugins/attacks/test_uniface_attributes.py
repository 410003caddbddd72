"""The uniface backend, offline: tiny ONNX files in uniface's names and shapes, and its public ``predict`` as the oracle
for our probabilities."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bench_attributes import Attributes, uniface_backend, uniface_files, versions
from bench_uniface import ATTRIBUTES, library
from uniface_server import attribute_network

from bench import DataError, MissingDataError

uniface = pytest.importorskip("uniface", reason="the extra real is not installed")

CTX: Any = SimpleNamespace()


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
    uniface_backend._loaded.cache_clear()


def put(folder: Path, monkeypatch: pytest.MonkeyPatch, **contents: bytes) -> None:
    """Write files into a folder, and make them the true ones of uniface's table."""
    table = dict(uniface.constants.MODEL_REGISTRY)
    for stem, content in contents.items():
        (folder / f"{stem}.onnx").write_bytes(content)
        known = library.entry(stem)
        digest = hashlib.sha256(content).hexdigest()
        table[known.identifier] = uniface.constants.ModelInfo(url=known.urls[0], sha256=digest)
    monkeypatch.setattr(uniface.constants, "MODEL_REGISTRY", table)


FAIRFACE = attribute_network(224, {"race": 7, "gender": 2, "age": 9}, seed=1)
AGE_GENDER = attribute_network(96, {"fc1": 3}, seed=2)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with both files, while uniface's own cache is empty."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    put(tmp_path, monkeypatch, fairface=FAIRFACE, age_gender=AGE_GENDER)
    return tmp_path


def pictures(n: int, side: int = 112) -> np.ndarray[Any, Any]:
    """Random coarse patterns, uint8 ``(n, 3, side, side)``, with black and white in them."""
    tiles = np.random.default_rng(n).integers(0, 256, (n, 3, 5, 5)).astype(np.float32)
    tiles[0, :, 0, 0], tiles[0, :, 4, 4] = 255, 0
    return np.asarray(torch.nn.functional.interpolate(torch.from_numpy(tiles), size=(side, side)).byte().numpy())


def predictions(model: Any, drawn: np.ndarray[Any, Any]) -> list[Any]:
    """Return what uniface itself says about aligned faces: the whole picture is the box of the face."""
    found = []
    for picture in drawn:
        bgr = np.ascontiguousarray(picture[::-1].transpose(1, 2, 0))
        box = np.array([0, 0, bgr.shape[1], bgr.shape[0]])
        found.append(model.predict(bgr, uniface.Face(bbox=box, confidence=1.0, landmarks=np.zeros((5, 2)))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("n", "side"), [(1, 112), (12, 112), (3, 160)])
def test_estimates_agree_with_the_librarys_own_predictions(
    n: int, side: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = pictures(n, side)
    attack = Attributes(backend="uniface")
    found = attack.estimate(torch.from_numpy(drawn).float() / 255, CTX)
    assert list(found) == ["age", "gender", "race"]
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(weights))
    fair = predictions(uniface.FairFace(providers=["CPUExecutionProvider"]), drawn)
    old = predictions(uniface.AgeGender(providers=["CPUExecutionProvider"]), drawn)
    classes = attack.classes()
    for i in range(n):
        assert classes["race"][int(found["race"][i].argmax())] == fair[i].race.lower()
        assert {"woman": "Female", "man": "Male"}[classes["gender"][int(found["gender"][i].argmax())]] == fair[i].sex
        assert round(float(found["age"][i])) == old[i].age
    for name in ("gender", "race"):
        torch.testing.assert_close(found[name].sum(1), torch.ones(n))
    if n == 12:  # Both genders, several races and ages: the comparison can fail.
        assert len({p.sex for p in fair}) == 2
        assert len({p.race for p in fair}) > 2
        assert len({p.age for p in old}) > 2


@pytest.mark.slow
def test_probabilities_are_the_softmax_of_the_networks_outputs(weights: Path) -> None:
    import onnxruntime

    drawn = pictures(2)
    found = Attributes(backend="uniface", attributes=("gender", "race")).estimate(
        torch.from_numpy(drawn).float() / 255, CTX
    )
    session = onnxruntime.InferenceSession(FAIRFACE, providers=["CPUExecutionProvider"])
    network = uniface_backend._network(weights / "fairface.onnx")
    for i, picture in enumerate(drawn):
        blob = network.preprocess(np.ascontiguousarray(picture[::-1].transpose(1, 2, 0)))
        race, gender, _ = (torch.from_numpy(output) for output in session.run(None, {"x": blob}))
        torch.testing.assert_close(found["race"][i], race[0].softmax(0), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(found["gender"][i], gender[0].softmax(0).flip(0), atol=1e-4, rtol=1e-3)


def test_auto_prefers_deepface_then_uniface_then_the_builtin_network(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Attributes().estimator == "uniface"
    assert not Attributes().synthetic
    monkeypatch.delenv("BENCH_WEIGHTS")
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(weights))  # another program may have left the files there
    assert Attributes().estimator == "builtin"
    assert len(Attributes(backend="uniface").fingerprint()) == 64
    monkeypatch.setenv("BENCH_WEIGHTS", str(weights))
    monkeypatch.setattr("bench_attributes.deepface_files.available", lambda: True)
    assert Attributes().estimator == "deepface"
    monkeypatch.setattr("bench_attributes.deepface_files.available", lambda: False)
    (weights / "age_gender.onnx").unlink()
    assert Attributes().estimator == "builtin"


def test_declarations(weights: Path) -> None:
    attack = Attributes(backend="uniface")
    assert attack.estimated == ("age", "gender", "race")
    assert attack.classes()["gender"] == ("woman", "man")
    assert len(attack.classes()["race"]) == 7
    assert "fairface: trained on FairFace" in attack.license
    assert "age-gender: MIT (code); InsightFace" in attack.license
    with pytest.raises(ValueError, match=r"attributes: expected some of age, gender, race for uniface, got 'emotion'"):
        Attributes(backend="uniface", attributes=("emotion",))


def test_the_fingerprint_covers_the_files_that_are_used_and_the_library(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Attributes(backend="uniface").fingerprint()
    of_age = Attributes(backend="uniface", attributes=("age",)).fingerprint()
    assert whole != of_age
    put(weights, monkeypatch, fairface=attribute_network(224, {"race": 7, "gender": 2, "age": 9}, seed=5))
    assert Attributes(backend="uniface", attributes=("age",)).fingerprint() == of_age
    assert Attributes(backend="uniface").fingerprint() != whole
    monkeypatch.setattr(uniface_files, "installed", lambda: "9.9")
    assert Attributes(backend="uniface", attributes=("age",)).fingerprint() != of_age


@pytest.mark.parametrize("stem", ["fairface", "age_gender"])
def test_a_missing_or_damaged_file_is_named_with_the_command_and_nothing_is_downloaded(
    stem: str, weights: Path
) -> None:
    attack, name = Attributes(backend="uniface"), stem.replace("_", "-")
    (weights / f"{stem}.onnx").write_bytes(b"damaged")
    for call in (attack.fingerprint, lambda: attack.estimate(torch.zeros(1, 3, 112, 112), CTX)):
        with pytest.raises(DataError, match=rf"{stem}.onnx: expected the sha256 .* bench models fetch {name}"):
            call()
    (weights / f"{stem}.onnx").unlink()
    for call in (attack.fingerprint, lambda: attack.estimate(torch.zeros(1, 3, 112, 112), CTX)):
        with pytest.raises(MissingDataError, match=rf"{name}: no weights; looked for {stem}.onnx in .*fetch {name}"):
            call()


def test_all_missing_files_are_named_at_once(weights: Path) -> None:
    for stem in ("fairface", "age_gender"):
        (weights / f"{stem}.onnx").unlink()
    with pytest.raises(MissingDataError, match=r"^attributes: age-gender: no weights; .*; fairface: no weights; "):
        Attributes(backend="uniface").fingerprint()


def test_a_file_with_other_outputs_or_no_network_is_an_error(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = Attributes(backend="uniface", attributes=("race",))
    put(weights, monkeypatch, fairface=attribute_network(224, {"race": 6, "gender": 2, "age": 9}, seed=1))
    with pytest.raises(DataError, match=r"fairface.onnx: expected outputs of \(7, 2, 9\) values, found the shapes"):
        attack.estimate(torch.zeros(1, 3, 112, 112), CTX)
    uniface_backend._loaded.cache_clear()
    put(weights, monkeypatch, fairface=b"no network")
    with pytest.raises(DataError, match=r"fairface.onnx: expected an ONNX network: "):
        attack.estimate(torch.zeros(1, 3, 112, 112), CTX)


def test_without_the_package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniface_files, "find_spec", lambda name: None if name == "uniface" else object())
    assert Attributes().estimator == "builtin"
    with pytest.raises(DataError, match=r"the uniface backend needs uniface; install with: pip install 'face-privacy-"):
        Attributes(backend="uniface").fingerprint()


def test_every_attribute_has_a_file_of_the_catalogue() -> None:
    assert set(uniface_files.FILES.values()) == set(ATTRIBUTES.values())


@pytest.mark.slow
def test_a_file_that_is_replaced_is_loaded_again(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, drawn = Attributes(backend="uniface", attributes=("age",)), torch.from_numpy(pictures(1)).float() / 255
    before = attack.estimate(drawn, CTX)["age"]
    put(weights, monkeypatch, age_gender=attribute_network(96, {"fc1": 3}, seed=3))
    after = attack.estimate(drawn, CTX)["age"]
    uniface_backend._loaded.cache_clear()
    assert float(before) != float(after) == float(attack.estimate(drawn, CTX)["age"])


@pytest.mark.parametrize("name", ["onnxruntime", "opencv"])
def test_other_versions_of_what_computes_are_another_fingerprint(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = uniface_files.fingerprint(["age"]), versions.distributions_of

    def others(package: str) -> list[Any]:
        found = real(package)
        return [SimpleNamespace(name=d.name, version="0.0" if d.name.startswith(name) else d.version) for d in found]

    monkeypatch.setattr(versions, "distributions_of", others)
    assert uniface_files.fingerprint(["age"]) != before


def test_sessions_have_the_threads_of_the_worker(weights: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        network = uniface_backend._network(weights / "fairface.onnx")
    finally:
        torch.set_num_threads(before)
    assert network.session.get_session_options().intra_op_num_threads == 3
    assert uniface.onnx_utils.ort.SessionOptions().intra_op_num_threads == 0  # as the library made it before
