"""The intervals of shares and means whose samples show people again: coverage, the choice of the method, and draws."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from fake_run import ONE, FakeRun, rewritten, write_fake_run
from scipy.stats import norm
from support import benchmark

from bench.analysis.dominance import interval_of_highest
from bench.analysis.measures import measure, metric_named, select
from bench.analysis.pooling import (
    DRAWS,
    Pool,
    SampleScores,
    difference_of,
    drawn_means,
    joint_deviates,
    mean,
)
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.metrics import pair_interval, wilson_interval
from bench.metrics.clustering import pairs_of
from bench.report.export import export
from bench.report.page.evidence import support

ROOT = Path(__file__).parents[2]
REPEATS = 150


@pytest.fixture(scope="module")
def inference() -> ModuleType:
    """The script of ``make statistics``."""
    return benchmark("inference")


def test_make_statistics_runs_the_script() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "statistics: $(VENV)/.ready\n\t$(BIN)/python benchmarks/inference.py" in text


def test_make_statistics_says_how_long_it_takes(inference: ModuleType) -> None:
    assert inference.SECONDS.keys() == inference.SECTIONS.keys()
    few, many = (inference.estimated_minutes(list(inference.SECTIONS), repeats) for repeats in (2, 2000))
    assert 1 <= few < many


@pytest.mark.parametrize("size", [(24, 200), (50, 104), (200, 600)])
def test_intervals_contain_the_truth(inference: ModuleType, size: tuple[int, int]) -> None:
    """A short form of ``make statistics``: one coverage at a time may be low by chance, their mean may not."""
    kinds = [c for c in inference.cases([size], (0.5, 0.02, None)) if c.interval != "draws"]
    columns = [(c, inference.CORRELATIONS[i % 5]) for i, c in enumerate(kinds)]
    found = {(c, r): inference.coverage(c, r, REPEATS) for c, r in columns}
    low = {f"{case} {r}": f for (case, r), f in found.items() if inference.too_low(f, REPEATS, inference.BAR)}
    assert len(low) <= 1, low  # 2.6 standard errors: one in 200 by chance, if the coverage is just at the bar.
    assert np.mean(list(found.values())) >= 0.945


def test_intervals_of_independent_decisions_miss_people_who_occur_again(inference: ModuleType) -> None:
    """The simulation shows the mistake that clustering repairs: 200 samples of 24 people are not 200 trials."""
    case = inference.Case(interval="one cell", design="one person", share=0.5, people=24, samples=200)
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        values = inference.scores(case, inference.people_of(case, rng), 0.3, rng)
        low, high = wilson_interval(int(values.sum()), len(values))
        hits += low <= 0.5 <= high
    assert hits / 300 < 0.8


# ---- the choice of the method ----------------------------------------------------------------------------------------


def test_the_rows_decide_the_method_not_the_number_of_cells(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(**ONE))
    rows = Rows(results)
    cells = select(rows, defense="PMT", evaluated="net-b")
    once = measure(rows, cells, "accuracy")
    assert (len(cells), once.interval) == (1, "Wilson")
    assert once.people >= once.n  # Impostor pairs show two people.

    def meet_again(table: pd.DataFrame) -> None:
        """The last impostor pair shows a person of the first pair on its right side."""
        last = table.groupby("cell").tail(1).index
        table.loc[last, "right_subject"] = table["left_subject"].min()

    rows = Rows(rewritten(results, verification=meet_again))
    again = measure(rows, select(rows, defense="PMT", evaluated="net-b"), "accuracy")
    assert (again.interval, again.value, again.n) == ("clustered", once.value, once.n)
    assert again.people == once.people - 1
    alone = measure(rows, select(rows, defense="PMT", evaluated="net-b"), "fmr-match")
    assert (alone.interval, alone.people) == ("Wilson", alone.n), "the right picture plays no part"


def test_a_table_says_how_many_people_are_behind_n(tmp_path: Path) -> None:
    assert Measurement(value=0.5, n=1200, people=24).support == "1,200 of 24 people"
    assert Measurement(value=0.5, n=2, people=1).support == "2 of 1 person"
    assert Measurement(value=0.5, n=200, people=300).support == "200"  # Everybody occurs once.
    assert Measurement(value=0.5, n=200).support == "200"

    def few(table: pd.DataFrame) -> None:
        table["left_subject"] = table["right_subject"] = np.arange(len(table)) % 3

    rows = Rows(rewritten(write_fake_run(tmp_path / "run", FakeRun(**ONE)), verification=few))
    found = export(rows.results, "VII", "csv")
    assert {row["people"] for row in csv.DictReader(io.StringIO(found)) if row["n"] == "4"} == {"3"}
    assert "N=4 of 3 people" in export(rows.results, "VII", "md")
    assert support(metric_named("srra"), measure(rows, rows.cells[:1], "srra")).endswith("N\u00a04 of 3 people")


def test_both_people_of_a_pair_are_clusters() -> None:
    """Swapping the sides of pairs changes nothing, and repeating on the right is as bad as repeating on the left."""
    rng = np.random.default_rng(0)
    many, few = np.arange(120) + 100, np.repeat(np.arange(12), 10)
    values = (np.repeat(rng.random(12), 10) > rng.random(120)).astype(float)
    left, right = pair_interval(values, few, many, share=True), pair_interval(values, many, few, share=True)
    assert left == right
    assert left is not None
    wilson = wilson_interval(int(values.sum()), 120)
    assert left[1] - left[0] > 1.3 * (wilson[1] - wilson[0])
    alone = pair_interval(values, few, share=True)
    assert alone == pytest.approx(left, abs=0.02)


def test_people_who_occur_once_are_wilsons_trials() -> None:
    values = np.array([1.0] * 7 + [0.0] * 13)
    assert pair_interval(values, np.arange(20), np.arange(20) + 20, share=True) == wilson_interval(7, 20)
    assert pair_interval(values, np.arange(20), share=True) == wilson_interval(7, 20)


def test_the_variance_equals_the_sum_over_pairs_that_share_a_person() -> None:
    """Written down anew with matrices: Aronow, Samii and Assenova 2015, and the moments of its correction."""
    rng = np.random.default_rng(3)
    left, right = rng.integers(9, size=40), rng.integers(9, size=40)
    values, n = rng.normal(size=40), 40
    pairs, who = pairs_of(left.tolist(), right.tolist())
    deviations = np.bincount(who, values - values.mean())
    people = [{a, b} for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    shared = np.array([[bool(a & b) for b in people] for a in people])
    e = values - values.mean()
    assert pairs.variance(deviations) == pytest.approx(e @ shared @ e)
    member = (who[:, None] == np.arange(len(deviations))).astype(float)
    centred = np.eye(n) - 1 / n
    form = member.T @ centred @ shared @ centred @ member
    found = pairs.correction(member.sum(axis=0))
    shows = np.array([[float(k in shown) for k in range(9)] for shown in people])
    effects = shows.T @ centred @ shared @ centred @ shows
    moments = np.trace(form), np.trace(effects)
    true = (member.sum(axis=0) ** 2).sum(), (shows.sum(axis=0) ** 2).sum()
    mixed, of = (0.9 * one + 0.1 * other for one, other in (moments, true))
    assert found.bias == pytest.approx(mixed / of)
    assert found.df == pytest.approx(np.trace(form) ** 2 / (form**2).sum())
    assert found.degree == pytest.approx(shared.sum() / n)


def test_little_is_known_about_one_person_and_nothing_about_no_score() -> None:
    ones = np.ones(5)
    assert pair_interval(ones, np.zeros(5), share=False) is None
    low, high = pair_interval(ones, np.zeros(5), share=True) or (0, 0)
    assert (low, high) == pytest.approx(wilson_interval(1, 1))
    assert pair_interval(np.full(3, np.nan), np.arange(3), share=True) is None
    with pytest.raises(ValueError, match="two people per value"):
        pair_interval(ones, np.arange(4), share=True)
    with pytest.raises(ValueError, match="confidence level"):
        pair_interval(ones, np.arange(5), share=True, level=1.0)


def test_equal_decisions_of_few_people_are_not_many_trials() -> None:
    low, high = pair_interval(np.zeros(200), np.repeat(np.arange(20), 10), share=True) or (0, 0)
    assert low == 0
    assert wilson_interval(0, 200)[1] < high < wilson_interval(0, 20)[1]


# ---- people of several data sets -------------------------------------------------------------------------------------


def test_people_of_data_sets_that_show_the_same_people_count_once(tmp_path: Path) -> None:
    spec = FakeRun(datasets={"lfw": "LFW", "calfw": "CALFW"}, authorised=(("net-a",),), synthetic=False)
    apart = Rows(write_fake_run(tmp_path / "apart", spec))
    together = Rows(write_fake_run(tmp_path / "together", FakeRun(**{**vars(spec), "people_of": "lfw"})))
    found = [measure(rows, select(rows, defense="PMT", evaluated="net-b"), "srra") for rows in (apart, together)]
    assert found[0].n == found[1].n
    assert found[0].people == 2 * found[1].people
    assert (found[0].interval, found[1].interval) == ("Wilson", "clustered")


# ---- draws -----------------------------------------------------------------------------------------------------------


def test_draws_of_pools_spread_like_their_intervals_and_vary_together() -> None:
    rng = np.random.default_rng(2)
    people, others = rng.integers(30, size=300), rng.integers(30, size=300)
    effect = rng.normal(size=30)
    values = effect[people] + rng.normal(size=300)
    decisions = (values > 0.5).astype(float)
    pools = [Pool([SampleScores(v, people, others=others)]) for v in (values, decisions, -values)]
    strangers = Pool([SampleScores(values, people, "elsewhere", others)])
    drawn = drawn_means([*pools, strangers, Pool()])
    assert drawn.shape == (DRAWS, 5)
    assert np.isnan(drawn[:, 4]).all()
    for k, pool in enumerate(pools):
        found = mean(pool, share=k == 1)
        assert found.low is not None
        assert found.high is not None
        width = found.high - found.low
        assert np.quantile(drawn[:, k], [0.025, 0.975]) == pytest.approx([found.low, found.high], abs=0.1 * width)
    related = np.corrcoef(drawn[:, :4].T)
    assert related[0, 1] > 0.6
    assert related[0, 2] < -0.999
    assert abs(related[0, 3]) < 0.1
    assert (drawn == drawn_means([*pools, strangers, Pool()]))[:, :4].all()


def test_a_deviate_is_the_inverse_of_a_bound() -> None:
    rng = np.random.default_rng(4)
    people = rng.integers(25, size=200)
    for values in ((rng.random(200) < 0.2).astype(float), rng.normal(size=200)):
        known = Pool([SampleScores(values, people)]).estimate()
        for z in (-2.0, -0.5, 0.7, 1.645):
            assert known.deviate(known.bound(z)) == pytest.approx(z, abs=1e-2)
    deviates = joint_deviates([Pool([SampleScores(values, people)])])
    assert deviates.mean() == pytest.approx(0, abs=0.07)
    assert deviates.std() == pytest.approx(1, abs=0.05)


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(5)
    people, level = np.arange(60), rng.normal(size=60)
    before, after = (Pool([SampleScores(level + 0.1 * rng.normal(size=60), people)]) for _ in range(2))
    strangers = Pool([SampleScores(level, people, "elsewhere")])
    paired, unpaired = difference_of(before, after), difference_of(before, strangers)
    assert paired is not None
    assert unpaired is not None
    assert paired.error < 0.2 * unpaired.error
    assert difference_of(before, Pool()) is None


# ---- the highest of several ------------------------------------------------------------------------------------------


def _attacks(rates: Sequence[float], rng: np.random.Generator, people: int = 208) -> list[Pool]:
    """Return decisions on the same people of attacks with these true rates, which often succeed on the same people."""
    deviates = (rng.standard_normal((people, 1)) + rng.standard_normal((people, len(rates)))) / 2**0.5
    hits = deviates < norm.ppf(rates)
    return [Pool([SampleScores(one.astype(float), np.arange(people))]) for one in hits.T]


@pytest.mark.parametrize("rates", [[0.02] * 12, [0.5] * 12, list(np.linspace(0.1, 0.5, 12))])
def test_the_interval_of_the_worst_attack_holds_although_it_was_chosen(rates: list[float]) -> None:
    """The interval of the attack that is the highest in each sample lies too high, because it was chosen."""
    rng = np.random.default_rng(0)
    covered, repeats = 0, 60
    for _ in range(repeats):
        low, high = interval_of_highest(_attacks(rates, rng)) or (1.0, 0.0)
        covered += low <= max(rates) <= high
    assert covered >= 0.9 * repeats


def test_the_interval_of_the_only_attack_is_its_own() -> None:
    (one,) = _attacks([0.3], np.random.default_rng(0))
    assert interval_of_highest([one, Pool()]) == one.estimate().interval()


def test_attacks_that_never_or_always_succeed_have_an_interval_of_their_highest() -> None:
    never, always = _attacks([1e-12, 1 - 1e-12], np.random.default_rng(0))
    low, high = interval_of_highest([never, never]) or (1.0, 0.0)
    assert 0 == low < high < 0.05
    low, high = interval_of_highest([never, always]) or (0.0, 0.0)
    assert 0.95 < low < 1 == high
    assert interval_of_highest([]) is None
