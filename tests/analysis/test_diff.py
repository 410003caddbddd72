"""Two runs compared: which cells match, what is significant, what is worse, and what else has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from claims_run import Answer, write_run
from click.testing import CliRunner
from fake_run import ONE, FakeRun, rewritten, write_fake_run
from pages import markup
from scipy.stats import norm
from support import TESTS, benchmark

from bench.analysis.compare import Diff, DiffLine, PrimaryTest, diff
from bench.analysis.compare.diff import record
from bench.analysis.compare.significance import Difference, aligned, corrected, detectable, difference, holm, in_common
from bench.analysis.pooling import Pulls, SampleScores
from bench.analysis.tables.assessed_defense import ACCURACY
from bench.analysis.tables.questions import PRIMARY
from bench.analysis.tables.tried_attacks import MATCH
from bench.cli import main
from bench.core.errors import StorageError
from bench.report.compare_page import render
from bench.report.compare_text import lone_rows, summary
from bench.store.reading import RunResults
from bench.store.record_diff import changes_between
from bench.store.run_record import RunRecord
from bench.store.schema import NEWER_COLUMNS
from bench.store.typed_json import decode

RNG = np.random.default_rng(5)
N = 60
HOSTILE = "<img src=x onerror=alert(1)>"


def hits(share: float, n: int = N) -> list[bool]:
    """Decisions of which a share is true, in an order of their own."""
    found = np.arange(n) < round(share * n)
    return [bool(v) for v in np.random.default_rng(1).permutation(found)]


def answers(
    kept: float = 0.9, leaked: float = 0.1, ssim: float = 0.3, clean: float = 1.0, **changes: Any
) -> list[Answer]:
    """A protection: one authorised model, another one, and what its images show."""
    shown = [float(v) for v in np.random.default_rng(round(100 * ssim)).normal(ssim, 0.02, N)]
    return [
        Answer("identity", hits=hits(clean), **changes),
        Answer("PMT", authorised="net-a", role="authorised", hits=hits(kept), ssim=shown, **changes),
        Answer("PMT", authorised="net-a", evaluated="net-b", role="unauthorised", hits=hits(leaked), **changes),
    ]


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    """A function that writes two runs and compares them."""

    def make(before: Sequence[Answer], after: Sequence[Answer]) -> Diff:
        return diff(write_run(tmp_path / "a", before), write_run(tmp_path / "b", after))

    return make


def of(found: Diff, metric: str, role: str = "unauthorised") -> DiffLine:
    """Return the detail of a metric in the cell of a role."""
    (line,) = (x for x in found.details if (x.metric.name, x.before.role) == (metric, role))
    return line


def answer(found: Diff, question: str) -> PrimaryTest:
    """Return the primary test of a question about the only protection."""
    (test,) = (x for x in found.tests if x.question == question)
    return test


def test_a_run_equals_itself(compared: Any) -> None:
    found = compared(answers(), answers())
    assert found.cells == 3
    assert found.details
    assert not found.changed
    assert {test.verdict for test in found.tests} == {"same"}
    assert [test.question for test in found.tests] == ["reference", "utility", "appearance", "leakage"]
    assert found.tested == 0
    assert not found.regressed
    assert not any(found.changes.values())


def test_the_verdict_and_the_comparison_ask_the_same_metrics() -> None:
    assert (ACCURACY.name, MATCH.name) == (PRIMARY["utility"], PRIMARY["leakage"])


@pytest.mark.parametrize("goal", ["appearance", "anonymity"])
def test_the_utility_of_a_goal_is_compared_by_its_own_metric(compared: Any, goal: str) -> None:
    """A picture that is more similar and that models recognise less often is better for a cloak."""
    before, after = (answers(ssim=ssim, kept=kept)[1:] for ssim, kept in ((0.3, 0.9), (0.5, 0.4)))
    for one in (*before, *after):
        one.goal = goal
    found = compared(before, after)
    assert {t.question: (t.metric.name, t.better, t.verdict) for t in found.tests if t.question != "leakage"} == {
        "utility": ("ssim", "higher", "improvement"),
        "appearance": ("ssim", "higher", "improvement"),
    }
    assert {x.better for x in found.details if x.metric.name == "ssim"} <= {"higher"}


def test_more_leakage_and_less_utility_are_regressions(compared: Any) -> None:
    found = compared(answers(), answers(kept=0.5, leaked=0.6, ssim=0.5))
    assert found.regressed
    leaked, kept, shown = (answer(found, question) for question in ("leakage", "utility", "appearance"))
    for test, metric, sign in ((leaked, "fmr-match", 1), (kept, "accuracy", -1), (shown, "ssim", 1)):
        assert test.metric.name == metric
        assert test.verdict == "regression"
        assert np.sign(test.found.value) == sign
        assert test.found.paired
        assert (test.found.n, test.found.people) == (N, N)
        assert test.found.low is not None
        assert test.found.high is not None
        assert test.found.low < test.found.value < test.found.high
        assert test.found.low * test.found.high > 0
        assert test.corrected is not None
        assert test.found.p is not None
        assert test.corrected >= test.found.p
        assert test.detectable is not None
        assert 0 < test.detectable < abs(test.found.value)
    assert leaked.found.value == pytest.approx(0.5)
    assert of(found, "accuracy-drop", "authorised").better == "lower"
    assert of(found, "srra").apart


def test_the_other_way_round_is_an_improvement(compared: Any) -> None:
    found = compared(answers(kept=0.5, leaked=0.6, ssim=0.5), answers())
    assert {answer(found, q).verdict for q in ("leakage", "utility", "appearance")} == {"improvement"}
    assert not found.regressed


def test_unprotected_faces_neither_keep_nor_leak(compared: Any) -> None:
    found = compared(answers(), answers(clean=0.4))
    assert answer(found, "reference").verdict == "change"
    assert answer(found, "reference").better == ""
    plain = {x.metric.name: x for x in found.details if x.before.clean}
    assert plain["accuracy"].better == ""
    assert not found.regressed


def test_few_decisions_that_change_prove_nothing(compared: Any) -> None:
    found = compared(answers(leaked=0.1), answers(leaked=0.1 + 4 / N))
    test = answer(found, "leakage")
    assert test.found.value == pytest.approx(4 / N)
    assert test.found.p is not None
    assert test.found.p >= 2.0**-3
    assert test.verdict == "not significant"
    assert test.detectable is not None
    assert test.detectable > 4 / N
    assert not found.regressed


def test_a_difference_too_small_to_be_shown_is_no_regression(compared: Any) -> None:
    before = answers()
    shifted = [replace(a, ssim=[v + 1e-7 for v in a.ssim]) for a in before]
    test = answer(compared(before, shifted), "appearance")
    assert test.found.value == pytest.approx(1e-7)
    assert test.verdict == "not significant"


def many(leaked: float, seed: int, cells: int = 40) -> list[Answer]:
    """One protection that is judged by many held-out recognisers, each of which matches a few other people."""
    rng = np.random.default_rng(seed)
    return [
        Answer("PMT", authorised="net-a", evaluated=f"judge-{i}", role="unauthorised",
               hits=[bool(v) for v in rng.random(N) < leaked], ssim=[0.3] * N)
        for i in range(cells)
    ]  # fmt: skip


def test_a_leak_that_no_cell_shows_alone_is_seen_in_the_setting(compared: Any) -> None:
    """Holm over all metrics of all cells, which this comparison had, finds nothing here: 40 cells have 400 of them."""
    found = compared(many(0.10, 0), many(0.18, 1))
    test = answer(found, "leakage")
    assert test.verdict == "regression"
    assert found.regressed
    assert len(test.cells) == 40
    assert found.tested == 1
    values = [line.found.p for line in found.details if line.found.p is not None]
    assert len(values) > 200
    assert min(holm(values)) > 0.05


def test_details_are_not_tested(compared: Any) -> None:
    """Utility under noise changes, and no question is about it: the run did not get worse."""

    def noisy(cosine: float) -> list[Answer]:
        up = {0.0: ([cosine] * N, [0.5] * N)}
        years = [float(v) for v in np.random.default_rng(3).normal(8, 1, N)]
        return [Answer("PMT", authorised="net-a", role="authorised", attack="age", up=up, years=years)]

    found = compared(noisy(0.9), noisy(0.1))
    assert of(found, "utility", "authorised").found.value == -1
    assert answer(found, "attributes").verdict == "same"
    assert found.tested == 0
    assert not found.regressed
    told = record(found)
    assert [test["question"] for test in told["tests"]] == ["attributes"]
    assert {"p", "p_corrected", "verdict"}.isdisjoint(told["details"][0])


def test_what_only_one_run_measures_is_left_out_and_what_neither_does_is_not(compared: Any, tmp_path: Path) -> None:
    def pairs(undefined: int) -> list[Answer]:
        return [replace(a, ssim=[float("nan")] * undefined + list(a.ssim[undefined:])) for a in answers()]

    found = compared(pairs(10), pairs(12))
    assert (answer(found, "appearance").found.n, answer(found, "appearance").found.left_out) == (N - 12, 2)
    assert compared(pairs(10), pairs(10)).tests[2].found.left_out == 0


def test_a_run_of_an_older_version_has_another_threshold(compared: Any, tmp_path: Path) -> None:
    """Its leakage is no regression of the newer run, and the requested FMR is no measurement before."""
    before, after = write_run(tmp_path / "old", answers()), write_run(tmp_path / "new", answers(leaked=0.6))
    newer = {*NEWER_COLUMNS, "threshold_rule", "fmr_realised", "calibration_people", "adversary_impostors",
             "adversary_people"}  # fmt: skip
    for path in (tmp_path / "old" / "samples" / "verification").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        pq.write_table(table.drop_columns([c for c in table.column_names if c in newer]), path)
    found = diff(RunResults(before.folder), after)
    assert [one.question for one in found.untested] == ["leakage"]
    assert "older version" in found.untested[0].why
    assert not found.regressed
    assert of(found, "fmr-match").note == "before: threshold of clean faces"
    assert of(found, "srra").note == ""
    assert not [line for line in found.details if line.metric.name.startswith("impostor-match")]


def test_cells_are_matched_by_meaning_not_by_id(compared: Any, tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", answers())
    write_run(tmp_path / "b", answers(leaked=0.7))
    for path in (tmp_path / "b").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        if "cell" in table.column_names:
            renamed = pa.array([f"new {v}" for v in table["cell"].to_pylist()])
            pq.write_table(table.set_column(table.column_names.index("cell"), "cell", renamed), path)
    found = diff(before, RunResults(tmp_path / "b"))
    assert found.cells == 3
    assert answer(found, "leakage").verdict == "regression"


def test_cells_of_one_run_only_and_cells_with_other_parameters_are_told(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [*answers(), Answer("Old", hits=hits(0.5))])
    after = write_run(tmp_path / "b", [*answers(), Answer("New", hits=hits(0.5))])
    path = tmp_path / "b" / "cells.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1]["components"] = rows[1]["components"].replace('"params": {}', '"params": {"steps": 9}', 1)
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = diff(before, after)
    assert [lone.cell.defense for lone in found.only_before] == ["PMT", "Old"]
    assert [lone.cell.defense for lone in found.only_after] == ["PMT", "New"]
    assert found.only_after[0].why == "steps is 9 here, not set there"
    assert not found.regressed


def test_a_cell_that_has_no_figures_any_more_is_a_regression(compared: Any) -> None:
    after = answers()
    after[2] = Answer("PMT", authorised="net-a", evaluated="net-b", role="unauthorised", status="failed", reason="oom")
    found = compared(answers(), after)
    assert [e.after.reason for e in found.lost] == ["oom"]
    assert found.regressed
    assert not compared(after, answers()).regressed


def test_a_repeat_that_lost_its_rows_is_counted_and_said(tmp_path: Path) -> None:
    spec = replace(FakeRun(**ONE | {"pairs": 20}), repeats=2)
    before, after = (write_fake_run(tmp_path / name, spec) for name in "ab")
    assert not diff(before, after).lone_rows

    def lost(table: pd.DataFrame) -> None:
        table.loc[(table["repeat"] == 1) & (table["defense"] == "PMT"), "experiment"] = "left out"

    after = rewritten(after, verification=lost)
    found = diff(before, after)
    assert [(lone.before.repeat, lone.table, lone.there) for lone in found.lone_rows] == [
        (1, "verification", "before"), (1, "verification", "before"),
    ]  # fmt: skip
    for question in ("utility", "leakage"):
        (test,) = (x for x in found.tests if x.question == question and x.setting.defense == "PMT")
        assert (test.found.left_out, test.found.n, len(test.cells)) == (20, 20, 1)
        assert test.verdict != "same"
    assert found.regressed
    assert {one["there"] for one in record(found)["lone_rows"]} == {"before"}
    said = " ".join(summary(found))
    assert (
        "2 cells ended well in both runs, but one run has rows that the other lacks; these rows are left out." in said
    )
    assert "repeat 1: rows of verification only before" in "\n".join(lone_rows(found))
    assert "rows of verification only before" in markup(render(found))
    assert not diff(after, before).regressed, "rows that only the newer run has are no regression"


def test_runs_without_common_cells_are_an_error(compared: Any) -> None:
    with pytest.raises(StorageError, match="expected runs with cells in common"):
        compared(answers(), answers(experiment="two"))


def test_attributes_and_noise_levels_are_compared_each(compared: Any) -> None:
    def noisy(dist: float, years: float) -> list[Answer]:
        rng = np.random.default_rng(3)
        up = {
            s: (list(rng.normal(0.8, 0.05, N)), list(np.clip(rng.normal(dist - s, 0.05, N), 0, 1))) for s in (0.0, 0.2)
        }
        old = [float(v) for v in rng.normal(years, 1, N)]
        return [Answer("PMT", authorised="net-a", role="authorised", attack="age", up=up, years=old)]

    found = compared(noisy(0.5, 8), noisy(0.3, 5))
    privacy = {x.sigma: (x.better, x.found.value < 0, x.apart) for x in found.details if x.metric.name == "privacy"}
    assert privacy == dict.fromkeys((0.0, 0.2), ("higher", True, True))
    assert answer(found, "attributes").metric.name == "excess:age"
    assert answer(found, "attributes").verdict == "regression"
    assert of(found, "age-difference", "authorised").apart
    assert not [x for x in found.details if x.metric.name == "similarity:age"], "the same as age-difference"


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_samples_are_aligned_by_name_and_occurrence() -> None:
    before, after = np.array(["a", "b", "a", "c"]), np.array(["c", "a", "a", "d"])
    left, right = aligned(before, after)
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 1), (2, 2), (3, 0)]


def test_pairing_narrows_the_interval() -> None:
    people = np.arange(80)
    before = RNG.normal(0, 1, 80)
    after = before + RNG.normal(0.1, 0.05, 80)
    sides = SampleScores(before, people), SampleScores(after, people)
    everyone = np.arange(80), np.arange(80)
    paired = difference(*sides, everyone, share=False)
    strangers = SampleScores(after, people + 1000)
    loose = difference(sides[0], strangers, (everyone[0][:0], everyone[1][:0]), share=False)
    assert paired is not None
    assert loose is not None
    assert paired.value == pytest.approx(loose.value)
    assert paired.low > 0 > loose.low  # type: ignore[operator]
    assert paired.p < 1e-6 < 0.05 < loose.p  # type: ignore[operator]
    assert not loose.paired


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """200 comparisons of clustered values whose true difference is 0.2."""
    rng = np.random.default_rng(11)
    people = np.repeat(np.arange(40), 3)
    at = np.arange(120), np.arange(120)
    held = false = 0
    for _ in range(200):
        own = np.repeat(rng.normal(0, 1, 40), 3)
        before, moved = rng.normal(0, 0.5, 120), rng.normal(0.2, 0.5, 120)
        found = difference(SampleScores(before, people), SampleScores(moved + own, people), at, share=False)
        null = difference(SampleScores(before, people), SampleScores(moved + own - 0.2, people), at, share=False)
        assert found is not None
        assert null is not None
        held += found.low <= 0.2 <= found.high  # type: ignore[operator]
        false += null.p < 0.05  # type: ignore[operator]
    assert 0.90 <= held / 200 <= 0.99
    assert false / 200 <= 0.09


def test_decisions_without_spread_get_an_interval() -> None:
    people, at = np.arange(30), (np.arange(30), np.arange(30))
    found = difference(SampleScores(np.zeros(30), people), SampleScores(np.ones(30), people), at, share=True)
    assert found is not None
    assert found.value == 1
    assert 0.7 < found.low < 1  # type: ignore[operator]
    assert found.high == 1
    assert found.p == pytest.approx(2.0**-29)


def test_samples_without_a_finite_value_are_left_out() -> None:
    people, at = np.arange(6), (np.arange(6), np.arange(6))
    before, after = np.array([1.0, 2, np.nan, 4, np.inf, 6]), np.array([2.0, 3, 4, np.nan, 5, 8])
    found = difference(SampleScores(before, people), SampleScores(after, people), at, share=False)
    assert found is not None
    assert (found.n, found.left_out) == (3, 3)
    assert found.value == pytest.approx(4 / 3)


def test_samples_that_pull_both_means_add_to_the_error_of_the_difference() -> None:
    """Two people pull both means alike, and two others, of whom only the earlier run has a sample, its mean by .1 and
    -.1: the scores of that run were compared with theirs. A score of one run only is left out."""
    people, at = np.arange(4), (np.arange(4), np.arange(4))
    pulls = Pulls(np.array([0.2, -0.2, 0.1, -0.1]), np.arange(4, 8)), Pulls(np.array([0.2, -0.2]), np.arange(4, 6))
    before = SampleScores(np.array([0.5, 0.6, 0.7, 0.5]), people, pulls=pulls[0])
    after = SampleScores(np.array([0.6, 0.6, 0.9, np.nan]), people, pulls=pulls[1])
    found = difference(before, after, at, share=False)
    alone = difference(replace(before, pulls=None), replace(after, pulls=None), at, share=False)
    assert found is not None
    assert alone is not None
    assert (found.value, found.n, found.people, found.left_out, found.changes) == (pytest.approx(0.1), 3, 3, 1, 2)
    assert (alone.value, alone.n, alone.people, alone.left_out) == (found.value, 3, 3, 1)
    assert found.error is not None
    assert alone.error is not None
    assert found.error**2 == pytest.approx(alone.error**2 + 0.02 * 3 / 2)


def test_the_pulls_of_a_run_that_numbers_people_otherwise_are_those_of_the_same_people() -> None:
    """Samples 0 to 3 show people who have other numbers in the later run; 2 and 3 pull both means alike."""
    values, at = np.array([0.5, 0.7, np.nan, np.nan]), (np.arange(4), np.arange(4))
    pulls = np.array([0.0, 0.0, 0.2, -0.2])
    before, after = (
        SampleScores(values, number, pulls=Pulls(pulls, number)) for number in (np.arange(4), np.arange(4)[::-1])
    )
    found = in_common(before, replace(after, values=values + 0.1), at)
    assert found.after.pulls is not None
    assert found.after.pulls.people.tolist() == [0, 1, 2, 3]


def test_the_difference_from_a_run_with_half_of_the_pairs_is_covered() -> None:
    """Areas of links: both runs score the same pairs, and the later one has the first half of either kind."""
    rng, n, held, trials = np.random.default_rng(2), 120, 0, 300
    for _ in range(trials):
        same, other = rng.normal(1, 1, n), rng.normal(0, 1, n)
        noise = rng.normal(0, 0.5, (2, n))
        sides = _area(same, other), _area((same + noise[0])[: n // 2], (other + noise[1])[: n // 2])
        found = difference(*sides, (np.arange(n // 2), np.arange(n // 2)), share=False)
        assert found is not None
        expected = norm.cdf(1 / 2.5**0.5) - norm.cdf(1 / 2**0.5)
        held += found.low <= expected <= found.high  # type: ignore[operator]
    assert 0.92 <= held / trials <= 0.98


def _area(same: Any, other: Any) -> SampleScores:
    """Return the scores of pairs of one person, with the pulls of pairs of two, each of people of its own."""
    higher = same[:, None] > other
    pulls = Pulls((higher.mean(0) - higher.mean()) / len(other), 1000 + np.arange(len(other)))
    return SampleScores(higher.mean(1), np.arange(len(same)), pulls=pulls)


def test_the_interval_of_many_people_is_that_of_a_t_test() -> None:
    people, at = np.arange(300), (np.arange(300), np.arange(300))
    sides = SampleScores(RNG.normal(0, 1, 300), people), SampleScores(RNG.normal(0.5, 1, 300), people)
    found = difference(*sides, at, share=False)
    assert found is not None
    changes = sides[1].values - sides[0].values
    reach = 1.968 * changes.std(ddof=1) / np.sqrt(300)  # Student's t with 299 degrees of freedom
    assert (found.low, found.high) == pytest.approx((changes.mean() - reach, changes.mean() + reach), abs=2e-3)


def shares(before: float, after: float, n: int = 200, seed: int = 0) -> Any:
    """Return the difference of the shares of two runs on the same people."""
    rng, people = np.random.default_rng(seed), np.arange(n)
    sides = (SampleScores((rng.random(n) < share).astype(float), people) for share in (before, after))
    return difference(*sides, (people, people), share=True)


def test_the_detectable_difference_shrinks_with_people_and_grows_with_tests() -> None:
    few, more = (detectable(shares(0.1, 0.1, n), 0.05) for n in (100, 400))
    assert few is not None
    assert more is not None
    assert 1.5 < few / more < 2.5
    stricter = detectable(shares(0.1, 0.1, 400), 0.05 / 50)
    assert stricter is not None
    assert stricter > more
    assert detectable(shares(0.1, 0.1, 8), 0.05 / 50) is None  # 2 · 2⁻⁸ is more than .001.


def test_the_detectable_difference_of_a_mean_follows_from_its_error() -> None:
    people, at = np.arange(300), (np.arange(300), np.arange(300))
    sides = SampleScores(RNG.normal(0, 1, 300), people), SampleScores(RNG.normal(0, 1, 300), people)
    found = difference(*sides, at, share=False)
    assert found is not None
    error = (sides[1].values - sides[0].values).std(ddof=1) / np.sqrt(300)
    assert detectable(found, 0.05) == pytest.approx((1.968 + 0.842) * error, rel=0.01)


def test_results_of_too_few_people_alone_are_not_tested() -> None:
    unknown = Difference(before=0.1, after=0.9, n=4, people=1, paired=True)
    (found,) = corrected([unknown])
    assert (found.p, found.detectable) == (None, None)


def test_results_that_are_the_same_say_what_would_have_been_seen() -> None:
    ones = SampleScores(np.ones(100), np.arange(100))
    same = difference(ones, ones, (np.arange(100), np.arange(100)), share=True)
    assert same is not None
    (alone,) = corrected([same])
    assert alone.p is None
    assert alone.detectable is not None
    assert 0.05 < alone.detectable < 0.12
    first, second = corrected([same, shares(0.1, 0.4)])
    assert first.detectable is not None
    assert first.detectable > alone.detectable  # It would have been the second test.
    assert second.p is not None


def test_equal_runs_rarely_differ_and_changes_are_seen() -> None:
    """A short form of ``make statistics``."""
    simulated = benchmark("comparisons")
    repeats = 60
    scenes = [simulated.Scene(settings=3, people=104, agreement=a, twice=t) for a, t in ((0.0, False), (0.5, True))]
    wrong = [simulated.alarms(scene, repeats) for scene in scenes]
    assert not any(simulated.too_many(share, repeats, simulated.LEVEL) for share in wrong)
    seen = {change: simulated.power(scenes[0], change, "leakage", repeats) for change in simulated.CHANGES}
    assert seen[0.05] < seen[0.1]
    printed = simulated.detectable_of(scenes[0], "leakage", 10)
    assert simulated.power(scenes[0], printed, "leakage", repeats) >= 0.6


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


# ---- what else has changed -------------------------------------------------------------------------------------------


def test_changed_provenance_is_told_by_kind() -> None:
    def component(kind: str, label: str, **about: Any) -> dict[str, Any]:
        origin = {"package": label, "distribution": "mine", "version": "1", "digest": about.pop("code", "d" * 64)}
        return {"kind": kind, "name": label, "label": label, "params": {}, "weights": None, "instead_of": None,
                "origin": origin, **about}  # fmt: skip

    def run(**changes: Any) -> RunRecord:
        return decode(RunRecord, {
            "suite": {"name": "one", "raw": {"suite": {"seed": 1}, "experiment": [{"pairs": 10, "defenses": ["pmt"]}]}},
            "components": [component("dataset", "lfw", weights="a" * 64), component("defense", "pmt")],
            "versions": {"torch": "2.1"}, "machine": {"processor": "A"}, "device": "cpu", "commit": "f" * 40,
        } | changes)  # fmt: skip

    before = run()
    assert not any(changes_between(before, run()).values())
    after = run(
        suite={
            "name": "one", "raw": {"suite": {"seed": 2}, "experiment": [{"pairs": 10, "defenses": ["pmt", "noise"]}]}
        },
        components=[
            component("dataset", "lfw", weights="b" * 64), component("defense", "pmt", code="e" * 64, params={"k": 3})
        ],
        versions={"torch": "2.2"},
        machine={"processor": "B"},
        device="cuda",
        commit=None,
    )  # fmt: skip
    assert changes_between(before, after) == {
        "suite": ["suite.seed: 1 -> 2", "experiment[0].defenses: ['pmt'] -> ['pmt', 'noise']"],
        "code": [
            f"commit: {'f' * 40} -> none",
            "plugin pmt (mine): 1, code dddddddddddd -> 1, code eeeeeeeeeeee",
        ],
        "data and weights": ["dataset lfw: data: aaaaaaaaaaaa -> bbbbbbbbbbbb", "defense pmt: k: none -> 3"],
        "packages": ["version of torch: 2.1 -> 2.2"],
        "machine": ["processor: A -> B", "device: cpu -> cuda"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("schemas", [(2, 2), (2, 3), (3, 3), (3, 4), (4, 4)])
def test_runs_of_every_schema_are_compared(schemas: tuple[int, int]) -> None:
    golden = TESTS / "golden"
    found = diff(*(RunResults(golden / f"schema-{schema}") for schema in schemas))
    assert found.cells == 20
    assert found.details
    assert found.tests or found.untested
    assert not found.regressed
    json.dumps(record(found), allow_nan=False)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    before, after = tmp_path / "a", tmp_path / "b"
    write_run(before, answers())
    write_run(after, answers(leaked=0.7))
    runner = CliRunner()
    done = runner.invoke(main, ["diff", str(before), str(after)])
    assert done.exit_code == 0
    assert "regression" in done.output
    assert "corrected by Holm's method" in done.output
    assert "detectable" in done.output
    assert "one: PMT, abuse (1 cell)" in " ".join(done.output.split())
    assert "not tested, whose uncorrected interval excludes 0" in done.output
    done = runner.invoke(main, ["diff", str(before), str(after), "--fail-on-regression", "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["regressed"] is True
    assert told["correction"] == "Holm"
    (line,) = (x for x in told["details"] if x["metric"] == "srra-fixed" and x["role"] == "unauthorised")
    assert (line["before"], line["after"], line["n"], line["better"]) == (0.1, 0.7, N, "lower")
    (test,) = (x for x in told["tests"] if x["question"] == "leakage")
    assert (test["before"], test["after"], test["n"], test["verdict"]) == (10.0, 70.0, N, "regression")
    assert 5 < test["detectable"] < 40
    assert told["tested"] == 1
    done = runner.invoke(main, ["diff", str(before), str(before), "--fail-on-regression"])
    assert done.exit_code == 0
    done = runner.invoke(main, ["diff", str(before), str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "expected a run folder" in done.output


def test_the_page_loads_nothing_and_escapes_everything(tmp_path: Path) -> None:
    before, after = answers(), answers(leaked=0.7)
    for one in (before, after):
        one[2] = replace(one[2], defense=HOSTILE)
    write_run(tmp_path / "a", before)
    write_run(tmp_path / "b", [*after, Answer(HOSTILE, attack="x", hits=hits(0.5))])
    page = tmp_path / "out" / "diff.html"
    done = CliRunner().invoke(main, ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(page)])
    assert done.exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert markup(text) == text
    assert text.count("regression</span>") == 1  # of the one setting that leaks more
    assert '<th scope="col">detectable</th>' in text
    assert "Details that were not tested" in text
    assert text.count('<tr><th scope="row">') > 5
    assert "default-src 'none'" in text
    assert os.path.getsize(page) < 1_000_000


def test_a_page_of_equal_runs_says_so(compared: Any) -> None:
    text = render(compared(answers(), answers()))
    assert "Nothing got significantly worse" in text
    assert "both runs have the same cells" in text


def test_what_a_suite_does_not_set_is_called_its_default() -> None:
    raws: list[dict[str, Any]] = [{"experiment": []}, {"experiment": [], "fmr": 0.05}]
    before, after = (decode(RunRecord, {"suite": {"name": "mine", "raw": raw}}) for raw in raws)
    assert changes_between(before, after)["suite"] == ["fmr: not set, the default -> 0.05"]
