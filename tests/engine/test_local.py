"""Worker processes on this machine. Faults that end them are tested in ``tests/faults``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from processes import wait_until, workers_of
from support import BENCH, SUITE, environment, only

from bench.core.domain import Stage
from bench.engine import local
from bench.engine.interface import Attempt
from bench.engine.local import LocalEngine, LocalWorkers
from bench.engine.worker import WorkerSetup
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache, Note
from bench.suite.suite import load


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit code 0"),
        (7, "exit code 7"),
        (-signal.SIGSEGV, "signal SIGSEGV"),
        (-signal.SIGKILL, "signal SIGKILL, perhaps out of memory"),
        (-40, "signal 40"),
    ],
)
def test_an_exit_code_is_described(code: int, text: str) -> None:
    assert local.describe_exit(code) == text


# ---- the log of a stage ----------------------------------------------------------------------------------------------


@pytest.fixture
def slot(tmp_path: Path) -> local._Slot:
    """Return a slot that has not started a process."""
    return local._Slot(Cache(tmp_path), WorkerSetup(1, tmp_path / "log"))


def test_a_log_that_does_not_exist_is_empty(slot: local._Slot) -> None:
    assert slot.log() == ""


def test_beginning_and_end_of_a_long_log_are_kept(slot: local._Slot) -> None:
    slot.setup.log.write_bytes(b"the beginning \xff\0\n" + b"x" * 100_000 + b"\nthe end")
    text = slot.log()
    assert text.startswith("the beginning \N{REPLACEMENT CHARACTER}\n")
    assert text.endswith("the end")
    assert "[... 80" in text
    assert len(text) < 21_000


def test_a_log_that_grows_too_large_is_truncated(slot: local._Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_LOG_BYTES", 1000)
    slot.setup.log.write_text("x" * 1001)
    slot.watch()
    assert slot.log() == "[... 1001 bytes left out ...]\n"
    slot.watch()
    assert slot.log() == "[... 1001 bytes left out ...]\n"


# ---- processes -------------------------------------------------------------------------------------------------------


def test_workers_inherit_few_threads_and_this_process_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with LocalEngine(workers=1, threads=3).open(Cache(tmp_path)):
        assert [os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")] == ["3", "3", "3"]
        assert os.environ["MALLOC_TOP_PAD_"] == "1", "a value that the user has set is kept"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.fixture
def plan(tmp_path: Path, toy_installed: Registry) -> Plan:
    """Plan a small suite with one fast and one slow defense."""
    (tmp_path / "toy.toml").write_text(SUITE[: SUITE.rindex("[[experiment]]")])
    overrides = ['experiment[0].defenses=["identity", { plugin = "toy-slow", seconds = 1000.0, label = "slow" }]']
    return make_plan(load(tmp_path / "toy.toml", toy_installed, overrides, 4), toy_installed, "cpu")


@pytest.fixture
def workers(tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkers]:
    """Start one worker that can import the toy plugin."""
    monkeypatch.syspath_prepend(str(toy_site))
    (tmp_path / "cache").mkdir()
    with LocalEngine(workers=1).open(Cache(tmp_path / "cache")) as opened:
        yield opened


@pytest.mark.slow
def test_an_idle_worker_that_died_is_replaced(plan: Plan, workers: LocalWorkers) -> None:
    stage = only(plan, "evaluation faces of toy-faces")
    first = workers.submit(stage, 32).result(timeout=120)
    assert (first.result.status, first.result.cached) == ("ok", False)
    process = workers._slots[0].process
    assert process is not None
    process.kill()
    wait_until(lambda: not process.is_alive(), "its describe_exit")
    second = workers.submit(only(plan, "toy-faces protected by identity"), 32).result(timeout=120)
    assert (second.result.status, second.again) == ("ok", None)
    assert second.worker != first.worker


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_workers_are_forked_from_a_process_that_holds_torch_and_can_be_killed(
    plan: Plan, workers: LocalWorkers
) -> None:
    first = workers.submit(only(plan, "evaluation faces of toy-faces"), 32).result(timeout=120)
    process = workers._slots[0].process
    assert process is not None
    worker = psutil.Process(process.pid)
    template = worker.parent()
    assert template is not None
    assert template.pid != os.getpid()
    assert any("libtorch" in mapped.path for mapped in template.memory_maps())
    template.kill()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker to end with it")
    wait_until(lambda: not process.is_alive(), "the end of the worker to be noticed")
    second = workers.submit(only(plan, "toy-faces protected by identity"), 32).result(timeout=120)
    assert (first.result.status, second.result.status, second.again) == ("ok", "ok", None)
    (now,) = workers_of(os.getpid())
    assert now.pid != process.pid


@pytest.mark.slow
def test_files_of_the_current_folder_are_not_imported(
    plan: Plan, tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new process, because the process from which workers are forked outlives a test."""
    here = tmp_path / "here"
    (here / "bench").mkdir(parents=True)
    for name in ("torch.py", "signal.py", "bench/__init__.py"):
        (here / name).write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\nraise SystemExit\n")
    done = subprocess.run(
        [
            BENCH,
            "run",
            "--no-report",
            tmp_path / "toy.toml",
            "--pairs",
            "4",
            "--device",
            "cpu",
            "--workers",
            "1",
            "--timeout",
            "20",
        ],
        cwd=here,
        env=environment([toy_site], {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (tmp_path / "imported").exists(), done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_with_a_long_temporary_folder_starts_its_workers_without_a_socket(
    plan: Plan, tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.syspath_prepend(str(toy_site))
    (tmp_path / "cache").mkdir()
    with LocalEngine(workers=1).open(Cache(tmp_path / "cache")) as workers:
        attempt = workers.submit(only(plan, "evaluation faces of toy-faces"), 32).result(timeout=120)
    assert attempt.result.status == "ok"


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_is_lost_and_the_run_ends_well(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(process: object) -> None:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", broken)
    (tmp_path / "cache").mkdir()
    with LocalEngine(workers=1).open(Cache(tmp_path / "cache")) as workers:
        attempt = workers.submit(only(plan, "evaluation faces of toy-faces"), 32).result(timeout=120)
    assert attempt.again == "lost"
    assert attempt.result.reason == "the worker process could not be started (EOFError: unexpected EOF)"


@pytest.mark.slow
def test_an_interrupted_run_ends_its_workers(
    plan: Plan, tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(toy_site))
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    slow = only(plan, "toy-faces protected by slow")
    attempts: list[Future[Attempt]] = []

    def interrupted() -> None:
        with LocalEngine(workers=1).open(cache) as workers:
            workers.submit(only(plan, "evaluation faces of toy-faces"), 32).result(timeout=120)
            attempts.append(workers.submit(slow, 32))
            wait_until(lambda: progress(workers, slow) is not None, "the slow stage")
            raise KeyboardInterrupt

    def progress(workers: LocalWorkers, stage: Stage) -> Note | None:
        workers.watch()
        return cache.progress(stage.key)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    found = attempts[0].result(timeout=120)
    assert found.result.reason == "the worker process died (signal SIGTERM)"
    assert "in protect" in found.result.log
    assert workers_of(os.getpid()) == []
