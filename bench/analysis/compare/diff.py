"""The comparison of two runs as data: the difference of every metric in every cell that both runs have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.compare.matching import NAMED, Better, Direction, MatchedCells, UnmatchedCell, match
from bench.analysis.compare.significance import LEVEL, Difference, aligned, difference, holm
from bench.analysis.measures import AGE, METRICS, SampleMetric, extra_metric, metric_named
from bench.analysis.rows import CellRow, Rows
from bench.analysis.sample_values import OperatingPoint
from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.record_diff import changes_between

DiffVerdict = Literal["regression", "improvement", "change", "not significant", "same"]
VERDICTS: Sequence[DiffVerdict] = ("regression", "improvement", "change", "not significant", "same")
_LOST = ("failed", "timeout", "skipped", "queued")
Samples = tuple[NDArray[np.int64], NDArray[np.int64]]
_NONE: Samples = (np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class DiffLine:
    """The difference of one metric in one cell of both runs.

    ``sigma`` is the noise level, None for metrics without one. ``corrected`` is the p-value after Holm's correction
    over all comparisons of the two runs.
    """

    before: CellRow
    after: CellRow
    metric: SampleMetric
    sigma: float | None
    found: Difference
    better: Better
    corrected: float | None = None

    @property
    def significant(self) -> bool:
        """True if the corrected p-value is below the level and the difference does not vanish by rounding for
        display."""
        seen = abs(self.found.value) * self.metric.scale >= 0.5 * 10.0**-self.metric.digits
        return self.corrected is not None and self.corrected < LEVEL and seen

    @property
    def verdict(self) -> DiffVerdict:
        """The meaning of the difference; a significant one is a ``change`` where neither direction is better."""
        if self.found.same:
            return "same"
        if not self.significant:
            return "not significant"
        if not self.better:
            return "change"
        return "improvement" if (self.found.value > 0) == (self.better == "higher") else "regression"


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
class Diff:
    """The comparison of two runs.

    ``tested`` is the number of comparisons for which the p-values are corrected. ``changes`` lists what else differs,
    by kind (suite, code, data and weights, packages, machine).
    """

    before: RunResults
    after: RunResults
    cells: int
    lines: Sequence[DiffLine]
    tested: int
    ended: Sequence[EndedPair]
    only_before: Sequence[UnmatchedCell]
    only_after: Sequence[UnmatchedCell]
    changes: dict[str, list[str]]

    def of(self, verdict: DiffVerdict) -> list[DiffLine]:
        """Return the lines with a verdict, lowest p-value first."""
        found = [line for line in self.lines if line.verdict == verdict]
        return sorted(found, key=lambda line: 1.0 if line.found.p is None else line.found.p)

    @property
    def counts(self) -> dict[str, int]:
        """The number of lines with each verdict."""
        return {verdict: sum(line.verdict == verdict for line in self.lines) for verdict in VERDICTS}

    @property
    def lost(self) -> list[EndedPair]:
        """The cells that ended well before and have no measurements now."""
        return [e for e in self.ended if e.lost]

    @property
    def regressed(self) -> bool:
        """True if there is a significant regression or a lost cell."""
        return bool(self.lost) or any(line.verdict == "regression" for line in self.lines)


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
    lines = list(_lines(*rows, matched))
    tested = [i for i, line in enumerate(lines) if line.found.p is not None]
    for i, value in zip(tested, holm([lines[i].found.p or 0.0 for i in tested]), strict=True):
        lines[i] = replace(lines[i], corrected=value)
    return Diff(
        before=before,
        after=after,
        cells=len(matched.pairs),
        lines=lines,
        tested=len(tested),
        ended=[EndedPair(before=a, after=b) for a, b in matched.pairs if {a.status, b.status} != {"ok"}],
        only_before=matched.only_before,
        only_after=matched.only_after,
        changes=changes_between(before.run, after.run),
    )


def _lines(before: Rows, after: Rows, matched: MatchedCells) -> Iterator[DiffLine]:
    """Yield every metric of every cell that ended well in both runs, cell by cell, so that few rows are in memory."""
    pairs = [(a, b) for a, b in matched.pairs if a.status == b.status == "ok"]
    direction = Direction(before.cells)
    once: set[tuple[Any, ...]] = set()
    of_experiment = {e: _metrics(before, after, e) for e in dict.fromkeys(a.experiment for a, _ in pairs)}
    for a, b in pairs:
        held: dict[tuple[str, float | None], Samples] = {}
        for metric in of_experiment[a.experiment]:
            if a.outputs not in metric.outputs:
                continue
            key = (metric.name, metric.once_per(a)) if metric.once_per else None
            if key in once:
                continue
            for sigma in _levels(before, after, a, b) if metric.table == "up" else (None,):
                found = _compared(before, after, a, b, metric, sigma, held)
                if found is not None:
                    if key:
                        once.add(key)
                    better = direction.of(metric, a)
                    yield DiffLine(before=a, after=b, metric=metric, sigma=sigma, found=found, better=better)


def _metrics(before: Rows, after: Rows, experiment: str) -> list[SampleMetric]:
    """Return the metrics of an experiment: those of the report, of each attribute, and the columns of plugins.

    What chance gives is not compared: it is no result of a defense.
    """
    later = set(after.attributes(experiment)), set(after.extras(experiment))
    attributes = [a for a in before.attributes(experiment) if a in later[0] and a != AGE]
    extras = [extra_metric(c) for c in before.extras(experiment) if c in later[1]]
    directed = (m for m in METRICS.values() if m.better)  # A chance level belongs to the rows, not to the defense.
    return [*directed, *(metric_named(f"similarity:{a}") for a in attributes), *extras]


def _levels(before: Rows, after: Rows, a: CellRow, b: CellRow) -> list[float]:
    theirs = set(after.noise_levels(b))
    return [sigma for sigma in before.noise_levels(a) if sigma in theirs]


def _compared(
    before: Rows, after: Rows, a: CellRow, b: CellRow, metric: SampleMetric, sigma: float | None,
    held: dict[tuple[str, float | None], Samples],
) -> Difference | None:  # fmt: skip
    """Return the difference of a metric in a cell of both runs; None if one of them has no scores.

    ``held`` caches the positions of the samples that both runs have.
    """
    at = OperatingPoint(sigma=sigma)
    left, right = metric.scores(before, a, at), metric.scores(after, b, at)
    if left is None or right is None:
        return None
    table = metric.table
    key = (metric.name if table == "attributes" else table, sigma)
    if key not in held:
        names = _samples(before, a, metric, at), _samples(after, b, metric, at)
        held[key] = _NONE if names[0] is None or names[1] is None else aligned(names[0], names[1])
    return difference(left, right, held[key], share=metric.share)


def _samples(rows: Rows, cell: CellRow, metric: SampleMetric, at: OperatingPoint) -> NDArray[Any] | None:
    """Return the ids of the samples of a metric in a cell, in the order of its scores; None if the rows have no ids.

    The id of a verification pair is its protected picture and whether the pair is genuine.
    """
    table = metric.table
    if table == "verification":
        scores = rows.scores[cell.cell]
        return np.char.add(np.where(scores.same, "genuine ", "impostor "), scores.left_id.astype(str))
    frame = rows.images_of(cell) if table == "images" else rows.up_of(cell, at.sigma)
    if table == "attributes":
        frame = rows.attributes_of(cell, metric.name.partition(":")[2] or AGE)
    return frame["sample_id"].to_numpy().astype(str) if "sample_id" in frame else None


# ---- as JSON ---------------------------------------------------------------------------------------------------------


def record(found: Diff) -> dict[str, Any]:
    """Return everything about a comparison as JSON values; shares are in per cent, as in exports."""
    return {
        "before": str(found.before.folder),
        "after": str(found.after.folder),
        "cells": found.cells,
        "comparisons": len(found.lines),
        "tested": found.tested,
        "correction": "Holm",
        "level": LEVEL,
        "regressed": found.regressed,
        "counts": found.counts,
        "differences": [_line_record(line) for line in found.lines],
        "ended": [
            {**named(e.before), "before": e.before.status, "after": e.after.status, "lost": e.lost,
             "reason": e.after.reason or e.before.reason}
            for e in found.ended
        ],
        "only_before": [{**named(lone.cell), "why": lone.why or None} for lone in found.only_before],
        "only_after": [{**named(lone.cell), "why": lone.why or None} for lone in found.only_after],
        "changes": found.changes,
    }  # fmt: skip


def named(cell: CellRow) -> dict[str, Any]:
    """Return the labels that identify a cell in its suite."""
    return {name: getattr(cell, name) for name in NAMED} | ({"via": cell.via} if cell.via else {})


def _line_record(line: DiffLine) -> dict[str, Any]:
    found, metric = line.found, line.metric

    def scaled(value: float | None) -> float | None:
        return None if value is None else float(f"{value * metric.scale:.6g}")

    return {
        **named(line.before),
        "role": line.before.role,
        "metric": line.metric.name,
        "sigma": line.sigma,
        "unit": metric.unit or None,
        "better": line.better or None,
        **{name: scaled(getattr(found, name)) for name in ("before", "after", "low", "high")},
        "difference": scaled(found.value),
        "n": found.n,
        "people": found.people,
        "paired": found.paired,
        "left_out": found.left_out,
        "p": found.p,
        "p_corrected": line.corrected,
        "verdict": line.verdict,
        "cells": [line.before.cell, line.after.cell],
    }
