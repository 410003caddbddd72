"""The artifact cache: an artifact is stored complete or not at all, and damage is detected."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.core.errors import StorageError
from bench.core.files import write_atomically
from bench.store import artifacts
from bench.store.artifacts import MANIFEST, TENSORS, Artifact, Cache, DamagedError, Note, _signature

KEY = "ab" + 62 * "0"
ABOUT: dict[str, Any] = {"seconds": 1.5, "peak_mb": 2.5, "device": "cpu"}


def artifact(value: int = 1) -> Artifact:
    """A small artifact with one of everything."""
    return Artifact(
        tensors={"images": np.full((2, 3), value, np.uint8), "scalar": np.array(value, np.float32)},
        tables={"rows": pa.table({"x": [value, None]})},
        facts={"variant": f"number {value}"},
    )


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache with one artifact."""
    (tmp_path / "cache").mkdir()
    found = Cache(tmp_path / "cache")
    found.write(KEY, artifact(), ABOUT)
    return found


def leftovers(cache: Cache) -> list[Path]:
    """Unfinished files."""
    files = [p.relative_to(cache.root) for p in cache.root.rglob("*") if p.is_file()]
    return [p for p in files if p.parts[0] == "tmp" or p.name.startswith(".")]


def test_what_is_read_is_what_was_written(cache: Cache) -> None:
    found = cache.read(KEY)
    assert found.tensors["images"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert found.tensors["images"].dtype == np.uint8
    assert found.tensors["scalar"].shape == ()
    assert found.tables["rows"].to_pydict() == {"x": [1, None]}
    assert found.facts == {"variant": "number 1"}
    manifest = cache.manifest(KEY)
    assert manifest is not None
    assert manifest["key"] == KEY
    assert manifest["seconds"] == 1.5
    assert set(manifest["files"]) == {TENSORS, "rows.parquet"}
    assert leftovers(cache) == []


def test_arrays_of_any_layout_survive(cache: Cache) -> None:
    array = np.arange(24).reshape(2, 3, 4)[:, ::-1].transpose(2, 0, 1)
    cache.write(KEY, Artifact(tensors={"x": array}), ABOUT)
    assert np.array_equal(cache.read(KEY).tensors["x"], array)


def test_an_artifact_is_replaced_as_a_whole(cache: Cache) -> None:
    cache.write(KEY, Artifact(tables={"other": pa.table({"y": [1]})}), ABOUT)
    found = cache.read(KEY)
    assert found.tensors == {}
    assert set(found.tables) == {"other"}


def test_what_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "nowhere")
    assert cache.manifest(KEY) is None
    with pytest.raises(DamagedError, match="no readable manifest"):
        cache.verify(KEY)
    cache.discard(KEY)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", [TENSORS, "rows.parquet"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damage_is_noticed(cache: Cache, name: str, damage: str) -> None:
    path = cache.folder(KEY) / name
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "flip":
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif damage == "truncate":
        path.write_bytes(data[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    for look in (cache.verify, cache.read):
        with pytest.raises(DamagedError, match=name):
            look(KEY)
    cache.write(KEY, artifact(2), ABOUT)
    assert cache.read(KEY).facts == {"variant": "number 2"}


def test_every_flipped_byte_of_the_arrays_is_noticed(cache: Cache) -> None:
    path = cache.folder(KEY) / TENSORS
    data = path.read_bytes()
    for i in range(len(data)):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 :])
        with pytest.raises(DamagedError):
            cache.read(KEY)


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", "null", "{}", '{"files": {}}', '{"files": []}', '{"files": {"rows.parquet": "0"}}', "\ud800"],
)
def test_a_damaged_manifest_is_no_manifest(cache: Cache, text: str | None) -> None:
    path = cache.folder(KEY) / MANIFEST
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert cache.manifest(KEY) is None
    with pytest.raises(DamagedError):
        cache.read(KEY)


def test_a_manifest_that_says_something_else_is_damage(cache: Cache) -> None:
    path = cache.folder(KEY) / MANIFEST
    manifest = json.loads(path.read_text())
    for changed in ({"files": {TENSORS: 64 * "0"}}, {"facts": {}}, {"seconds": 1.6}, {"sha256": 64 * "0"}, {"x": 1}):
        path.write_text(json.dumps(manifest | changed))
        with pytest.raises(DamagedError, match="no readable manifest"):
            cache.read(KEY)
    path.write_text(json.dumps(manifest))
    assert cache.read(KEY).facts == {"variant": "number 1"}


@pytest.mark.parametrize("number", [10**400, "1", None, [1]])
@pytest.mark.parametrize("name", ["seconds", "peak_mb"])
def test_a_manifest_with_another_number_is_damage(cache: Cache, name: str, number: object) -> None:
    path = cache.folder(KEY) / MANIFEST
    manifest = json.loads(path.read_text()) | {name: number}
    manifest["sha256"] = _signature(manifest)
    path.write_text(json.dumps(manifest))
    assert cache.manifest(KEY) is None


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(cache: Cache) -> None:
    (cache.root / "progress").mkdir()
    os.mkfifo(cache.root / "progress" / KEY)
    os.mkfifo(cache.root / "cost-factors.json")
    assert (cache.progress(KEY), cache.costs()) == (None, {})


@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/mem", "/sys/kernel", "/dev/zero", "loop", "a\0b"])
def test_a_manifest_cannot_make_bench_read_without_end(
    cache: Cache, path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(artifacts, "file_sha256", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    cache.write(KEY, artifact(), ABOUT | {"reads": {path: 64 * "0"}})
    with pytest.raises(DamagedError, match="made with another content of"):
        cache.verify(KEY)


def test_columns_are_those_of_the_tables_of_the_manifest(cache: Cache) -> None:
    """A pipe, which a reader would wait for, and tables that are not in the manifest are never opened."""
    folder, known = cache.folder(KEY), cache.columns(KEY)
    assert list(known) == ["rows"]
    os.mkfifo(folder / "a.parquet")
    shutil.copy(folder / "rows.parquet", folder / "foreign.parquet")
    assert cache.columns(KEY) == known
    (folder / "rows.parquet").unlink()
    os.mkfifo(folder / "rows.parquet")
    assert cache.columns(KEY) == {}
    assert cache.columns(64 * "0") == {}


@pytest.mark.slow
def test_every_flipped_byte_of_the_manifest_is_noticed(cache: Cache) -> None:
    path = cache.folder(KEY) / MANIFEST
    data = path.read_bytes()
    whole = cache.manifest(KEY)
    for i in range(len(data)):
        for flip in (0x01, 0x10):
            path.write_bytes(data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :])
            assert cache.manifest(KEY) in (None, whole), i  # white space may become other white space


def test_an_artifact_in_the_place_of_another_is_damage(cache: Cache) -> None:
    other = "ab" + 62 * "1"
    cache.folder(KEY).rename(cache.folder(other))
    with pytest.raises(DamagedError, match="no readable manifest"):
        cache.read(other)


def test_large_files_are_the_same_as_small_ones(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.store.artifacts._AT_ONCE", 0)
    test_what_is_read_is_what_was_written(cache)
    path = cache.folder(KEY) / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"rows\.parquet"):
        cache.read(KEY)


@pytest.mark.parametrize("name", [TENSORS, "rows.parquet", "photos.npy"])
@pytest.mark.parametrize("left", [0, 5])
def test_a_large_file_that_changes_after_its_check_is_damaged(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str, left: int
) -> None:
    cache.write(KEY, replace(artifact(), streams={"photos": np.zeros((2, 3, 4, 4), np.uint8)}), ABOUT)
    monkeypatch.setattr(artifacts, "_AT_ONCE", 0)
    check = artifacts._checked

    def check_then_truncate(path: Path, digest: str) -> bytes | None:
        contents = check(path, digest)
        if path.name == name:
            path.write_bytes(path.read_bytes()[:left])
        return contents

    monkeypatch.setattr(artifacts, "_checked", check_then_truncate)
    with pytest.raises(DamagedError, match=rf"{re.escape(name)}: it changed while it was read"):
        cache.read(KEY)


@pytest.mark.parametrize("look", ["read", "verify", "check"])
def test_use_is_remembered(cache: Cache, look: str) -> None:
    folder = cache.folder(KEY)
    before = (folder / MANIFEST).stat().st_mtime_ns
    os.utime(folder, (1000, 1000))
    getattr(cache, look)(KEY)
    assert (folder.stat().st_mtime > 1000) == (look != "check")
    assert (folder / MANIFEST).stat().st_mtime_ns == before


def test_a_cache_that_cannot_be_written_can_be_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.read(KEY).facts == {"variant": "number 1"}
    assert cache.verify(KEY) == cache.check(KEY)


@pytest.mark.parametrize(("seconds", "flushed"), [(0.9, False), (1.0, True)])
def test_what_took_long_is_flushed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, seconds: float, flushed: bool
) -> None:
    seen = []
    monkeypatch.setattr("bench.store.artifacts._flush", lambda path: seen.append(path.name))
    cache.write(KEY, artifact(2), {**ABOUT, "seconds": seconds})
    assert set(seen) == ({MANIFEST, TENSORS, "rows.parquet", KEY, KEY[:2]} if flushed else set())


def test_a_writer_that_fails_half_way_leaves_nothing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", fail)
    with pytest.raises(StorageError, match="cannot store an artifact: No space left on device"):
        cache.write(KEY, artifact(2), ABOUT)
    assert cache.read(KEY).facts == {"variant": "number 1"}
    assert leftovers(cache) == []


def test_what_json_cannot_hold_is_not_stored(cache: Cache) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        cache.write(KEY, Artifact(tables=artifact().tables, facts={"x": float("nan")}), ABOUT)
    assert cache.read(KEY).facts == {"variant": "number 1"}
    assert leftovers(cache) == []


def test_a_cache_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    """A network folder may be lost: nothing may then be written to the disk on which it was mounted."""
    with pytest.raises(StorageError, match="cannot store an artifact: No such file or directory"):
        Cache(tmp_path / "gone" / "cache").write(KEY, artifact(), ABOUT)
    assert not (tmp_path / "gone").exists()


def test_a_file_in_the_place_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError, match="cannot store an artifact"):
        Cache(tmp_path / "cache").write(KEY, artifact(), ABOUT)


WRITER = """
import sys, pathlib, numpy as np
from bench.store.artifacts import Artifact, Cache, DamagedError
cache, key = Cache(pathlib.Path(sys.argv[1])), sys.argv[2]
for i in range(40):
    with cache.lock(key):
        cache.write(key, Artifact(tensors={"x": np.full(5000, i), "y": np.full(5000, i)}),
                    {"seconds": 0.0, "peak_mb": 0.0, "device": "cpu"})
        found = cache.read(key).tensors
        assert (found["x"] == i).all() and (found["y"] == i).all()
print("done")
"""


@pytest.mark.slow
def test_writers_of_one_key_take_turns(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    args = [sys.executable, "-c", WRITER, str(tmp_path / "cache"), KEY]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(args, **pipes) for _ in range(3)]
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert (out, err) == ("done\n", "")
    assert set(Cache(tmp_path / "cache").read(KEY).tensors) == {"x", "y"}


def test_costs_are_merged_and_damage_is_forgiven(cache: Cache) -> None:
    assert cache.costs() == {}
    cache.record_costs({"cpu:embed:a": 1.0, "cpu:embed:b": 2.0})
    cache.record_costs({"cpu:embed:b": 3.0})
    cache.record_costs({})
    assert cache.costs() == {"cpu:embed:a": 1.0, "cpu:embed:b": 3.0}
    foreign = ("NaN", "Infinity", "-1.0", "1e300", "1" + 400 * "0", "null", '"x"', "true")
    for text in ("", "[]", *(f'{{"a": {value}}}' for value in foreign)):
        (cache.root / "cost-factors.json").write_text(text)
        assert cache.costs() == {}, text


def test_an_artifact_may_be_empty(cache: Cache) -> None:
    """What a plugin learnt may be nothing."""
    cache.write(KEY, Artifact(), ABOUT)
    found = cache.read(KEY)
    assert (found.tensors, found.tables, found.facts) == ({}, {}, {})


def test_progress_is_a_note_that_nobody_depends_on(cache: Cache) -> None:
    assert cache.progress(KEY) is None
    cache.forget_progress(KEY)
    for share, shown in ((0.25, 0.25), (7.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0)):
        cache.note_progress(KEY, Note(share=share, worker="here:1", since=2.5))
        assert cache.progress(KEY) == Note(share=shown, worker="here:1", since=2.5)
    for text in ("", "much", "{", "[]", "0.5", "{}", '{"share": "x", "worker": "", "since": 0}', '{"share": 1}'):
        (cache.root / "progress" / KEY).write_text(text)
        assert cache.progress(KEY) is None, text
    (cache.root / "progress" / KEY).write_text('{"share": 0.5, "worker": "here:1", "since": -Infinity}')
    assert cache.progress(KEY) is None
    cache.forget_progress(KEY)
    assert list((cache.root / "progress").iterdir()) == []


def test_progress_that_cannot_be_noted_stops_nobody(cache: Cache) -> None:
    (cache.root / "progress").write_text("in the way")
    cache.note_progress(KEY, Note(share=0.5, worker="here:1", since=2.5))
    assert cache.progress(KEY) is None
    cache.forget_progress(KEY)


def test_a_text_file_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "ä\n")
    write_atomically(path, "ö\n")
    assert path.read_text(encoding="utf-8") == "ö\n"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(path / "below", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="expected a file, found a folder"):
        write_atomically(tmp_path / "folder", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "new"]


def test_progress_is_not_written_through_a_link(tmp_path: Path) -> None:
    cache, precious = Cache(tmp_path / "cache"), tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "cache" / "progress").mkdir(parents=True)
    (tmp_path / "cache" / "progress" / KEY).symlink_to(precious)
    cache.note_progress(KEY, Note(share=0.5, worker="here:1", since=1.0))
    assert precious.read_text() == "mine"
    assert cache.progress(KEY) is None


@pytest.mark.parametrize(
    "facts",
    [
        [],
        "text",
        {"client_seconds": "1.0"},
        {"client_seconds": -1.0},
        {"client_seconds": True},
        {"client_flops": 1.5},
        {"client_flops": 2**63},
        {"client_reason": 5},
        {"client_reason": ["a"]},
        {"split": ["evaluation"]},
        {"people": {"a": 1}},
    ],
    ids=str,
)
def test_facts_of_a_wrong_type_are_damage_that_names_the_artifact(tmp_path: Path, facts: object) -> None:
    """The checksum of a manifest says that it is undamaged, not that bench wrote it."""
    cache, key = Cache(tmp_path), "ab" * 32
    about = {"seconds": 0.1, "peak_mb": 1.0, "device": "cpu"}
    cache.write(key, Artifact(facts={"client_seconds": 0.5, "client_flops": 3, "split": "evaluation"}), about)
    assert cache.check(key)["facts"]["client_flops"] == 3
    path = cache.folder(key) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["facts"] = facts
    manifest["sha256"] = _signature(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(DamagedError, match=r"ab/(ab)+: no readable manifest"):
        cache.verify(key)
    assert cache.manifest(key) is None
