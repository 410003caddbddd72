"""A run whose attacks leak what a test says, in every channel: recognition, reconstruction, linkage and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_run import ABUSE, ESTIMATE, LINKAGE, RECFACE, Cell, FakeRun, rewritten, write_fake_run

from bench.analysis.rows import Rows

PAIRS = 60
CLEAN, A, B = ("Clean", "identity", False), ("A", "pmt", True), ("B", "pmt", True)
OBLIVION, BREAK = ("Oblivion", "oblivion", False), ("Break", "known-break", False)
CONTROLS = {"Oblivion": "safe", "Break": "learnable"}
EVERY = (ABUSE, RECFACE, LINKAGE, ESTIMATE)
# Of a defense under an attack, by their labels: the share of faces that are matched, of pairs that are linked, or of
# people whose attributes are answered.
Leaks = Mapping[tuple[str, str], float]
ALL_OF_CLEAN: Leaks = {("Clean", attack.label): 1.0 for attack in EVERY}


def channels_run(
    folder: Path, leaks: Leaks, *, defenses: Sequence[tuple[str, str, bool]] = (CLEAN, A), **changes: Any
) -> Rows:
    """Write a run with one data set, in which net-a is authorised and net-b is held out.

    Whatever ``leaks`` does not name is at chance; authorised models keep everything. ``goal`` and ``version`` (of the
    suite) are those of all cells, ``knowledge`` is that of attacks by their labels, and ``insiders`` are labels.
    """
    goal, version = changes.pop("goal", "recognition"), changes.pop("version", None)
    knowledge, insiders = changes.pop("knowledge", {}), changes.pop("insiders", ())

    def ended(cell: Cell) -> dict[str, Any]:
        return {
            "goal": goal,
            "control": CONTROLS.get(cell["defense"]),
            "suite_version": version,
            "knowledge": knowledge.get(cell["attack"], 0),
            "insider": cell["attack"] in insiders,
        }

    about: dict[str, Any] = {
        "name": "all",
        "models": {"net-a": "MobileFace", "net-b": "ArcFace"},
        "datasets": {"synth-lfw": "LFW"},
        "authorised": (("net-a",),),
        "params": {"A": {"steps": 1}, "B": {"steps": 2}},
        "attacks": EVERY,
        "pairs": PAIRS,
        "claims": None,
        "ended": ended,
    }
    run = write_fake_run(folder, FakeRun(**about | {"defenses": defenses} | changes))
    changed = {"verification": _matches, "links": _links, "attributes": _attributes}
    there = {name: partial(change, leaks=leaks) for name, change in changed.items() if len(run.columns(name))}
    return Rows(rewritten(run, **there))


def _shares(table: pd.DataFrame, leaks: Leaks) -> Any:
    return [leaks.get((str(d), str(a)), 0.0) for d, a in zip(table["defense"], table["attack"], strict=True)]


def _matches(table: pd.DataFrame, leaks: Leaks) -> None:
    """Let net-b match the first pairs; net-a recognises everybody."""
    held_out = table["evaluated"] == "net-b"
    good = ~held_out | (table["pair"] < np.round(np.array(_shares(table, leaks)) * PAIRS))
    table["cos_self"] = np.where(good, 0.9, 0.0)
    table["cos_cross"] = np.where(good & table["same"], 0.9, 0.0)


def _links(table: pd.DataFrame, leaks: Leaks) -> None:
    """Link the first pairs of one person, and rank all others as permuted pairs are."""
    rng = np.random.default_rng(0)
    linked = table["same"] & (table["pair"] < np.round(np.array(_shares(table, leaks)) * PAIRS))
    table["score"] = np.where(linked, 1.0, 0.0) + rng.normal(0, 0.01, len(table))
    table["permuted"] = rng.normal(0, 0.01, len(table))
    table["auc"] = np.where(table["same"], np.where(linked, 1.0, rng.random(len(table))), np.nan)


def _attributes(table: pd.DataFrame, leaks: Leaks) -> None:
    """Answer gender for a share of people as on the original; all other answers are those on anybody."""
    rng = np.random.default_rng(1)
    person = table["subject"].to_numpy(int)
    known = (person < np.round(np.array(_shares(table, leaks)) * PAIRS)) & (table["attribute"] == "gender")
    years = table["attribute"] == "age"
    noise = rng.normal(0, 0.05, len(table))
    table["permuted"] = np.where(years, 14.0, 0.4)
    table["value"] = np.where(known, 0.95, np.where(years, 14 + 20 * noise, 0.4 + noise))


LEARNER = replace(ABUSE, label="adapted", plugin="adapted", params={"steps": 9})
