"""``bench judge`` from the shell: a folder of photos and what a program made of them, judged by a network in a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_photos import face, write
from numpy.typing import NDArray
from PIL import Image
from support import Command, Done

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnx2torch", "onnxruntime"))
PEOPLE = {f"Secret{k}": k for k in range(14)}
ZOO = ("--judge", "zoo-mobileface", "--fmr", "0.1", "--aligned")


def flipped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Protect by turning the picture upside down."""
    return pixels[::-1].copy()


@pytest.fixture
def judge(bench: Command, tmp_path: Path) -> Callable[..., Done]:
    """Return a function that judges in the folder of the test, without weights from elsewhere."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cards"), "UNIFACE_CACHE_DIR": str(tmp_path / "none")}
    return lambda *args: bench("judge", *args, cwd=tmp_path, env=env)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two photos of each of 14 people, and the same protected, under names with a suffix."""
    originals = write(tmp_path / "photos", PEOPLE, 2)
    return originals, write(tmp_path / "cloaked", PEOPLE, 2, flipped, "_cloaked")


def test_without_a_real_network_nothing_is_judged(judge: Callable[..., Done], folders: tuple[Path, Path]) -> None:
    done = judge(*folders)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(
        "Error: judge: expected a recognition network with real weights, found none here; nothing was judged.\n"
        "  Get one: pip install 'face-privacy-bench[real]', then: bench models fetch arcface-mnet"
    )
    assert "--weights-dir DIR" in done.err
    assert "docs/real-weights.md" in done.err
    assert "zoo-mobileface" in done.err
    assert "none of them is used unless you name it" in done.err


@pytest.mark.skipif(not ONNX, reason="the extra onnx is not installed")
def test_a_network_in_a_file_judges_and_the_rows_give_every_figure(
    judge: Callable[..., Done], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    from uniface_server import face_network

    (tmp_path / "net.onnx").write_bytes(face_network(seed=1))
    options = ("--judge", "onnx-model,weights_file=net.onnx", "--fmr", "0.1", "--aligned", "--suffix", "_cloaked")
    done = judge(*folders, *options, "--rows", "rows.parquet", "--report", "private/report.html")
    assert done.code == 0, done.err
    assert done.err.count("Traceback") == 0
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    own = rows[rows["compared_with"] == "own original"]
    assert own["photo"].nunique() == 28
    matched = (own["cosine"] > own["threshold_service"]).groupby(own["preprocessing"]).sum()
    assert f"Of 28 photos of 14 people, {matched.max()} (95 %: " in done.out
    assert f"; {matched['as received']} (95 %: " in done.out
    first = own["rank_first"].groupby(own["preprocessing"]).sum()
    assert f"the right one comes first for {first.max():g} (95 %: " in done.out
    assert "lower bound" in done.out
    assert "bench run standard" in done.out
    assert "WARNING" not in done.out
    page = (tmp_path / "private" / "report.html").read_text(encoding="utf-8")
    for path in (tmp_path / "rows.parquet", tmp_path / "private" / "report.html"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"Secret" not in path.read_bytes()
    assert str(tmp_path) not in page
    assert f"Of 28 photos of 14 people, {matched.max()} (95 %: " in page


def test_a_stand_in_is_used_only_by_name_and_with_a_warning(
    judge: Callable[..., Done], tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    others = write(tmp_path / "others", {f"other{k}": 100 + k for k in range(12)} | {"secret 3": 3}, 2)
    Image.fromarray(face(5, 1)).save(others / "other0" / "copy.png")  # A picture of somebody who is judged.
    named = (
        "--calibrate",
        "others",
        "--suffix",
        "_cloaked",
        "--with-pictures",
        "--report",
        "r.html",
        "--rows",
        "r.csv",
    )
    done = judge(*folders, *ZOO, *named)
    assert done.code == 0, done.err
    assert "WARNING: zoo-mobileface was trained on computer-generated faces: a stand-in" in done.out
    assert "note: 2 people of --calibrate are judged too, by name or picture, and were left out" in done.out
    assert "rows: r.csv (only you may read it; it holds the names of photos and people)" in done.out
    assert "note: Thresholds were set on 11 other people of the folder --calibrate" in done.out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Synthetic stand-in." in page
    assert page.count("<img") == 56
    assert "Secret7/1" in page
    assert "Secret7/1" in (tmp_path / "r.csv").read_text(encoding="utf-8")
    done = judge(*folders, *ZOO, "--suffix", "_cloaked", "--calibrate", "synth-lfw")
    assert done.code == 0, done.err
    assert "the people of --calibrate are computer-generated" in done.out


def test_what_does_not_belong_is_counted_and_named(judge: Callable[..., Done], tmp_path: Path) -> None:
    originals, protected = tmp_path / "photos", tmp_path / "cloaked"
    for folder in (originals, protected):
        folder.mkdir()
        for k in range(3):
            Image.fromarray(face(k, 0)).save(folder / f"{k}.png")
    outside = tmp_path / "outside.png"
    Image.fromarray(face(9, 9)).save(outside)
    (originals / "link.png").symlink_to(outside)
    Image.fromarray(face(4, 0)).save(originals / "lonely.png")
    Image.fromarray(face(4, 0)).save(protected / "strange\x1b[31m.png")
    (protected / "0.jpg").write_text("no picture")
    (protected / "1.png").write_bytes(b"damaged")
    (protected / "notes.txt").write_text("notes")
    done = judge("photos", "cloaked", *ZOO)
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    for line in (
        "note: links among originals, which are not followed: 1 (link)",
        "note: originals without a protected picture of the same name: 1 (lonely)",
        "note: protected pictures without an original of the same name: 1 (strange\N{REPLACEMENT CHARACTER}[31m)",
        "note: files among protected pictures that are no pictures: 1 (notes (a file .txt))",
        "note: protected pictures of which two have one name: 2 (0 (0.jpg, 0.png have one name",
        "note: protected pictures that cannot be read: 1 (1 (expected an image",
    ):
        assert line in done.out
    assert "Whether photos match their originals cannot be said: which similarity counts as a match" in done.out
    assert "the right one comes first for 1 (" in done.out


def test_wrong_folders_and_options_are_one_error(judge: Callable[..., Done], folders: tuple[Path, Path]) -> None:
    for arguments, expected in (
        ((*folders, *ZOO), "if the program adds a text to names, such as _cloaked, use --suffix _cloaked"),
        ((folders[0], "missing"), "PROTECTED: expected a folder, found none at missing"),
    ):
        done = judge(*arguments)
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith("Error: ")
        assert expected in done.err
        assert "Traceback" not in done.err
