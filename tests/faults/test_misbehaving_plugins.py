"""A plugin that misbehaves fails its own cells only; other rows, the run and the machine are not affected."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from injecting import Tally, tables
from processes import run_folders
from support import Command, Done

from bench.store import journal

# Ways to misbehave, each with the status of the cell, parts of its reason, and parts of its log or traceback.
ENDS: dict[str, tuple[str, list[str], list[str]]] = {
    "raises": ("failed", ["RuntimeError: the toy broke"], ["in _raises"]),
    "leaves": ("failed", ["SystemExit: the toy called sys.exit"], ["in _leaves"]),
    "exits": ("failed", ["the worker process died (exit code 7)"], []),
    "exits-well": ("failed", ["the worker process died (exit code 0)"], ["leaving without a word of goodbye"]),
    "segfaults": ("failed", ["the worker process died (signal SIGSEGV)"], ["Segmentation fault", "in _segfaults"]),
    "hangs": ("timeout", ["killed after its time limit of LIMIT s"], ["in _hangs"]),
    "stalls": ("timeout", ["killed after its time limit of LIMIT s"], []),
    "spins": ("timeout", ["killed after its time limit of LIMIT s"], []),
    "nan": ("failed", ["ContractError", "NaN"], ["in protect_checked"]),
    "shape": ("failed", ["ContractError", "expected images of shape"], ["in protect_checked"]),
    "range": ("failed", ["ContractError", "expected images in [0, 1]"], ["in protect_checked"]),
    "integers": ("failed", ["ContractError", "expected float images"], ["in protect_checked"]),
    "mutates": ("failed", ["ContractError", "changed its input images"], ["in protect_checked"]),
    "asks-network": ("failed", ["CapabilityError", "declare it"], ["in _asks_network"]),
    "unpicklable": ("failed", ["UnpicklableError: the toy broke in a way of its own"], ["in _unpicklable"]),
    "speechless": ("failed", ["SpeechlessError, whose message cannot be shown: ValueError"], ["in _speechless"]),
    "prints": ("failed", ["RuntimeError: the toy has said it"], ["the toy has a lot to say", "left out"]),
    "deletes-log": ("failed", ["RuntimeError: the toy deleted its log"], ["in _deletes_log"]),
    "closes": ("failed", ["RuntimeError: the toy closed the door"], ["in _closes"]),
    "swaps-stdout": ("ok", [], []),
    "disturbs": ("ok", [], []),
    "forks": ("ok", [], []),
    "grad": ("ok", [], []),
}
GOOD = ["first", "drawn", "fitted", "stepped", "last"]
GOOD_TOML = {
    "first": '{ plugin = "identity", label = "first" }',
    "drawn": '{ plugin = "toy-slow", label = "drawn", seconds = 0.0 }',
    "fitted": '{ plugin = "toy-mean", label = "fitted" }',
    "stepped": '{ plugin = "toy-step", label = "stepped" }',
    "last": '{ plugin = "noise", label = "last" }',
}
HUNGRY = {"hungry torch": "torch", "hungry python": "python", "hungry": "eats"}
# A stage that runs into its limit of memory, perhaps several times, may take longer than stages that hang shall last.
PATIENCE_S = 120


def suite(defenses: list[str], limit: int) -> str:
    """Return a suite with these defenses, given as TOML, whose stages are killed after ``limit`` seconds."""
    return f"""\
[suite]
name = "trouble"
stage_timeout_s = {limit}
stage_memory_mb = 1500

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
pairs = 20
defenses = [
    {", ".join(defenses)}
]
"""


def bad(way: str) -> str:
    """Return the TOML of a defense that misbehaves in this way."""
    return f'{{ plugin = "toy-misbehave", how = "{way}", label = "{way}" }}'


class Trouble:
    """The finished run of a suite with all defenses."""

    def __init__(self, home: Path, done: Done) -> None:
        (self.folder,) = run_folders(home)
        self.home = home
        self.done = done
        self.cells = pd.read_parquet(self.folder / "cells.parquet").set_index("defense")
        self.run: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        self.stages = pd.read_parquet(self.folder / "stages.parquet").set_index("name")
        for table in (self.cells, self.stages):
            table[["log", "traceback", "reason"]] = table[["log", "traceback", "reason"]].fillna("")
        self.page = html.unescape((home / "reports" / "trouble" / "index.html").read_text(encoding="utf-8"))

    def stage(self, way: str) -> dict[str, Any]:
        """Return the row of the stage that misbehaved in this way."""
        return dict(self.stages.loc[f"toy-faces protected by {way}"])


@pytest.fixture(scope="module")
def undisturbed(bench: Command, stage_limit: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run only the defenses that behave well, and return the run folder."""
    home = tmp_path_factory.mktemp("undisturbed")
    (home / "trouble.toml").write_text(suite(list(GOOD_TOML.values()), stage_limit))
    done = bench("run", "--no-report", "trouble.toml", "--device", "cpu", "--workers", 1, cwd=home)
    assert done.code == 0, done.err
    (folder,) = run_folders(home)
    return folder


def run_trouble(bench: Command, home: Path, defenses: list[str], limit: int) -> Trouble:
    """Run the suite of these defenses with one worker: each could be affected by all before it."""
    (home / "trouble.toml").write_text(suite(defenses, limit))
    done = bench(
        *("run", "trouble.toml", "--device", "cpu", "--workers", 1), cwd=home, env={"TOY_CHILDREN": f"{home}/children"}
    )
    return Trouble(home, done)


@pytest.fixture(scope="module")
def trouble(bench: Command, stage_limit: int, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """Run all defenses but those that eat memory, with those that behave well in between."""
    ways = [bad(way) for way in ENDS]
    places = {"first": 0, "drawn": 6, "fitted": 14, "stepped": 22}
    for label, place in places.items():
        ways.insert(place, GOOD_TOML[label])
    return run_trouble(bench, tmp_path_factory.mktemp("trouble"), [*ways, GOOD_TOML["last"]], stage_limit)


@pytest.fixture(scope="module")
def hungry(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """Run the defenses that eat memory, one that behaves well before and one after them."""
    eaters = [
        f'{{ plugin = "toy-hungry", how = "{how}", most = {9 if how == "eats" else 4}, label = "{label}" }}'
        for label, how in HUNGRY.items()
    ]
    glutton = '{ plugin = "toy-glutton", label = "glutton" }'
    ways = [GOOD_TOML["first"], glutton, *eaters, GOOD_TOML["last"]]
    return run_trouble(bench, tmp_path_factory.mktemp("hungry"), ways, PATIENCE_S)


def test_every_cell_has_the_expected_status(trouble: Trouble, hungry: Trouble) -> None:
    expected = {way: status for way, (status, _, _) in ENDS.items()} | dict.fromkeys(GOOD, "ok")
    of_memory = dict.fromkeys(["first", *HUNGRY, "last"], "ok") | {"glutton": "failed"}
    for run, statuses in ((trouble, expected), (hungry, of_memory)):
        assert run.cells["status"].to_dict() == statuses, run.done.err
        assert run.done.code == 1
        assert run.run["status"] == "incomplete"
        assert "Traceback" not in run.done.err


@pytest.mark.parametrize("way", [way for way, (status, _, _) in ENDS.items() if status != "ok"])
def test_the_failure_is_reported_in_full(trouble: Trouble, stage_limit: int, way: str) -> None:
    status, reasons, shown = ENDS[way]
    stage, cell = trouble.stage(way), trouble.cells.loc[way]
    assert stage["status"] == status
    told = stage["log"] + stage["traceback"]
    in_cell = cell["log"] + cell["traceback"]
    for reason in reasons:
        fragment = reason.replace("LIMIT", str(stage_limit))
        assert fragment in stage["reason"]
        assert fragment in cell["reason"]
        assert fragment in trouble.page
        assert fragment in trouble.done.err
    for fragment in shown:
        assert fragment in told, told
        assert fragment in in_cell
        assert fragment in trouble.page
    assert len(told) < 40_000


def test_memory(hungry: Trouble) -> None:
    """If memory runs out, a smaller batch is used and reported; the stage fails if even one sample does not fit."""
    glutton = hungry.cells.loc["glutton"]
    assert "toy-glutton fitted" in glutton["reason"] or "glutton fitted" in glutton["reason"]
    assert "its limit is 1500" in glutton["reason"]
    assert "eating" in glutton["log"]
    for label in HUNGRY:
        smaller = hungry.cells.loc[label, "batch"]
        assert smaller == (8 if label == "hungry" else 4), label
        assert f"{label} is tried again" in hungry.done.err
    assert hungry.cells.loc["first"].isna()["batch"]
    retried = [e for e in journal.read(hungry.folder) if e["event"] == "stage-retried"]
    assert {e["name"] for e in retried} == {f"toy-faces protected by {label}" for label in HUNGRY}
    assert "batch" in hungry.page


def test_the_rows_of_the_others_are_as_without_them(
    trouble: Trouble, hungry: Trouble, undisturbed: Path, tally: Tally
) -> None:
    for run, good, ways in ((trouble, GOOD, [*ENDS]), (hungry, ["first", "last"], ["glutton", *HUNGRY])):

        def of_good(row: dict[str, Any], good: list[str] = good) -> bool:
            return row.get("defense", "") in ("", *good)

        found, expected = tables(run.folder, of_good), tables(undisturbed, of_good)
        assert sum(rows.total() for rows in expected.values()) > 50
        for way in ways:
            tally.compare_rows(f"a plugin beside others: {way}", 1, found, expected)


def test_no_process_is_left(trouble: Trouble, hungry: Trouble) -> None:
    assert trouble.done.left == []
    assert hungry.done.left == []
    children = [int(pid) for pid in (trouble.home / "children").read_text().split()]
    assert len(children) == 2
    for pid in children:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_worker_that_always_dies_is_given_up(
    bench: Command, tmp_path: Path, tally: Tally, undisturbed: Path, stage_limit: int, full: bool
) -> None:
    if not full:
        pytest.skip("part of the full suite")
    (tmp_path / "trouble.toml").write_text(suite([bad("kills-itself"), *GOOD_TOML.values()], stage_limit))
    done = bench("run", "--no-report", "trouble.toml", "--device", "cpu", "--workers", 2, cwd=tmp_path)
    assert done.code == 1
    assert done.left == []
    (folder,) = run_folders(tmp_path)
    cells = pd.read_parquet(folder / "cells.parquet").set_index("defense")
    assert "the worker process died (signal SIGKILL, perhaps out of memory)" in cells.loc["kills-itself", "reason"]
    tries = [e for e in journal.read(folder) if e["event"] == "stage-retried"]
    assert len(tries) == 2

    def ours(row: dict[str, Any]) -> bool:
        return row.get("defense", "") in ("", *GOOD)

    tally.compare_rows("a plugin that kills its worker", 3, tables(folder, ours), tables(undisturbed, ours))


@pytest.mark.parametrize(("behaviour", "workers", "code"), [("signals-parent", 2, 0), ("kills-parent", 1, 1)])
def test_a_plugin_that_signals_its_parent(
    bench: Command,
    tmp_path: Path,
    tally: Tally,
    undisturbed: Path,
    stage_limit: int,
    full: bool,
    behaviour: str,
    workers: int,
    code: int,
) -> None:
    """A signal from a plugin to the parent of its process does not reach the run: SIGTERM has no effect, and SIGKILL
    ends the workers, which are replaced."""
    if not full:
        pytest.skip("part of the full suite")
    (tmp_path / "trouble.toml").write_text(suite([bad(behaviour), *GOOD_TOML.values()], stage_limit))
    done = bench("run", "--no-report", "trouble.toml", "--device", "cpu", "--workers", workers, cwd=tmp_path)
    assert done.code == code, done.err
    assert done.left == []
    (folder,) = run_folders(tmp_path)

    def ours(row: dict[str, Any]) -> bool:
        return row.get("defense", "") in ("", *GOOD)

    tally.compare_rows(
        f"a plugin that {behaviour.replace('-', ' its ')}", 1, tables(folder, ours), tables(undisturbed, ours)
    )
