"""Shared by tests of whole commands: processes that can be interrupted, small disks, comparisons of run folders."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
from support import BENCH, environment, members

from bench.store.reading import RunResults
from bench.store.schema import SAMPLES

TIMING = ["seconds", "peak_mb", "cached"]  # columns of cells.parquet about the computation, not about results
PATIENCE = 120.0  # seconds until a test gives up; nothing is asserted about time


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition becomes true, and fail if it does not within the time limit."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.02)


def workers_of(main: int) -> list[psutil.Process]:
    """Return the worker processes of a run whose main process has the id ``main``; each leads a process group."""
    found = []
    for process in psutil.Process(main).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if any("multiprocessing" in part for part in process.cmdline()) and os.getpgid(process.pid) == process.pid:
                found.append(process)
    return found


class Running:
    """``bench`` in the background, as the leader of a new session of processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def kill(self) -> None:
        """Send SIGKILL to the main process."""
        self.process.kill()
        self.end()

    def interrupt(self) -> None:
        """Send SIGINT to the main process and its workers, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for the main process and return its exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def alone(self) -> bool:
        """Return whether all processes of the session have ended."""
        return not members(self.process.pid)


def _listen_to_ctrl_c() -> None:
    """Restore the handling of Ctrl-C, which a shell makes background processes ignore, and of SIGHUP, which ``nohup``
    does: `bench` must not inherit it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def starting(toy_site: Path) -> Iterator[Callable[..., Running]]:
    """Yield a function that starts ``bench`` in the background; processes that a failed test leaves are ended."""
    started: list[Running] = []

    def popen(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Running:
        process = subprocess.Popen(
            [str(BENCH), *map(str, args)],
            env=environment([toy_site], env or {}),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_listen_to_ctrl_c,
        )
        started.append(Running(process))
        return started[-1]

    try:
        yield popen
    finally:
        for running in started:
            for pid in members(running.process.pid):
                os.kill(pid, signal.SIGKILL)
            running.process.wait(PATIENCE)
            for pipe in (running.process.stdout, running.process.stderr):
                if pipe is not None:
                    pipe.close()


@contextlib.contextmanager
def disks(place: Path) -> Iterator[Callable[..., Path]]:
    """Yield a function that mounts small disks below a folder; the test is skipped if that is not permitted."""
    mounted: list[Path] = []

    def mount(size: str, *options: str) -> Path:
        folder = place / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs permission to mount a tmpfs")
        mounted.append(folder)
        return folder

    try:
        yield mount
    finally:
        for folder in mounted:
            subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def run_folders(out: Path) -> list[Path]:
    """Return every run folder below an output folder."""
    return sorted(p.parent for p in (out / "results").glob("[!.]*/*/run.json"))


def rows(folder: Path) -> dict[str, pd.DataFrame]:
    """Return all tables of a run folder, without the columns about time."""
    results = RunResults(folder)
    samples = {name: results.samples(name) for name in SAMPLES}
    return {"cells": results.cells.drop(columns=TIMING), **{k: table for k, table in samples.items() if len(table)}}


def assert_same_rows(one: Path, other: Path) -> None:
    """Check that two run folders hold the same rows, apart from times, to the last bit."""
    left, right = rows(one), rows(other)
    assert set(left) == set(right)
    for name in left:
        pd.testing.assert_frame_equal(left[name], right[name], check_exact=True, obj=name)


def manifests(out: Path) -> dict[str, int]:
    """Return the finished artifacts of an output folder: the time at which the manifest was written, by key."""
    found = {}
    for path in (out / "results" / ".cache").glob("??/*/manifest.json"):
        try:
            found[path.parent.name] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue  # replaced meanwhile
    return found
