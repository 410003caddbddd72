"""Measurements together with the pools of scores behind them, for conclusions from several measurements at once."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.cells import CellRow
from bench.analysis.measures import SampleMetric, measurement_of, sums_of
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.table_model import Measurement

_AT = OperatingPoint()


def measured(rows: Rows, cells: Sequence[CellRow], *metrics: SampleMetric) -> list[tuple[Measurement, Pool]]:
    """Return the measurements of several metrics over the same cells, each with its pool of scores.

    Every cell is read once. The measurements are those of `bench.analysis.measures.measure`.
    """
    chosen = [metric.of(cells) for metric in metrics]
    counting = [{id(c) for c in counted} for counted in chosen]
    pools = [Pool() for _ in metrics]
    without: list[list[CellRow]] = [[] for _ in metrics]
    for cell in cells:
        for metric, ids, pool, lacking in zip(metrics, counting, pools, without, strict=True):
            if id(cell) not in ids:
                continue
            part = sums_of(rows, cell, metric, _AT)
            if part is None:
                lacking.append(cell)
            else:
                pool.add_sums(part)
    made = []
    for metric, counted, pool, lacking in zip(metrics, chosen, pools, without, strict=True):
        key = (metric.name, _AT.sigma, _AT.kappa, tuple(c.cell for c in counted))
        if key not in rows.measurements:
            rows.measurements[key] = measurement_of(rows, pool, counted, lacking, metric, _AT)
        made.append((rows.measurements[key], pool))
    return made
