"""``bench data align``: the arithmetic of the template, the choice of a face in an image, and interrupted folders."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
from bench_facesets.alignment import command as command_module
from bench_facesets.alignment import detect
from bench_facesets.alignment.detect import Face, MtcnnDetector, subject_of
from bench_facesets.alignment.folder import MANIFEST, REPORT, Tally, align_folder
from bench_facesets.alignment.geometry import SIZE, TEMPLATE, crop, displacement, similarity
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import SimilarityTransform, estimate_transform, warp

from bench import DataError, PluginError, StorageError
from bench.cli.error_messages import Main

REAL = os.environ.get("BENCH_REAL")
needs_real = pytest.mark.skipif(
    REAL is None or find_spec("mtcnn") is None or find_spec("tensorflow") is None,
    reason="needs BENCH_REAL and the extra [align]",
)


def picture(height: int, width: int, points: NDArray[np.float64], sigma: float) -> NDArray[np.uint8]:
    """An image with a soft white dot at every point."""
    rows, columns = np.mgrid[:height, :width]
    dots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) for x, y in points]
    return np.repeat(np.rint(255 * np.clip(sum(dots), 0, 1))[..., None], 3, axis=2).astype(np.uint8)


def centres(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where the dots near the template's points are: their centres of gravity."""
    found = []
    for x, y in TEMPLATE:
        left, top = round(x) - 8, round(y) - 8
        part = pixels[top : top + 17, left : left + 17, 0].astype(np.float64)
        rows, columns = np.mgrid[:17, :17]
        found.append((left + (part * columns).sum() / part.sum(), top + (part * rows).sum() / part.sum()))
    return np.array(found)


@given(scale=st.floats(0.05, 20), angle=st.floats(-3.1, 3.1), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_the_transform_undoes_what_was_done_to_the_template(scale: float, angle: float, x: float, y: float) -> None:
    turned = SimilarityTransform(scale=scale, rotation=angle, translation=(x, y))
    matrix = similarity(turned(TEMPLATE))
    assert np.allclose(matrix, np.linalg.inv(turned.params)[:2], atol=1e-6)
    assert np.hypot(*matrix[:, 0]) == pytest.approx(1 / scale)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_any_landmarks_get_the_least_squares_of_umeyama(seed: int) -> None:
    landmarks = TEMPLATE * 2 + np.random.default_rng(seed).normal(0, 12, TEMPLATE.shape)
    golden = estimate_transform("similarity", landmarks, TEMPLATE)
    assert np.allclose(similarity(landmarks), golden.params[:2], atol=1e-8)


def test_a_mirrored_face_is_never_reflected() -> None:
    assert np.linalg.det(similarity(TEMPLATE * (-1, 1))[:, :2]) > 0


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan, np.inf])
def test_landmarks_that_are_no_face_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="expected five landmarks of a face"):
        similarity(np.full((5, 2), value))


def test_a_crop_of_an_aligned_face_is_that_face() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.array_equal(crop(image, TEMPLATE), image)


@pytest.mark.parametrize(("scale", "angle"), [(0.6, 0.3), (1.0, -0.5), (1.7, 0.0), (3.4, 0.2), (6.5, -1.2)])
def test_the_landmarks_land_on_the_template(scale: float, angle: float) -> None:
    """Also where a large face is averaged down first: half a pixel of a shift would show."""
    turned = SimilarityTransform(scale=scale, rotation=angle)
    points = turned(TEMPLATE)
    points += 12 * scale - points.min(axis=0)
    image = picture(int(points[:, 1].max() + 12 * scale), int(points[:, 0].max() + 12 * scale), points, 2 * scale)
    made = crop(image, points)
    assert made.shape == (SIZE, SIZE, 3)
    assert made.dtype == np.uint8
    assert np.abs(centres(made) - TEMPLATE).max() < 0.15


def test_the_crop_is_bilinear_and_black_outside_the_image() -> None:
    image = np.random.default_rng(1).integers(40, 256, (70, 60, 3), dtype=np.uint8)
    landmarks = SimilarityTransform(scale=0.8, rotation=0.2, translation=(-12, -5))(TEMPLATE)
    made = crop(image, landmarks)
    matrix = np.vstack([similarity(landmarks), [0, 0, 1]])
    golden = warp(image, np.linalg.inv(matrix), output_shape=(SIZE, SIZE), order=1, cval=0, preserve_range=True)
    x, y = np.moveaxis(SimilarityTransform(np.linalg.inv(matrix))(np.argwhere(np.ones((SIZE, SIZE)))[:, ::-1]), 1, 0)
    inside = ((x >= 0) & (x <= 59) & (y >= 0) & (y <= 69)).reshape(SIZE, SIZE)
    assert 0.2 < inside.mean() < 0.9
    assert np.abs(made[inside] - golden[inside]).max() <= 0.5 + 1e-4
    assert not made[~inside].any()


def test_the_displacement_ignores_the_shape_of_a_face() -> None:
    assert displacement(TEMPLATE) == pytest.approx(0, abs=1e-9)
    assert displacement(TEMPLATE + np.array([3, -4])) == pytest.approx(5)
    smiling = TEMPLATE + np.array([(0, 0), (0, 0), (0, 0), (-4, 0), (4, 0)])
    assert displacement(smiling) < np.linalg.norm(smiling - TEMPLATE, axis=1).mean()


def face(x: float, y: float, size: float, score: float = 1.0) -> Face:
    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    return Face(box=box, score=score, landmarks=np.array(box[:2]) + TEMPLATE * size / SIZE)


@pytest.mark.parametrize(
    ("faces", "chosen"),
    [
        ([], None),
        ([face(20, 20, 30)], 0),
        ([face(50, 100, 60), face(150, 100, 80)], 1),  # the larger
        ([face(100, 100, 60), face(20, 20, 62)], 0),  # the central, of nearly the same size
        ([face(60, 100, 60), face(140, 100, 60)], None),  # two people
        ([face(100, 100, 60), face(102, 101, 58)], 0),  # one person, found twice
    ],
)
def test_whose_face_an_image_is(faces: Sequence[Face], chosen: int | None) -> None:
    assert subject_of(faces, (200, 200)) is (None if chosen is None else faces[chosen])


class FakeDetector:
    """Finds the template, stretched to the image: nothing in black images, two people in green ones."""

    name = "fake 1"

    def __init__(self) -> None:
        self.seen = 0

    def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        self.seen += 1
        height, width = image.shape[:2]
        red, green, _ = image.reshape(-1, 3).mean(axis=0)
        if green > 2 * red:
            return [face(0.3 * width, height / 2, width / 3), face(0.7 * width, height / 2, width / 3)]
        landmarks = TEMPLATE * (width / SIZE, height / SIZE)
        return [Face(box=(0, 0, width, height), score=min(1, image.max() / 100), landmarks=landmarks)]


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def coloured(seed: int, size: tuple[int, int] = (90, 80)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(100, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six images of three people, at several depths."""
    folder = tmp_path / "originals"
    for k, name in enumerate(("anna/1.jpg", "anna/2.png", "ben/x/1.bmp", "ben/x/2.ppm", "carl/1.JPG", "loose.webp")):
        save(folder / name, coloured(k))
    return folder


def run(source: Path, target: Path, detector: object = None, **options: object) -> Tally:
    settings = {"min_score": 0.9, **options}
    return align_folder(source, target, detector or FakeDetector(), **settings)  # type: ignore[arg-type]


def crops(target: Path) -> dict[str, bytes]:
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in sorted(target.rglob("*.png"))}


def report(target: Path) -> list[dict[str, str]]:
    with (target / REPORT).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_image_gets_a_crop_of_the_same_name(source: Path, tmp_path: Path) -> None:
    tally = run(source, tmp_path / "out")
    assert (tally.images, tally.made, tally.kept, tally.missing) == (6, 6, 0, [])
    made = crops(tmp_path / "out")
    assert list(made) == ["anna/1.png", "anna/2.png", "ben/x/1.png", "ben/x/2.png", "carl/1.png", "loose.png"]
    with Image.open(tmp_path / "out" / "anna" / "2.png") as image:
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        pixels = coloured(1)
        assert np.array_equal(np.asarray(image), crop(pixels, TEMPLATE * (80 / SIZE, 90 / SIZE)))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["detector"] == "fake 1"
    assert manifest["source"] == str(source.resolve())
    assert manifest["complete"] is True
    assert manifest["counts"] == {"images": 6, "found": 6, "not_found": {}}
    assert report(tmp_path / "out") == []


def test_the_same_input_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "a")
    run(source, tmp_path / "b")
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file()}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_gets_no_crop_is_reported_and_stops_nothing(source: Path, tmp_path: Path) -> None:
    save(source / "dora" / "black.png", np.zeros((90, 80, 3), np.uint8))
    save(source / "dora" / "dim.png", np.full((90, 80, 3), 50, np.uint8))
    save(source / "dora" / "two.png", np.tile(np.array([10, 200, 10], np.uint8), (90, 80, 1)))
    (source / "dora" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    (source / "anna" / "2.jpg").write_bytes((source / "anna" / "1.jpg").read_bytes())
    (source / "notes.txt").write_text("no image, and none of it is said")
    tally = run(source, tmp_path / "out")
    assert tally.made == 6
    rows = {row["path"]: (row["reason"], row["detail"]) for row in report(tmp_path / "out")}
    assert {path: reason for path, (reason, _) in rows.items()} == {
        "anna/2.png": "name taken",
        "dora/black.png": "no face",
        "dora/broken.jpg": "unreadable",
        "dora/dim.png": "no face",
        "dora/two.png": "several",
    }
    assert "score of 0.50" in rows["dora/dim.png"][1]
    assert "anna/2.jpg" in rows["anna/2.png"][1]
    assert not (tmp_path / "out" / "dora").exists()  # never copied as it is
    counts = json.loads((tmp_path / "out" / MANIFEST).read_text())["counts"]
    assert counts["not_found"] == {"name taken": 1, "no face": 2, "several": 1, "unreadable": 1}


def test_a_photo_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    upright = coloured(3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    (tmp_path / "in").mkdir()
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "in" / "1.png", exif=exif)
    save(tmp_path / "in" / "2.png", upright)
    run(tmp_path / "in", tmp_path / "out")
    made = crops(tmp_path / "out")
    assert made["1.png"] == made["2.png"]


def test_an_interrupted_run_goes_on_where_it_stopped(source: Path, tmp_path: Path) -> None:
    class Interrupted(FakeDetector):
        def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
            if self.seen == 3:
                raise KeyboardInterrupt
            return super().detect(image)

    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", Interrupted())
    assert len(crops(tmp_path / "out")) == 3
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["complete"] is False
    detector = FakeDetector()
    tally = run(source, tmp_path / "out", detector)
    assert (tally.made, tally.kept, detector.seen) == (3, 3, 3)
    run(source, tmp_path / "whole")
    assert crops(tmp_path / "out") == crops(tmp_path / "whole")


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_facesets_alignment import FakeDetector, run

class Slow(FakeDetector):
    def detect(self, image):
        time.sleep(0.2)
        return super().detect(image)

run(Path(sys.argv[1]), Path(sys.argv[2]), Slow())
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_done(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SLOW, source, target, Path(__file__).parent])
    try:
        deadline = time.monotonic() + 60
        while not crops(target) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        with pytest.raises(StorageError, match="another bench data align is at work"):
            run(source, target)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = len(crops(target))
    assert 0 < done < 6
    (target / "carl").mkdir(exist_ok=True)
    (target / "carl" / ".1.png.part").write_bytes(b"half")  # what a kill in the middle of a write leaves
    tally = run(source, target)
    assert tally.kept >= 1
    assert tally.found == 6
    run(source, tmp_path / "whole")
    assert crops(target) == crops(tmp_path / "whole")
    assert not list(target.rglob("*.part"))


def test_a_limit_takes_the_first_and_the_next_run_the_rest(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "out", limit=2).made == 2
    assert list(crops(tmp_path / "out")) == ["anna/1.png", "anna/2.png"]
    tally = run(source, tmp_path / "out")
    assert (tally.made, tally.kept) == (4, 2)


def test_other_settings_are_not_mixed_but_can_overwrite(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run(source, target)
    with pytest.raises(DataError, match=r"expected min_score 0\.5 as requested, found 0\.9; .*--overwrite"):
        run(source, target, min_score=0.5)
    tally = run(source, target, min_score=0.5, overwrite=True, limit=1)
    assert (tally.made, tally.kept) == (1, 0)
    assert list(crops(target)) == ["anna/1.png"]  # those of the old settings are gone
    assert run(source, target, min_score=0.5).found == 6


def test_a_folder_of_something_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    theirs = save(target / "anna" / "1.png", coloured(9))
    before = theirs.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(DataError, match="expected a new or empty folder"):
            run(source, target, overwrite=overwrite)
    assert theirs.read_bytes() == before
    other = tmp_path / "others"
    save(other / "1.png", coloured(2))
    run(other, tmp_path / "made")
    with pytest.raises(DataError, match="expected source"):
        run(source, tmp_path / "made", overwrite=True)
    (tmp_path / "made" / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="expected the JSON that this command wrote"):
        run(other, tmp_path / "made")


def test_source_and_target_are_apart(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    for target in (source, source / "aligned", source.parent, tmp_path / "link", source / ".." / source.name):
        with pytest.raises(DataError, match="expected a folder apart"):
            run(source, target)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected a folder, found a file"):
        run(source, tmp_path / "file")


def test_what_cannot_be_aligned_says_why(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "lfw.bin").write_bytes(b"")
    with pytest.raises(DataError, match="expected a folder of images, found nothing"):
        run(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(DataError, match=r"lfw\.bin: the faces in a \.bin file are aligned already"):
        run(tmp_path / "lfw.bin", tmp_path / "out")
    with pytest.raises(DataError, match="found none"):
        run(tmp_path / "set", tmp_path / "out")
    (tmp_path / "set" / "lfw.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"the faces in a \.bin file are aligned already"):
        run(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def command(*args: object) -> Result:
    group = click.Group("data", commands={"align": command_module.align})
    return CliRunner().invoke(Main("bench", commands={"data": group}), ["data", "align", *map(str, args)])


def test_the_command_tells_the_share_found(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "MtcnnDetector", FakeDetector)
    save(source / "anna" / "3.png", np.zeros((90, 80, 3), np.uint8))
    done = command(source, tmp_path / "out", "--limit", 4)
    assert done.exit_code == 0
    assert "found: the faces of 3 of 4 images (75.0%)\n" in done.stdout
    assert f"not found: 1 (1 no face), listed in {tmp_path / 'out' / REPORT}\n" in done.stdout
    assert done.stderr == ""  # no progress bar where there is no terminal
    assert "note:" not in done.stdout
    done = command(source, tmp_path / "out")
    assert "found: the faces of 6 of 7 images (85.7%), 3 of them before\n" in done.stdout


def test_the_command_says_when_images_are_aligned_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "MtcnnDetector", FakeDetector)
    for k in range(3):
        save(tmp_path / "in" / f"{k}.png", coloured(k, (SIZE, SIZE)))
    done = command(tmp_path / "in", tmp_path / "out")
    assert "note: 3 of 3 images were aligned already" in done.stdout
    assert len(crops(tmp_path / "out")) == 3


def test_without_the_extra_one_error_says_how_to_install_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    with pytest.raises(PluginError, match=r"pip install 'face-privacy-bench\[align\]'"):
        MtcnnDetector()
    done = command(source, tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: aligning needs a face detector")
    assert not (tmp_path / "out").exists()
    assert command(source, source).exit_code == 2


def compared(names: Sequence[str], target: Path) -> Tally:
    """Align these real faces with the real detector, and check that the crops resemble the existing crops of the same
    images far more than others."""
    originals, given = Path(str(REAL), "faces-att-original"), Path(str(REAL), "faces-att")
    picked = target.parent / "picked"
    for name in names:
        (picked / name).parent.mkdir(parents=True, exist_ok=True)
        (picked / name).write_bytes((originals / name).read_bytes())
    tally = run(picked, target, MtcnnDetector())
    likeness = []
    for name in names:
        crop_path = (target / name).with_suffix(".png")
        if crop_path.exists():
            pair = [
                np.asarray(Image.open(p).convert("L"), dtype=np.float64)[20:100, 16:96].ravel()
                for p in (crop_path, (given / name).with_suffix(".png"))
            ]
            likeness.append(np.corrcoef(*pair)[0, 1])
    assert np.mean(likeness) > 0.9
    assert np.mean(np.array(likeness) > 0.7) >= 0.95
    return tally


def real_names() -> list[str]:
    folder = Path(str(REAL), "faces-att-original")
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.pgm"))


@needs_real
def test_real_faces_are_found_and_land_where_the_given_crops_have_them(tmp_path: Path) -> None:
    names = real_names()[::7]
    tally = compared(names, tmp_path / "out")
    assert tally.found / len(names) >= 0.95
    again = run(tmp_path / "picked", tmp_path / "again", MtcnnDetector(), limit=15)
    assert again.already == 0
    first = crops(tmp_path / "out")
    assert all(first[name] == data for name, data in crops(tmp_path / "again").items())
    realigned = run(tmp_path / "out", tmp_path / "realigned", MtcnnDetector(), limit=25)
    assert realigned.already / realigned.made > 0.8


@pytest.mark.slow
@needs_real
def test_at_least_95_percent_of_all_real_faces_are_found(tmp_path: Path) -> None:
    names = real_names()
    assert compared(names, tmp_path / "out").found / len(names) >= 0.95
