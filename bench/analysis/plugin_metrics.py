"""The image metrics of plugins as metrics of rows, from what the record of a run says about them.

The report needs none of these plugins: what they declared is in ``run.json``, and their values are in the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from bench.analysis import sample_values
from bench.analysis.cells import UPLOAD, CellRow
from bench.analysis.pooling import SampleScores
from bench.analysis.rows import Rows, why_absent
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.sample_values import OperatingPoint, ScoreFunction
from bench.analysis.table_model import Better, Measurement
from bench.core.errors import StorageError
from bench.core.text import plural
from bench.metrics.vocabulary import OF_SET
from bench.store.declarations import MetricDeclaration
from bench.store.run_record import ComponentRecord
from bench.store.schema import INFINITE, METRIC_PREFIX


def metrics_of(rows: Rows, experiment: str | None = None) -> dict[str, SampleMetric]:
    """Return the metrics of plugins that an experiment computed, or any experiment of the run, by name."""
    recorded = rows.results.run.suite.experiments
    wanted = {label for e in recorded if experiment in (None, e.name) for label in e.metrics}
    components = [c for c in rows.results.run.components if c.kind == "metric" and c.label in wanted]
    return {metric.name: metric for c in components for metric in _metrics(c)}


def _metrics(component: ComponentRecord) -> Iterator[SampleMetric]:
    declared, label = component.metric, component.label
    if declared is None:
        return
    missing = "the rows were written before the experiment computed this metric"
    if component.synthetic:
        missing += ", or the faces are real: it learnt from generated ones, and is not computed on others"
    if declared.per_sample:
        column = f"{METRIC_PREFIX}{label}"
        scores = sample_values.of_image(column)
        yield _metric(
            declared,
            name=label,
            heading=declared.heading or label,
            scores=_decisions(label, scores) if declared.share else scores,
            table="images",
            by=UPLOAD,
            columns=(column, f"{column}{INFINITE}") if declared.infinite else (column,),
            missing=missing,
            share=declared.share,
            unit=declared.unit or ("%" if declared.share else ""),
        )
    if declared.of_set:
        both = declared.per_sample
        yield _metric(
            declared,
            name=f"{label}{OF_SET}" if both else label,
            heading=f"{declared.heading or label}{' of the set' if both else ''}",
            scores=lambda *_: None,
            table="sets",
            by=(*UPLOAD, "metric"),
            columns=("value", "low", "high"),
            of_set=label,
            missing=missing,
            unit=declared.unit,
        )


def _decisions(label: str, scores: ScoreFunction) -> ScoreFunction:
    """Return the score function of a metric that declares that it is a share. It raises `StorageError` for a value that
    is neither 0 nor 1, of which the interval of a share would be wrong."""

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        found = scores(rows, cell, at)
        if found is not None and len(other := found.values[~np.isin(found.values, (0, 1)) & ~np.isnan(found.values)]):
            raise StorageError(
                f"{rows.results.folder}: samples/images, {METRIC_PREFIX}{label}: expected 0 or 1, because the metric "
                f"{label} declares that it is a share; found {other[0]:g}; correct the plugin, then use bench rescore"
            )
        return found

    return of


def _metric(declared: MetricDeclaration, *, heading: str, unit: str, **about: object) -> SampleMetric:
    parts = [f"{declared.formula.rstrip('.')}.", f"{declared.source.rstrip('.')}." if declared.source else ""]
    directions = {goal: cast(Better, better) for goal, better in declared.better.items()}
    return SampleMetric(
        label=heading,
        about=" ".join(filter(None, parts)),
        unit=unit,
        digits=(1 if unit == "%" else 3) if declared.digits is None else declared.digits,
        better=directions.get("recognition", ""),
        directions=directions,
        bounds=(_end(declared.low, -math.inf), _end(declared.high, math.inf)),
        once_per=lambda c: c.upload_key,
        **about,  # type: ignore[arg-type]
    )


def _end(recorded: float | None, unbounded: float) -> float:
    return unbounded if recorded is None else recorded


# ---- values of sets --------------------------------------------------------------------------------------------------


def set_measurement(rows: Rows, cells: Sequence[CellRow], metric: SampleMetric) -> Measurement:
    """Return the measurement of a metric that has one value for all images of an upload.

    Over several uploads it is the mean of their values, without an interval: their spread is no error of the mean.
    """
    about = {"cells": tuple(c.cell for c in cells), "metric": metric.name, "role": "any"}
    found = [value for c in cells if (value := rows.set_value(c, metric.of_set)) is not None]
    if not found:
        status, reason = why_absent(cells)
        if cells and all(c.status == "ok" for c in cells):
            reason = metric.missing
        return Measurement(status=status, reason=reason, **about)  # type: ignore[arg-type]
    notes = [f"{len(found)} of {plural(len(cells), 'upload')}"] if len(found) < len(cells) else []
    n, people = sum(v.n for v in found), sum(v.people for v in found)
    if len(found) == 1:
        (one,) = found
        low, high = metric.within(one.low, one.high)
        notes += [f"no interval: {one.reason}"] if one.reason else ["interval by a bootstrap over people"]
        return Measurement(
            value=one.value,
            n=n,
            people=people,
            low=low,
            high=high,
            interval="" if low is None else "clustered",
            note="; ".join(notes),
            **about,  # type: ignore[arg-type]
        )
    notes.append(f"mean of {len(found)} sets of images, each with one value; only a single set has an interval")
    mean = math.fsum(v.value for v in found) / len(found)
    return Measurement(value=mean, n=n, people=people, note="; ".join(notes), **about)  # type: ignore[arg-type]
