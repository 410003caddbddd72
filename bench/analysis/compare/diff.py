"""The comparison of two runs as data: the primary tests, and the difference of every metric in every cell of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.cells import CellRow
from bench.analysis.compare.matching import NAMED, Better, Direction, MatchedCells, UnmatchedCell, match
from bench.analysis.compare.primary import VERDICTS, DiffVerdict, PrimaryTest, PrimaryTests, Setting, Untested
from bench.analysis.compare.sample_pairs import CellPair, Side
from bench.analysis.compare.significance import LEVEL, POWER, ComparedPools, Difference
from bench.analysis.measures import AGE, METRICS, SampleMetric, extra_metric, metric_named
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.rows import Rows
from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.record_diff import changes_between

_LOST = ("failed", "timeout", "skipped", "queued")
_OTHER_THRESHOLD = "{}: threshold of clean faces"


@dataclass(frozen=True, kw_only=True)
class DiffLine:
    """The difference of one metric in one cell of both runs: a detail, which is not tested.

    ``sigma`` is the noise level, None for metrics without one. The interval of ``found`` is not corrected for the
    number of details. ``note`` says in which run another quantity was measured, and is empty otherwise.
    """

    before: CellRow
    after: CellRow
    metric: SampleMetric
    sigma: float | None
    found: Difference
    better: Better
    note: str = ""

    @property
    def apart(self) -> bool:
        """True if the difference is significant: its interval, which is not corrected, excludes 0. If no interval is
        known because all samples change by the same amount, the p-value decides. False if it is displayed as 0.
        """
        if not self.metric.visible(self.found.value):
            return False
        low, high = self.found.low, self.found.high
        if low is None or high is None:
            return not self.found.same and self.found.p is not None and self.found.p < LEVEL
        return low * high > 0


@dataclass(frozen=True, kw_only=True)
class EndedPair:
    """A cell of both runs that did not end well in at least one of them."""

    before: CellRow
    after: CellRow

    @property
    def lost(self) -> bool:
        """True if the cell ended well before and has no measurements now."""
        return self.before.status == "ok" and self.after.status in _LOST


@dataclass(frozen=True, kw_only=True)
class LoneRows:
    """A cell that ended well in both runs, and a table of which only one run, ``there``, has rows of it."""

    before: CellRow
    after: CellRow
    table: str
    there: Side


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The comparison of two runs.

    ``tests`` are the primary tests, for whose number the p-values are corrected, and ``untested`` the questions that
    could not be tested. ``details`` are the differences of all metrics cell by cell. ``lone_rows`` are rows that only
    one run has, and that are left out. ``changes`` lists what else differs, by kind (suite, code, data and weights,
    packages, machine).
    """

    before: RunResults
    after: RunResults
    cells: int
    tests: Sequence[PrimaryTest]
    untested: Sequence[Untested]
    details: Sequence[DiffLine]
    ended: Sequence[EndedPair]
    lone_rows: Sequence[LoneRows]
    only_before: Sequence[UnmatchedCell]
    only_after: Sequence[UnmatchedCell]
    changes: dict[str, list[str]]

    def of(self, verdict: DiffVerdict) -> list[PrimaryTest]:
        """Return the tests with a verdict, lowest p-value first."""
        found = [test for test in self.tests if test.verdict == verdict]
        return sorted(found, key=lambda test: 1.0 if test.found.p is None else test.found.p)

    @property
    def counts(self) -> dict[str, int]:
        """The number of tests with each verdict."""
        return {verdict: sum(test.verdict == verdict for test in self.tests) for verdict in VERDICTS}

    @property
    def tested(self) -> int:
        """The number of tests for which the p-values are corrected."""
        return sum(test.corrected is not None for test in self.tests)

    @property
    def changed(self) -> list[DiffLine]:
        """The details in which a sample differs between the runs."""
        return [line for line in self.details if not line.found.same]

    @property
    def lost(self) -> list[EndedPair]:
        """The cells that ended well before and have no measurements now."""
        return [e for e in self.ended if e.lost]

    @property
    def regressed(self) -> bool:
        """True if a primary test shows a regression, or if a cell or its rows are lost."""
        lost = bool(self.lost) or any(lone.there == "before" for lone in self.lone_rows)
        return lost or any(test.verdict == "regression" for test in self.tests)


def diff(before: RunResults, after: RunResults) -> Diff:
    """Compare two runs. Raises `StorageError` if they have no cell in common."""
    rows = Rows(before), Rows(after)
    matched = match(*rows)
    if not matched.pairs:
        raise StorageError(
            f"{before.folder} and {after.folder}: expected runs with cells in common (the same experiment, data set, "
            f"defense, authorised models, attack, evaluated model and parameters), found none; "
            "compare runs of the same suite"
        )
    primary = PrimaryTests(*rows)
    lone_rows: list[LoneRows] = []
    details = list(_details(rows, matched, primary, lone_rows))
    tests, untested = primary.results()
    return Diff(
        before=before,
        after=after,
        cells=len(matched.pairs),
        tests=tests,
        untested=untested,
        details=details,
        lone_rows=lone_rows,
        ended=[EndedPair(before=a, after=b) for a, b in matched.pairs if {a.status, b.status} != {"ok"}],
        only_before=matched.only_before,
        only_after=matched.only_after,
        changes=changes_between(before.run, after.run),
    )


def _details(
    rows: tuple[Rows, Rows], matched: MatchedCells, primary: PrimaryTests, lone_rows: list[LoneRows]
) -> Iterator[DiffLine]:
    """Yield every metric of every cell that ended well in both runs. Add the cells to the primary tests, and to
    ``lone_rows`` those whose rows only one run has.

    It proceeds cell by cell, so that few rows are in memory.
    """
    pairs = [(a, b) for a, b in matched.pairs if a.status == b.status == "ok"]
    direction = Direction(rows[0].cells)
    once: set[tuple[Any, ...]] = set()
    of_experiment = {e: _metrics(*rows, e) for e in dict.fromkeys(a.experiment for a, _ in pairs)}
    for a, b in pairs:
        pair = CellPair(rows, (a, b))
        primary.add(pair)
        lone_rows += [LoneRows(before=a, after=b, table=table, there=there) for table, there in pair.lone_rows()]
        for metric in of_experiment[a.experiment]:
            if a.outputs not in metric.outputs:
                continue
            key = (metric.name, metric.once_per(a)) if metric.once_per else None
            if key in once:
                continue
            for sigma in _levels(*rows, a, b) if metric.table == "up" else (None,):
                found = _compared(pair, metric, sigma)
                if found is not None:
                    if key:
                        once.add(key)
                    older = [name for name, old in zip(("before", "after"), pair.older(metric), strict=True) if old]
                    note = _OTHER_THRESHOLD.format(older[0]) if len(older) == 1 else ""
                    better = direction.of(metric, a)
                    yield DiffLine(before=a, after=b, metric=metric, sigma=sigma, found=found, better=better, note=note)


def _metrics(before: Rows, after: Rows, experiment: str) -> list[SampleMetric]:
    """Return the metrics of an experiment: those of the report, of each attribute, and the columns of plugins.

    What chance gives is not compared: it belongs to the rows and is no result of a defense. Older runs did not measure
    it, and have the requested false match rate in its place. Values of whole sets have no scores to compare.
    """
    later = set(after.attributes(experiment)), set(after.extras(experiment))
    attributes = [a for a in before.attributes(experiment) if a in later[0] and a != AGE]
    extras = [extra_metric(c) for c in before.extras(experiment) if c in later[1]]
    measured = (m for m in METRICS.values() if not m.chance)
    theirs = metrics_of(after, experiment)
    plugins = [m for m in metrics_of(before, experiment).values() if m.name in theirs and not m.of_set]
    return [*measured, *(metric_named(f"similarity:{a}") for a in attributes), *plugins, *extras]


def _levels(before: Rows, after: Rows, a: CellRow, b: CellRow) -> list[float]:
    theirs = set(after.noise_levels(b))
    return [sigma for sigma in before.noise_levels(a) if sigma in theirs]


def _compared(pair: CellPair, metric: SampleMetric, sigma: float | None) -> Difference | None:
    """Return the difference of a metric in a cell of both runs; None if one of them has no scores."""
    scores = pair.scores(metric, sigma)
    if scores is None:
        return None
    pools = ComparedPools(share=metric.share)
    pools.add(scores)
    return pools.difference()


# ---- as JSON ---------------------------------------------------------------------------------------------------------


def record(found: Diff) -> dict[str, Any]:
    """Return everything about a comparison as JSON values; shares are in per cent, as in exports."""
    return {
        "before": str(found.before.folder),
        "after": str(found.after.folder),
        "cells": found.cells,
        "tested": found.tested,
        "correction": "Holm",
        "level": LEVEL,
        "power": POWER,
        "regressed": found.regressed,
        "counts": found.counts,
        "tests": [_test_record(test) for test in found.tests],
        "untested": [
            {**_setting_record(one.question, one.setting), "metric": one.metric.name, "why": one.why}
            for one in found.untested
        ],
        "details": [_line_record(line) for line in found.details],
        "ended": [
            {**named(e.before), "before": e.before.status, "after": e.after.status, "lost": e.lost,
             "reason": e.after.reason or e.before.reason}
            for e in found.ended
        ],
        "lone_rows": [{**named(lone.before), "table": lone.table, "there": lone.there} for lone in found.lone_rows],
        "only_before": [{**named(lone.cell), "why": lone.why or None} for lone in found.only_before],
        "only_after": [{**named(lone.cell), "why": lone.why or None} for lone in found.only_after],
        "changes": found.changes,
    }  # fmt: skip


def named(cell: CellRow) -> dict[str, Any]:
    """Return the labels that identify a cell in its suite."""
    return {name: getattr(cell, name) for name in NAMED} | ({"via": cell.via} if cell.via else {})


def _setting_record(question: str, setting: Setting) -> dict[str, Any]:
    labels = {name: getattr(setting, name) or None for name in ("experiment", "defense", "attack", "via")}
    return {"question": question, **labels}


def _test_record(test: PrimaryTest) -> dict[str, Any]:
    return {
        **_setting_record(test.question, test.setting),
        **_difference_record(test.metric, test.found, test.better),
        "p": test.found.p,
        "p_corrected": test.corrected,
        "detectable": _scaled(test.metric, test.detectable),
        "verdict": test.verdict,
        "cells": [list(pair) for pair in test.cells],
    }


def _line_record(line: DiffLine) -> dict[str, Any]:
    return {
        **named(line.before),
        "role": line.before.role,
        **_difference_record(line.metric, line.found, line.better),
        "sigma": line.sigma,
        "same": line.found.same,
        "note": line.note or None,
        "cells": [line.before.cell, line.after.cell],
    }


def _difference_record(metric: SampleMetric, found: Difference, better: Better) -> dict[str, Any]:
    low, high = metric.difference_within(found.low, found.high)
    return {
        "metric": metric.name,
        "unit": metric.unit or None,
        "better": better or None,
        "before": _scaled(metric, found.before),
        "after": _scaled(metric, found.after),
        "difference": _scaled(metric, found.value),
        "low": _scaled(metric, low),
        "high": _scaled(metric, high),
        "n": found.n,
        "people": found.people,
        "paired": found.paired,
        "left_out": found.left_out,
    }


def _scaled(metric: SampleMetric, value: float | None) -> float | None:
    return None if value is None else float(f"{value * metric.scale:.6g}")
