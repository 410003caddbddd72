"""Ctrl-C, SIGTERM and SIGHUP, once and twice; failures that are attempted again, or not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fault_table import FaultTable
from injecting import Lab, Tally, computed, has
from processes import Running, manifests, run_folders, wait_until
from stranger import GOLDEN, files_of
from support import Command

Start = Callable[..., Running]


def stop(running: Running, how: str) -> None:
    """Stop a run: Ctrl-C is sent to all processes of the terminal, any other signal only to the main process."""
    if how == "Ctrl-C":
        running.interrupt()
    else:
        os.kill(running.process.pid, signal.Signals[how])


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_once(gated: Lab, tally: Tally, tmp_path: Path, full: bool, how: str) -> None:
    """After one signal, running stages have time to finish."""
    if not full and how != "Ctrl-C":
        pytest.skip("part of the full suite")
    lab, gate = gated, tmp_path / "gate"
    running = lab.start("--workers", 3, env={"TOY_GATE": str(gate)})
    wait_until(lambda: has(lab, "verification of identity by toy-a on toy-photos"), "the stages without the gate")
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    stop(running, how)
    wait_until(lambda: any(e["event"] == "run-interrupted" for e in lab.events()), "the run to notice it")
    gate.touch()
    code, out, err = running.end()
    assert (code, out) == (130, "")
    assert "get a moment" in err
    assert "interrupted; what was finished is kept, and the same command continues from there" in err
    assert "Traceback" not in err
    wait_until(running.alone, "the workers to end")
    assert has(lab, "toy-photos protected by toy-gate"), "it had time to finish"
    assert lab.record["status"] == "interrupted"
    cells = pd.read_parquet(lab.folder / "cells.parquet")
    assert set(cells["status"]) == {"ok", "queued"}
    assert cells[cells["status"] == "queued"]["reason"].str.contains("the same command continues").all()

    again = lab.run("--workers", 1)
    assert again.code == 0, again.err
    assert max(computed(lab.events()).values()) == 1
    tally.compare(f"{how} once", 1, lab.folder, lab.reference.folder)


DEAF = """\
[suite]
name = "deaf"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", { plugin = "toy-misbehave", how = "spins", label = "deaf" }]
pairs = 8
"""


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_twice(start: Start, tmp_path: Path, full: bool, how: str) -> None:
    """After two signals the run ends at once, even with a stage that ignores signals, and writes nothing more."""
    if not full and how != "SIGTERM":
        pytest.skip("part of the full suite")
    (tmp_path / "deaf.toml").write_text(DEAF)
    running = start("run", "--no-report", "deaf.toml", "--device", "cpu", "--workers", "2", cwd=tmp_path)
    progress = tmp_path / "results" / ".cache" / "progress"
    wait_until(lambda: len(manifests(tmp_path)) >= 6 and any(progress.glob("*")), "the deaf stage")
    stop(running, how)
    journal = next((tmp_path / "results" / "deaf").glob("*/journal.jsonl"))
    wait_until(lambda: "run-interrupted" in journal.read_text(), "the run to notice it")
    stop(running, how)
    code, _, err = running.end()
    assert code == 130, err
    assert "Traceback" not in err
    wait_until(running.alone, "the deaf worker to end")
    (folder,) = run_folders(tmp_path)
    assert set(pd.read_parquet(folder / "cells.parquet")["status"]) == {"queued"}


FLAKY = """\
[suite]
name = "flaky"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-flaky"]
pairs = 8
"""


def test_failures_are_tried_again_unless_told_otherwise(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "flaky.toml").write_text(FLAKY)
    command = ("run", "--no-report", "flaky.toml", "--device", "cpu", "--workers", 1)
    first = bench(*command, cwd=tmp_path)
    assert first.code == 1
    before = manifests(tmp_path)

    left = bench(*command, "--no-retry", cwd=tmp_path, env={"TOY_MENDED": "1"})
    assert left.code == 1
    assert "0 stages computed" in left.err
    assert "not mended yet" in left.out, "the reason is still told"
    assert "--no-retry" in left.out + left.err
    assert manifests(tmp_path) == before
    (folder,) = run_folders(tmp_path)
    cells = pd.read_parquet(folder / "cells.parquet").set_index("defense")
    assert cells["status"].to_dict() == {"identity": "ok", "toy-flaky": "failed"}
    assert "not mended yet" in cells.loc["toy-flaky", "traceback"]

    mended = bench(*command, cwd=tmp_path, env={"TOY_MENDED": "1"})
    assert mended.code == 0, mended.err
    after = manifests(tmp_path)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 4


# ---- other commands --------------------------------------------------------------------------------------------------

# It lets a command wait where it opens a file to read it, or replaces a file by the one that it has written beside it.
HOLDING = """
import os, time

def held(function):
    def call(first, *more, **extra):
        if any(str(path).endswith(os.environ["TEST_HOLD"]) for path in (first, *more)):
            open(os.environ["TEST_REACHED"], "w").close()
            time.sleep(600)
        return function(first, *more, **extra)
    return call

os.open, os.replace = held(os.open), held(os.replace)
"""
OTHERS = {
    "report": ["report", "RUN"],
    "report -o": ["report", "RUN", "-o", "page.html"],
    "export --table": ["export", "RUN", "--table", "VII", "-o", "table.csv"],
    "export --rows": ["export", "RUN", "--rows", "verification", "-o", "rows.parquet"],
    "diff --html": ["diff", "RUN", "RUN", "--html", "diff.html"],
    "plan": ["plan", "suite.toml"],
    "claims": ["claims", "RUN"],
}
HELD = {"report": "index.html", "plan": "suite.toml", "claims": "run.json"}


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("command", OTHERS)
def test_other_commands(
    start: Start, fault_table: FaultTable, tmp_path: Path, full: bool, command: str, how: str
) -> None:
    """A command that is stopped removes what it has written in part, and says in one line that it was interrupted."""
    if not full and (how != "SIGTERM" or command not in ("report", "export --rows", "plan")):
        pytest.skip("part of the full suite")
    home, site = tmp_path / "home", tmp_path / "site"
    run = home / "results" / "golden" / "20260101-000000-12345678"
    shutil.copytree(GOLDEN, run)
    site.mkdir()
    (site / "sitecustomize.py").write_text(HOLDING)
    (home / "suite.toml").write_text(DEAF)
    words = [str(run) if word == "RUN" else word for word in OTHERS[command]]
    for name in ("page.html", "table.csv", "rows.parquet", "diff.html"):
        (home / name).write_text("as before")
    before = files_of(home)
    env = {
        "PYTHONPATH": str(site),
        "TEST_HOLD": HELD.get(command, words[-1]),
        "TEST_REACHED": str(tmp_path / "reached"),
    }
    running = start(*words, env=env, cwd=home)
    wait_until((tmp_path / "reached").exists, "the command to be about to read or to write")
    stop(running, how)
    code, out, err = running.end()
    assert (code, out) == (130, "")
    assert err == "\ninterrupted; what was finished is kept, and the same command continues from there\n"
    left = files_of(home)
    changed = sum(before[name] != left.get(name) for name in before)
    fault_table.add(f"{how} during other commands", times=1, wrong=changed, outside=len(left.keys() - before.keys()))
    assert left == before
