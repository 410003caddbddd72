"""The housekeeping commands, after runs and during one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from processes import Running, assert_same_rows, manifests, run_folders, wait_until
from support import Command, ToyRun

Start = Callable[..., Running]
GATED = 6  # stages that wait for the gate: protect, two embed and two verification stages, image similarity


def test_a_damaged_artifact_is_discarded_and_computed_again(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    assert re.search(r"^(\d+) artifacts, 0 damaged$", bench("cache", "verify", "--out", out).out, re.MULTILINE)
    before = manifests(out)
    (tables := sorted((out / "results" / ".cache").glob("??/*/verification.parquet")))[0].write_bytes(b"spoilt")
    done = bench("cache", "verify", "--discard", "--out", out)
    assert (done.code, done.err) == (1, "")
    assert f"damaged {tables[0]}: its contents do not match the manifest" in done.out
    assert len(manifests(out)) == len(before) - 1
    again = bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert again.code == 0, again.err
    assert "1 stage computed" in again.err
    assert manifests(out).keys() == before.keys()
    (folder,) = run_folders(out)
    assert_same_rows(folder, toy_run.folder)


def test_runs_and_artifacts_are_removed_and_made_again(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    (found,) = json.loads(bench("runs", "ls", "--json", "--out", out).out)
    assert (found["suite"], found["name"], found["status"]) == ("toy", toy_run.folder.name, "complete")
    shown = bench("runs", "show", "toy", "--out", out)
    assert shown.code == 0, shown.err
    for fragment in (
        f"bench run {toy_run.suite}",
        "status: complete",
        "24 cells, 20 ok, 0 failed, 0 timeout, 4 skipped",
        "toy-a",
        "sha256",
    ):
        assert fragment in shown.out, fragment

    kept = manifests(out)
    done = bench("runs", "rm", "toy", "--yes", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert run_folders(out) == []
    assert manifests(out) == kept
    assert bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu").code == 0
    assert manifests(out) == kept, "nothing had to be computed again"

    assert bench("cache", "gc", "--max-size", "0B", "--out", out).code == 0
    assert manifests(out) == {}
    assert bench("report", "toy", "--out", out).code == 0
    assert (
        bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1", "--fresh").code
        == 0
    )
    (folder,) = run_folders(out)
    assert_same_rows(folder, toy_run.folder)


def test_gc_during_a_run_takes_nothing_that_it_needs(
    start: Start, bench: Command, toy_run: ToyRun, tmp_path: Path
) -> None:
    """Artifacts of other runs are removed and those of the running one kept; its rows are those of any other run."""
    gate, out = tmp_path / "gate", tmp_path / "out"
    other = bench(
        "run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1", "--pairs", "6"
    )
    assert other.code == 0, other.err
    others = manifests(out)
    running = start(
        *("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu"), env={"TOY_GATE": str(gate)}
    )
    mine = len(manifests(toy_run.out)) - GATED
    needed = manifests(toy_run.out).keys()
    wait_until(lambda: len(manifests(out).keys() & needed) == mine, "everything but the gated stages")

    before = manifests(out)
    done = bench("cache", "gc", "--max-size", "0B", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert "needed by running runs" in done.out
    assert manifests(out) == {key: time for key, time in before.items() if key in needed}
    assert others.keys() - needed, "nothing of the other run could be removed"
    listed = {run["status"] for run in json.loads(bench("runs", "ls", "--json", "--out", out).out)}
    assert listed == {"complete", "running"}
    refused = bench("runs", "rm", "toy", "--yes", "--out", out)
    assert refused.code == 2
    assert "a command is at work on this run" in refused.err

    gate.touch()
    code, _, err = running.end()
    assert code == 0, err
    ended = [folder for folder in run_folders(out) if folder.name.endswith(toy_run.folder.name[-8:])]
    assert_same_rows(ended[0], toy_run.folder)
