"""The tables of thresholds: the rule, the realised false match rate, and the people behind each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_run import RECFACE, FakeRun, rewritten, write_fake_run

from bench.analysis.rows import Rows
from bench.report.page import render, threshold_tables

SPEC: dict[str, Any] = {
    "models": {"net-a": "MobileFace", "net-b": "ArcFace"},
    "datasets": {"synth-lfw": "LFW"},
    "authorised": (("net-a",),),
}


def changed(folder: Path, **columns: Any) -> Rows:
    """Rows of a run whose verification rows have other columns; None removes one."""

    def change(table: pd.DataFrame) -> None:
        for name, value in columns.items():
            if value is None:
                del table[name]
            else:
                table[name] = value

    return Rows(rewritten(write_fake_run(folder, FakeRun(**SPEC)), verification=change))


def test_the_service_and_the_adversary(tmp_path: Path) -> None:
    rows = changed(tmp_path / "run", kappa_adversary=0.5)
    service, adversary = threshold_tables.deployed(rows), threshold_tables.adversaries(rows)
    assert service.grid.columns == ["data set", "net-a", "net-b"]
    assert service.grid.rows == [["synth-lfw", "0.350 (0.99 %)", "0.350 (0.99 %)"]]
    assert "the smallest κ with an FMR of at most 1 %" in service.about
    assert "12,345 impostor scores of 150 people" in service.about
    assert [row[0] for row in adversary.grid.rows] == [f"synth-lfw, {d}" for d in ("Clean", "Noise 0.3", "PMT")]
    assert {cell for row in adversary.grid.rows for cell in row[1:]} == {"0.500 (1 %)"}
    assert "for an FMR of 1 %, on 360 impostor scores of 18 people" in adversary.about


def test_the_range_of_attacks(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **SPEC))

    def change(table: pd.DataFrame) -> None:
        table["kappa_adversary"] = np.where(table["defense"] == "PMT", 0.25, 0.3125)
        table.loc[table["defense"] == "PMT", "impostor_match_adversary"] = 0.0

    found = threshold_tables.adversaries(Rows(rewritten(results, verification=change)))
    assert [row[1] for row in found.grid.rows] == ["0.312 (1 %)", "0.312 (1 %)", "0.250 (0 %)"]


def test_accuracy_is_not_called_an_fmr_of_1_percent(tmp_path: Path) -> None:
    rows = changed(tmp_path / "run", threshold_rule="accuracy", fmr_realised=0.00005, calibration_people=40)
    found = threshold_tables.deployed(rows)
    assert "the κ of the best balanced accuracy" in found.about
    assert "1 %" not in found.about
    assert found.grid.rows[0][1] == "0.350 (0.005 %)"
    page = render(rows.results)
    assert "the κ of the best balanced accuracy" in page
    assert "impostor scores of 40 people" in page


def test_older_rows_have_no_adversary(tmp_path: Path) -> None:
    newer = ("kappa_adversary", "adversary_impostors", "adversary_people", "impostor_match_adversary")
    newer += ("impostor_match_enrolled", "impostor_match", "rank_chance", "rank_enrolled_chance")
    newer += ("threshold_rule", "fmr_realised", "calibration_people")
    rows = changed(tmp_path / "run", **dict.fromkeys(newer))
    assert threshold_tables.adversaries(rows).grid.rows == []
    found = threshold_tables.deployed(rows)
    assert found.grid.rows == [["synth-lfw", "0.350 (not recorded)", "0.350 (not recorded)"]]
    assert "impostor scores of people who are not scored" in found.about
    assert "Threshold κ that an adversary sets" not in render(rows.results)
