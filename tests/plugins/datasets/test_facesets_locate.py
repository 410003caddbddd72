"""bench_facesets: where sets are found, how they are described, fingerprints, commands, and the findings of verify."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import faceset_files as files
import numpy as np
import pytest
from bench_facesets import (
    AgeDb30,
    Calfw,
    CasiaWebFace,
    CfpFf,
    FaceSet,
    FaceSetTraining,
    Lfw,
    commands,
    fingerprints,
    locate,
)
from bench_facesets.audit import Looks, near_duplicates
from bench_facesets.readers import parquet
from click.testing import CliRunner

from bench import DataError, MissingDataError, comparable_name
from bench.core import stamps
from bench.core.provenance import file_sha256
from bench.registry.discovery import Registry
from bench.suite.suite import load

PAIRS = files.protocol_pairs()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no data folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path / "cache" / "face-privacy-bench" / "fingerprints"


def test_nothing_is_found_without_data_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for cls, name in ((Lfw, "lfw.bin"), (AgeDb30, "agedb_30.bin"), (Calfw, "calfw.bin"), (CfpFf, "cfp_ff.bin")):
        with pytest.raises(MissingDataError, match=rf"BENCH_DATA \(or --data-dir\).*{name}"):
            cls().fingerprint()
        assert cls().status().where is None
        monkeypatch.setenv("BENCH_DATA", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
        assert "one, " in (cls().status().missing or "")
        assert name in (cls().status().missing or "")
        monkeypatch.delenv("BENCH_DATA")
    assert "casia" in (CasiaWebFace().status().missing or "")
    with pytest.raises(DataError, match="expected a file or folder, found none"):
        FaceSet(path=str(tmp_path / "nothing")).fingerprint()


@pytest.mark.parametrize("name", ["lfw.bin", "bin/lfw.bin", "lfw/lfw.bin", "lfw", "LFW", "lfw.parquet", "."])
def test_known_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("BENCH_DATA", os.pathsep.join([str(tmp_path / "empty"), str(data)]))
    if name.endswith(".bin"):
        files.write_bin(data / name, PAIRS)
    elif name.endswith(".parquet"):
        source = files.write_bin(tmp_path / "source.bin", PAIRS)
        assert CliRunner().invoke(commands.convert, [str(source), str(data / name)]).exit_code == 0
    else:
        files.write_lfw(data / name, PAIRS)
    status = Lfw().status()
    assert status.missing is None
    assert status.pairs == len(PAIRS)
    assert status.images == len({n for p in PAIRS for n in p[:2]}) if name in ("lfw", "LFW", ".") else 2 * len(PAIRS)
    assert str(data) in (status.where or "")


def test_the_first_folder_wins_and_a_path_wins_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (files.write_bin(tmp_path / str(n) / "lfw.bin", PAIRS[:n]) for n in (8, 12, 16))
    monkeypatch.setenv("BENCH_DATA", os.pathsep.join([str(one.parent), str(two.parent)]))
    assert Lfw().max_pairs() == 8
    assert Lfw(path=str(three)).max_pairs() == Lfw(path=str(three.parent)).max_pairs() == 16


def test_a_damaged_set_is_no_missing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.put(tmp_path / "lfw.bin", b"damaged")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        Lfw().fingerprint()
    assert not isinstance(caught.value, MissingDataError)


def test_fingerprints(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NS", 0)  # files of this moment may be remembered
    path = files.write_bin(tmp_path / "x.bin", PAIRS)
    assert FaceSet(path=str(path)).fingerprint() == file_sha256(path)
    one = files.write_folder(tmp_path / "one", {"a": 2, "b": 2})
    two = files.write_folder(tmp_path / "two", {"a": 2, "b": 2})
    first = FaceSet(path=str(one)).fingerprint()
    assert first == FaceSet(path=str(two)).fingerprint() == FaceSet(path=str(one)).fingerprint()
    files.put(two / "a" / "0.png", files.png("another"))
    assert FaceSet(path=str(two)).fingerprint() != first
    assert len(list(home.iterdir())) == 3


@pytest.mark.parametrize("settled", [0, stamps._SETTLED_NS], ids=["remembered", "just now"])
@pytest.mark.parametrize("kind", ["folder", "bin", "parquet"])
def test_other_contents_under_the_same_time_and_size_are_another_digest(
    tmp_path: Path, home: Path, kind: str, settled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NS", settled)
    root = tmp_path / "set"
    for k in range(20):
        files.put(root / f"p{k // 2}" / f"{k}.bmp", files.encoded(files.picture(str(k)), "bmp"))
    if kind == "bin":
        root = files.put(tmp_path / "x.bin", b"one")
    elif kind == "parquet":
        parquet.write(FaceSet(path=str(root)).collection(), root := tmp_path / "set.parquet")
    changed = [root] if root.is_file() else sorted(root.rglob("*.bmp"))
    for path in changed:
        os.utime(path, ns=(10**18, 10**18))
    before = fingerprints.fingerprint(root, changed)
    assert home.exists() == (settled == 0)
    time.sleep(0.05)  # longer than a step of the clock of any local file system
    for path in changed:
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(10**18, 10**18))
    after = fingerprints.fingerprint(root, changed)
    assert after != before
    assert FaceSet(path=str(root)).fingerprint() == after if kind == "folder" else True


@pytest.mark.parametrize(("settled", "same"), [(0, True), (10**20, False)], ids=["settled", "just now"])
def test_a_file_that_changed_just_now_is_read_again(
    tmp_path: Path, settled: int, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NS", settled)
    path = files.write_bin(tmp_path / "x.bin", PAIRS)
    stamp = stamps.file_stamp(path)
    monkeypatch.setattr(locate, "file_stamp", lambda path: stamp)  # a second change in one step of the clock
    first = FaceSet(path=str(path)).collection()
    assert (FaceSet(path=str(path)).collection() is first) == same


def test_fingerprints_are_remembered(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NS", 0)  # files of this moment may be remembered
    root = files.write_folder(tmp_path / "one", {"a": 2})
    hashed: list[Path] = []
    monkeypatch.setattr(fingerprints, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    before = fingerprints.fingerprint(root, sorted(root.rglob("*.png")))
    assert len(hashed) == 2
    assert fingerprints.fingerprint(root, sorted(root.rglob("*.png"))) == before
    assert len(hashed) == 2
    memory = next(home.iterdir())
    for text in ("", "[1, 2]", json.dumps({str(root / "a" / "0.png"): [1, 2]}), "[" * 100_000):
        memory.write_text(text)
        assert fingerprints.fingerprint(root, sorted(root.rglob("*.png"))) == before
    monkeypatch.setenv("XDG_CACHE_HOME", str(files.put(tmp_path / "file", "x")))
    assert fingerprints.fingerprint(root, sorted(root.rglob("*.png"))) == before


SUITE = """
[suite]
name = "s"
[[experiment]]
name = "e"
datasets = [{ plugin = "face-set", path = "../faces" }]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-mobileface"]
defenses = ["identity"]
pairs = 8
"""


def test_a_path_in_a_suite_starts_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setenv("BENCH_SUITE_FOLDER", str(tmp_path))  # what the suite sets is undone after the test
    faces = files.write_folder(tmp_path / "faces", {f"p{k}": 2 for k in range(20)})
    suite = files.put(tmp_path / "suites" / "s.toml", SUITE)
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    dataset = load(suite, registry).experiments[0].datasets[0]
    assert dataset.weights == FaceSet(path=str(faces)).fingerprint()
    assert dataset.params["path"] == "../faces"  # as written, so that it means the same set on another machine
    faces.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"neither \S*/suites/\.\./faces \(from the suite\) nor \S*/current/\.\./faces"):
        load(suite, registry)


# ---- commands --------------------------------------------------------------------------------------------------------


def test_convert_and_unpack(tmp_path: Path) -> None:
    import zipfile

    source = files.write_lfw(tmp_path / "lfw", PAIRS)
    done = CliRunner().invoke(commands.convert, [str(source), str(tmp_path / "out.parquet")])
    assert done.exit_code == 0
    assert "60 images, 40 pairs (LFW, original)" in done.output
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "out.parquet", "sets/lfw.parquet")
    done = CliRunner().invoke(commands.unpack, [str(tmp_path / "x.zip"), str(tmp_path / "data")])
    assert done.exit_code == 0
    assert "1 files" in done.output
    assert FaceSet(path=str(tmp_path / "data" / "sets" / "lfw.parquet")).max_pairs() == 40
    with pytest.raises(DataError, match=r"ends in \.parquet"):
        CliRunner().invoke(commands.convert, [str(source), str(tmp_path / "out.bin")], catch_exceptions=False)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path / "mine", {f"p{k}": 2 for k in range(3)})
    collection = FaceSet(path=str(root)).collection()
    (root / "p1" / "0.png").unlink()
    with pytest.raises(DataError, match=r"p1/0\.png"):
        parquet.write(collection, tmp_path / "out" / "x.parquet")
    assert not list((tmp_path / "out").iterdir())


# ---- verify ----------------------------------------------------------------------------------------------------------


def test_a_whole_set_verifies(tmp_path: Path) -> None:
    dataset = Lfw(path=str(files.write_lfw(tmp_path / "lfw", PAIRS)))
    checks = {c.what: c for c in dataset.verify({"casia-webface": CasiaWebFace()})}
    assert all(c.ok for c in checks.values())
    assert "published: 6000" in checks["counts"].found
    assert checks["folds"].found.startswith("10 folds of 2 + 2 pairs; from the protocol")
    assert checks["balance"].found == "20 genuine and 20 impostor pairs"
    assert checks["images"].found == "60 of 60 images of 112 x 112"
    assert checks["identities across folds"].found.startswith("0 of 40")
    assert "it is missing" in checks["against casia-webface"].found


def test_damaged_images_are_named(tmp_path: Path) -> None:
    root = files.write_lfw(tmp_path / "lfw", PAIRS)
    files.put(root / "Person_Ab" / "Person_Ab_0001.png", b"damaged")
    checks = {c.what: c for c in Lfw(path=str(root)).verify({})}
    assert not checks["images"].ok
    assert checks["images"].found.startswith("59 of 60")
    assert "Person_Ab_0001.png" in checks["images"].found


def test_what_is_shared_with_a_training_set_is_found(tmp_path: Path) -> None:
    root = files.write_lfw(tmp_path / "lfw", PAIRS)
    training = files.write_folder(tmp_path / "train", {f"t{k}": 2 for k in range(30)})
    again = files.encoded(files.picture("Person_Bc_0001"), "jpeg", quality=60)
    files.put(training / "person-AA" / "1.jpg", again)
    checks = {c.what: c for c in Lfw(path=str(root)).verify({"own": FaceSetTraining(path=str(training))})}
    assert not checks["identities shared with own"].ok
    assert checks["identities shared with own"].found == "1 of 40 people; Person_Aa"
    assert not checks["near-duplicates in own"].ok
    assert "Person_Bc/Person_Bc_0001.png and image 0" in checks["near-duplicates in own"].found


def test_one_picture_under_two_names_is_found(tmp_path: Path) -> None:
    root = files.write_lfw(tmp_path / "lfw", PAIRS)
    left, right, *_ = PAIRS[2]
    files.put(root / right.rsplit("_", 1)[0] / f"{right}.png", files.encoded(files.picture(left), "jpeg", quality=70))
    checks = {c.what: c for c in Lfw(path=str(root)).verify({})}
    assert not checks["near-duplicates in impostor pairs"].ok
    assert left in checks["near-duplicates in impostor pairs"].found


def test_a_set_that_is_not_aligned_stops_a_suite_as_it_is_planned(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path / "mine", {f"p{k}": 2 for k in range(20)})
    files.put(root / "p0" / "0.png", files.encoded(files.picture("x", (112, 92))))
    with pytest.raises(DataError, match=r"p0/0\.png: expected an aligned face.*found 92 x 112.*bench data align"):
        FaceSet(path=str(root)).max_pairs()
    checks = {c.what: c for c in FaceSet(path=str(root)).verify({})}
    assert not checks["images"].ok
    assert checks["pairs"].ok


def test_too_few_people_are_a_problem_of_the_set(tmp_path: Path) -> None:
    checks = {c.what: c for c in FaceSet(path=str(files.write_folder(tmp_path / "mine", {"a": 2, "b": 2}))).verify({})}
    assert checks["images"].ok
    assert not checks["pairs"].ok
    assert "at least 10 people" in checks["pairs"].found


def test_pairs_that_repeat_and_people_in_several_folds(tmp_path: Path) -> None:
    pairs = [*PAIRS[:-1], (PAIRS[-1][0], PAIRS[0][0], False, 9)]
    pairs[1] = (pairs[0][1], pairs[0][0], True, 0)
    checks = {c.what: c for c in FaceSet(path=str(files.write_bin(tmp_path / "x.bin", pairs))).verify({})}
    assert checks["identities across folds"].found.startswith("1 of")
    lfw = Lfw(path=str(files.write_lfw(tmp_path / "lfw", pairs)))
    for found in (checks, {c.what: c for c in lfw.verify({})}):
        assert found["duplicate pairs"].found == "1 pairs occur twice, 0 compare an image with itself"
        assert not found["duplicate pairs"].ok
    assert any("1 of 40 pairs repeat another pair, and count each time" in note for note in lfw.status().notes)


def test_near_duplicates_in_blocks() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (150, 3, 8, 8), dtype=np.uint8).repeat(14, axis=2).repeat(14, axis=3)
    looks = Looks.of(images)
    brighter = Looks.of((images[[140, 3]] * 0.8 + 20).astype(np.uint8))
    assert sorted(near_duplicates(looks, brighter).tolist()) == [[3, 1], [140, 0]]
    assert len(near_duplicates(looks, looks)) == 150
    assert len(near_duplicates(looks, looks, limit=5)) == 5


def test_names_are_compared_without_case_and_marks() -> None:
    assert comparable_name("George_W_Bush") == comparable_name("george w. bush") == "georgewbush"
    assert comparable_name("José-Luis") == "joséluis"
    assert comparable_name("0000045") == comparable_name("s12") == comparable_name("n000001") == ""
