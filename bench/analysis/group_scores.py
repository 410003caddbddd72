"""The scores of the people inside and outside a group, for one metric over the cells of one defense."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.people_groups import PeopleGroup
from bench.analysis.pooling import Pool, difference_of, mean
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.shuffle_tests import GroupGap
from bench.analysis.table_model import Measurement, absent
from bench.core.text import plural

FEWEST = 5  # A gap needs so many people with scores, inside the group and outside.
_AT = OperatingPoint()
Person = tuple[str, int]  # The namespace of a person (`CellRow.people_of`), and the number.


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """A metric inside a group and outside, and the gap between both, with its 95 % interval."""

    inside: Measurement
    rest: Measurement
    gap: Measurement


class GroupScores:
    """The scores of a metric over some cells, person by person."""

    def __init__(self, rows: Rows, cells: Sequence[CellRow], metric: SampleMetric) -> None:
        self.metric = metric
        self.cells = metric.of(cells)
        found = ((cell, metric.scores(rows, cell, _AT)) for cell in self.cells)
        self.parts = [(cell, scores) for cell, scores in found if scores is not None]

    @cached_property
    def judges(self) -> list[str]:
        """The recognisers that judge, in the order of the cells."""
        return list(dict.fromkeys(cell.evaluated for cell, _ in self.parts))

    def people(self) -> dict[Person, set[str]]:
        """Return the people who have a score, each with the data sets that show them."""
        found: dict[Person, set[str]] = {}
        for cell, scores in self.parts:
            for person in np.unique(scores.people[np.isfinite(scores.values)]).tolist():
                found.setdefault((cell.people_of, person), set()).add(cell.dataset)
        return found

    def split(self, group: PeopleGroup) -> SplitScores:
        """Return the measurements inside the group and outside. Their number of people is that of the people whose
        scores they are, not of strangers in their pairs."""
        pools, counted = (Pool(), Pool()), tuple[set[Person], set[Person]]((set(), set()))
        for cell, scores in self.parts:
            members = group.of(cell)
            for side, (pool, people) in enumerate(zip(pools, counted, strict=True)):
                chosen = np.array([members.get(p) is (side == 0) for p in scores.people.tolist()], bool)
                pool.add(scores.at(chosen))
                known = scores.people[chosen & np.isfinite(scores.values)]
                people.update((cell.people_of, p) for p in np.unique(known).tolist())
        cells = tuple(cell.cell for cell in self.cells)
        found = (mean(pool, share=self.metric.share) for pool in pools)
        bounded = ((m, *self.metric.within(m.low, m.high)) for m in found)
        inside, rest = (
            replace(m, low=low, high=high, people=len(people), cells=cells)
            for (m, low, high), people in zip(bounded, counted, strict=True)
        )
        return SplitScores(inside=inside, rest=rest, gap=self._gap(inside, rest, pools))

    def _gap(self, inside: Measurement, rest: Measurement, pools: tuple[Pool, Pool]) -> Measurement:
        """Return the mean inside minus that outside, with its interval (of shares, `newcombe`)."""
        if inside.value is None or rest.value is None:
            return absent("undefined", "the group or the rest has no scores")
        fewer = min(inside.people, rest.people)
        if fewer < FEWEST:
            who = plural(fewer, "person", "people")
            return absent("too few people", f"one side has scores of {who}, and {FEWEST} are needed")
        low, high = None, None
        if self.metric.share:
            low, high = newcombe(inside, rest) or (None, None)
        elif (known := difference_of(pools[1], pools[0])) is not None:
            low, high = known.interval() or (None, None)
        low, high = self.metric.difference_within(low, high)
        return Measurement(
            value=inside.value - rest.value,
            n=inside.n,
            people=inside.people,
            repeats=inside.repeats,
            low=low,
            high=high,
            interval="" if low is None else "clustered",
            cells=inside.cells,
        )

    def compared(self, group: PeopleGroup, index: Mapping[Person, int], sign: int) -> GroupGap:
        """Return the scores for a test, with the columns of people from ``index``."""
        by_judge = {judge: i for i, judge in enumerate(self.judges)}
        sums, counts = np.zeros((2, len(by_judge), len(index)))
        member = np.full(sums.shape, -1, np.int64)
        for cell, scores in self.parts:
            judge, values = by_judge[cell.evaluated], scores.values
            at = np.array([index[cell.people_of, p] for p in scores.people.tolist()], np.int64)
            known = np.isfinite(values)
            np.add.at(sums[judge], at[known], values[known])
            np.add.at(counts[judge], at[known], 1)
            for person, inside in group.of(cell).items():
                if (column := index.get((cell.people_of, person))) is not None:
                    member[judge, column] = int(inside)
        return GroupGap(sums=sums, counts=counts, member=member, sign=sign)


def newcombe(inside: Measurement, rest: Measurement) -> tuple[float, float] | None:
    """Return the interval of the difference of two shares with intervals, None if one has none.

    It combines both intervals (Newcombe 1998, method 10) and so also holds where all decisions of a small group agree.
    """
    if inside.value is None or inside.low is None or inside.high is None:
        return None
    if rest.value is None or rest.low is None or rest.high is None:
        return None
    below = math.hypot(inside.value - inside.low, rest.high - rest.value)
    above = math.hypot(inside.high - inside.value, rest.value - rest.low)
    return inside.value - rest.value - below, inside.value - rest.value + above
