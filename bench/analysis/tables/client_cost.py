"""The cost of a defense for the client: bytes sent, floating-point operations and seconds per face."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure, metric_named
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.core.text import duration, plural

FLOPS = TableMetric(label="operations per face", unit="GFLOP", digits=3, better="lower")
LATENCY = TableMetric(label="time per face", unit="ms", digits=1, better="lower")
BYTES = metric_named("upload-bytes")
COUNTED = (
    "Operations are those of convolutions and matrix products of one face by itself, forward and backward, 2 per "
    "multiply-add. The time is that of the same face, by itself, once more, on the machine that computed the run. What "
    "a defense learns beforehand is not in them, nor the features that a client computes of what it sends."
)
_OLD = "this run was made before the cost for the client was measured"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost per face.

    ``n`` of ``flops`` and ``latency`` counts the stages that protect faces, and their notes give the range. ``sent``
    holds the bytes of each kind of upload.
    """

    flops: Measurement
    latency: Measurement
    sent: Sequence[tuple[str, Measurement]]


def costs(rows: Rows, cells: Sequence[CellRow]) -> Cost:
    """Return the cost of the defense of these cells: the median over the stages in which it protects faces."""
    stages = {str(s.get("key")): s for s in rows.results.stages}
    keys = dict.fromkeys(k for c in cells for k in c.protect)
    found = [stages[k] for k in keys if k in stages]
    reasons = dict.fromkeys(str(s["client_reason"]) for s in found if s.get("client_reason"))
    reason = "; ".join(reasons) or ("no stage protected a face" if keys else _OLD)
    ids = tuple(c.cell for c in cells if c.protect)
    where = ", ".join(sorted({_device(rows, s) for s in found}))
    learnt = [duration(t) for t in _learning(found, stages)]

    def median(column: str, scale: float, metric: TableMetric) -> Measurement:
        values = [scale * float(s[column]) for s in found if s.get(column) is not None]
        if not values:
            return absent("missing", reason, cells=ids)
        low, high = metric.shown(min(values)), metric.shown(max(values))
        span = f"{low} to {high}" if low != high else f"{low} each time"
        notes = [f"median of {plural(len(values), 'stage')}, {span}" if len(values) > 1 else "of one stage"]
        if metric is LATENCY:
            notes.append(f"on {where}")
            notes += [f"learning beforehand took {', '.join(learnt)}"] if learnt else []
        return Measurement(value=float(np.median(values)), n=len(values), note="; ".join(notes), cells=ids)

    return Cost(
        flops=median("client_flops", 1e-9, FLOPS),
        latency=median("client_seconds", 1e3, LATENCY),
        sent=[(kind, measure(rows, own, "upload-bytes", role="any")) for kind, own in _uploads(cells)],
    )


def _uploads(cells: Sequence[CellRow]) -> list[tuple[str, list[CellRow]]]:
    """Return the cells by kind of upload, one cell per authorised set: an upload has the same size for every face."""
    found: dict[str, dict[str, CellRow]] = {}
    for c in (c for c in cells if c.status == "ok"):
        found.setdefault(c.upload, {}).setdefault(c.authorised, c)
    return [(kind, list(own.values())) for kind, own in found.items()]


def _learning(found: Sequence[Mapping[str, Any]], stages: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Return the seconds of each stage in which the defense learned the state that its protection needs."""
    inputs = [json.loads(str(s.get("inputs") or "{}")) for s in found]
    learnt = dict.fromkeys(i["state"] for i in inputs if "state" in i)
    return [float(stages[k]["seconds"]) for k in learnt if k in stages]


def _device(rows: Rows, stage: Mapping[str, Any]) -> str:
    """Return the device that computed a stage, with its name if the run recorded it."""
    runs = dict(zip(rows.results.names, rows.results.runs, strict=True))
    run = (runs.get(str(stage.get("run") or "")) or rows.results).run
    kind = str(stage.get("device"))
    return f"{kind} ({run.device_name})" if kind == run.device and run.device_name else kind
