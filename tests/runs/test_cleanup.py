"""Cleaning up: artifacts and runs are listed, damage is found, and nothing that is still needed is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.cli.cleanup_output import amount, count
from bench.core.errors import StorageError
from bench.runs import cleanup
from bench.runs.cleanup import collect, damage, remove_run, size_of, span_of
from bench.store.active_runs import announce
from bench.store.artifacts import MANIFEST, TENSORS, Artifact, Cache
from bench.store.schema import SCHEMA_VERSION

NOW = 1_000_000_000.0
DAY = 86_400.0


def key_of(i: int) -> str:
    """A key; keys lie on different shelves."""
    return f"{i:02x}" + 62 * "0"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache of ten artifacts; number i was used i days ago and has about i + 1 kB of numbers."""
    found = Cache(tmp_path / "results" / ".cache")
    found.root.mkdir(parents=True)
    for i in range(10):
        about = {"kind": "embed" if i % 2 else "score", "seconds": 0.1, "peak_mb": 1.0, "device": "cpu"}
        found.write(key_of(i), Artifact(tensors={"x": np.zeros(125 * (i + 1))}), about)
        os.utime(found.folder(key_of(i)), (NOW - i * DAY, NOW - i * DAY))
    return found


def left(cache: Cache) -> list[int]:
    """Which of the artifacts are there."""
    return [int(one.key[:2], 16) for one in cleanup.artifacts(cache)]


def spoil(cache: Cache, i: int) -> Path:
    """Flip a bit of an artifact; returns the file."""
    path = cache.folder(key_of(i)) / TENSORS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


def files(folder: Path) -> list[str]:
    """Every file and folder below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def invoke(out: Path, *args: str, **more: Any) -> Result:
    """A command on an output folder."""
    return CliRunner().invoke(main, [*args, "--out", str(out)], prog_name="bench", **more)


# ---- sizes and times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0B", 0), ("500MB", 500_000_000), ("20 GB", 20 * 10**9), ("1.5tb", 1_500 * 10**9), (" 7kb ", 7000)],
)
def test_sizes(text: str, expected: int) -> None:
    assert size_of(text) == expected


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "1e3GB", "20 G", "20GBs", "1,5GB", "nanGB", "infGB", "٣GB"])
def test_what_is_no_size(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a size such as 500MB, 20GB or"):
        size_of(text)
    done = invoke(tmp_path, "cache", "gc", f"--max-size={text}")
    assert done.exit_code == 2
    assert f"Error: --max-size: expected a size such as 500MB, 20GB or 1.5TB, found {text!r}" in done.output
    assert files(tmp_path) == []


def test_times(tmp_path: Path) -> None:
    assert [span_of(t) for t in ("90s", "90min", "12H", "30d", "2 w")] == [90, 5400, 43_200, 30 * DAY, 14 * DAY]
    for text in ("30", "d", "-1d", "1 month", "1y"):
        with pytest.raises(ValueError, match="expected a time such as 90min, 12h, 30d or 2w"):
            span_of(text)
    done = invoke(tmp_path, "cache", "gc", "--older-than", "1 month")
    assert done.exit_code == 2
    assert "Error: --older-than: expected a time such as" in done.output


def test_amounts_in_words() -> None:
    sizes = [0, 999, 1000, 99_949, 99_950, 999_499, 999_500, 10**9, 2 * 10**15]
    shown = ["0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "999 kB", "1.0 MB", "1.0 GB", "2000 TB"]
    assert [amount(size) for size in sizes] == shown
    assert [count(n, "run") for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


# ---- cache ls --------------------------------------------------------------------------------------------------------


def test_artifacts_are_counted_by_kind(cache: Cache, tmp_path: Path) -> None:
    score, embed = sorted(cleanup.by_kind(cleanup.artifacts(cache)), key=lambda row: row.size)
    assert (score.kind, score.artifacts, score.oldest, score.newest) == ("score", 5, NOW - 8 * DAY, NOW)
    assert (embed.kind, embed.artifacts, embed.oldest, embed.newest) == ("embed", 5, NOW - 9 * DAY, NOW - DAY)
    on_disk = sum(p.stat().st_size for p in cache.root.glob("??/*/*"))
    assert score.size + embed.size == on_disk
    found = json.loads(invoke(tmp_path, "cache", "ls", "--json").output)
    assert (found["artifacts"], found["size"]) == (10, on_disk)
    assert [row["kind"] for row in found["kinds"]] == ["embed", "score"]
    text = invoke(tmp_path, "cache", "ls").output
    assert f"10 artifacts, {amount(on_disk)}" in text
    assert left(cache) == list(range(10))
    for i in range(10):
        assert cache.folder(key_of(i)).stat().st_mtime == NOW - i * DAY, "looking at it was taken for use"


@pytest.mark.parametrize("args", [["ls"], ["verify"], ["gc", "--max-size", "0B"], ["gc"], ["gc", "--dry-run"]])
def test_where_there_is_no_cache(tmp_path: Path, args: list[str]) -> None:
    done = invoke(tmp_path, "cache", *args)
    assert (done.exit_code, "0 artifacts" in done.output) == (0, True), done.output
    assert files(tmp_path) == []


def test_a_file_in_the_place_of_the_cache(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".cache").write_text("mine")
    for args in (["ls"], ["verify", "--discard"], ["gc", "--max-size", "0B"]):
        assert invoke(tmp_path, "cache", *args).exit_code == 0
    assert (tmp_path / "results" / ".cache").read_text() == "mine"


def test_what_bench_has_not_made_is_left_alone(cache: Cache, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    precious = elsewhere / key_of(200)
    precious.mkdir(parents=True)
    (precious / "tensors.safetensors").write_text("precious")
    (cache.root / "README").write_text("mine")
    (cache.root / "notes").mkdir()
    (cache.root / "00" / "notes.txt").write_text("mine")
    (cache.root / "00" / "folder").mkdir()
    (cache.root / "c8").symlink_to(elsewhere)  # a shelf
    (cache.root / "00" / ("00" + 62 * "1")).symlink_to(precious)  # an artifact
    (cache.root / "01" / key_of(2)).mkdir()  # on another's shelf
    (cache.root / "tmp" / "mine").mkdir(exist_ok=True)
    (cache.root / "tmp" / f"{key_of(200)}-00000000").symlink_to(precious)
    before = files(tmp_path)
    assert left(cache) == list(range(10))
    assert invoke(tmp_path, "cache", "verify", "--discard").exit_code == 0
    assert [path for path in before if path not in files(tmp_path)] == []
    collected = collect(cache, max_size=0)
    assert len(collected.removed) == 10
    ours = {
        f"results/.cache/{key_of(i)[:2]}/{key_of(i)}{end}"
        for i in range(10)
        for end in ("", f"/{TENSORS}", f"/{MANIFEST}")
    }
    assert {path for path in before if path not in files(tmp_path)} == ours
    assert (precious / "tensors.safetensors").read_text() == "precious"


@pytest.mark.parametrize("place", ["tmp", "locks", "progress"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(cache: Cache, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / f"{key_of(200)}-00000000").mkdir(parents=True)
    (elsewhere / key_of(200)).write_text("precious")
    os.utime(elsewhere / f"{key_of(200)}-00000000", (1, 1))
    if (cache.root / place).exists():
        (cache.root / place).rmdir()
    (cache.root / place).symlink_to(elsewhere)
    collect(cache, max_size=0)
    assert {f"{key_of(200)}-00000000", key_of(200)} <= set(files(elsewhere))


# ---- cache verify ----------------------------------------------------------------------------------------------------


def test_damage_is_found_and_discarded(cache: Cache, tmp_path: Path) -> None:
    done = invoke(tmp_path, "cache", "verify")
    assert (done.exit_code, done.output) == (0, "10 artifacts, 0 damaged\n")
    spoilt = spoil(cache, 3)
    (cache.folder(key_of(5)) / MANIFEST).write_text("{")
    done = invoke(tmp_path, "cache", "verify")
    assert done.exit_code == 1
    assert f"damaged {spoilt}: its contents do not match the manifest" in done.output
    assert f"damaged {cache.folder(key_of(5))}: no readable manifest" in done.output
    assert "10 artifacts, 2 damaged\n--discard removes them; the next run that needs them" in done.output
    assert left(cache) == list(range(10))
    done = invoke(tmp_path, "cache", "verify", "--discard")
    assert done.exit_code == 1
    assert "they were removed; the next run that needs them computes them again" in done.output
    assert left(cache) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert invoke(tmp_path, "cache", "verify").exit_code == 0


def test_what_a_run_is_making_is_not_damaged(cache: Cache) -> None:
    spoil(cache, 3)
    with cache.lock(key_of(3)):
        assert damage(cache, key_of(3), discard=True) is None
    assert damage(cache, key_of(200), discard=True) is None  # it is gone
    assert left(cache) == list(range(10))
    assert damage(cache, key_of(3), discard=True) is not None


def test_a_cache_that_cannot_be_written_is_verified(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Cache, "lock", refuse)
    spoil(cache, 3)
    assert damage(cache, key_of(2), discard=True) is None
    assert "do not match" in str(damage(cache, key_of(3), discard=False))
    with pytest.raises(StorageError, match="cannot be changed: Read-only file system"):
        damage(cache, key_of(3), discard=True)


# ---- cache gc --------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(cache: Cache) -> None:
    sizes = {int(one.key[:2], 16): one.size for one in cleanup.artifacts(cache)}
    limit = sizes[0] + sizes[1] + sizes[2] + 1
    collected = collect(cache, max_size=limit)
    assert [int(one.key[:2], 16) for one in collected.removed] == [9, 8, 7, 6, 5, 4, 3]
    assert left(cache) == [0, 1, 2]
    assert (collected.kept, collected.kept_size) == (3, limit - 1)
    assert collect(cache, max_size=limit).removed == []


def test_reading_an_artifact_saves_it(cache: Cache) -> None:
    cache.read(key_of(9))
    cache.verify(key_of(8))
    cache.check(key_of(7))
    collect(cache, older_than=3600)
    assert left(cache) == [8, 9]


def test_what_was_not_used_for_long_goes(cache: Cache) -> None:
    collected = collect(cache, older_than=5.5 * DAY, now=lambda: NOW)
    assert left(cache) == [0, 1, 2, 3, 4, 5]
    assert len(collected.removed) == 4


def test_a_dry_run_changes_nothing(cache: Cache, tmp_path: Path) -> None:
    spoil(cache, 1)
    (cache.folder(key_of(2)) / MANIFEST).unlink()
    leftover(cache, 200)
    before = files(tmp_path)
    done = invoke(tmp_path, "cache", "gc", "--max-size", "0B", "--dry-run")
    assert done.exit_code == 0
    assert "would remove 10 artifacts" in done.output
    assert "would remove 1 unfinished artifact of killed workers" in done.output
    assert "0 artifacts would be left" in done.output
    assert [path for path in before if path not in files(tmp_path)] == []
    assert left(cache) == list(range(10))


def test_without_limits_only_what_is_of_no_use_goes(cache: Cache, tmp_path: Path) -> None:
    (cache.folder(key_of(2)) / MANIFEST).write_text("{")
    done = invoke(tmp_path, "cache", "gc")
    assert done.exit_code == 0
    assert "removed 1 artifact, " in done.output
    assert left(cache) == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_what_a_running_run_needs_stays(cache: Cache, tmp_path: Path) -> None:
    mine = {key_of(i) for i in (0, 9, 200)}
    for key in mine:
        with cache.lock(key):
            pass
    with announce(cache, "5e551011", "toy", tmp_path / "results" / "toy" / "run", mine):
        done = invoke(tmp_path, "cache", "gc", "--max-size", "1B")
        assert done.exit_code == 0
        assert "2 artifacts left" in done.output
        assert "needed by running runs" in done.output
        assert "that is more than 1 B: running runs need them" in done.output
        assert left(cache) == [0, 9]
        assert mine <= {path.name for path in (cache.root / "locks").iterdir()}
    collect(cache, max_size=0)
    assert left(cache) == []
    assert list((cache.root / "locks").iterdir()) == []


def test_what_is_being_made_or_was_used_meanwhile_stays(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = cleanup.needed

    def read_meanwhile(cache: Cache) -> set[str]:
        cache.read(key_of(4))
        return needed(cache)

    found = list(cleanup.artifacts(cache))
    monkeypatch.setattr(cleanup, "artifacts", lambda cache: found)
    monkeypatch.setattr(cleanup, "needed", read_meanwhile)
    with cache.lock(key_of(5)):
        collected = collect(cache, max_size=0)
    monkeypatch.undo()
    assert left(cache) == [4, 5]
    assert collected.kept == 2


def test_a_run_that_starts_meanwhile_keeps_what_it_needs(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = cleanup._chosen
    held = []

    def start_meanwhile(*args: Any) -> Any:
        held.append(announce(cache, "5e551011", "toy", tmp_path / "results" / "toy" / "run", [key_of(7)]))
        held[0].__enter__()
        return chosen(*args)

    monkeypatch.setattr(cleanup, "_chosen", start_meanwhile)
    collect(cache, max_size=0)
    held[0].__exit__(None, None, None)
    assert left(cache) == [7]


def leftover(cache: Cache, i: int, *, old: bool = True) -> Path:
    """What a killed worker left."""
    folder = cache.root / "tmp" / f"{key_of(i)}-0123abcd"
    folder.mkdir(parents=True)
    (folder / TENSORS).write_bytes(bytes(1000))
    if old:
        os.utime(folder, (NOW, NOW))
    return folder


def test_leftovers_are_swept(cache: Cache) -> None:
    dead, alive, fresh = leftover(cache, 200), leftover(cache, 201), leftover(cache, 202, old=False)
    notes = [cache.root / "progress" / key_of(i) for i in (200, 201)]
    notes[0].parent.mkdir()
    for note in notes:
        note.write_text("{}")
    assert [size for _, size in cleanup.unfinished(cache)] == [1000, 1000, 1000]
    with cache.lock(key_of(201)):
        collected = collect(cache)
    assert (collected.unfinished, collected.unfinished_size, collected.removed) == (1, 1000, [])
    assert [path.exists() for path in (dead, alive, fresh)] == [False, True, True]
    assert [note.exists() for note in notes] == [False, True]
    assert {path.name for path in (cache.root / "locks").iterdir()} == {key_of(201)}
    assert left(cache) == list(range(10))


def test_what_a_run_left_that_was_killed_is_swept(cache: Cache, tmp_path: Path) -> None:
    place = cache.root / "running"
    folder = tmp_path / "results" / "toy" / "run"
    with announce(cache, "a11fe000", "toy", folder, [key_of(1)]):
        for end in ("lock", "json", "keys"):
            (place / f"dead0000.{end}").write_text("{}")  # killed in its middle
        for end in ("lock", "keys"):
            (place / f"dead0001.{end}").write_text(key_of(2))  # killed while it announced itself
        assert collect(cache, dry_run=True).locks == 1
        collected = collect(cache, max_size=0)
        assert [int(one.key[:2], 16) for one in collected.removed] == [9, 8, 7, 6, 5, 4, 3, 2, 0]
        assert files(place) == ["a11fe000.json", "a11fe000.keys", "a11fe000.lock"]
    assert files(place) == []


def test_a_run_announces_itself_before_or_after_a_removal(cache: Cache, tmp_path: Path) -> None:
    """Never between the look at who needs what and the removal: then it would find what is gone a moment later."""
    announced = threading.Event()

    def start() -> None:
        with announce(cache, "5e551011", "toy", tmp_path / "results" / "toy" / "run", []):
            announced.set()

    run = threading.Thread(target=start)
    with cache.gate():
        run.start()
        assert not announced.wait(0.3)
        assert cleanup.needed(cache) == set()
    run.join()
    assert announced.is_set()


HOLDERS = """
import pathlib, sys, time
from filelock import FileLock, Timeout
from bench.store.artifacts import Cache
cache, alone = Cache(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
end = time.monotonic() + 2
taken = 0
while time.monotonic() < end:
    with cache.lock("ab" + 62 * "0"):
        alone.mkdir()  # fails where another process holds the same lock
        taken += 1
        alone.rmdir()
print(taken > 0)
"""


@pytest.mark.slow
def test_sweeping_locks_splits_none(tmp_path: Path) -> None:
    """A lock file is removed while others open it, again and again; two of them never hold the lock at once."""
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    args = [sys.executable, "-c", HOLDERS, str(cache.root), str(tmp_path / "alone")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    holders = [subprocess.Popen(args, **pipes) for _ in range(3)]
    swept = 0
    while any(holder.poll() is None for holder in holders):
        swept += collect(cache).locks
    for holder in holders:
        assert holder.communicate() == ("True\n", "")
    assert swept > 0


def test_what_cannot_be_removed_is_named(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discard = Cache.discard

    def refuse(self: Cache, key: str) -> None:
        if key == key_of(9):
            raise PermissionError(13, "Permission denied")
        if key != key_of(8):  # rmtree ignores errors
            discard(self, key)

    monkeypatch.setattr(Cache, "discard", refuse)
    done = invoke(tmp_path, "cache", "gc", "--max-size", "0B")
    assert done.exit_code == 1
    assert f"problem {cache.folder(key_of(9))}: Permission denied" in done.output
    assert f"problem {cache.folder(key_of(8))}: its files cannot be removed" in done.output
    assert "that is more than 0 B: they are in use or cannot be removed" in done.output
    assert left(cache) == [8, 9]


def test_a_cache_that_cannot_be_changed(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Cache, "gate", refuse)
    done = invoke(tmp_path, "cache", "gc", "--max-size", "0B")
    assert done.exit_code == 2
    assert done.output == f"Error: {cache.root}: cannot be changed: Read-only file system\n"


# ---- runs ------------------------------------------------------------------------------------------------------------


def write_run(results: Path, suite: str, name: str, /, **record: Any) -> Path:
    """A run folder."""
    folder = results / suite / name
    (folder / "samples" / "verification").mkdir(parents=True)
    (folder / "samples" / "verification" / "part-00000.parquet").write_bytes(bytes(1000))
    (folder / "cells.parquet").write_bytes(bytes(500))
    (folder / "stages.parquet").write_bytes(bytes(300))
    (folder / "journal.jsonl").write_text("{}\n")
    about = {"schema": 2, "suite": {"name": suite}, "started": f"{name[:4]}-01-02T03:04:05+00:00", "status": "complete"}
    counts = {"cells": 4, "ok": 2, "failed": 1, "timeout": 0, "skipped": 1}
    (folder / "run.json").write_text(json.dumps(about | {"counts": counts} | record))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with three runs of two suites, and things that are no runs."""
    results = tmp_path / "results"
    write_run(results, "toy", "2021-b")
    write_run(results, "toy", "2020-a", status="running")
    write_run(results, "other", "2022-c", status="incomplete")
    os.utime(results / "toy" / "2020-a" / "run.json", (1, 1))
    (results / "notes.txt").write_text("mine")
    (results / "toy" / "folder").mkdir()
    (results / "toy" / "file").write_text("mine")
    (results / ".cache").mkdir()
    elsewhere = write_run(tmp_path / "elsewhere", "far", "2019-z")
    os.utime(elsewhere / "run.json", (1, 1))
    (results / "linked").symlink_to(elsewhere.parent)
    (results / "toy" / "linked").symlink_to(elsewhere)
    return results


def test_runs_are_listed(results: Path, tmp_path: Path) -> None:
    found = json.loads(invoke(tmp_path, "runs", "ls", "--json").output)
    assert [(run["suite"], run["name"], run["status"]) for run in found] == [
        ("other", "2022-c", "incomplete"),
        ("toy", "2020-a", "interrupted"),  # no process is computing it
        ("toy", "2021-b", "complete"),
    ]
    assert found[0]["counts"] == {"cells": 4, "ok": 2, "failed": 1, "timeout": 0, "skipped": 1}
    assert found[0]["size"] == sum(p.stat().st_size for p in (results / "other").rglob("*") if p.is_file())
    text = invoke(tmp_path, "runs", "ls").output
    assert text.splitlines()[0].split() == [
        *("suite", "run", "started", "status", "cells", "ok", "failed", "skipped", "size")
    ]
    assert "far" not in text


def test_a_run_at_work_is_running(results: Path, tmp_path: Path) -> None:
    cache = Cache(results / ".cache")
    with announce(cache, "5e551011", "toy", Path("results/toy/2020-a"), []):
        found = {run.name: run.status for run in cleanup.runs(results, pytest.fail)}
        assert found == {"2020-a": "running", "2021-b": "complete", "2022-c": "incomplete"}
        done = invoke(tmp_path, "runs", "rm", str(results / "toy" / "2020-a"), "--yes")
        assert done.exit_code == 2
        assert "a command is at work on this run; stop it first" in done.output
    assert (results / "toy" / "2020-a" / "run.json").exists()
    done = invoke(tmp_path, "runs", "rm", str(results / "toy" / "2020-a"), "--yes")
    assert done.exit_code == 0, done.output


def test_where_there_are_no_runs(tmp_path: Path) -> None:
    assert invoke(tmp_path, "runs", "ls").output == f"no runs in {tmp_path / 'results'}\n"
    assert invoke(tmp_path, "runs", "ls", "--json").output == "[]\n"
    for command in (["runs", "show", "toy"], ["runs", "rm", "toy", "--yes"]):
        done = invoke(tmp_path, *command)
        assert done.exit_code == 2
        assert "toy: expected a run folder or the name of a suite" in done.output
    assert files(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '"run"', "{}", '{"schema": 2}', "\xff"])
def test_a_record_that_cannot_be_read(results: Path, tmp_path: Path, text: str) -> None:
    folder = results / "toy" / "2021-b"
    (folder / "run.json").write_bytes(text.encode("latin-1"))
    assert {run.status for run in cleanup.runs(results, pytest.fail) if run.name == "2021-b"} == {"unreadable"}
    assert invoke(tmp_path, "runs", "ls").exit_code == 0
    before = files(tmp_path)
    for command in (["runs", "show", str(folder)], ["runs", "rm", str(folder), "--yes"]):
        done = invoke(tmp_path, *command)
        assert done.exit_code == 2
        assert f"{folder / 'run.json'}: expected the record of a run" in done.output
    assert files(tmp_path) == before


def test_a_run_explains_itself(results: Path, tmp_path: Path) -> None:
    component = {
        "kind": "dataset",
        "name": "lfw",
        "label": "LFW",
        "weights": 64 * "a",
        "license": "[see there]",
        "synthetic": True,
        "origin": {"distribution": "some-plugin", "version": "1.2"},
    }
    write_run(
        results,
        "told",
        "2023-d",
        suite={"name": "told", "path": "told.toml", "sha256": 64 * "b"},
        command=["bench", "run", "told.toml"],
        seconds=75.0,
        device="cpu",
        machine={"platform": "Linux", "python": "3.11", "processor": "Chip"},
        versions={"torch": "2.11", "numpy": "2.0"},
        commit="abc+dirty",
        components=[component, "odd"],
        stages=[
            *({"key": f"e{i}", "status": "failed", "reason": "embed: it [broke]"} for i in range(3)),
            {"key": "p0", "status": "timeout", "reason": "protect: too slow"},
            {"key": "p1", "status": "ok", "reason": None},
        ],
    )
    text = invoke(tmp_path, "runs", "show", "told").output
    for fragment in (
        *(
            "suite: told, told.toml, sha256 bbbbbbbbbbbbbbbb",
            "command: bench run told.toml",
            "75.0 s",
            "status: complete",
            "device: cpu, Chip",
            "commit: abc+dirty",
        ),
        *("machine: Linux, 3.11", "versions: torch 2.11, numpy 2.0", "sha256 aaaaaaaaaaaaaaaa", "[see there]"),
        *("LFW (synthetic)", "lfw of some-plugin", "4 cells, 2 ok, 1 failed, 0 timeout, 1 skipped"),
        *("3 stages: embed: it [broke]", "1 stage: protect: too slow"),
    ):
        assert fragment in text, fragment
    assert "None" not in text


def test_failures_are_counted_by_reason(results: Path) -> None:
    folder = results / "toy" / "2021-b"
    (folder / "run.json").write_text(json.dumps({"schema": SCHEMA_VERSION, "suite": {"name": "toy"}}))
    reasons = [("failed", "a: no"), ("timeout", "b: slow"), ("ok", None), ("failed", "a: no")]
    pq.write_table(
        pa.table({"key": list("abcd"), "status": [r[0] for r in reasons], "reason": [r[1] for r in reasons]}),
        folder / "stages.parquet",
    )
    assert list(cleanup.failures(folder).items()) == [("a: no", 2), ("b: slow", 1)]
    (folder / "stages.parquet").unlink()  # it is running
    assert cleanup.failures(folder) == {}


def test_a_run_of_another_version_is_shown_as_far_as_it_goes(results: Path, tmp_path: Path) -> None:
    folder = results / "toy" / "2021-b"
    (folder / "run.json").write_text(json.dumps({"schema": 99, "suite": "toy", "counts": 3, "started": 5}))
    done = invoke(tmp_path, "runs", "show", str(folder))
    assert (done.exit_code, "status: unknown" in done.output, "counts: none yet" in done.output) == (0, True, True)
    assert invoke(tmp_path, "runs", "ls").exit_code == 0


def test_only_the_run_folder_is_removed(results: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    folder = results / "toy" / "2021-b"
    (folder / ".run.json.0123abcd").write_text("half")
    (folder / ".stages.parquet.0123abcd").write_text("half")
    (folder / ".samples.0123abcd").mkdir()
    (folder / "logs" / "logs-0123abcd").mkdir(parents=True)
    (folder / "logs" / "logs-0123abcd" / "0.log").write_text("of a stage that was killed")
    done = invoke(tmp_path, "runs", "rm", "toy", "other", "toy", input="y\n")
    assert done.exit_code == 0, done.output
    assert "Remove 2 run folders? [y/N]: y" in done.output
    assert f"removed {folder} (" in done.output
    assert "The cache was not touched" in done.output
    gone = [path for path in before if path not in files(tmp_path)]
    assert {"/".join(path.split("/")[:3]) for path in gone} == {"results/toy/2021-b", "results/other/2022-c"}
    assert not folder.exists()


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_removed_without_a_yes(results: Path, tmp_path: Path, answer: str) -> None:
    before = files(tmp_path)
    done = invoke(tmp_path, "runs", "rm", "toy", input=answer)
    assert done.exit_code == 1
    assert files(tmp_path) == before


def test_what_is_no_run_folder_is_not_removed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "run.json").write_text('{"name": "of another program"}')
    before = files(tmp_path)
    for name, fragment in {
        str(results): "expected a run folder",
        str(results / "toy" / "folder"): "expected a run folder",
        str(results / "toy" / "file"): "expected a run folder",
        str(tmp_path / "app"): "expected the record of a run of bench, found something else",
        str(results / "toy" / "linked"): "found a link to one",
        "linked": "found a link to one",
        ".cache": "expected a run folder",
    }.items():
        done = invoke(tmp_path, "runs", "rm", "other", name, "--yes")
        assert done.exit_code == 2, name
        assert fragment in done.output, name
        assert files(tmp_path) == before, name


def test_what_bench_has_not_made_stays_in_the_folder(results: Path, tmp_path: Path) -> None:
    folder = results / "toy" / "2021-b"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (folder / "notes.txt").write_text("mine")
    (folder / "samples" / "link").symlink_to(precious)
    done = invoke(tmp_path, "runs", "rm", "toy", "--yes")
    assert done.exit_code == 0
    assert "left in it, because bench has not made it: notes.txt" in done.output
    assert files(folder) == ["notes.txt"]
    assert files(precious) == ["file"]


def test_samples_that_are_a_link_are_not_followed(results: Path, tmp_path: Path) -> None:
    folder, far = results / "toy" / "2021-b", tmp_path / "far"
    (folder / "samples").rename(far)
    (folder / "samples").symlink_to(far)
    assert remove_run(cleanup.check_removable(folder)) == []
    assert files(far) == ["verification", "verification/part-00000.parquet"]
    assert not folder.exists()


def test_a_folder_that_cannot_be_changed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cleanup.check_removable(results / "toy" / "2021-b")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="2021-b: cannot be removed: Permission denied"):
        remove_run(run)


def test_a_replay_at_work_is_running_and_is_not_removed(results: Path, tmp_path: Path) -> None:
    """A replay announces itself in a cache of its own."""
    folder = write_run(results, "toy", "2023-r-replay", status="running", replay_of="2021-b")
    cache = Cache(results / ".replay" / "0123abcd")
    with announce(cache, "5e551011", "toy", Path("results/toy") / folder.name, []):
        assert {run.name: run.status for run in cleanup.runs(results, pytest.fail)}[folder.name] == "running"
        assert cleanup.run_of(folder).status == "running"
        done = invoke(tmp_path, "runs", "rm", str(folder), "--yes")
        assert done.exit_code == 2
        assert "a command is at work on this run; stop it first" in done.output
        assert (folder / "run.json").exists()
        assert (folder / "journal.jsonl").exists()
        done = invoke(tmp_path, "runs", "rm", str(results / "toy" / "2021-b"), "--yes")
        assert done.exit_code == 2
        assert "2021-b: a command replays this run; stop it first" in done.output
    assert cleanup.run_of(folder).status == "interrupted"
    assert invoke(tmp_path, "runs", "rm", str(folder), "--yes").exit_code == 0
    assert not folder.exists()
