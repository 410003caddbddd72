"""What the tests of faults share: a suite, its undisturbed run, and a count of the rows that differ from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fault_table import FaultTable
from processes import TIMING, Running, manifests, run_folders
from sharing import shared_folder
from support import Command, Done

from bench.store import journal

REFERENCE = """\
[suite]
name = "faults"
seed = 4

[[experiment]]
name = "recognition"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-mean"]
pairs = 8

[[experiment]]
name = "slow"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = [
    { plugin = "toy-slow", label = "slow 0", number = 0 },
    { plugin = "toy-slow", label = "slow 1", number = 1 },
    { plugin = "toy-slow", label = "slow 2", number = 2 },
    { plugin = "toy-slow", label = "slow 3", number = 3 },
]
pairs = 8

[[experiment]]
name = "attacks"
datasets = ["toy-photos"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["toy-mean"]
attacks = [{ plugin = "toy-learner", learns = "defense", look = "images" }, "toy-attributes"]
pairs = 8
"""

GATED = """\
[suite]
name = "gated"
seed = 4

[[experiment]]
name = "open"
datasets = ["toy-photos"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity"]
attacks = ["abuse", { plugin = "toy-learner", learns = "clean", look = "images" }]
pairs = 8

[[experiment]]
name = "behind"
datasets = ["toy-photos"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["toy-gate"]
attacks = ["abuse", { plugin = "toy-learner", learns = "defense", look = "images", label = "adaptive" }]
pairs = 8
"""


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A suite, the environment that it needs, and its undisturbed run."""

    suite: Path
    env: Mapping[str, str]
    out: Path

    @classmethod
    def shared(cls, factory: pytest.TempPathFactory, bench: Command, name: str, text: str) -> Reference:
        """Write the suite and run it with one worker process, once per test session; ``name`` identifies it."""

        def run(home: Path) -> None:
            (home / "photos").mkdir()
            (home / "photos" / "toys.txt").write_text("toys")
            (home / "suite.toml").write_text(text)
            made = cls.at(home)
            done = bench("run", made.suite, "--out", made.out, "--device", "cpu", "--workers", 1, env=made.env)
            assert done.code == 0, done.err

        return cls.at(shared_folder(factory, name, run))

    @classmethod
    def at(cls, home: Path) -> Reference:
        """The reference whose files are in ``home``."""
        return cls(home / "suite.toml", {"TOY_PHOTOS": str(home / "photos")}, home / "out")

    @property
    def folder(self) -> Path:
        """Its run folder."""
        (found,) = run_folders(self.out)
        return found


@dataclass(frozen=True)
class Lab:
    """Runs the suite of a reference in an output folder of its own."""

    reference: Reference
    bench: Command
    popen: Callable[..., Running]
    out: Path

    def command(self, *options: object) -> list[object]:
        """What to run."""
        return ["run", self.reference.suite, "--out", self.out, "--device", "cpu", *options]

    def run(self, *options: object, env: Mapping[str, str] | None = None) -> Done:
        """Run to the end."""
        return self.bench(*self.command(*options), env={**self.reference.env, **(env or {})})

    def start(self, *options: object, env: Mapping[str, str] | None = None) -> Running:
        """Run in the background."""
        return self.popen(*self.command(*options), env={**self.reference.env, **(env or {})})

    @property
    def folder(self) -> Path:
        """The run folder."""
        (found,) = run_folders(self.out)
        return found

    def events(self) -> list[dict[str, Any]]:
        """What the journals tell, of all runs in the output folder."""
        folders = sorted(p.parent for p in (self.out / "results").glob("[!.]*/*/journal.jsonl"))
        return [event for folder in folders for event in journal.read(folder)]

    def manifests(self) -> dict[str, int]:
        """The finished artifacts, and when they were written."""
        return manifests(self.out)

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def artifact(self, name: str) -> Path:
        """The folder of the artifact of the stage of that name."""
        for path in (self.out / "results" / ".cache").glob("??/*/manifest.json"):
            if json.loads(path.read_text())["name"] == name:
                return path.parent
        raise AssertionError(f"no stage {name!r}")


def has(lab: Lab, *names: str) -> bool:
    """Whether the stages of these names are finished."""
    finished = {e["name"] for e in lab.events() if e["event"] == "stage-finished"}
    return finished >= set(names)


def only_error(err: str) -> str:
    """The one error that a command ended with."""
    assert "Traceback" not in err, err
    (found,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    return found


def _was_computed(event: dict[str, Any]) -> bool:
    return event["event"] == "stage-finished" and event["status"] == "ok" and not event["cached"]


def computed(events: list[dict[str, Any]]) -> Counter[str]:
    """How often every stage was computed to its end, by key."""
    return Counter(event["key"] for event in events if _was_computed(event))


def touched_again(events: list[dict[str, Any]]) -> set[str]:
    """The stages that were started after they had been computed."""
    done: set[str] = set()
    again = set()
    for event in events:
        if event["event"] == "stage-started" and event["key"] in done:
            again.add(event["key"])
        if _was_computed(event):
            done.add(event["key"])
    return again


# ---- rows ------------------------------------------------------------------------------------------------------------

Rows = Counter[str]


def tables(folder: Path, keep: Callable[[dict[str, Any]], bool] = lambda row: True) -> dict[str, Rows]:
    """The rows of cells and samples of a run folder that are to be looked at, as texts that tell every bit of them;
    columns about time aside, and those without a value, which rows have where another cell has one."""
    found: dict[str, Rows] = {}
    for path in [folder / "cells.parquet", *sorted((folder / "samples").rglob("*.parquet"))]:
        name = path.relative_to(folder).parts[path.name != "cells.parquet"]
        partition = {"experiment": path.parent.name.rpartition("=")[2]}
        for row in pq.ParquetFile(path).read().to_pylist():
            row = {**partition, **row}
            if keep(row):
                told = sorted((k, v) for k, v in row.items() if v is not None and k not in TIMING)
                found.setdefault(name, Counter())[repr(told)] += 1
    return found


def _differing_bytes(folder: Path, expected: Path) -> int:
    """How many files of samples are not the same to the last byte."""
    names = {p.relative_to(root) for root in (folder, expected) for p in (root / "samples").rglob("*.parquet")}
    return sum(_bytes(folder / name) != _bytes(expected / name) for name in names)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@dataclass(frozen=True)
class Tally:
    """Compares the rows of runs that went through a fault with those of undisturbed runs, and counts both."""

    table: FaultTable

    def compare(self, fault: str, times: int, folder: Path, expected: Path) -> None:
        """Count the rows of a run that went through a fault against those of one that did not; they must be the same,
        and the files of samples the same to the last byte."""
        bytes_differ = _differing_bytes(folder, expected)
        self.compare_rows(fault, times, tables(folder), tables(expected), wrong=bytes_differ)

    def compare_rows(
        self, fault: str, times: int, found: Mapping[str, Rows], expected: Mapping[str, Rows], wrong: int = 0
    ) -> None:
        """Like `compare`, for rows that were read already; ``wrong`` is the number of other differences."""
        lost = sum(((rows - found.get(name, Counter())).total()) for name, rows in expected.items())
        wrong = max(wrong, sum((rows - expected.get(name, Counter())).total() for name, rows in found.items()))
        self.table.add(fault, times=times, lost=lost, wrong=wrong)
        assert (lost, wrong) == (0, 0), f"{fault}: {lost} rows lost, {wrong} wrong"

    def remark(self, text: str) -> None:
        """Print a line below the table."""
        self.table.remarks.append(text)
