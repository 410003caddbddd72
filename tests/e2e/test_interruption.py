"""A stopped run resumes where it stopped, and its rows are those of an undisturbed run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from processes import Running, assert_same_rows, manifests, run_folders, wait_until
from support import Command, ToyRun

from bench.store.reading import RunResults

Start = Callable[..., Running]
GATED = 6  # stages that wait for the gate: protect, two embed and two verification stages, image similarity


def test_killed_in_the_middle(start: Start, bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    command = ["run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "2"]
    running = start(*command, env={"TOY_GATE": str(gate)})
    wait_until(lambda: len(manifests(out)) >= 10 and Path(f"{gate}.reached").exists(), "the run to be in its middle")
    running.kill()
    wait_until(running.alone, "the workers to notice")
    before = manifests(out)
    total = len(manifests(toy_run.out))
    assert 10 <= len(before) <= total - GATED
    (folder,) = run_folders(out)
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert set(pd.read_parquet(folder / "cells.parquet")["status"]) == {"queued", "skipped"}

    again = bench(*command)
    assert again.code == 0, again.err
    after = manifests(out)
    assert {key: after[key] for key in before} == before, "a finished stage was computed again"
    assert f"{total - len(before)} stages to compute, {len(before)} in the cache" in again.err
    assert f"{total - len(before)} stages computed" in again.err
    (folder,) = run_folders(out)
    assert_same_rows(folder, toy_run.folder)


def test_interrupted_at_the_terminal(start: Start, toy_run: ToyRun, tmp_path: Path) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    running = start(
        *("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "2"),
        env={"TOY_GATE": str(gate)},
    )
    done = len(manifests(toy_run.out)) - GATED
    wait_until(lambda: len(manifests(out)) == done, "everything but the gated stages")
    running.interrupt()
    code, out_text, err = running.end()
    assert code == 130
    assert "interrupted; what was finished is kept, and the same command continues from there" in err
    assert "Traceback" not in err
    assert out_text == ""
    wait_until(running.alone, "the workers to end")

    (folder,) = run_folders(out)
    cells = pd.read_parquet(folder / "cells.parquet")
    unfinished = cells[cells["status"] == "queued"]
    assert set(unfinished["defense"]) == {"toy-gate"}
    assert unfinished["reason"].str.contains("the same command continues").all()
    assert (cells["status"] == "ok").sum() == 18
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    verification = RunResults(folder).samples("verification")
    assert "toy-gate" not in set(verification["defense"])
