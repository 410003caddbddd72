"""What anonymised pictures keep: a face, its landmarks, its expression and attributes, and how it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, measure, metric_named
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.table_model import Column, Measurement, Row, Table
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.goals import purpose_of
from bench.analysis.tables.questions import is_upload
from bench.analysis.tables.row_layout import grouped, not_applicable, row_of
from bench.analysis.tables.summary import baseline_rows
from bench.core.domain import Goal

GOAL: Goal = "anonymity"
NAME = "kept"
_ESTIMATOR = "attributes"  # The plugin whose estimates count; an attack that learns shows what leaks, not what is kept.
_CAPTION = (
    "Pictures on which nobody should recognise the person, compared with their originals. Beyond permuted answers: how "
    "much nearer an estimated attribute is to that on the original than to those on other people; 0 if the answer does "
    "not depend on the face."
)
_NO_ESTIMATE = "the experiment does not run the attack 'attributes' on what this defense uploads"


def kept_tables(rows: Rows, experiment: str) -> list[Table]:
    """Build the table of what the defenses of an experiment with the goal anonymity keep, per data set, beside the
    unprotected upload and the controls with that goal; none if only controls have it."""
    cells = [c for c in rows.of_experiment(experiment) if (c.clean or c.goal == GOAL) and not c.via]
    if not any(c.goal == GOAL and c.control is None for c in cells):
        return []
    metrics = list(_metrics(rows, experiment))
    described = {c.defense for c in cells if _describes(c)}
    attributes = [_attribute(name) for name in estimated(rows, experiment)] if described else []
    note = purpose_of(rows, GOAL).note

    def made(own: list[CellRow]) -> list[Row]:
        found = [_row(rows, own, defense, metrics, attributes) for defense in dict.fromkeys(c.defense for c in own)]
        columns = [m.name if m.name == "ssim" else None for m in (*metrics, *attributes)]
        return found + baseline_rows(rows, experiment, own[0].dataset, columns)

    return [
        Table(
            name=NAME,
            title="What anonymised pictures keep",
            caption=_CAPTION,
            columns=[Column(label=m.label, metric=m) for m in (*metrics, *attributes)],
            groups=grouped(cells, made),
            experiment=experiment,
            source="samples/images and samples/attributes, where experiment, dataset and defense are those of the row",
            notes=[f"{note[0].upper()}{note[1:]}."] if note else [],
        )
    ]


def _metrics(rows: Rows, experiment: str) -> Iterator[SampleMetric]:
    """Yield the metrics of pictures that have a better direction for this goal."""
    for metric in (METRICS["ssim"], *metrics_of(rows, experiment).values()):
        if better := metric.directions.get(GOAL):
            yield replace(metric, better=better)


def _attribute(name: str) -> SampleMetric:
    metric = metric_named(f"excess:{name}")
    return replace(metric, better=metric.directions[GOAL])


def _describes(cell: CellRow) -> bool:
    return cell.outputs == "attributes" and cell.attack_plugin == _ESTIMATOR


def _row(
    rows: Rows,
    cells: Sequence[CellRow],
    defense: str,
    metrics: Sequence[SampleMetric],
    attributes: Sequence[SampleMetric],
) -> Row:
    own = [c for c in cells if c.defense == defense]
    uploads, described = [c for c in own if is_upload(c)], [c for c in own if _describes(c)]
    measurements = [measure(rows, uploads or described, metric, role="any") for metric in metrics]
    return row_of(own[0], defense, [*measurements, *(_estimated(rows, described, metric) for metric in attributes)])


def _estimated(rows: Rows, cells: Sequence[CellRow], metric: SampleMetric) -> Measurement:
    return measure(rows, cells, metric, role="any") if cells else not_applicable(_NO_ESTIMATE)
