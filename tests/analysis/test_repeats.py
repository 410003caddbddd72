"""Repeats of random defenses and learners: one setting, whose interval contains the spread between them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from fake_run import ONE, FakeRun, rewritten, write_fake_run
from scipy.special import stdtrit
from support import benchmark

from bench.analysis.chance_tests import AgainstChance, beyond_chance
from bench.analysis.compare.significance import difference
from bench.analysis.measures import measure, select
from bench.analysis.pooling import Floats, Pool, SampleScores, difference_of, drawn_means, mean
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.analysis.tables.recommendation import recommend
from bench.report.export import export
from bench.report.page.run_facts import repeats as repeats_of
from bench.runs.explain import explain, find_cell
from bench.store.artifacts import Cache

RUNS = 150


def repeated(scores: Sequence[Floats], group: str = "") -> Pool:
    """Return the pool of the repeats of one setting, each with a score for every person."""
    every = tuple(range(len(scores)))
    return Pool(SampleScores(np.asarray(s), np.arange(len(s)), group, None, r, every) for r, s in enumerate(scores))


@pytest.fixture(scope="module")
def repeated_draws() -> ModuleType:
    """The part of ``make statistics`` on repeats."""
    return benchmark("repeated_draws")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """A run in which everything was repeated three times."""
    return Rows(write_fake_run(tmp_path_factory.mktemp("repeats") / "run", FakeRun(**ONE | {"pairs": 20}, repeats=3)))


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_two_people_in_three_repeats() -> None:
    """The worked example of docs/design/metrics.md."""
    pool = repeated([np.array([1.0, 3.0]), np.array([2.0, 4.0]), np.array([6.0, 8.0])])
    assert (pool.mean, pool.n, pool.people_count, pool.repeats) == (4.0, 2, 2, (3, 3))
    _, sums, counts = pool.per_pair()
    assert (sums.tolist(), counts.tolist()) == ([3.0, 5.0], [1.0, 1.0])
    between = pool.between()
    assert between is not None
    assert between.variance == pytest.approx(np.var([2, 3, 7], ddof=1) / 3)
    assert between.df == 2
    found, people = pool.estimate(share=False), Pool([SampleScores(np.array([3.0, 5.0]), np.arange(2))]).estimate()
    variance = people.error**2 + 7 / 3
    assert found.error == pytest.approx(math.sqrt(variance))
    assert people.error**2 == pytest.approx(1.0)  # s² / n of the two people.
    # One degree of freedom of two people and two of three repeats: quantiles of 12.71 and 4.30.
    quantile = (1 * stdtrit(people.df, 0.975) + 7 / 3 * stdtrit(2, 0.975)) / variance
    assert stdtrit(found.df, 0.975) == pytest.approx(quantile, rel=0.05)


def test_repeats_of_several_settings_with_the_same_number_are_one_cluster() -> None:
    scores = [np.array([1.0, 3.0]), np.array([2.0, 4.0]), np.array([6.0, 8.0])]
    pool = repeated(scores)
    for r, values in enumerate(scores):
        pool.add(SampleScores(values, np.arange(2), "others", None, r, (0, 1, 2)))
    between = pool.between()
    assert between is not None
    assert (pool.n, pool.people_count) == (4, 4)
    assert between.variance == pytest.approx(7 / 3)


def test_the_same_rows_again_are_no_further_evidence() -> None:
    values = (np.random.default_rng(0).random(60) < 0.3).astype(np.float64)
    once, again = (mean(repeated([values] * r)) for r in (1, 3))
    assert (once.value, once.n, once.people, once.repeats) == (again.value, again.n, again.people, (1, 1))
    assert again.repeats == (3, 3)
    assert None not in (once.low, once.high, again.low, again.high)
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.05)  # type: ignore[operator]
    for agreed in (0.0, 1.0):
        once, again = (mean(repeated([np.full(60, agreed)] * r)) for r in (1, 3))
        assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_settings_without_repeats_keep_their_weight() -> None:
    pool = repeated([np.zeros(10), np.ones(10), np.ones(10)])
    pool.add(SampleScores(np.zeros(10), np.arange(10), "others"))
    assert (pool.mean, pool.n, pool.repeats) == (pytest.approx(1 / 3), 20, (1, 3))


def test_a_single_repeat_counts_whole() -> None:
    part = SampleScores(np.ones(10), np.arange(10), repeat=1, repeats=(0, 1, 2))
    assert (Pool([part]).n, Pool([part]).repeats, Pool([part]).between()) == (10, (1, 1), None)


def test_differences_are_formed_repeat_by_repeat() -> None:
    rng = np.random.default_rng(1)
    people, effects = rng.normal(size=50), 3 * rng.normal(size=3)
    before = [people + e + 0.1 * rng.normal(size=50) for e in effects]
    after = [people + e + 1 + 0.1 * rng.normal(size=50) for e in effects]
    alike = difference_of(repeated(before), repeated(after))
    other = difference_of(repeated(before), repeated([after[i] for i in (1, 2, 0)]))
    assert alike is not None
    assert other is not None
    assert alike.mean == pytest.approx(other.mean)
    assert alike.error < 0.1 < other.error
    assert other.df < 3


def test_draws_spread_like_intervals() -> None:
    rng = np.random.default_rng(2)
    pools = [repeated([rng.normal(size=60) + e for e in (0.0, 0.5, 1.0)]), repeated([rng.normal(size=60)])]
    drawn = drawn_means(pools)
    for k, pool in enumerate(pools):
        found = mean(pool, share=False)
        assert found.low is not None
        assert found.high is not None
        width = found.high - found.low
        assert np.quantile(drawn[:, k], [0.025, 0.975]) == pytest.approx([found.low, found.high], abs=0.1 * width)


def test_two_runs_are_compared_with_the_repeats_of_both() -> None:
    rng = np.random.default_rng(3)
    at = np.arange(40)
    one = SampleScores(rng.normal(size=40), at, repeat=1, repeats=(0, 1, 2))
    found = difference(one, one, (at, at), share=False)
    assert found is not None
    assert (found.same, found.n) == (True, 40)


# ---- tests against chance --------------------------------------------------------------------------------------------


def test_more_repeats_do_not_make_a_leak() -> None:
    matched = np.isin(np.arange(104), (3, 50)).astype(np.float64)
    tests = [beyond_chance([AgainstChance(found=repeated([matched] * r), chance=0.01)])[0] for r in (1, 5)]
    assert [t.people for t in tests] == [104, 104]
    assert tests[0].p == pytest.approx(tests[1].p)


def test_a_leak_in_one_of_three_repeats_is_no_certain_leak() -> None:
    none, all_matched = np.zeros(104), np.ones(104)
    (sure,) = beyond_chance([AgainstChance(found=repeated([all_matched] * 3), chance=0.01)])
    (unsure,) = beyond_chance([AgainstChance(found=repeated([none, none, all_matched]), chance=0.01, share=False)])
    assert sure.beyond
    assert not unsure.beyond


# ---- rows of a run ---------------------------------------------------------------------------------------------------


def test_a_setting_is_the_mean_over_its_repeats(rows: Rows) -> None:
    for name, chosen in (("accuracy", {"evaluated": "net-b"}), ("ssim", {}), ("fmr-match", {"evaluated": "net-b"})):
        cells = select(rows, defense="PMT", **chosen)
        found = measure(rows, cells, name)
        alone = [measure(rows, [c for c in cells if c.repeat == r], name) for r in range(3)]
        assert found.value == pytest.approx(np.mean([f.value for f in alone]))
        assert {f.n for f in alone} == {found.n}
        assert {f.people for f in alone} == {found.people}
        assert (found.repeats, {f.repeats for f in alone}) == ((3, 3), {(1, 1)})
        assert found.support.endswith(", 3 repeats")


def test_a_repeat_without_a_result_does_not_count(tmp_path: Path) -> None:
    def last(cell: dict[str, object]) -> str | None:
        return "out of memory" if cell["repeat"] == 2 and cell["defense"] == "PMT" else None

    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(**ONE, repeats=3, failed=last)))
    found = measure(rows, select(rows, defense="PMT", evaluated="net-b"), "accuracy")
    assert (found.repeats, found.n) == ((2, 2), 4)
    assert found.note is not None
    assert "2 of 3 cells" in found.note
    assert measure(rows, select(rows, defense="Clean", evaluated="net-b"), "accuracy").repeats == (3, 3)


def test_exports_and_the_verdict_name_the_repeats(rows: Rows) -> None:
    found = [r for r in csv.DictReader(io.StringIO(export(rows.results, "VII", "csv"))) if r["value"]]
    assert {r["repeats"] for r in found if r["row"] != "Clean"} == {"3"}
    assert "3 repeats" in export(rows.results, "VII", "md")
    assert "3 repeats" in export(rows.results, "VII", "latex")
    assert "contain the spread between repeats" in repeats_of(recommend(rows))
    cell = find_cell(rows.results, ["defense=PMT", "evaluated=net-b", "repeat=1"])
    words = explain(rows.results, cell, rows.results.folder, Cache(rows.results.folder / "cache")).words
    assert "repeat 1 of 0 to 2" in words["measured on"]


def test_one_draw_is_said_to_be_one_draw(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", FakeRun(**ONE)))
    assert "hold for this seed only" in repeats_of(recommend(rows))
    assert Measurement(value=0.5, n=4).support == "4"
    assert Measurement(value=0.5, n=4, repeats=(1, 3)).support == "4, 1 to 3 repeats"
    csv_rows = list(csv.DictReader(io.StringIO(export(rows.results, "VII", "csv"))))
    assert {r["repeats"] for r in csv_rows if r["value"]} == {"1"}


def test_the_spread_between_repeats_widens_the_interval(rows: Rows) -> None:
    def apart(table: pd.DataFrame) -> None:
        table["cos_self"] = np.where(table["repeat"] == 0, 0.9, np.where(table["repeat"] == 1, 0.5, 0.1))

    changed = Rows(rewritten(rows.results, verification=apart))
    found = measure(changed, select(changed, defense="PMT", evaluated="net-b"), "cosine")
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert found.low < 0.5 - 4.3 * 0.4 / math.sqrt(3) + 0.05


# ---- by simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [3, 5])
def test_intervals_contain_the_truth(repeated_draws: ModuleType, repeats: int) -> None:
    """A short form of ``make statistics``."""
    kinds = [c for c in repeated_draws.cases() if c.repeats == repeats and c.interval != "draws"]
    columns = [(c, repeated_draws.SPREADS[i % 5]) for i, c in enumerate(kinds)]
    found = {f"{case} {s}": repeated_draws.coverage(case, s, RUNS) for case, s in columns}
    low = {name: share for name, share in found.items() if repeated_draws.too_low(share, RUNS, repeated_draws.BAR)}
    assert len(low) <= 1, low
    assert np.mean(list(found.values())) >= 0.945


def test_intervals_of_people_alone_miss_the_spread_between_repeats(repeated_draws: ModuleType) -> None:
    """The simulation shows the mistake that is repaired: pooled as further samples of the same people."""
    case = repeated_draws.Case(interval="one setting", share=None, repeats=3)
    rng, hits = np.random.default_rng(4), 0
    for _ in range(300):
        found = mean(
            repeated_draws.pooled(case, repeated_draws.simulated(case, 0.1, rng, 1, shared=True), apart=True),
            share=False,
        )
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0 <= found.high
    assert hits / 300 < 0.7
