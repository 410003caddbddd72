"""What the end-to-end tests share: processes that can be interrupted, and comparisons of run folders."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support import members

from bench.store import SAMPLES, Results

TIMING = ["seconds", "peak_mb", "cached"]  # the columns of cells.parquet that say how a run went, not what it found
PATIENCE = 120.0  # seconds until a test gives up; nothing is asserted about time


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.02)


class Running:
    """``bench`` in the background, at the head of a session of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def kill(self) -> None:
        """As ``kill -9`` of the main process."""
        self.process.kill()
        self.end()

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal: to the main process and its workers."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Wait for the main process: exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def alone(self) -> bool:
        """No process of the session is left."""
        return not members(self.process.pid)


def run_folders(out: Path) -> list[Path]:
    """Every run folder below an output folder."""
    return sorted(p.parent for p in (out / "results").glob("[!.]*/*/run.json"))


def rows(folder: Path) -> dict[str, pd.DataFrame]:
    """All tables of a run folder, without the columns about time."""
    results = Results(folder)
    samples = {name: results.samples(name) for name in SAMPLES}
    return {"cells": results.cells.drop(columns=TIMING), **{k: table for k, table in samples.items() if len(table)}}


def assert_same_rows(one: Path, other: Path) -> None:
    """Two run folders hold the same rows, timing aside, to the last bit."""
    left, right = rows(one), rows(other)
    assert set(left) == set(right)
    for name in left:
        pd.testing.assert_frame_equal(left[name], right[name], check_exact=True, obj=name)


def manifests(out: Path) -> dict[str, int]:
    """Finished artifacts of an output folder: key to the time at which its manifest was written."""
    found = {}
    for path in (out / "results" / ".cache").glob("??/*/manifest.json"):
        try:
            found[path.parent.name] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue  # replaced meanwhile
    return found
