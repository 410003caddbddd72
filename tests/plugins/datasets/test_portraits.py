"""The data set ``photos``: ordinary pictures are listed, turned upright and aligned, and hostile folders are only
counted. The detector is a fake one."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_portraits import Photos, reading
from numpy.typing import NDArray
from PIL import Image
from test_facesets_alignment import FakeDetector, coloured, save

from bench import Context, ContractError, DataError


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    """The fake detector, in the place of the real one."""
    fake = FakeDetector()
    monkeypatch.setattr(reading, "_detector", lambda: fake)
    monkeypatch.setattr(reading, "_KNOWN", {})
    return fake


def samples(path: Path, **params: Any) -> Mapping[str, tuple[str, str, str, NDArray[np.uint8]]]:
    """The samples of a folder by name: problem, detail, note, picture."""
    faces, pairs = Photos(path=path, **params).evaluation(0, Context(device=torch.device("cpu"), seed=0))
    assert len(pairs.left) == 0
    columns = (faces.attributes[name] for name in ("problem", "detail", "note"))
    found = zip(
        map(str, faces.sample_ids), *(map(str, column) for column in columns), np.asarray(faces.images), strict=True
    )
    return {name: tuple(more) for name, *more in found}  # type: ignore[misc]


def test_photos_are_found_aligned_and_named_without_suffix(detector: FakeDetector, tmp_path: Path) -> None:
    save(tmp_path / "anna" / "1.jpg", coloured(1))
    save(tmp_path / "anna" / "2.final.png", coloured(2))
    save(tmp_path / "loose.webp", coloured(3))
    save(tmp_path / "black.png", np.zeros((90, 80, 3), np.uint8))
    green = np.zeros((90, 80, 3), np.uint8)
    green[..., 1] = 200
    save(tmp_path / "two.png", green)
    found = samples(tmp_path)
    assert {name: problem for name, (problem, *_) in found.items()} == {
        "anna/1": "",
        "anna/2.final": "",
        "black": "no face",
        "loose": "",
        "two": "several faces",
    }
    assert found["black"][3].max() == 0
    assert found["anna/1"][3].shape == (3, 112, 112)
    assert found["anna/1"][3].max() > 0
    assert detector.seen == 5
    samples(tmp_path)
    assert detector.seen == 5  # What was found in a file is known.


def test_faces_are_taken_from_where_they_are_in_pictures_of_the_same_name(
    detector: FakeDetector, tmp_path: Path
) -> None:
    pixels = coloured(1, (90, 80))
    save(tmp_path / "before" / "1.png", pixels)
    save(tmp_path / "before" / "2.png", pixels)
    save(tmp_path / "before" / "faceless.png", np.zeros((90, 80, 3), np.uint8))
    save(tmp_path / "after" / "1_cloaked.png", np.zeros((90, 80, 3), np.uint8))
    save(tmp_path / "after" / "2_cloaked.png", np.full((180, 100, 3), 90, np.uint8))
    save(tmp_path / "after" / "alone.png", pixels)
    save(tmp_path / "after" / "faceless.png", pixels)
    found = samples(tmp_path / "after", like=tmp_path / "before", suffix="_cloaked")
    assert [name for name, (problem, *_) in found.items() if not problem] == ["1", "2"]
    assert found["2"][2] == "100 x 180 pixels in place of 80 x 90, and of another shape"
    assert found["2"][3].max() == 90
    assert found["alone"][0] == "no counterpart"
    assert found["faceless"][0] == "no face"
    own = samples(tmp_path / "after", suffix="_cloaked")
    assert own["1"][0] == "no face"
    same = samples(tmp_path / "before", like=tmp_path / "before")
    assert (same["1"][3] == samples(tmp_path / "before")["1"][3]).all()


def test_every_form_of_picture_gives_one_face(detector: FakeDetector, tmp_path: Path) -> None:
    upright = coloured(5, (90, 80))
    turned = Image.fromarray(np.rot90(upright).copy())
    exif = Image.Exif()
    exif[274] = 6  # seen rotated by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    save(tmp_path / "upright.png", upright)
    grey = np.asarray(Image.fromarray(upright).convert("L"))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(np.dstack([upright, np.full((90, 80), 7, np.uint8)])).save(tmp_path / "transparent.png")
    found = samples(tmp_path)
    assert {problem for problem, *_ in found.values()} == {""}
    assert (found["turned"][3] == found["upright"][3]).all()
    assert (found["transparent"][3] == found["upright"][3]).all()
    assert (found["sixteen"][3] == found["grey"][3]).all()
    assert (found["grey"][3][0] == found["grey"][3][2]).all()


def bomb() -> bytes:
    """A PNG that declares 60000 x 60000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_a_hostile_folder_is_counted_and_nothing_outside_is_read(detector: FakeDetector, tmp_path: Path) -> None:
    secret = save(tmp_path / "outside" / "secret.png", coloured(9))
    folder = tmp_path / "photos"
    save(folder / "good.png", coloured(1))
    (folder / "link.png").symlink_to(secret)
    (folder / "folder").symlink_to(secret.parent)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("notes")
    (folder / "noending").write_text("nothing")
    (folder / ".hidden.png").write_bytes(b"")
    save(folder / "twice.png", coloured(2))
    save(folder / "twice.jpg", coloured(3))
    held = io.BytesIO()
    frames = [Image.fromarray(coloured(k)) for k in (1, 2)]
    frames[0].save(held, "gif", save_all=True, append_images=frames[1:])
    (folder / "animated.gif").write_bytes(held.getvalue())
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe.png", os.O_CREAT))
    faces, _ = Photos(path=folder).evaluation(0, Context(device=torch.device("cpu"), seed=0))
    named = zip(faces.sample_ids, faces.attributes["problem"], faces.attributes["detail"], strict=True)
    found = [(str(name), str(problem), str(detail)) for name, problem, detail in named]
    assert sorted((name, problem) for name, problem, _ in found) == [
        ("\\xff\\xfe", "unreadable"),
        ("animated", "unreadable"),
        ("bomb", "unreadable"),
        ("empty", "unreadable"),
        ("folder", "link"),
        ("good", ""),
        ("link", "link"),
        ("loop", "link"),
        ("noending", "no picture"),
        ("notes", "no picture"),
        ("pipe", "no picture"),
        ("text", "unreadable"),
        ("twice", "same name"),
        ("twice", "same name"),
    ]
    details = {name: detail for name, _, detail in found}
    assert "pixels" in details["bomb"]
    assert "several" in details["animated"]
    assert details["twice"] == "twice.jpg, twice.png have one name but for what follows the last dot"
    assert str(tmp_path) not in "".join(details.values())
    assert detector.seen == 1


def test_aligned_crops_are_taken_as_they_are(detector: FakeDetector, tmp_path: Path) -> None:
    pixels = coloured(1, (112, 112))
    save(tmp_path / "crop.png", pixels)
    save(tmp_path / "photo.png", coloured(2))
    found = samples(tmp_path, aligned=True)
    assert (found["crop"][3] == pixels.transpose(2, 0, 1)).all()
    assert found["photo"][0] == "unreadable"
    assert "expected an aligned face of 112 x 112, found 80 x 90" in found["photo"][1]
    assert detector.seen == 0


def test_an_empty_folder_is_no_error_and_a_missing_one_is(tmp_path: Path) -> None:
    assert samples(tmp_path) == {}
    with pytest.raises(DataError, match="expected a readable folder"):
        samples(tmp_path / "missing")


def test_photos_are_no_data_set_of_a_suite(tmp_path: Path) -> None:
    photos = Photos(path=tmp_path)
    assert photos.max_pairs() == 0
    with pytest.raises(ContractError, match="found a folder of photos"):
        photos.calibration(Context(device=torch.device("cpu"), seed=0))
    first = photos.fingerprint()
    save(tmp_path / "one.png", coloured(1))
    assert photos.fingerprint() != first
    assert photos.status().images == 1
