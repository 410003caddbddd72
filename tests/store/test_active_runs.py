"""Which runs are in progress: each holds a lock that the system releases when the process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_until

from bench.core.errors import StorageError
from bench.store.active_runs import alive, announce, log_folder, needed, running
from bench.store.artifacts import Cache

ANNOUNCE = """
import sys, time
from pathlib import Path
from bench.store.artifacts import Cache
from bench.store.active_runs import announce
with announce(Cache(Path(sys.argv[1])), "other", "toy", Path("folder"), ["c", "d"]):
    print("here", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path)


def left(cache: Cache) -> list[str]:
    """Return the files that announce runs in progress."""
    return sorted(path.name for path in (cache.root / "running").iterdir())


def test_a_run_is_known_as_long_as_it_is_at_work(cache: Cache, tmp_path: Path) -> None:
    assert (alive(cache), running(cache), needed(cache)) == ([], [], set())
    with announce(cache, "one", "toy", tmp_path / "run", ["a", "b"]):
        with announce(cache, "two", "toy", tmp_path / "run", ["b", "c"]):
            for found in (alive(cache), running(cache)):
                assert [(r.session, r.suite, r.folder, r.pid) for r in found] == [
                    (session, "toy", str(tmp_path / "run"), os.getpid()) for session in ("one", "two")
                ]
            assert needed(cache) == {"a", "b", "c"}
        assert [r.session for r in alive(cache)] == ["one"]
        assert needed(cache) == {"a", "b"}
    assert (alive(cache), running(cache), needed(cache)) == ([], [], set())
    assert left(cache) == []


def test_a_run_that_fails_is_at_work_no_more(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), announce(cache, "one", "toy", tmp_path, ["a"]):
        raise RuntimeError
    assert alive(cache) == []
    assert left(cache) == []


def test_a_run_that_was_killed_is_at_work_no_more(cache: Cache) -> None:
    command = [sys.executable, "-c", ANNOUNCE, str(cache.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert [r.pid for r in alive(cache)] == [process.pid]
        assert needed(cache) == {"c", "d"}
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert alive(cache) == []
    assert left(cache) == ["other.json", "other.keys", "other.lock"], "who only looks changes nothing"
    wait_until(lambda: running(cache) == [], "the lock to be free")
    assert left(cache) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"session": 1}'])
def test_what_tells_of_no_run_is_no_run(cache: Cache, tmp_path: Path, text: str) -> None:
    with announce(cache, "one", "toy", tmp_path, ["a"]):
        (cache.root / "running" / "one.json").write_text(text)
        assert alive(cache) == []
        assert running(cache) == []


def test_a_file_in_the_place_of_the_folder_is_one_message(cache: Cache, tmp_path: Path) -> None:
    (cache.root / "running").write_text("")
    with pytest.raises(StorageError, match="running: cannot be written"), announce(cache, "one", "toy", tmp_path, []):
        pass


def test_logs_lie_in_the_folder_of_the_run_and_are_removed_at_the_end(tmp_path: Path) -> None:
    cache, run = Cache(tmp_path / "cache"), tmp_path / "run"
    cache.root.mkdir()
    run.mkdir()
    (run / "logs" / "logs-00000000").mkdir(parents=True)  # of a session that was killed
    with log_folder(cache, run / "logs") as mine, log_folder(cache, run / "logs") as another:
        assert sorted((run / "logs").iterdir()) == sorted([mine, another])
    assert list(run.iterdir()) == []


def test_logs_are_not_written_through_a_link(tmp_path: Path) -> None:
    cache, elsewhere = Cache(tmp_path / "cache"), tmp_path / "elsewhere"
    cache.root.mkdir()
    elsewhere.mkdir()
    (tmp_path / "logs").symlink_to(elsewhere)
    with pytest.raises(StorageError, match="found a link to"), log_folder(cache, tmp_path / "logs"):
        pass
    assert list(elsewhere.iterdir()) == []
