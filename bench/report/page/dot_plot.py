"""Utility and leakage as a dot plot: one line per defense and authorised set, in per cent of the width.

The marks are drawn by the template as inline SVG with relative coordinates, so that text keeps its size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.analysis.table_model import Figure, Quantity
from bench.analysis.tables.summary import AUTHORISED, UNAUTHORISED, Summary

MarkKind = Literal["clean", "kept", "leaked", "worst"]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark on a line: positions in per cent of the width; ``low`` and ``high`` bound its interval."""

    kind: MarkKind
    at: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the plot, with its figures in words."""

    label: str
    defense: str
    authorised: str
    marks: Sequence[Mark]
    text: Sequence[tuple[MarkKind, Quantity, Figure]]
    spoken: str


def lines(found: Sequence[Summary]) -> list[Line]:
    """The lines of the plot, in the order of the summaries."""
    return [_line(s) for s in found]


def _line(s: Summary) -> Line:
    shown: list[tuple[MarkKind, str, Figure, Quantity]] = []
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
    for kind, name, figure, quantity in shown:
        if figure.value is None:
            words.append(f"{name}: no figure ({figure.status})")
            continue
        bounded = kind in ("kept", "leaked") and figure.low is not None and figure.high is not None
        low = 100 * figure.low if bounded and figure.low is not None else None
        high = 100 * figure.high if bounded and figure.high is not None else None
        marks.append(Mark(kind=kind, at=round(100 * figure.value, 2), low=low, high=high))
        span = quantity.span(figure.low, figure.high)
        words.append(f"{name} {quantity.shown(figure.value)} %{f' ({span})' if span else ''}")
    told = ("kept", "leaked") if s.kind != "clean" else ("clean",)
    text = [(k, q, f) for k, _, f, q in shown if k in told and f.value is not None]
    return Line(
        label=s.authorised or s.defense,
        defense=s.defense,
        authorised=s.authorised or "",
        marks=marks,
        text=text,
        spoken=f"{s.defense}{f' for {s.authorised}' if s.authorised else ''}: {'; '.join(words)}",
    )
