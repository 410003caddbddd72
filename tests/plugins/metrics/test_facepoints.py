"""Faces that are kept: the landmark network, its training pictures, and the metrics of the goal anonymity."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bench_facepoints
import numpy as np
import pytest
import torch
from bench_blocks import pixelated
from bench_facepoints import FaceDetected, FaceKept, LandmarkDistance, detectors, pictures
from bench_facesets.alignment.detect import Face
from bench_synthfaces import SynthLfw, SynthTraining

from bench import Context, DataError, MissingDataError, SuiteError, TrainingJob, file_sha256

CTX = Context(device=torch.device("cpu"), seed=0, plugin="metric faces")


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Faces of people from whom nothing was learnt."""
    found, _ = SynthLfw().evaluation(24, CTX)
    return torch.from_numpy(np.array(found.images)).float() / 255


def values(metric: Any, original: torch.Tensor, other: torch.Tensor) -> list[float]:
    return np.asarray(metric.compute(original, other, CTX)).tolist()


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_the_weights_are_bundled_and_meet_the_bars() -> None:
    path = bench_facepoints.weights()
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size == card["bytes"] < 1_000_000
    assert file_sha256(path) == card["sha256"] == FaceKept().fingerprint()
    measured = card["evaluation"]
    assert measured["as they are"]["landmark error"] < 0.06
    assert measured["blurred by 2 pixels"]["landmark error"] < 0.08
    assert min(measured[name]["faces found"] for name in ("as they are", "blurred by 2 pixels", "pixels of 8")) > 0.95
    assert max(measured[name]["faces found"] for name in pictures.NO_FACE) < 0.1


def test_a_picture_keeps_its_own_face(faces: torch.Tensor) -> None:
    assert values(FaceDetected(), faces, faces) == [1.0] * len(faces)
    assert values(LandmarkDistance(), faces, faces) == [0.0] * len(faces)
    assert values(FaceKept(), faces, faces) == [1.0] * len(faces)


def test_a_blur_keeps_faces_and_a_permutation_of_blocks_does_not(faces: torch.Tensor) -> None:
    blurred = pictures.blurred(faces, 2.0)
    assert np.mean(values(FaceKept(), faces, blurred)) > 0.9
    permuted = pictures.permuted(faces, 14, torch.Generator().manual_seed(0))
    assert np.mean(values(FaceDetected(), faces, permuted)) < 0.2
    assert np.mean(values(FaceKept(), faces, permuted)) < 0.1
    distance = np.array(values(LandmarkDistance(), faces, permuted))
    assert (np.isinf(distance) == (np.array(values(FaceDetected(), faces, permuted)) == 0)).all()


def test_a_face_that_moves_is_as_far_as_it_moves(faces: torch.Tensor) -> None:
    """Six pixels are about .18 of the distance between the eyes, which is about 33 pixels."""
    moved = faces.roll(6, dims=3)
    distance = np.array(values(LandmarkDistance(), faces, moved))
    assert np.median(distance[np.isfinite(distance)]) == pytest.approx(6 / 33, abs=0.05)
    assert np.mean(values(FaceKept(within=0.4), faces, moved)) > np.mean(values(FaceKept(within=0.05), faces, moved))


class Finds:
    """A detector that finds a face at the brightest pixel, and none in a dark image."""

    name = "brightest"

    def detect(self, image: Any) -> list[Face]:
        if not image.any():
            return []
        y, x = np.unravel_index(image.sum(-1).argmax(), image.shape[:2])
        points = np.array([[-5, -5], [5, -5], [0, 0], [-4, 5], [4, 5]], float) + np.array([x, y])
        return [Face(box=(x - 9, y - 9, x + 9, y + 9), score=1.0, landmarks=points)]


def test_any_detector_gives_landmarks_and_none_where_it_finds_no_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "_mtcnn", Finds)
    first, second = torch.zeros(3, 3, 40, 40), torch.zeros(3, 3, 40, 40)
    first[:, :, 20, 20] = second[0, :, 20, 20] = second[1, :, 20, 22] = 1.0
    assert values(FaceDetected(detector="mtcnn"), first, second) == [1.0, 1.0, 0.0]
    found = values(LandmarkDistance(detector="mtcnn"), first, second)
    assert found == [0.0, pytest.approx(0.2, abs=1e-5), math.inf]
    assert values(FaceKept(detector="mtcnn"), first, second) == [1.0, 0.0, 0.0]
    assert values(FaceKept(detector="mtcnn", within=0.21), first, second) == [1.0, 1.0, 0.0]


def test_only_the_built_in_network_is_kept_from_real_faces() -> None:
    assert [FaceKept().synthetic, FaceKept(detector="mtcnn").synthetic] == [True, False]


def test_a_detector_that_is_missing_is_named_and_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_facepoints, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"needs the package mtcnn.*face-privacy-bench\[align\]"):
        FaceKept(detector="mtcnn").fingerprint()
    monkeypatch.setattr(bench_facepoints, "find_spec", lambda name: name)
    monkeypatch.setattr(bench_facepoints, "version", lambda name: "1.2")
    assert FaceKept(detector="mtcnn").fingerprint() == "mtcnn 1.2"
    monkeypatch.setattr(bench_facepoints, "WEIGHTS", tmp_path)
    with pytest.raises(DataError, match="the weights are missing; make them with: bench train suites/facepoints"):
        FaceKept().fingerprint()


# ---- training --------------------------------------------------------------------------------------------------------


def test_landmarks_move_with_their_pictures() -> None:
    """Each landmark is one bright dot of a colour, which is where it is said to be after the move."""
    points = torch.tensor([[30.0, 50], [70, 52], [50, 66], [38, 80], [66, 82]]).expand(8, 5, 2)
    axis = torch.arange(112.0)
    for k in range(5):
        dot = torch.exp(-((axis - points[0, k, 0]) ** 2)[None] / 18 - ((axis - points[0, k, 1]) ** 2)[:, None] / 18)
        images, found = pictures.moved(dot.expand(8, 3, 112, 112), points, torch.Generator().manual_seed(1))
        mirrored = found[:, 0, 0] > found[:, 1, 0]
        assert not mirrored.any()
        weights = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
        at = torch.stack([(weights * axis).sum((1, 2)), (weights * axis[:, None]).sum((1, 2))], dim=1)
        nearest = (found - at[:, None]).norm(dim=2).min(dim=1)
        assert (nearest.values < 0.7).all()
        twin = {0: 1, 1: 0, 2: 2, 3: 4, 4: 3}[k]
        assert set(nearest.indices.tolist()) == {k, twin}


def test_blocks_are_permuted_and_pixels_are_means() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    permuted = pictures.permuted(images, 4, torch.Generator().manual_seed(1))
    assert not torch.equal(permuted, images)
    torch.testing.assert_close(permuted.flatten(1).sort().values, images.flatten(1).sort().values)
    coarse = pixelated(images, 4)
    torch.testing.assert_close(coarse[0, 1, 4:8, 8:12], images[0, 1, 4:8, 8:12].mean().expand(4, 4))


def test_a_job_becomes_weights_with_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_facepoints, "WEIGHTS", tmp_path / "weights")
    job = TrainingJob(
        name="face-kept",
        data=SynthTraining(groups=((20, 2),)),
        seed=3,
        recipe={"images": 32, "batch": 16},
        validate_on={},
        validation_pairs=20,
        work=tmp_path / "work",
        log=lambda line: None,
        where="train[0].recipe",
    )
    card = FaceKept().train(job)
    assert card == json.loads((tmp_path / "weights" / "facepoints.json").read_text())
    assert card["sha256"] == FaceKept().fingerprint()
    assert set(card["evaluation"]) == {
        *("as they are", "blurred by 2 pixels", "pixels of 8", "noise of .3"),
        *pictures.NO_FACE,
    }
    with pytest.raises(SuiteError, match=r"train\[0\]\.recipe: mtcnn is not trained by bench"):
        FaceKept(detector="mtcnn").train(job)
