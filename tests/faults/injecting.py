"""Shared by the fault tests: two suites, their undisturbed runs, and the comparison of rows with those of a run."""

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
    """A suite, the environment variables that it needs, and the output folder of its undisturbed run."""

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
            done = bench(
                "run", "--no-report", made.suite, "--out", made.out, "--device", "cpu", "--workers", 1, env=made.env
            )
            assert done.code == 0, done.err

        return cls.at(shared_folder(factory, name, run))

    @classmethod
    def at(cls, home: Path) -> Reference:
        """Return the reference whose files are in ``home``."""
        return cls(home / "suite.toml", {"TOY_PHOTOS": str(home / "photos")}, home / "out")

    @property
    def folder(self) -> Path:
        """The run folder of the undisturbed run."""
        (found,) = run_folders(self.out)
        return found


@dataclass(frozen=True)
class Lab:
    """Runs the suite of a reference in another output folder."""

    reference: Reference
    bench: Command
    popen: Callable[..., Running]
    out: Path

    def command(self, *options: object) -> list[object]:
        """Return the arguments of the command."""
        return ["run", "--no-report", self.reference.suite, "--out", self.out, "--device", "cpu", *options]

    def run(self, *options: object, env: Mapping[str, str] | None = None) -> Done:
        """Run the suite and wait for the end."""
        return self.bench(*self.command(*options), env={**self.reference.env, **(env or {})})

    def start(self, *options: object, env: Mapping[str, str] | None = None) -> Running:
        """Start the run in the background."""
        return self.popen(*self.command(*options), env={**self.reference.env, **(env or {})})

    @property
    def folder(self) -> Path:
        """The run folder."""
        (found,) = run_folders(self.out)
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return the journal events of all runs in the output folder."""
        folders = sorted(p.parent for p in (self.out / "results").glob("[!.]*/*/journal.jsonl"))
        return [event for folder in folders for event in journal.read(folder)]

    def manifests(self) -> dict[str, int]:
        """Return the times at which the finished artifacts were written, by key."""
        return manifests(self.out)

    @property
    def record(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def artifact(self, name: str) -> Path:
        """Return the folder of the artifact of the stage with this name."""
        for path in (self.out / "results" / ".cache").glob("??/*/manifest.json"):
            if json.loads(path.read_text())["name"] == name:
                return path.parent
        raise AssertionError(f"no stage {name!r}")


def has(lab: Lab, *names: str) -> bool:
    """Return True if the stages with these names are finished."""
    finished = {e["name"] for e in lab.events() if e["event"] == "stage-finished"}
    return finished >= set(names)


def only_error(err: str) -> str:
    """Return the only error message of a command."""
    assert "Traceback" not in err, err
    (found,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    return found


def _was_computed(event: dict[str, Any]) -> bool:
    return event["event"] == "stage-finished" and event["status"] == "ok" and not event["cached"]


def computed(events: list[dict[str, Any]]) -> Counter[str]:
    """Return how many times each stage was computed successfully, by key."""
    return Counter(event["key"] for event in events if _was_computed(event))


def touched_again(events: list[dict[str, Any]]) -> set[str]:
    """Return the keys of stages that were started again after they had been computed."""
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
    """Return the rows of cells and samples in a run folder for which ``keep`` is true, by table, as exact text.

    Columns about time are left out, and so are null values, which depend on the columns of other cells.
    """
    found: dict[str, Rows] = {}
    for path in [folder / "cells.parquet", *sorted((folder / "samples").rglob("*.parquet"))]:
        name = path.relative_to(folder).parts[path.name != "cells.parquet"]
        partition = {"experiment": path.parent.name.rpartition("=")[2]}
        for row in pq.ParquetFile(path).read().to_pylist():
            row = {**partition, **row}
            if keep(row):
                values = sorted((k, v) for k, v in row.items() if v is not None and k not in TIMING)
                found.setdefault(name, Counter())[repr(values)] += 1
    return found


def _differing_bytes(folder: Path, expected: Path) -> int:
    """Return the number of sample files that are not identical byte by byte."""
    names = {p.relative_to(root) for root in (folder, expected) for p in (root / "samples").rglob("*.parquet")}
    return sum(_bytes(folder / name) != _bytes(expected / name) for name in names)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@dataclass(frozen=True)
class Tally:
    """Compares the rows of runs with an injected fault with those of undisturbed runs, and counts differences."""

    table: FaultTable

    def compare(self, fault: str, times: int, folder: Path, expected: Path) -> None:
        """Compare a run with an injected fault with an undisturbed run, and add the differences to the table.

        The rows must be the same, and the sample files identical byte by byte.
        """
        bytes_differ = _differing_bytes(folder, expected)
        self.compare_rows(fault, times, tables(folder), tables(expected), wrong=bytes_differ)

    def compare_rows(
        self, fault: str, times: int, found: Mapping[str, Rows], expected: Mapping[str, Rows], wrong: int = 0
    ) -> None:
        """Do the same as `compare` for rows that were read already; ``wrong`` is the number of other differences."""
        lost = sum(((rows - found.get(name, Counter())).total()) for name, rows in expected.items())
        wrong = max(wrong, sum((rows - expected.get(name, Counter())).total() for name, rows in found.items()))
        self.table.add(fault, times=times, lost=lost, wrong=wrong)
        assert (lost, wrong) == (0, 0), f"{fault}: {lost} rows lost, {wrong} wrong"

    def remark(self, text: str) -> None:
        """Print a line below the table."""
        self.table.remarks.append(text)
