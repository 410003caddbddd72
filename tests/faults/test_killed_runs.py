"""kill -9 of the main process, repeated at random moments of one run, and of its workers."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable

import psutil
import pytest
from injecting import REFERENCE, Lab, Reference, Tally, computed, touched_again
from processes import PATIENCE, Running, manifests, wait_until, workers_of
from support import Command

SEED = 20260


class Moments:
    """Random moments at which a run is killed; a new one is drawn for every kill."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.random = random.Random(SEED)
        self.folders = lab.out / "results" / "faults"

    def wait(self, running: Running) -> str:
        """Wait for such a moment or for the end of the run. Return the kind of moment."""
        before = len(self.lab.events())
        kind = self.random.choice(["any time", "between stages", "while an artifact is written"])
        match kind:
            case "any time":
                self._until(running, lambda: False, self.random.uniform(0.3, 5.0))
            case "between stages":
                count = self.random.randint(2, 6)
                self._until(running, lambda: self._stage_events(before) >= count)
                time.sleep(self.random.uniform(0, 0.3))
            case _:
                count, seen = self.random.randint(1, 4), set[str]()

                def written() -> bool:
                    seen.update(p.name for p in (self.lab.out / "results" / ".cache" / "tmp").glob("*"))
                    return len(seen) >= count

                self._until(running, written)
                time.sleep(self.random.uniform(0, 0.003))
        return kind

    def _stage_events(self, start: int) -> int:
        return sum(event["event"].startswith("stage-") for event in self.lab.events()[start:])

    def wait_for_rows(self, running: Running) -> str:
        """Wait for a moment at which rows are being written. Return which file is written."""
        stage = self.random.choice([".samples.*", "samples", ".cells.parquet.*", "cells.parquet", ".run.json.*"])
        begun = {p: p.stat().st_mtime_ns for p in self.folders.glob("*/samples")}

        def reached() -> bool:
            writing = any(self.folders.glob("*/.samples.*"))
            swapped = {p: p.stat().st_mtime_ns for p in self.folders.glob("*/samples")} != begun
            return writing if stage == ".samples.*" else swapped or (writing and any(self.folders.glob(f"*/{stage}")))

        self._until(running, reached)
        time.sleep(self.random.uniform(0, 0.004))
        return f"rows: {stage}"

    @staticmethod
    def _until(running: Running, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while running.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):  # A file was renamed meanwhile: try again.
                if condition():
                    return
            time.sleep(0.002)


@pytest.fixture(scope="module")
def long_reference(bench: Command, tmp_path_factory: pytest.TempPathFactory, full: bool) -> Reference:
    """Run a suite, undisturbed, that takes long enough for all kills."""
    slow = [f'{{ plugin = "toy-slow", label = "long {i}", number = {100 + i} }}' for i in range(150 if full else 8)]
    text = (
        REFERENCE
        + f"""
[[experiment]]
name = "long"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = [{", ".join(slow)}]
pairs = 8
"""
    )
    return Reference.shared(tmp_path_factory, bench, "long-reference", text)


def test_a_run_that_is_killed_again_and_again(long_reference: Reference, lab: Lab, tally: Tally, full: bool) -> None:
    lab = Lab(long_reference, lab.bench, lab.popen, lab.out)
    moments = Moments(lab)
    stages, rows = (40, 8) if full else (3, 1)
    killed: list[str] = []
    finished: list[dict[str, int]] = []
    everything = manifests(long_reference.out)
    while len(killed) < stages + rows:
        in_stages = len(killed) < stages
        running = lab.start("--workers", moments.random.choice([1, 1, 2]))
        moment = moments.wait(running) if in_stages else moments.wait_for_rows(running)
        alive = running.process.poll() is None
        running.kill()
        if not alive:
            assert not in_stages, f"the run was over after {len(killed)} kills: make it longer"
            break  # Its rows were written before it could be killed.
        killed.append(moment)
        finished.append(lab.manifests())
    done = lab.run("--workers", 2)
    assert done.code == 0, done.err
    assert done.left == []
    assert len(killed) >= stages

    events, after = lab.events(), lab.manifests()
    assert set(after) == set(everything)
    assert touched_again(events) == set()
    assert max(computed(events).values()) == 1
    for before in finished:
        assert {key: after[key] for key in before} == before, "an artifact that was finished was written again"
    assert [p.name for p in lab.folder.iterdir() if p.name.startswith(".")] == [], "left half-written"
    assert json.loads((lab.folder / "run.json").read_text())["status"] == "complete"
    begun = sum(len(before) < len(everything) for before in finished)
    tally.remark(f"{len(killed)} kills, {begun} of them with stages left: {sorted(killed)}")
    tally.compare("kill -9 of the main process", len(killed), lab.folder, long_reference.folder)


def test_workers_that_are_killed(lab: Lab, tally: Tally, full: bool) -> None:
    """Kill the worker of each stage at most once: after a second loss the batch would be halved."""
    moments = random.Random(SEED)
    wanted, killed = (4 if full else 2), list[int]()
    running = lab.start("--workers", "2")

    def one_at_work() -> bool:
        """Kill a worker unless a stage that was retried is being computed. Return True if one was killed."""
        begun, ended, retried = (
            {e["key"] for e in lab.events() if e["event"] == f"stage-{what}"}
            for what in ("started", "finished", "retried")
        )
        if not begun - ended or (begun - ended) & retried:
            return False
        child = moments.choice([w for w in workers_of(running.process.pid) if w.pid not in killed])
        time.sleep(moments.uniform(0, 0.1))
        child.kill()
        killed.append(child.pid)
        return True

    def one_that_starts() -> bool:
        for child in workers_of(running.process.pid):
            time.sleep(moments.uniform(0, 0.5))
            child.kill()
            killed.append(child.pid)
            return True
        return False

    def tried(kill: Callable[[], bool]) -> bool:
        try:
            return kill()
        except (IndexError, psutil.Error):
            return False

    wait_until(lambda: tried(one_that_starts), "a worker to start")
    while len(killed) < wanted:
        wait_until(lambda: tried(one_at_work), "a worker to be at a stage")
    code, out, err = running.end()
    assert code == 0, err
    wait_until(running.alone, "the workers to end")
    assert "is tried again: the worker process died (signal SIGKILL" in err
    again = [e for e in lab.events() if e["event"] == "stage-retried"]
    assert 1 <= len(again) <= len(killed)
    assert max(computed(lab.events()).values()) == 1
    assert out
    tally.compare("kill -9 of a worker", len(killed), lab.folder, lab.reference.folder)
