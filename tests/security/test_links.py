"""A results folder of strangers holds links: nothing is removed, made or changed at the place that they lead to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fault_table import FaultTable
from support import SUITE

from bench.cli import main
from bench.core.errors import StorageError
from bench.store.active_runs import announce, running
from bench.store.artifacts import MANIFEST, Artifact, Cache
from bench.store.journal import Journal

KEY = "ab" + 62 * "0"
SMALL = SUITE[: SUITE.rindex("[[experiment]]")]
OLD = 1_000_000_000.0
ABOUT = {"seconds": 0.1, "peak_mb": 1.0, "device": "cpu"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of somebody, with an old folder and files whose names bench uses for its own."""
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    (home / "letters" / "letter").write_text("dear")
    (home / f"{KEY}-0123abcd").mkdir()
    (home / f"{KEY}-0123abcd" / "file").write_text("mine")
    for name in (KEY, "manifest.json", "5e551011.json", "5e551011.lock", "5e551011.keys", ".cells.parquet.0", "gate"):
        (home / name).write_text("mine")
    (home / ".samples.0").mkdir()
    for path in (*home.rglob("*"), home):
        os.utime(path, (OLD, OLD))
    return home


def contents(folder: Path) -> dict[str, tuple[float, bytes | None]]:
    """Everything in a folder: when it was changed, and what files hold."""
    return {
        str(path.relative_to(folder.parent)): (path.stat().st_mtime, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
    }


def assert_untouched(table: FaultTable, before: dict[str, Any], *places: Path) -> None:
    """Compare what lies outside with what was there before, and count what was changed."""
    now = {name: found for place in places for name, found in contents(place).items()}
    touched = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
    table.add("links in a folder of results", times=1, outside=len(touched))
    assert touched == []


def run(tmp_path: Path, *options: str) -> Result:
    """``bench run`` of a small suite in the folder of the test."""
    (tmp_path / "toy.toml").write_text(SMALL)
    command = ["run", str(tmp_path / "toy.toml"), "--pairs", "4", "--no-report", "--out", str(tmp_path), *options]
    return CliRunner().invoke(main, command, catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("place", ["tmp", "locks", "progress", "running", "gate"])
def test_a_run_changes_nothing_behind_a_link_in_the_cache(
    tmp_path: Path, home: Path, fault_table: FaultTable, place: str
) -> None:
    cache = tmp_path / "results" / ".cache"
    cache.mkdir(parents=True)
    (cache / place).symlink_to(home / "gate" if place == "gate" else home)
    before = contents(home)
    done = run(tmp_path)
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert str(cache / place) in line
    assert "found a link" in line
    assert_untouched(fault_table, before, home)
    (cache / place).unlink()
    assert run(tmp_path).exit_code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_a_run_changes_nothing_behind_links_of_artifacts(tmp_path: Path, home: Path, fault_table: FaultTable) -> None:
    assert run(tmp_path).exit_code == 0
    cache = tmp_path / "results" / ".cache"
    artifacts = sorted(cache.glob("??/*"))
    shutil.rmtree(artifacts[0])
    artifacts[0].symlink_to(home)  # one that must be made again
    artifacts[1].rename(tmp_path / "moved")
    artifacts[1].symlink_to(tmp_path / "moved")
    os.utime(tmp_path / "moved", (OLD, OLD))
    before = contents(home) | contents(tmp_path / "moved")
    shutil.rmtree(tmp_path / "results" / "toy")
    assert run(tmp_path, "--fresh").exit_code == 0
    assert_untouched(fault_table, before, home, tmp_path / "moved")
    assert not artifacts[0].is_symlink()


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_a_shelf_of_artifacts_that_is_a_link_ends_the_run(tmp_path: Path, home: Path, fault_table: FaultTable) -> None:
    assert run(tmp_path).exit_code == 0
    cache = tmp_path / "results" / ".cache"
    shelf = next(p.parent.parent for p in cache.glob("??/*/manifest.json") if '"score"' in p.read_text())
    shutil.rmtree(shelf)
    shelf.symlink_to(home)
    before = contents(home)
    shutil.rmtree(tmp_path / "results" / "toy")
    done = run(tmp_path)
    assert done.exit_code == 2
    assert f"{shelf}: expected a file or folder that bench made, found a link" in done.stderr
    assert_untouched(fault_table, before, home)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    "what", ["suite", "run", "journal.jsonl", "samples", ".samples.0", ".cells.parquet.0", "run.json"]
)
def test_a_run_changes_nothing_behind_a_link_among_the_runs(
    tmp_path: Path, home: Path, fault_table: FaultTable, what: str
) -> None:
    assert run(tmp_path).exit_code == 0
    (folder,) = (tmp_path / "results" / "toy").iterdir()
    target = home if what in ("suite", "run", "samples", ".samples.0") else home / "letters" / "letter"
    place = {"suite": folder.parent, "run": folder}.get(what, folder / what)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(target)
    (folder / "cells.parquet").unlink(missing_ok=True) if what not in ("suite", "run") else None
    before = contents(home)
    done = run(tmp_path)
    assert done.exit_code == (2 if what in ("suite", "journal.jsonl") else 0), done.stderr
    assert_untouched(fault_table, before, home)
    if done.exit_code == 2:
        assert f"{place}: expected a file or folder that bench made, found a link" in done.stderr


def test_a_sweep_removes_old_folders_of_its_own_and_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    names = [f"{KEY}-0123abcd", "token-0123abcd", "mine", f"{KEY}", f"{KEY}-0123abcde", f"{KEY.upper()}-0123abcd"]
    for name in names:
        (tmp_path / "tmp" / name).mkdir(parents=True)
        os.utime(tmp_path / "tmp" / name, (OLD, OLD))
    (tmp_path / "tmp" / f"{KEY}-00000000").mkdir()
    cache.sweep()
    assert {path.name for path in (tmp_path / "tmp").iterdir()} == {*names[2:], f"{KEY}-00000000"}


@pytest.mark.parametrize("name", [f"{KEY}-0123abcd", "token-0123abcd"])
def test_a_sweep_leaves_what_is_being_written_whatever_the_clock_says(tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "tmp" / name).mkdir(parents=True)
    os.utime(tmp_path / "tmp" / name, (OLD, OLD))  # or the clock was put forward by years
    with cache.lock(KEY if name.startswith(KEY) else name):
        cache.sweep()
        assert (tmp_path / "tmp" / name).is_dir()
    cache.sweep()
    assert not (tmp_path / "tmp" / name).exists()


def test_an_artifact_is_never_written_or_removed_behind_a_link(
    tmp_path: Path, home: Path, fault_table: FaultTable
) -> None:
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    (cache.root / KEY[:2]).symlink_to(home)
    before = contents(home)
    with pytest.raises(StorageError, match="found a link"):
        cache.write(KEY, Artifact(), ABOUT)
    with pytest.raises(StorageError, match="found a link"):
        cache.discard(KEY)
    (cache.root / KEY[:2]).unlink()
    (cache.root / KEY[:2]).mkdir()
    cache.folder(KEY).symlink_to(home)
    cache.discard(KEY)
    assert not os.path.lexists(cache.folder(KEY))
    cache.folder(KEY).symlink_to(home / "nothing")
    cache.write(KEY, Artifact(), ABOUT)
    assert (cache.folder(KEY) / MANIFEST).is_file()
    assert_untouched(fault_table, before, home)


def test_runs_in_progress_are_not_sought_behind_a_link(tmp_path: Path, home: Path, fault_table: FaultTable) -> None:
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    (cache.root / "running").symlink_to(home)
    before = contents(home)
    assert running(cache) == []
    with pytest.raises(StorageError, match="found a link"), announce(cache, "5e551011", "toy", tmp_path, []):
        pass
    assert_untouched(fault_table, before, home)


def test_a_journal_is_not_appended_to_a_file_elsewhere(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "results" / "toy" / "run"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").symlink_to(home / "letters" / "letter")
    with pytest.raises(StorageError, match=r"journal\.jsonl: expected .*, found a link"), Journal(folder):
        pass
    assert (home / "letters" / "letter").read_text() == "dear"
