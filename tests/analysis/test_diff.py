"""Two runs compared: which cells match, what is significant, what is worse, and what else has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from claims_run import Answer, write_run
from click.testing import CliRunner
from pages import markup
from support import TESTS

from bench.analysis.compare import Diff, DiffLine, diff
from bench.analysis.compare.diff import record
from bench.analysis.compare.significance import aligned, difference, holm
from bench.analysis.pooling import SampleScores
from bench.cli import main
from bench.core.errors import StorageError
from bench.report.compare_page import render
from bench.store.reading import RunResults
from bench.store.record_diff import changes_between
from bench.store.run_record import RunRecord
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
    """Return the line of a metric in the cell of a role."""
    (line,) = (x for x in found.lines if (x.metric.name, x.before.role) == (metric, role))
    return line


def test_a_run_equals_itself(compared: Any) -> None:
    found = compared(answers(), answers())
    assert found.cells == 3
    assert found.lines
    assert {line.verdict for line in found.lines} == {"same"}
    assert found.tested == 0
    assert not found.regressed
    assert not any(found.changes.values())


def test_more_leakage_and_less_utility_are_regressions(compared: Any) -> None:
    found = compared(answers(), answers(kept=0.5, leaked=0.6, ssim=0.5))
    assert found.regressed
    leaked, kept, shown = of(found, "srra"), of(found, "srra", "authorised"), of(found, "ssim", "authorised")
    for line, sign in ((leaked, 1), (kept, -1), (shown, 1)):
        assert line.verdict == "regression"
        assert np.sign(line.found.value) == sign
        assert line.found.paired
        assert (line.found.n, line.found.people) == (N, N)
        assert line.found.low is not None
        assert line.found.high is not None
        assert line.found.low < line.found.value < line.found.high
        assert line.found.low * line.found.high > 0
        assert line.corrected is not None
        assert line.found.p is not None
        assert line.corrected >= line.found.p
    assert leaked.found.value == pytest.approx(0.5)
    assert of(found, "accuracy-drop", "authorised").better == "lower"


def test_the_other_way_round_is_an_improvement(compared: Any) -> None:
    found = compared(answers(kept=0.5, leaked=0.6, ssim=0.5), answers())
    assert of(found, "srra").verdict == of(found, "srra", "authorised").verdict == "improvement"
    assert not found.regressed


def test_unprotected_faces_neither_keep_nor_leak(compared: Any) -> None:
    found = compared(answers(), answers(clean=0.4))
    plain = {x.metric.name: x for x in found.lines if x.before.clean}
    assert plain["accuracy"].verdict == "change"
    assert plain["accuracy"].better == ""
    assert not found.regressed


def test_few_decisions_that_change_prove_nothing(compared: Any) -> None:
    found = compared(answers(leaked=0.1), answers(leaked=0.1 + 4 / N))
    line = of(found, "srra")
    assert line.found.value == pytest.approx(4 / N)
    assert line.found.p is not None
    assert line.found.p >= 2.0**-3
    assert line.verdict == "not significant"
    assert not found.regressed


def test_a_difference_too_small_to_be_shown_is_no_regression(compared: Any) -> None:
    before = answers()
    shifted = [replace(a, ssim=[v + 1e-7 for v in a.ssim]) for a in before]
    line = of(compared(before, shifted), "ssim", "authorised")
    assert line.found.value == pytest.approx(1e-7)
    assert line.verdict == "not significant"


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
    assert of(found, "srra").verdict == "regression"


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


def test_runs_without_common_cells_are_an_error(compared: Any) -> None:
    with pytest.raises(StorageError, match="expected runs with cells in common"):
        compared(answers(), answers(experiment="two"))


def test_attributes_and_noise_levels_are_compared_each(compared: Any) -> None:
    def noisy(dist: float, years: float) -> list[Answer]:
        rng = np.random.default_rng(3)
        up = {s: (list(rng.normal(0.8, 0.05, N)), list(rng.normal(dist - s, 0.05, N))) for s in (0.0, 0.2)}
        old = [float(v) for v in rng.normal(years, 1, N)]
        return [Answer("PMT", authorised="net-a", role="authorised", attack="age", up=up, years=old)]

    found = compared(noisy(0.5, 8), noisy(0.3, 5))
    privacy = {x.sigma: x.verdict for x in found.lines if x.metric.name == "privacy"}
    assert privacy == {0.0: "regression", 0.2: "regression"}
    assert of(found, "age-difference", "authorised").verdict == "regression"
    assert not [x for x in found.lines if x.metric.name == "similarity:age"], "the same as age-difference"


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


def test_the_interval_of_many_people_is_that_of_a_t_test() -> None:
    people, at = np.arange(300), (np.arange(300), np.arange(300))
    sides = SampleScores(RNG.normal(0, 1, 300), people), SampleScores(RNG.normal(0.5, 1, 300), people)
    found = difference(*sides, at, share=False)
    assert found is not None
    changes = sides[1].values - sides[0].values
    reach = 1.968 * changes.std(ddof=1) / np.sqrt(300)  # Student's t with 299 degrees of freedom
    assert (found.low, found.high) == pytest.approx((changes.mean() - reach, changes.mean() + reach), abs=2e-3)


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
    assert found.lines
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
    done = runner.invoke(main, ["diff", str(before), str(after), "--fail-on-regression", "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["regressed"] is True
    assert told["correction"] == "Holm"
    (line,) = (x for x in told["differences"] if x["metric"] == "srra-fixed" and x["role"] == "unauthorised")
    assert (line["before"], line["after"], line["n"], line["verdict"]) == (0.1, 0.7, N, "regression")
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
    assert text.count("regression</span>") == 1  # of one cell, whose metrics are the rows below
    assert text.count('<tr><th scope="row">') > 5
    assert "default-src 'none'" in text
    assert os.path.getsize(page) < 1_000_000


def test_a_page_of_equal_runs_says_so(compared: Any) -> None:
    text = render(compared(answers(), answers()))
    assert "Nothing got significantly worse" in text
    assert "both runs have the same cells" in text
