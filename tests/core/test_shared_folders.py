"""Folders in which others work: what vanishes between two looks is no error, and links are not followed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import StorageError
from bench.core.files import files_in, folders_in, latest_first, modified, remove, require_no_link, size_below
from bench.core.locks import HeldLock, is_held
from bench.engine.ray_node import _shrink
from bench.runs.cleanup import artifacts, collect
from bench.store.artifacts import Artifact, Cache
from bench.store.run_folders import find_run, run_folders


def test_a_time_of_a_link_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (1, 1))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert modified(tmp_path / "file") == 1
    assert modified(tmp_path / "link") != 1
    assert modified(tmp_path / "gone") is None


def test_the_latest_comes_first_and_what_is_gone_is_left_out(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / str(i)).touch()
        os.utime(tmp_path / str(i), (i, i))
    assert [p.name for p in latest_first([tmp_path / name for name in ("1", "gone", "0", "2")])] == ["2", "1", "0"]


def test_folders_and_files_are_listed_without_links(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "c").write_text("c")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "file").symlink_to(tmp_path / "c")
    assert [p.name for p in folders_in(tmp_path)] == ["a", "b"]
    assert [p.name for p in folders_in(tmp_path, links=True)] == ["a", "b", "link"]
    assert [p.name for p in files_in(tmp_path)] == ["c"]
    assert folders_in(tmp_path / "\0") == folders_in(tmp_path / "\ud800", links=True) == []
    assert folders_in(tmp_path / "gone") == folders_in(tmp_path / "c") == files_in(tmp_path / "link") == []


def test_a_link_that_leads_nowhere_hides_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert folders_in(tmp_path, links=True) == [tmp_path / "a"]


def test_a_suite_that_may_not_be_listed_hides_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suite in ("closed", "toy"):
        (tmp_path / suite / "run").mkdir(parents=True)
        (tmp_path / suite / "run" / "run.json").write_text("{}")
    scandir = os.scandir

    def listing(place: Any = ".") -> Any:
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr("bench.core.files.os.scandir", listing)
    notes: list[str] = []
    assert run_folders(tmp_path, notes.append) == [tmp_path / "toy" / "run"]
    assert notes == [f"{tmp_path / 'closed'}: cannot be read: Permission denied; its runs are left out"]
    assert find_run("toy", tmp_path) == tmp_path / "toy" / "run"
    with pytest.raises(StorageError, match="closed: cannot be read: Permission denied"):
        find_run("closed", tmp_path)


def test_what_is_removed_is_never_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").touch()
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "link").symlink_to(tmp_path / "far")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("folder", "link", "dangling", "gone"):
        remove(tmp_path / name)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["far", "file"]


def test_the_first_link_on_a_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "far" / "b").mkdir(parents=True)
    (tmp_path / "a").symlink_to(tmp_path / "far")
    with pytest.raises(StorageError, match=r"/a: expected a file or folder that bench made, found a link to .*far"):
        require_no_link(tmp_path / "a" / "b", tmp_path)
    assert require_no_link(tmp_path / "a" / "b", tmp_path / "a") == tmp_path / "a" / "b", "the place itself may be one"
    assert require_no_link(tmp_path / "new" / "b", tmp_path) == tmp_path / "new" / "b"


# ---- what vanishes between two looks ---------------------------------------------------------------------------------


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every file and folder whose name contains "gone" vanishes after it was listed and before it is looked at."""
    seen: list[str] = []
    scandir = os.scandir

    class Listing:
        def __init__(self, place: Any) -> None:
            with scandir(place) as entries:
                found = list(entries)
            self.entries = iter(found)
            for entry in found:
                if "gone" in entry.name or entry.name.endswith("9" * 32):
                    seen.append(entry.name)
                    entry.is_dir(follow_symlinks=False)  # the kind of an entry is known from the listing
                    shutil.rmtree(entry.path, ignore_errors=True)
                    Path(entry.path).unlink(missing_ok=True)

        def __enter__(self) -> Iterator[Any]:
            return self.entries

        def __iter__(self) -> Iterator[Any]:
            return self.entries

        def __next__(self) -> Any:
            return next(self.entries)

        def __exit__(self, *_: object) -> None:
            return None

    def listing(place: Any = ".") -> Any:
        return scandir(place) if isinstance(place, int) else Listing(place)  # rmtree lists by number

    monkeypatch.setattr("bench.core.files.os.scandir", listing)
    yield seen
    assert seen, "nothing vanished"


def key_of(i: int) -> str:
    return f"{i:02x}" + 30 * "0" + ("9" * 32 if i % 2 else "0" * 32)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache of four artifacts, of which two vanish, and unfinished ones, of which one does."""
    found = Cache(tmp_path / "results" / ".cache")
    found.root.mkdir(parents=True)
    for i in range(4):
        found.write(key_of(i), Artifact(), {"seconds": 0.1, "peak_mb": 1.0, "device": "cpu", "kind": "score"})
    return found


def test_runs_are_sought_while_some_are_removed(tmp_path: Path, vanishing: list[str]) -> None:
    for name in ("run", "gone-run"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        (tmp_path / "toy" / name / "run.json").write_text("{}")
    (tmp_path / "gone").mkdir()
    assert run_folders(tmp_path, pytest.fail) == [tmp_path / "toy" / "run"]
    assert find_run("toy", tmp_path) == tmp_path / "toy" / "run"


def test_the_cache_of_a_node_shrinks_while_artifacts_are_removed(cache: Cache, vanishing: list[str]) -> None:
    _shrink(cache, 0)
    assert list(cache.root.glob("??/*")) == []


def test_artifacts_are_counted_and_removed_while_others_are(cache: Cache, vanishing: list[str]) -> None:
    assert [found.key for found in artifacts(cache)] == [key_of(0), key_of(2)]
    assert len(collect(cache, max_size=0).removed) == 2


MAKER = """
import os, shutil, sys, time
from pathlib import Path
place, end = Path(sys.argv[1]), time.monotonic() + 3
names = [f"{i:064x}-0123abcd" for i in range(20)]
while time.monotonic() < end:
    for name in names:
        (place / name).mkdir(exist_ok=True)
        os.utime(place / name, (1, 1))
    for name in names:
        shutil.rmtree(place / name, ignore_errors=True)
"""


@pytest.mark.slow
def test_temporary_files_are_swept_while_another_process_removes_them(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "tmp").mkdir()
    sweeps = 0
    with subprocess.Popen(
        [sys.executable, "-P", "-c", MAKER, str(tmp_path / "tmp")], stderr=subprocess.DEVNULL
    ) as maker:
        while maker.poll() is None:
            cache.sweep()
            collect(cache)
            size_below(tmp_path)
            sweeps += 1
    assert sweeps > 10


# ---- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_is_held_as_long_as_it_is(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with HeldLock(lock).acquire(timeout=0):
        assert is_held(lock)
    assert not is_held(lock)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_take_a_lock(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with HeldLock(tmp_path / "lock").acquire(timeout=0):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "file")
    for take in (lambda: HeldLock(tmp_path / "lock").acquire(timeout=0), lambda: is_held(tmp_path / "lock")):
        with pytest.raises(StorageError, match="lock: expected a lock file, found a link; remove it"):
            take()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("number", ["ENOSYS", "ENOTSUP", "ENOLCK"])
@pytest.mark.parametrize("take", [lambda lock: HeldLock(lock).acquire(timeout=0), is_held])
def test_a_file_system_without_locks_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, take: Callable[[Path], object]
) -> None:
    import errno
    import fcntl

    def unsupported(*_: object) -> None:
        code = getattr(errno, number)
        raise OSError(code, os.strerror(code))

    (tmp_path / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(StorageError, match=r"lock: the file system of this folder has no locks \(flock: .*--out"):
        take(tmp_path / "lock")
