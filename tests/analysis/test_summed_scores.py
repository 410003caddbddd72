"""What a pool keeps of the scores of a cell, and that a cell is summed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun, write_fake_run

from bench.analysis.measures import METRICS, pooled, select, sums_of
from bench.analysis.pooling import Pool, SampleScores, summed
from bench.analysis.rows import CellRow, Rows
from bench.analysis.sample_values import OperatingPoint
from bench.store.reading import RunResults

AT = OperatingPoint()


def test_sums_are_those_of_finite_scores() -> None:
    values, people = np.array([1.0, 0.0, np.inf, np.nan, 3.0]), np.array(["a", "b", "a", "b", "b"])
    found = summed(SampleScores(values, people))
    assert (found.n, found.total, found.least, found.most) == (3, 4.0, 0.0, 3.0)
    assert (found.infinite, found.undefined, found.decisions) == (1, 1, False)
    assert (found.pairs.people, found.sums.tolist(), found.counts.tolist()) == (("a", "b"), [1.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "decisions"), [([0.0, 1.0], True), ([1.0, 1.0], True), ([0.0, 0.5, 1.0], False), ([np.nan], True)]
)
def test_decisions_are_0_or_1(values: list[float], decisions: bool) -> None:
    assert summed(SampleScores(np.array(values), np.arange(len(values)))).decisions is decisions


def test_a_pool_of_sums_is_one_of_scores() -> None:
    parts = [
        SampleScores(np.array([1.0, 2.0, np.nan]), np.array(["a", "b", "a"]), repeat=r, repeats=(0, 1)) for r in (0, 1)
    ]
    pool, other = Pool(parts), Pool()
    for part in parts:
        other.add_sums(summed(part))
    assert (pool.mean, pool.n, pool.undefined, pool.repeats) == (other.mean, other.n, other.undefined, other.repeats)
    assert pool.estimate() == other.estimate()


def test_a_pool_that_was_estimated_can_grow() -> None:
    pool = Pool([SampleScores(np.array([1.0, 2.0]), np.array(["a", "b"]))])
    assert pool.estimate(share=False).mean == 1.5
    assert pool.add(SampleScores(np.array([6.0]), np.array(["c"]))).estimate(share=False).mean == 3.0


def test_the_scores_of_a_cell_are_read_once(tmp_path: Path) -> None:
    write_fake_run(tmp_path / "run", FakeRun())
    rows = Rows(RunResults(tmp_path / "run"))
    cell = select(rows, outputs="recognition", status="ok")[0]
    read: list[str] = []

    def scores(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        read.append(cell.cell)
        return METRICS["accuracy"].scores(rows, cell, at)

    metric = replace(METRICS["accuracy"], scores=scores)
    pools = [pooled(rows, [cell], metric, AT)[0] for _ in range(3)]
    assert read == [cell.cell]
    assert {pool.mean for pool in pools} == {pools[0].mean}
    assert sums_of(rows, cell, metric, AT) is sums_of(rows, cell, metric, AT)
    sums_of(rows, cell, metric, OperatingPoint(kappa=0.5))
    assert read == [cell.cell] * 2
