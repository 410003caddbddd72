"""Metrics compared with numbers computed by hand, and their reasons where rows are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fake_run import ABUSE, ESTIMATE, LINKAGE, ONE, RECFACE, FakeRun, rewritten, with_today, write_fake_run

from bench.analysis.measures import METRICS, measure, metric_named, select
from bench.analysis.pair_metrics import CHANCE
from bench.analysis.pooling import Pool, SampleScores, mean
from bench.analysis.rows import Rows
from bench.core.errors import StorageError, SuiteError
from bench.metrics import intervals, recognition
from bench.metrics.vocabulary import ATTRIBUTE_FAMILIES, METRIC_NAMES
from bench.store.reading import RunResults
from bench.store.schema import NEWER_COLUMNS

Change = Callable[[pd.DataFrame], None]


def changed(results: RunResults, **tables: Change) -> Rows:
    """The rows of a run after changing some of its sample tables."""
    return Rows(rewritten(results, **tables))


def setter(defense: str, evaluated: str | None, **columns: list[Any]) -> Change:
    """Sets columns in the rows of a defense (and of an evaluated model)."""

    def change(table: pd.DataFrame) -> None:
        chosen = table["defense"] == defense
        if evaluated is not None:
            chosen &= table["evaluated"] == evaluated
        for name, values in columns.items():
            if name not in ("rank", "rank_enrolled"):
                table.loc[chosen, name] = values
            else:
                table[name] = table[name].astype("Int64")
                table.loc[chosen, name] = pd.array(values, dtype="Int64")

    return change


def test_re_identification_by_hand(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **ONE))
    scores = {"cos_self": [0.4, 0.3, 0.1, 0.36], "rank": [1, 2, 1, 1], "rank_enrolled": [1, None, 3, None]}
    rows = changed(results, verification=setter("PMT", "net-b", **scores))
    judge = select(rows, defense="PMT", evaluated="net-b")
    values = {
        name: (f.value, f.n)
        for name in ("rank-1", "rank-1-enrolled", "fmr-match", "srra", "srra-fixed", "cosine")
        for f in [measure(rows, judge, name)]
    }
    assert values["rank-1"] == (0.75, 4)
    assert values["rank-1-enrolled"] == (0.5, 2)  # genuine pairs only
    assert values["fmr-match"] == values["srra"] == (0.5, 4)  # kappa is .35
    assert values["srra-fixed"] == (0.75, 4)  # kappa is .2
    assert values["cosine"] == (pytest.approx(0.29), 4)
    found = measure(rows, judge, "rank-1")
    assert (found.low, found.high) == pytest.approx(intervals.wilson_interval(3, 4))
    assert (found.role, found.attack, found.interval) == ("unauthorised", "recface", "Wilson")
    assert measure(rows, judge, "srra", kappa=0.05).value == 1.0


def test_ties_count_their_share_of_rank_1(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **ONE))
    shares = {"rank_first": [0.5, 0.0, 0.2, 1.0], "rank_enrolled_first": [0.5, np.nan, 0.0, np.nan]}
    rows = changed(results, verification=setter("PMT", "net-b", rank=[1, 2, 3, 1], **shares))
    judge = select(rows, defense="PMT", evaluated="net-b")
    assert measure(rows, judge, "rank-1").value == pytest.approx(1.7 / 4)
    assert measure(rows, judge, "rank-1-enrolled").value == 0.25


def test_what_the_adversary_matches_by_hand(tmp_path: Path) -> None:
    """Leakage at the adversary's threshold, utility at that of the service; pairs 0 and 2 are genuine."""
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **ONE))
    columns = {
        "cos_self": [0.3, 0.3, 0.1, 0.6],
        "cos_cross": [0.25, 0.9, 0.1, 0.9],
        "kappa_calibrated": [0.35] * 4,
        "kappa_adversary": [0.2, 0.4, 0.2, 0.4],
        "kappa_enrolled": [0.24, 0.4, 0.26, 0.4],
        "impostor_match_adversary": [0.0, 0.02, 0.02, 0.0],
        "impostor_match_enrolled": [0.04, 1.0, 0.0, 1.0],
        "impostor_match": [0.0, 0.0, 0.01, 0.01],
        "rank_chance": [0.5, 0.25, 0.5, 0.25],
        "rank_enrolled_chance": [0.5, np.nan, 0.25, np.nan],
    }
    rows = changed(results, verification=setter("PMT", "net-b", **columns))
    judge = select(rows, defense="PMT", evaluated="net-b")
    expected = {
        "fmr-match": (0.5, 4),
        "fmr-match-deployed": (0.25, 4),
        "srra": (0.25, 4),
        "enrolled-match": (0.5, 2),  # genuine pairs only
        "impostor-match": (0.01, 4),
        "impostor-match-deployed": (0.005, 4),
        "impostor-match-enrolled": (0.02, 2),
        "rank-1-chance": (0.375, 4),
        "rank-1-enrolled-chance": (0.375, 2),
    }
    found = {name: measure(rows, judge, name) for name in expected}
    assert {name: (pytest.approx(f.value), f.n) for name, f in found.items()} == expected
    assert {f.note for f in found.values()} == {None}
    threshold = rows.scores.threshold(judge[0].cell)
    assert threshold is not None
    assert (threshold.kappa, threshold.adversary, threshold.rule, threshold.people) == (0.35, 0.2, "fmr", 150)


def test_where_the_adversary_has_no_threshold_leakage_is_undefined(tmp_path: Path) -> None:
    judge = {"defense": "PMT", "evaluated": "net-b"}

    def with_thresholds(folder: str, kappa: list[float]) -> Rows:
        results = write_fake_run(tmp_path / folder, FakeRun(attacks=(RECFACE,), **ONE))
        return changed(results, verification=setter("PMT", "net-b", kappa_adversary=kappa, cos_self=[0.3] * 4))

    rows = with_thresholds("one", [0.2, np.nan, np.nan, np.nan])
    found = measure(rows, select(rows, **judge), "fmr-match")
    assert (found.value, found.n) == (1.0, 1)
    rows = with_thresholds("none", [np.nan] * 4)
    found = measure(rows, select(rows, **judge), "fmr-match")
    assert (found.value, found.status) == (None, "missing")
    assert str(found.reason).startswith("too few people are scored")


def test_rows_of_older_versions_are_measured_as_they_were(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **ONE))

    def older(table: pd.DataFrame) -> None:
        setter("PMT", "net-b", cos_self=[0.4, 0.3, 0.1, 0.36], cos_cross=[0.4, 0.9, 0.1, 0.9])(table)
        newer = {"threshold_rule", "fmr_realised", "calibration_people", "adversary_impostors", "adversary_people"}
        for name in (*NEWER_COLUMNS, *newer):
            del table[name]

    rows = changed(results, verification=older)
    judge = select(rows, defense="PMT", evaluated="net-b")
    expected = {"fmr-match": 0.5, "enrolled-match": 0.5, "impostor-match": 0.01, "rank-1-chance": 0.25}
    expected |= {"impostor-match-deployed": 0.01, "rank-1-enrolled-chance": 0.25}
    for name, value in expected.items():
        found = measure(rows, judge, name)
        assert found.value == pytest.approx(value)
        assert "scored by an older version: threshold of clean faces" in str(found.note)
        assert "bench rescore" in str(found.note)
    assert measure(rows, judge, "fmr-match-deployed").note is None
    assert measure(rows, judge, "accuracy").note is None
    threshold = rows.scores.threshold(judge[0].cell)
    assert threshold is not None
    assert (threshold.kappa, threshold.fmr, threshold.rule, threshold.adversary) == (0.35, 0.01, None, None)
    assert rows.scores.older(judge[0].cell)


def test_pictures_count_once_for_all_evaluated_models(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), **ONE))

    def change(table: pd.DataFrame) -> None:
        table.loc[(table["defense"] == "PMT") & (table["attack"] == "recface"), "ssim"] = [0.1, 0.2, 0.3, 0.4]
        table.loc[(table["defense"] == "PMT") & (table["attack"] == ""), "ssim"] = [0.9] * 4

    rows = changed(results, images=change)
    cells = select(rows, defense="PMT")
    assert len(cells) == 2
    found = measure(rows, cells, "ssim")
    assert (found.value, found.n, found.interval) == (pytest.approx(0.25), 4, "clustered")  # of the reconstruction
    assert found.cells == (cells[0].cell,)
    assert found.low is not None
    assert found.high is not None
    reach = 3.182 * np.std([0.1, 0.2, 0.3, 0.4], ddof=1) / 2  # Student's t with 3 degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.25 - reach, 0.25 + reach), abs=1e-3)
    assert measure(rows, cells, "upload-bytes").value == 37632
    absent = measure(rows, cells, "lpips")
    assert (absent.value, absent.status) == (None, "missing")
    assert "VGG" in str(absent.reason)


def test_infinite_psnr_is_counted_and_not_averaged(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(**ONE)))
    clean = measure(rows, select(rows, defense="Clean"), "psnr")
    assert (clean.value, clean.status) == (None, "infinite")
    both = measure(rows, select(rows, defense=["Clean", "Noise 0.3"]), "psnr")
    assert both.n == 4
    assert both.note == "without 4 images for which it is infinite"


def test_up_by_hand(tmp_path: Path) -> None:
    """Equation 9: 1[cosine > kappa] + distance, per sample."""
    levels = (0.0, 0.1)
    spec = FakeRun(attacks=(ESTIMATE,), noise_levels=levels, lpips=True, kappa=0.5, **ONE)
    columns = {
        "cosine": [0.9, 0.4, 0.6, 0.1] + [0.2] * 4,
        "dist": [0.1, 0.2, 0.3, 0.4] + [0.5] * 4,
        "lpips": [0.5] * 4 + [0.7] * 4,
    }
    rows = changed(write_fake_run(tmp_path / "run", spec), up=setter("PMT", "net-a", **columns))
    cells = select(rows, defense="PMT", evaluated="net-a")
    assert rows.noise_levels(cells[0]) == [0.0, 0.1]
    assert measure(rows, cells, "up").value == pytest.approx(2 / 4 + 0.25)  # no pair was scored: the fixed kappa, .5
    assert measure(rows, cells, "up", kappa=0.3).value == pytest.approx(3 / 4 + 0.25)
    assert measure(rows, cells, "up", sigma=0.1, kappa=0.1).value == pytest.approx(1.5)
    assert measure(rows, cells, "up-lpips", kappa=0.3).value == pytest.approx(3 / 4 + 0.5)
    assert measure(rows, cells, "utility", kappa=0.3).value == 0.75
    assert measure(rows, cells, "privacy").value == pytest.approx(0.25)
    assert measure(rows, cells, "privacy-lpips", sigma=0.1).value == pytest.approx(0.7)
    other = measure(rows, cells, "up", sigma=0.7)
    assert (other.value, other.status) == (None, "missing")


def test_up_takes_the_calibrated_threshold_where_the_model_was_scored(tmp_path: Path) -> None:
    up = FakeRun(name="up", table=None, attacks=(ESTIMATE,), noise_levels=(0.1,), kappa=0.5, **ONE)
    results = write_fake_run(tmp_path / "run", [FakeRun(**ONE), up])
    rows = changed(results, up=setter("PMT", "net-a", cosine=[0.4, 0.3, 0.36, 0.1]))
    cells = select(rows, experiment="up", defense="PMT", evaluated="net-a")
    assert measure(rows, cells, "utility").value == 0.5  # at .35
    assert measure(rows, cells, "utility", kappa=cells[0].kappa).value == 0.0


def test_up_takes_the_threshold_of_each_fold(tmp_path: Path) -> None:
    """Where people are known pair by pair, the threshold of a fold is set on all other folds."""
    up = FakeRun(name="up", table=None, attacks=(ESTIMATE,), noise_levels=(0.1,), kappa=0.5, **ONE)
    results = write_fake_run(tmp_path / "run", [FakeRun(**ONE), up])
    pairs = results.samples("verification").query("defense == 'PMT' and evaluated == 'net-a'")
    kappas = dict(zip(pairs["left_id"], [0.3, 0.35, 0.4, 0.45], strict=True))

    def of_fold(table: pd.DataFrame) -> None:
        table["kappa_calibrated"] = table["left_id"].map(kappas)

    def noisy(table: pd.DataFrame) -> None:
        table["sample_id"] = [list(kappas)[::-1][i % 4] for i in range(len(table))]  # In another order than the pairs.
        table["cosine"] = 0.36

    rows = changed(results, verification=of_fold, up=noisy)
    cells = select(rows, experiment="up", defense="PMT", evaluated="net-a")
    found = rows.calibrated(cells[0], rows.up_of(cells[0])["sample_id"].to_numpy())
    assert found.tolist() == [0.45, 0.4, 0.35, 0.3]
    assert measure(rows, cells, "utility").value == 0.5  # above .3 and .35
    assert measure(rows, cells, "utility", kappa=0.2).value == 1.0


def test_up_prefers_the_thresholds_of_its_own_experiment(tmp_path: Path) -> None:
    both = FakeRun(name="up", table=None, attacks=(ABUSE, ESTIMATE), noise_levels=(0.1,), **ONE)
    results = write_fake_run(tmp_path / "run", [both, FakeRun(**ONE)])

    def stricter(table: pd.DataFrame) -> None:
        table.loc[table["experiment"] != "up", "kappa_calibrated"] = 0.9

    rows = changed(results, verification=stricter, up=setter("PMT", "net-a", cosine=[0.4, 0.3, 0.36, 0.1]))
    assert measure(rows, select(rows, experiment="up", defense="PMT", evaluated="net-a"), "utility").value == 0.5


def test_attributes_and_their_baselines(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(ESTIMATE,), **ONE))

    def change(table: pd.DataFrame) -> None:
        group = (table["defense"] == "PMT") & (table["attribute"] == "group")
        table.loc[group, "value"] = [0.5, 0.6, 0.7, 0.8]

    rows = changed(results, attributes=change)
    cells = select(rows, defense="PMT")
    assert measure(rows, cells, "similarity:group").value == pytest.approx(0.65)
    as_race = measure(rows, cells, "similarity:race")
    assert replace(as_race, metric="similarity:group") == measure(rows, cells, "similarity:group")
    assert (measure(rows, cells, "permuted:age").value, measure(rows, cells, "baseline:age").value) == (14.0, 12.0)
    ages = measure(rows, cells, "similarity:age")
    assert replace(ages, metric="age-difference") == measure(rows, cells, "age-difference")
    assert metric_named("similarity:age").unit == "years"
    assert "estimates no beard" in str(measure(rows, cells, "similarity:beard").reason)


def test_attributes_count_once_for_all_evaluated_models(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(attacks=(ESTIMATE,), noise_levels=(0.1,), **ONE)))
    assert measure(rows, select(rows, defense="PMT"), "similarity:gender").n == 4
    assert measure(rows, select(rows, defense="PMT"), "up").n == 8  # f of Equation 9 is the evaluated model


def test_metrics_leave_out_cells_that_have_no_such_number(tmp_path: Path) -> None:
    spec = FakeRun(attacks=(RECFACE, ESTIMATE), **ONE)
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    found = measure(rows, select(rows, defense="PMT"), "accuracy")
    assert (found.n, found.note) == (8, None)
    assert measure(rows, select(rows, defense="PMT", attack="recface"), "similarity:age").status == "missing"


def test_what_failed_is_said(tmp_path: Path) -> None:
    spec = FakeRun(failed=lambda c: "out of memory" if c["evaluated"] == "net-b" else None, **ONE)
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    lost = measure(rows, select(rows, defense="PMT", evaluated="net-b"), "accuracy")
    assert (lost.value, lost.status, lost.reason) == (None, "failed", "out of memory")
    part = measure(rows, select(rows, defense="PMT"), "accuracy")
    assert part.note == "1 of 2 cells; the others: failed, out of memory"
    assert measure(rows, [], "accuracy").reason == "the suite does not contain this combination"


def test_no_interval_goes_beyond_the_bounds_of_its_metric(tmp_path: Path) -> None:
    """A mean near a bound has a t-interval that would reach beyond it."""
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(ABUSE, ESTIMATE), **ONE))
    near = [1.0, 1.0, 1.0, 0.9]

    def gender(table: pd.DataFrame) -> None:
        for attribute, values in (("gender", near), ("age", [0.0, 0.0, 0.0, 1.0])):
            own = table["attribute"] == attribute
            table.loc[own, "value"] = values * (int(own.sum()) // 4)

    rows = changed(
        results,
        attributes=gender,
        images=setter("PMT", None, ssim=near),
        verification=setter("PMT", None, cos_self=near * 2),
    )
    cells = select(rows, defense="PMT")
    for name in ("similarity:gender", "ssim", "cosine"):
        found = measure(rows, cells, name)
        assert found.high == 1.0, name
        assert found.low is not None
        assert 0.8 < found.low < 0.975
    years = measure(rows, cells, "age-difference")
    assert years.low == 0.0
    unbounded = {name for name, metric in METRICS.items() if np.isinf(metric.range[0])}
    assert not unbounded, "every metric of the registry has a lower bound"


def test_scores_that_differ_by_rounding_are_equal(tmp_path: Path) -> None:
    """The cosine of a picture to itself is 1 up to the last digits: its interval would be 1.0 to 1.0."""
    values = [1.0, 1.0 - 1e-16, 1.0 + 2e-16, 1.0]
    results = write_fake_run(tmp_path / "run", FakeRun(**ONE))
    rows = changed(results, verification=setter("Clean", None, cos_self=values * 2))
    found = measure(rows, select(rows, defense="Clean"), "cosine")
    assert (found.low, found.high, found.interval) == (None, None, "")
    assert not Pool([SampleScores(np.array(values), np.arange(4))]).spread
    assert Pool([SampleScores(np.array([0.0, 1e-3]), np.arange(2))]).spread


def test_every_metric_has_a_name_a_source_and_a_direction() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert bool(metric.better) != metric.chance, "what chance gives has no better direction"
        assert metric.chance == ("chance" in name or metric in CHANCE)
        assert metric.source.startswith(f"samples/{metric.table} by ")
        assert metric.about.endswith(".")


def test_the_metrics_are_those_of_the_vocabulary() -> None:
    """A suite is checked against the names in the vocabulary; here each of them is computed."""
    assert tuple(METRICS) == METRIC_NAMES
    for family in ATTRIBUTE_FAMILIES:
        assert metric_named(f"{family}:gender").name == f"{family}:gender"
        assert metric_named(f"{family}:gender") is metric_named(f"{family}:gender")


def test_every_metric_names_columns_that_a_run_stores(tmp_path: Path) -> None:
    spec = FakeRun(attacks=(RECFACE, ESTIMATE, LINKAGE), noise_levels=(0.1,), **ONE)
    results = with_today(write_fake_run(tmp_path / "run", spec))
    for metric in (*METRICS.values(), *(metric_named(f"{family}:age") for family in ATTRIBUTE_FAMILIES)):
        assert {*metric.by, *metric.columns} <= set(results.columns(metric.table).names), metric.name
        assert set(metric.cell_columns) <= set(results.cells), metric.name
    kappa = metric_named("accuracy-fixed")
    assert kappa.source == "samples/verification by cell: cos_self, cos_cross, same; kappa of cells.parquet"


def test_linked_pairs_are_counted_at_the_threshold_of_the_adversary(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(attacks=(ABUSE, LINKAGE), **{**ONE, "pairs": 32})))
    cells = select(rows, outputs="links", defense="PMT", evaluated="net-b")
    linked = measure(rows, cells, "link-match")
    assert (linked.value, linked.n) == (12 / 16, 16)
    table = rows.links_of(cells[0])
    pairs = [float(a > b) for a in table.loc[table["same"], "score"] for b in table.loc[~table["same"], "score"]]
    assert measure(rows, cells, "link-auc").value == pytest.approx(np.mean(pairs))
    assert measure(rows, cells, "link-match-chance").value == 0
    pairs = [(a > b) for a in table["permuted"] for b in table.loc[~table["same"], "score"]]
    assert measure(rows, cells, "link-auc-chance").value == pytest.approx(np.mean(pairs))
    assert measure(rows, select(rows, outputs="recognition"), "link-match").status == "missing"


@pytest.mark.parametrize(("matched", "genuine"), [(0.0, 0.5), (0.02, 0.5), (0.3, 0.4), (1.0, 0.5)])
def test_the_chance_level_bounds_equation_10_of_strangers(tmp_path: Path, matched: float, genuine: float) -> None:
    """Each upload is replaced by those of all other people: Equation 10 then holds at most as often as the level."""
    n, kappa, rng = 240, 0.35, np.random.default_rng(0)
    people, same = np.arange(n), np.arange(n) < genuine * n
    # Uploads match the pictures of strangers with the probability ``matched``; both pictures of a genuine pair alike.
    first = rng.random((n, n)) < matched  # rows: uploads, columns: left pictures
    second = np.where(same, first, rng.random((n, n)) < matched)  # columns: right pictures
    hits = recognition.verification_hits(
        np.where(first, 1.0, 0.0).ravel(), np.where(second, 1.0, 0.0).ravel(), np.tile(same, n), kappa
    ).reshape(n, n)
    strangers = float(hits[people[:, None] != people[None]].mean())

    def change(table: pd.DataFrame) -> None:
        own = (table["defense"] == "PMT") & (table["evaluated"] == "net-b")
        table.loc[own, "same"] = same
        table.loc[own, "cos_cross"] = np.where(second[people, people], 0.9, 0.1)

    rows = changed(write_fake_run(tmp_path / "run", FakeRun(**{**ONE, "pairs": n})), verification=change)
    cells = select(rows, defense="PMT", evaluated="net-b")
    found = measure(rows, cells, "accuracy-chance")
    assert found.n == (~same).sum()
    assert found.value == measure(rows, cells, "accuracy-chance-fixed").value
    share = float(second[people, people][~same].mean())
    assert found.value == pytest.approx(genuine * share + (1 - genuine) * share * (1 - share))
    assert strangers <= (found.high if found.high is not None else found.value)
    if matched in (0.0, 1.0):
        assert found.value == pytest.approx(strangers) == pytest.approx(matched * genuine)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="'acuracy'; did you mean 'accuracy'"):
        metric_named("acuracy")
    with pytest.raises(SuiteError, match="no metric 'similarity:'"):
        metric_named("similarity:")
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(**ONE)))
    with pytest.raises(TypeError, match="expected fields of a cell, got datasets, planet"):
        select(rows, datasets="synth-lfw", planet=3)
    assert {c.defense for c in select(rows, role={"any"}, evaluated="net-a")} == {"Clean", "Noise 0.3"}


def test_the_interval_of_repeated_people_agrees_with_the_cluster_bootstrap() -> None:
    rng = np.random.default_rng(3)
    people = np.array([f"p{i // 3}" for i in range(150)], dtype=object)
    values = rng.normal(0.3, 0.2, 150) + np.repeat(rng.normal(0, 0.5, 50), 3)  # people differ
    found = mean(Pool([SampleScores(values, people)]), share=False)
    expected = intervals.bootstrap_interval(values, people, lambda v: float(v.mean()), seed=1, draws=4000)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.03)
    naive = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 2 * 1.4 * naive  # three values of one person are not three measurements


def test_equal_shares_of_all_people_still_have_an_interval() -> None:
    people = np.array(["p", "p", "q", "q"], dtype=object)
    found = mean(Pool([SampleScores(np.array([1.0, 0.0, 1.0, 0.0]), people)]))
    assert (found.value, found.interval) == (0.5, "clustered")
    assert (found.low, found.high) == pytest.approx(intervals.wilson_interval(1, 2))


def test_repeats_of_reconstructions_are_averaged(tmp_path: Path) -> None:
    spec = replace(FakeRun(attacks=(RECFACE,), **ONE), repeats=2)
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    found = measure(rows, select(rows, defense="PMT"), "ssim")
    assert (found.n, found.repeats, len(found.cells)) == (4, (2, 2), 2)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("impostor_match_adversary", 2.0, "impostor_match_adversary: expected numbers from 0 to 1, found 2"),
        ("impostor_match", -0.5, "impostor_match: expected numbers from 0 to 1, found -0.5"),
        ("rank_chance", np.inf, "rank_chance: expected numbers from 0 to 1, found inf"),
        ("kappa_adversary", -np.inf, "kappa_adversary: expected numbers from -1 to 1, found -inf"),
        ("cos_self", np.nan, "cos_self: expected a value in every row, found none in one"),
        ("cos_cross", np.inf, "cos_cross: expected numbers from -1 to 1, found inf"),
        ("cos_clean", 1.5, "cos_clean: expected numbers from -1 to 1, found 1.5"),
    ],
)
def test_shares_that_cannot_be_are_one_error(tmp_path: Path, column: str, value: float, says: str) -> None:
    rows = changed(
        write_fake_run(tmp_path / "run", FakeRun(**ONE)), verification=setter("PMT", None, **{column: value})
    )
    with pytest.raises(StorageError, match=says):
        measure(rows, select(rows, defense="PMT"), "fmr-match")


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("threshold_rule", "<b>mine", "threshold_rule: expected fmr or accuracy, found <b>mine"),
        ("calibration_people", np.inf, "calibration_people: expected numbers from 0 to .*, found inf"),
        ("adversary_people", -2.0, "adversary_people: expected numbers from 0 on, found -2"),
        ("fmr_realised", 7.0, "fmr_realised: expected numbers from 0 to 1, found 7"),
        ("fmr_realised", -0.5, "fmr_realised: expected numbers from 0 to 1, found -0.5"),
    ],
)
def test_thresholds_that_cannot_be_are_one_error(tmp_path: Path, column: str, value: object, says: str) -> None:
    def change(table: pd.DataFrame) -> None:
        table[column] = value

    rows = changed(write_fake_run(tmp_path / "run", FakeRun(**ONE)), verification=change)
    with pytest.raises(StorageError, match=says):
        rows.scores.threshold(select(rows, defense="PMT")[0].cell)


@pytest.mark.parametrize("column", sorted(NEWER_COLUMNS))
def test_columns_that_belong_together_are_all_there_or_none(tmp_path: Path, column: str) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(**ONE))
    for path in (results.folder / "samples" / "verification").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns([column]), path)
    with pytest.raises(StorageError, match=f"{column}: expected a column, found none"):
        _ = Rows(RunResults(results.folder)).scores


def test_a_drop_of_nothing_has_an_interval(tmp_path: Path) -> None:
    """No pair of N is decided otherwise: the drop is at most the share of pairs that may be."""

    def alike(table: pd.DataFrame) -> None:
        table["cos_self"], table["cos_cross"] = 0.9, table["cos_clean"]

    rows = Rows(rewritten(write_fake_run(tmp_path / "run", FakeRun(**ONE)), verification=alike))
    drop = measure(rows, select(rows, defense="PMT", evaluated="net-a"), "accuracy-drop")
    reach = 1 - intervals.wilson_interval(4, 4)[0]
    assert (drop.value, drop.low, drop.high) == pytest.approx((0.0, -reach, reach))
    clean = measure(rows, select(rows, defense="Clean", evaluated="net-a"), "accuracy-drop")
    assert (clean.value, clean.low) == (0.0, None), "without protection, nothing can drop"
