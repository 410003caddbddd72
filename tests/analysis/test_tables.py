"""Tables compared with numbers computed by hand, and their contents where cells are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import HOSTILE, FakeRun, rewritten, write_fake_run

from bench.analysis.measures import measure, select
from bench.analysis.pooling import Pool, SampleScores, mean
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, Table, TableMetric
from bench.analysis.tables import build, summary_rows
from bench.analysis.tables.recognition import layout_named, recognition_table
from bench.analysis.tables.summary import BARS, baselines, image_table, overall, summaries, summary_table
from bench.metrics import intervals, recognition
from bench.report.page.headlines import answers
from bench.store.reading import RunResults

SMALL = FakeRun(models={"net-a": "MobileFace", "net-b": "ArcFace"}, datasets={"synth-lfw": "LFW"}, pairs=4)


def cell(defense: str, authorised: str, model: str, dataset: str = "synth-lfw", repeat: int = 0) -> str:
    return f"c-{dataset}-{defense}-{authorised}-{model}-{repeat}"


def set_scores(results: RunResults, scores: dict[str, dict[str, list[Any]]]) -> RunResults:
    """Replace verification columns of some cells, in place."""

    def change(table: pd.DataFrame) -> None:
        for which, columns in scores.items():
            for name, values in columns.items():
                table.loc[table["cell"] == which, name] = np.array(values)

    return rewritten(results, verification=change)


@pytest.fixture
def worked(tmp_path: Path) -> Rows:
    """Four pairs; kappa is .35. Genuine, impostor, genuine, impostor."""
    clean = {"cos_clean": [0.9, 0.1, 0.8, 0.4]}  # the last impostor is accepted: 3 of 4
    kept = {"cos_self": [0.9, 0.9, 0.3, 0.9], "cos_cross": [0.5, 0.1, 0.9, 0.3]} | clean  # the third is lost: 3 of 4
    lost = {"cos_self": [0.9, 0.9, 0.1, 0.1], "cos_cross": [0.5, 0.5, 0.5, 0.1]} | clean  # the first only: 1 of 4
    nothing = {"cos_self": [0.1] * 4, "cos_cross": [0.1] * 4} | clean
    scores = {
        cell("PMT", "net-a", "net-a"): kept,
        cell("PMT", "net-a", "net-b"): lost,
        cell("PMT", "net-b", "net-a"): nothing,
        cell("PMT", "net-b", "net-b"): kept,
    }
    return Rows(set_scores(write_fake_run(tmp_path / "run", SMALL), scores))


def rows_of(table: Table) -> dict[str, list[Measurement]]:
    return {f"{r.defense}:{r.authorised}": list(r.measurements) for r in table.groups[0].rows}


def test_table_vii_by_hand(worked: Rows) -> None:
    table = recognition_table(worked, worked.matrices[0], layout_named("VII"))
    assert [c.label for c in table.columns] == ["net-a", "net-b", "Average", "10-fold", "Chance at most"]
    assert [r.kind for r in table.groups[0].rows] == ["clean", "model-free", "authorised", "authorised"]
    own, other, average, ten_fold, chance = rows_of(table)["PMT:net-a"]
    assert (own.value, own.n, own.role, own.cells) == (0.75, 4, "authorised", (cell("PMT", "net-a", "net-a"),))
    assert (own.low, own.high) == pytest.approx((0.30064, 0.95441), abs=1e-4)  # Wilson, 3 of 4
    assert (other.value, other.role) == (0.25, "unauthorised")
    assert own.paper == pytest.approx(0.99)
    assert other.paper == pytest.approx(0.067)
    assert (own.difference, own.paper_of) == (None, "at the fixed κ")  # The paper has another quantity.
    assert own.published(table.columns[0].metric) == "99.0 (at the fixed κ)"
    # only the unauthorised model is averaged, and the paper's average is that of the same model
    assert (average.value, average.n, average.paper) == (0.25, 4, pytest.approx(0.067))
    cells = [c for c in worked.cells if c.cell == cell("PMT", "net-a", "net-b")]
    assert ten_fold == measure(worked, cells, "ten-fold")
    assert chance == measure(worked, cells, "accuracy-chance")
    assert (ten_fold.role, chance.role) == ("unauthorised", "unauthorised")


def test_the_fixed_threshold_is_the_cells_own(worked: Rows) -> None:
    table = recognition_table(worked, worked.matrices[0], layout_named("VII-fixed"))
    own = rows_of(table)["PMT:net-a"][0]
    # at .2 the third pair is kept (.3 > .2), and the last impostor is accepted (.3 > .2)
    assert own.value == 0.75
    assert (own.difference, own.paper_of) == (pytest.approx(0.75 - 0.99), "")  # here both are at a fixed κ
    assert rows_of(table)["PMT:net-b"][0].value == 0.0


def test_zero_has_an_interval(worked: Rows) -> None:
    table = recognition_table(worked, worked.matrices[0], layout_named("VII"))
    lost, _, average, *_ = rows_of(table)["PMT:net-b"]
    assert (lost.value, lost.low, lost.interval) == (0.0, 0.0, "Wilson")
    assert lost.high == pytest.approx(intervals.wilson_interval(0, 4)[1])
    assert average.high == pytest.approx(lost.high)  # Equal decisions have no variance.


def test_ten_fold_and_cosine_use_their_columns(worked: Rows) -> None:
    ten_fold = recognition_table(worked, worked.matrices[0], layout_named("ten-fold"))
    scores = worked.scores[cell("PMT", "net-a", "net-b")]
    expected = recognition.ten_fold_accuracy(scores.flip_cross, scores.same, scores.fold).accuracy
    assert rows_of(ten_fold)["PMT:net-a"][1].value == pytest.approx(expected)
    cosine = recognition_table(worked, worked.matrices[0], layout_named("cosine"))
    assert rows_of(cosine)["PMT:net-a"][0].value == pytest.approx((0.9 + 0.9 + 0.3 + 0.9) / 4)
    assert all(f.paper is None for _, _, _, f in cosine.measurements())


def test_summary_by_hand(worked: Rows) -> None:
    by_model = {s.authorised: s for s in summaries(worked, worked.matrices[0]) if s.kind == "authorised"}
    a = by_model["net-a"]
    assert (a.kept.value, a.clean.value, a.drop.value, a.leaked.value) == (0.75, 0.75, 0.0, 0.25)
    assert a.worst.value == 0.25
    assert a.worst_at is not None
    assert a.worst_at.evaluated == "net-b"
    assert [met for _, _, met in a.verdicts] == [False, True, False, True]
    assert not a.meets_all
    together = next(s for s in overall(worked, worked.matrices[0]) if s.defense == "PMT")
    assert (together.kept.value, together.kept.n, together.leaked.value) == (0.75, 8, 0.125)
    assert together.kept.paper == pytest.approx(0.995)


def test_model_free_defenses_have_no_utility(worked: Rows) -> None:
    noise = next(s for s in summaries(worked, worked.matrices[0]) if s.defense == "Noise 0.3")
    assert noise.kept.status == noise.clean.status == "not applicable"
    assert noise.verdicts == []
    assert noise.leaked.role == "any"
    columns, rows = summary_rows(worked)
    assert all(len(r) == len(columns) and all(isinstance(c, str) for c in r) for r in rows)
    assert ["PMT", "net-a", "75.0 %", "75.0 %", "25.0 %", "25.0 %"] in [r[:6] for r in rows]
    assert [(r[0], r[-1]) for r in rows if r[1] in ("net-a", "any model")] == [
        ("Clean", "8 of 6 people"), ("Noise 0.3", "8 of 6 people"), ("PMT", "4"),
    ]  # fmt: skip
    assert columns[-1] == "N"


def test_the_summary_says_what_was_repeated(tmp_path: Path) -> None:
    _, rows = summary_rows(Rows(write_fake_run(tmp_path / "run", replace(SMALL, repeats=2))))
    assert {row[-1].rpartition(", ")[2] for row in rows} == {"2 repeats"}


def test_the_summary_names_experiments_and_attacks_if_there_are_several(worked: Rows) -> None:
    for one in list(worked.cells):
        worked.cells += [replace(one, experiment="two"), replace(one, attack="filtered")]
    columns, rows = summary_rows(worked)
    assert columns[-2:] == ["experiment", "attack"]
    assert {tuple(row[-2:]) for row in rows} == {(m.experiment, m.attack) for m in worked.matrices}
    assert len(worked.matrices) == 3


def test_tables_name_the_attack_if_an_experiment_has_several(worked: Rows) -> None:
    for one in list(worked.cells):
        worked.cells.append(replace(one, attack="filtered"))
    for name in ("summary", "images", "VII"):
        assert [table.heading.rpartition(": ")[2] for table in build(worked, name)] == ["abuse", "filtered"]


def test_a_table_of_the_only_attack_does_not_name_it(worked: Rows) -> None:
    assert [table.heading for table in build(worked, "summary")] == ["Summary, data sets pooled"]


def test_missing_figures_say_why(results: RunResults) -> None:
    rows = Rows(results)
    table = recognition_table(rows, rows.matrices[0], layout_named("VII"))
    calfw = next(g for g in table.groups if g.label == "synth-calfw")
    by_row = {f"{r.defense}:{r.authorised}": r.measurements for r in calfw.rows}
    failed = by_row["PMT:net-b"][0]
    assert (failed.value, failed.status, failed.reason) == (None, "failed", f"out of memory {HOSTILE}")
    assert by_row["PMT:net-b"][-3].note == "of 1 of 2 models"
    assert by_row["PMT:net-b"][-3].paper is None
    skipped = by_row["Noise 0.3:"][1]
    assert (skipped.value, skipped.status) == (None, "skipped")
    assert all(f.value is None or np.isfinite(f.value) for _, _, _, f in table.measurements())


def test_a_cell_that_was_never_asked_for_is_missing(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", SMALL)
    path = results.folder / "cells.parquet"
    cells = pq.read_table(path).to_pandas()
    gone = (cells["defense"] == "Noise 0.3") & (cells["evaluated"] == "net-b")
    pq.write_table(pa.Table.from_pandas(cells[~gone], preserve_index=False), path)
    rows = Rows(RunResults(results.folder))
    measurement = rows_of(recognition_table(rows, rows.matrices[0], layout_named("VII")))["Noise 0.3:"][1]
    assert (measurement.value, measurement.status) == (None, "missing")


def test_a_run_in_which_everything_failed(tmp_path: Path) -> None:
    spec = FakeRun(failed=lambda c: "no memory")
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    table = recognition_table(rows, rows.matrices[0], layout_named("VII"))
    assert {f.status for _, _, _, f in table.measurements()} == {"failed"}
    assert all(s.kept.value is None and not s.meets_all for s in summaries(rows, rows.matrices[0]))
    found = answers(rows, rows.matrices[0], summaries(rows, rows.matrices[0]))
    assert "no memory" in " ".join(found[0].sentences)
    assert image_table(rows, rows.matrices[0]).groups[0].rows


def test_repeats_are_averaged(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(repeats=3)))
    table = recognition_table(rows, rows.matrices[0], layout_named("VII"))
    noise = next(r for r in table.groups[0].rows if r.defense == "Noise 0.3").measurements[0]
    cells = select(rows, dataset="synth-lfw", defense="Noise 0.3", evaluated="net-a")
    assert len(cells) == 3
    assert (noise.n, noise.repeats) == (20, (3, 3))
    assert noise.value == pytest.approx(np.mean([rows.scores[c.cell].hits().mean() for c in cells]))
    assert noise.interval == "clustered"


def test_one_image_for_two_models(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(authorised=(("net-a", "net-b"),))))
    table = recognition_table(rows, rows.matrices[0], layout_named("VII"))
    row = next(r for r in table.groups[0].rows if r.kind == "authorised")
    assert [f.role for f in row.measurements] == ["authorised"] * 2 + ["unauthorised"] * 4
    assert row.measurements[3].value == row.measurements[2].value
    summary = next(s for s in summaries(rows, rows.matrices[0]) if s.kind == "authorised")
    assert summary.kept.n == 2 * 2 * 20  # two models, two data sets
    assert summary.stands_in_for == "MobileFace+ArcFace"


def test_clean_is_derived_when_the_suite_has_no_unprotected_defense(tmp_path: Path) -> None:
    spec = FakeRun(defenses=(("PMT", "pmt", True),))
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    first = recognition_table(rows, rows.matrices[0], layout_named("VII")).groups[0].rows[0]
    scores = rows.scores[cell("PMT", "net-a", "net-a")]
    assert first.kind == "clean"
    assert first.measurements[0].value == pytest.approx(((scores.cos_clean > 0.35) == scores.same).mean())
    every = [rows.scores[c.cell] for c in rows.cells if (c.dataset, c.authorised) == ("synth-lfw", "net-a")]
    ten_fold = [recognition.ten_fold_accuracy(s.flip_clean, s.same, s.fold).accuracy for s in every]
    assert first.measurements[-2].value == pytest.approx(np.mean([a for a in ten_fold if a is not None]))
    assert first.measurements[-1].status == "not applicable"


def test_claims_with_a_defense_column_belong_to_that_defense(tmp_path: Path) -> None:
    claims = "dataset,defense,row,column,value,unit\nLFW,pmt,MobileFace,MobileFace,99.0,%\n"
    defenses = (("PMT", "pmt", True), ("Other", "other", True))
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(defenses=defenses, claims=claims)))
    table = recognition_table(rows, rows.matrices[0], layout_named("VII"))
    papers = {(r.defense, r.authorised): r.measurements[0].paper for r in table.groups[0].rows}
    assert papers["PMT", "net-a"] == pytest.approx(0.99)
    assert papers["Other", "net-a"] is None


def test_images_stand_beside_their_floors(results: RunResults) -> None:
    rows = Rows(results)
    table = image_table(rows, rows.matrices[0])
    assert [g.label for g in table.groups] == ["all data sets", "synth-lfw", "synth-calfw"]
    by_label = {r.label: r for r in table.groups[1].rows}
    assert list(by_label)[-4:-1] == ["another person's face", "a flat grey image", "random noise"]
    assert list(by_label)[-1] == "random noise of spread 1, PMT's start"
    raw = results.samples("images")
    expected = raw[(raw["dataset"] == "synth-lfw") & (raw["authorised"] == "net-a")]["ssim"].mean()
    assert by_label["PMT for net-a"].measurements[0].value == pytest.approx(expected)
    clean = by_label["Clean"].measurements
    assert clean[0].value == 1.0
    assert clean[1].value is None
    assert "infinite" in str(clean[1].reason)
    assert [c.label for c in table.columns] == ["SSIM", "PSNR", "final loss (the defense's own)"]
    assert by_label["Noise 0.3"].measurements[2].status == "not applicable"
    assert baselines(rows, "data-abuse")["grey"]["ssim"].value == pytest.approx(0.38, abs=0.01)


def test_summary_table_has_the_same_figures(results: RunResults) -> None:
    rows = Rows(results)
    table = summary_table(rows, rows.matrices[0])
    first = next(s for s in summaries(rows, rows.matrices[0]) if s.authorised == "net-a")
    row = next(r for r in table.groups[0].rows if r.authorised == "net-a")
    assert row.measurements[0] == first.kept
    assert len(row.measurements) == len(table.columns)


def test_the_answer_names_what_is_not_met(worked: Rows) -> None:
    matrix = worked.matrices[0]
    first = answers(worked, matrix, summaries(worked, matrix))[0]
    assert first.defense == "PMT"
    text = " ".join(first.sentences)
    assert "75.0 % of pairs correctly, the same as without protection" in text
    assert "All bars are met for 0 of 2 authorised models" in text
    assert "authorised accuracy for net-a (75.0 %, required: at least 90 %)" in text


def test_mean_skips_what_is_undefined() -> None:
    people = np.array(["p", "q", "r"], dtype=object)
    measurement = mean(Pool([SampleScores(np.array([1.0, np.nan, 0.0]), people)]))
    assert (measurement.value, measurement.n) == (0.5, 2)
    empty = mean(Pool([SampleScores(np.array([np.nan]), people[:1])]))
    assert (empty.value, empty.status) == (None, "undefined")
    equal = mean(Pool([SampleScores(np.zeros(3), people)]), share=False)
    assert (equal.value, equal.low, equal.interval) == (0.0, None, "")


def test_bars_say_when_more_pairs_could_change_them() -> None:
    bar = BARS[0]
    sure = Measurement(value=0.95, low=0.92, high=0.98)
    unsure = Measurement(value=0.95, low=0.85, high=0.99)
    assert (bar.met(sure), bar.certain(sure)) == (True, True)
    assert (bar.met(unsure), bar.certain(unsure)) == (True, False)
    assert bar.met(Measurement()) is None


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        (TableMetric(label="a", unit="%", digits=1), 0.9712, "97.1"),
        (TableMetric(label="a", unit="points", digits=1), -0.012, "−1.2"),
        (TableMetric(label="a", unit="points", digits=1), -0.0001, "0.0"),
        (TableMetric(label="a", digits=3), 0.0174, "0.017"),
        (TableMetric(label="a"), None, "–"),
    ],
)
def test_numbers_are_written_plainly(metric: TableMetric, value: float | None, shown: str) -> None:
    assert metric.shown(value) == shown
