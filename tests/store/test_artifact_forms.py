"""Artifacts whose checksums are right and whose contents are not those of their stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.store.artifact_forms import read_input
from bench.store.artifacts import Artifact, Cache, DamagedError
from bench.store.score_form import check_score

KEY = "ab" + "0" * 62
IMAGES = np.zeros((4, 3, 8, 8), np.uint8)
FACES = pa.table({"sample_id": list("abcd"), "subject": [0, 0, 1, 1]})
PAIRS = pa.table({"left": [0, 1], "right": [1, 2], "same": [True, False], "fold": [0, 0]})
UNIT = np.ones((4, 2), np.float32)
SAMPLES = pa.table({"face": [0, 1, 2, 3]})
GOOD: Mapping[str, tuple[str, Artifact]] = {
    "faces": ("faces", Artifact(tensors={"images": IMAGES}, tables={"faces": FACES, "pairs": PAIRS})),
    "clean": ("embed", Artifact(tensors={"plain": UNIT, "flipped": UNIT})),
    "protected": ("protect", Artifact(tensors={"images": IMAGES}, tables={"samples": SAMPLES})),
    "received": ("attack", Artifact(tensors={"age": np.ones(4, np.float32)})),
    "state": ("fit_defense", Artifact(tensors={"mean": UNIT})),
}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    (tmp_path / "cache").mkdir()
    return Cache(tmp_path / "cache")


def stored(cache: Cache, kind: str, artifact: Artifact) -> None:
    """Store an artifact of a stage of this kind."""
    cache.write(KEY, artifact, {"kind": kind, "seconds": 0.0, "peak_mb": 0.0, "device": "cpu"})


@pytest.mark.parametrize("role", GOOD)
def test_the_artifact_of_a_stage_is_read(role: str, cache: Cache) -> None:
    kind, artifact = GOOD[role]
    stored(cache, kind, artifact)
    assert read_input(cache, role, KEY).kind == kind


def faces(**changed: Any) -> Artifact:
    """Return faces with other columns or images."""
    columns = {"sample_id": list("abcd"), "subject": [0, 0, 1, 1], **changed}
    images = columns.pop("images", IMAGES)
    pairs = columns.pop("pairs", PAIRS)
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    return Artifact(tensors={"images": images}, tables={"faces": table, "pairs": pairs})


WRONG: Mapping[str, tuple[str, str, Callable[[], Artifact], str]] = {
    "another kind": ("faces", "embed", lambda: GOOD["clean"][1], "the result of a stage faces, found embed"),
    "no kind": ("faces", "", faces, "the result of a stage faces, found"),
    "no subject": ("faces", "faces", lambda: faces(subject=None), "faces with the column subject, found sample_id"),
    "subjects as texts": ("faces", "faces", lambda: faces(subject=list("aabb")), "whole numbers in the column subject"),
    "an empty subject": ("faces", "faces", lambda: faces(subject=[0, None, 1, 1]), "a value in every row"),
    "fewer rows than pictures": ("faces", "faces", lambda: faces(images=IMAGES[:3]), "3 rows in faces"),
    "float pictures": ("faces", "faces", lambda: faces(images=IMAGES.astype(np.float32)), "found float32"),
    "16-bit pictures": ("faces", "faces", lambda: faces(images=IMAGES.astype(np.uint16)), "images of 8 bits"),
    "grey pictures": ("faces", "faces", lambda: faces(images=IMAGES[:, :1]), "images of 8 bits"),
    "pairs without folds": ("faces", "faces", lambda: faces(pairs=PAIRS.drop_columns(["fold"])), "the column fold"),
    "a pair of a face that is not there": (
        "faces",
        "faces",
        lambda: faces(pairs=PAIRS.set_column(1, "right", pa.array([1, 9]))),
        "numbers of the 4 faces in the column right of pairs, found 1 to 9",
    ),
    "no flipped": ("clean", "embed", lambda: Artifact(tensors={"plain": UNIT}), "an array flipped, found plain"),
    "flipped of another length": (
        "clean",
        "embed",
        lambda: Artifact(tensors={"plain": UNIT, "flipped": UNIT[:3]}),
        "an array flipped of the shape",
    ),
    "uploads without faces": ("protected", "protect", lambda: Artifact(tensors={"images": IMAGES}), "a table samples"),
    "whole numbers as estimates": (
        "received",
        "attack",
        lambda: Artifact(tensors={"age": np.ones(4, np.int64)}),
        "estimates age, found int64",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_artifact_of_another_form_is_damaged_and_named(name: str, cache: Cache) -> None:
    role, kind, made, expected = WRONG[name]
    stored(cache, kind, made())
    with pytest.raises(DamagedError) as error:
        read_input(cache, role, KEY)
    assert str(cache.folder(KEY)) in str(error.value)
    assert expected in str(error.value)


def test_scores_need_their_columns_with_their_types(cache: Cache) -> None:
    good = {"sample_id": pa.string(), "subject": pa.int64(), "ssim": pa.float32()}
    check_score(cache, KEY, {"images": pa.schema(good.items())})
    for wrong, expected in (
        ({"sample_id": pa.string()}, "images with the column subject, found none"),
        ({**good, "ssim": pa.string()}, "numbers in the column ssim of images, found string"),
    ):
        with pytest.raises(DamagedError, match=expected):
            check_score(cache, KEY, {"images": pa.schema(wrong.items())})
    with pytest.raises(DamagedError, match=r"expected tables verification, .* found other"):
        check_score(cache, KEY, {"other": pa.schema([])})
