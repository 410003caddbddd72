"""The dot plot of utility and leakage: one line per defense and authorised set.

Positions are in per cent of the width. The template draws the marks as inline SVG with relative coordinates, so that
text keeps its size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.analysis.table_model import Measurement, Metric
from bench.analysis.tables.goals import AUTHORISED, UNAUTHORISED
from bench.analysis.tables.summary import Summary

MarkKind = Literal["clean", "kept", "leaked", "worst"]


@dataclass(frozen=True, kw_only=True)
class DotPlotMark:
    """One mark on a line, with positions in per cent of the width; ``low`` and ``high`` are the ends of its
    interval."""

    kind: MarkKind
    at: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class DotPlotLine:
    """One line of the plot: its marks, the measurements printed beside it, and a sentence for screen readers."""

    label: str
    defense: str
    authorised: str
    marks: Sequence[DotPlotMark]
    text: Sequence[tuple[MarkKind, Metric, Measurement]]
    spoken: str


def lines(found: Sequence[Summary]) -> list[DotPlotLine]:
    """Return the lines of the plot, in the order of the summaries."""
    return [_line(s) for s in found]


def _line(s: Summary) -> DotPlotLine:
    """Return the line of one defense for one authorised set; what is drawn depends on the kind of defense."""
    shown: list[tuple[MarkKind, str, Measurement, Metric]] = []
    if s.kind == "authorised":
        shown.append(("clean", "unprotected", s.clean, AUTHORISED))
        shown.append(("kept", "authorised", s.kept, AUTHORISED))
        shown.append(("leaked", "unauthorised", s.leaked, UNAUTHORISED))
        shown.append(("worst", "worst case", s.worst, UNAUTHORISED))
    else:
        shown.append(("clean" if s.kind == "clean" else "leaked", "all models", s.leaked, UNAUTHORISED))
        if s.kind == "model-free":
            shown.append(("worst", "highest", s.worst, UNAUTHORISED))
    marks = []
    words = []
    for kind, name, measurement, metric in shown:
        if measurement.value is None:
            words.append(f"{name}: no measurement ({measurement.status})")
            continue
        bounded = kind in ("kept", "leaked") and measurement.low is not None and measurement.high is not None
        low = 100 * measurement.low if bounded and measurement.low is not None else None
        high = 100 * measurement.high if bounded and measurement.high is not None else None
        marks.append(DotPlotMark(kind=kind, at=round(100 * measurement.value, 2), low=low, high=high))
        span = metric.span(measurement.low, measurement.high)
        words.append(f"{name} {metric.shown(measurement.value)} %{f' ({span})' if span else ''}")
    printed = ("kept", "leaked") if s.kind != "clean" else ("clean",)
    text = [(k, q, f) for k, _, f, q in shown if k in printed and f.value is not None]
    return DotPlotLine(
        label=s.authorised or s.defense,
        defense=s.defense,
        authorised=s.authorised or "",
        marks=marks,
        text=text,
        spoken=f"{s.defense}{f' for {s.authorised}' if s.authorised else ''}: {'; '.join(words)}",
    )
