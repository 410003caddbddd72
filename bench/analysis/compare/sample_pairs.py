"""The scores of a metric in a cell of both runs, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.cells import CellRow
from bench.analysis.compare.significance import CommonScores, aligned, in_common, of_one_run
from bench.analysis.measures import AGE, SampleMetric
from bench.analysis.rows import Rows
from bench.analysis.sample_values import OperatingPoint

Side = Literal["before", "after"]
Samples = tuple[NDArray[np.int64], NDArray[np.int64]]
_NONE: Samples = (np.zeros(0, np.int64), np.zeros(0, np.int64))


class CellPair:
    """A cell that ended well in both runs, with their rows."""

    def __init__(self, rows: tuple[Rows, Rows], cells: tuple[CellRow, CellRow]) -> None:
        self.rows = rows
        self.cells = cells
        self._held: dict[tuple[str, float | None], Samples] = {}

    def older(self, metric: SampleMetric) -> tuple[bool, bool]:
        """Return for each run whether an older version wrote its scores, without columns that the metric needs.

        Something else stands in their place (see `bench.analysis.verification_scores.VerificationScores`).
        """
        sides = zip(self.rows, self.cells, strict=True)
        before, after = (metric.needs_newer and rows.scores.older(cell.cell) for rows, cell in sides)
        return before, after

    def lone_rows(self) -> Iterator[tuple[str, Side]]:
        """Yield each table of which only one of the runs has rows of the cell, and that run."""
        before, after = (rows.tables_of(cell) for rows, cell in zip(self.rows, self.cells, strict=True))
        yield from ((table, "before") for table in sorted(before - after))
        yield from ((table, "after") for table in sorted(after - before))

    def scores(self, metric: SampleMetric, sigma: float | None = None) -> CommonScores | None:
        """Return the scores of a metric that are compared with each other; None if neither run has any.

        If only one of the runs has some, all of them are left out.
        """
        at = OperatingPoint(sigma=sigma)
        left, right = (metric.scores(rows, cell, at) for rows, cell in zip(self.rows, self.cells, strict=True))
        if left is None or right is None:
            there = left or right
            return None if there is None else of_one_run(there)
        key = (metric.name.partition(":")[2] or AGE if metric.table == "attributes" else metric.table, sigma)
        if key not in self._held:
            names = [_samples(rows, cell, metric, at) for rows, cell in zip(self.rows, self.cells, strict=True)]
            for scores, ids in zip((left, right), names, strict=True):
                assert ids is None or len(ids) == len(scores.values), f"{metric.name}: one score for each id"
            self._held[key] = _NONE if names[0] is None or names[1] is None else aligned(names[0], names[1])
        return in_common(left, right, self._held[key])


def _samples(rows: Rows, cell: CellRow, metric: SampleMetric, at: OperatingPoint) -> NDArray[Any] | None:
    """Return the ids of the samples of a metric in a cell, in the order of its scores; None if the rows have no ids.

    The id of a verification pair is its protected picture and whether the pair is genuine.
    """
    table = metric.table
    if table == "verification":
        scores = rows.scores[cell.cell]
        return np.char.add(np.where(scores.same, "genuine ", "impostor "), scores.left_id.astype(str))
    if table == "links":
        frame = rows.links_of(cell)
        return np.char.add(frame["left_id"].to_numpy().astype(str), frame["right_id"].to_numpy().astype(str))
    frame = rows.images_of(cell) if table == "images" else rows.up_of(cell, at.sigma)
    if table == "attributes":
        frame = rows.attributes_of(cell, metric.name.partition(":")[2] or AGE)
    return frame["sample_id"].to_numpy().astype(str) if "sample_id" in frame else None
