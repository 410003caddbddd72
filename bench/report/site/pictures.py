"""Charts of the report as small pictures within a page: positions of marks in pixels, which templates draw as SVG.

The charts are those of `bench.report.charts`, with the same numbers and words. A page needs no library to show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.table_model import Measurement, TableMetric
from bench.core.text import shortened
from bench.report.charts import Chart, Curve, Panel, PlotPoint, PointPlot
from bench.report.charts.label_placement import placed
from bench.report.charts.theme import PAGE, dash, shape

Pixels = Callable[[float], float]
WIDE, HIGH = 460, 250  # of a panel of curves
PLOT_WIDE, PLOT_HIGH = 860, 440  # of a plot of points
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44  # around the axes
_TICKS = 5
_LONGEST = 22  # characters of a label in a plot of points


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A tick of an axis: its position, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class DrawnMark:
    """A mark of a curve or plot: its position, its text for a pointer, and the ends of its intervals in pixels."""

    x: float
    y: float
    words: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class DrawnCurve:
    """One curve of a panel: the corners of its line and of the band of its intervals."""

    label: str
    colour: str
    dashes: str
    line: str
    band: str
    marks: Sequence[DrawnMark]


@dataclass(frozen=True, kw_only=True)
class DrawnPanel:
    """One pair of axes with curves. ``spoken`` is the panel as a sentence."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    curves: Sequence[DrawnCurve]
    spoken: str
    wide: int = WIDE
    high: int = HIGH
    left: int = LEFT
    right: int = WIDE - RIGHT
    top: int = TOP
    bottom: int = HIGH - BOTTOM


@dataclass(frozen=True, kw_only=True)
class DrawnPoint:
    """A point of a plot, a link to ``page``: position, look, ends of its two intervals, and its label with a line to
    it."""

    name: str
    page: str
    x: float
    y: float
    path: str
    colour: str
    hollow: bool
    x_span: tuple[float, float] | None
    y_span: tuple[float, float] | None
    words: str
    label: str
    label_at: tuple[float, float] | None
    label_end: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class DrawnPlot:
    """A plot of points: axes, bars, lines of reference, and the line that joins the Pareto front."""

    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    zones: Sequence[tuple[float, float, float, float]]
    across: Sequence[tuple[str, float, str]]
    front: str
    points: Sequence[DrawnPoint]
    wide: int = PLOT_WIDE
    high: int = PLOT_HIGH
    left: int = LEFT
    right: int = PLOT_WIDE - RIGHT
    top: int = TOP
    bottom: int = PLOT_HIGH - BOTTOM


# ---- curves ----------------------------------------------------------------------------------------------------------


def panels(chart: Chart) -> list[DrawnPanel]:
    """Return the panels of a chart of curves."""
    return [_panel(chart, panel) for panel in chart.panels]


def _panel(chart: Chart, panel: Panel) -> DrawnPanel:
    metric = panel.metric or chart.metric
    xs = sorted({x for curve in panel.curves for x in curve.xs})
    x = _scale(xs[0], xs[-1], LEFT + 12, WIDE - RIGHT - 12, log=chart.log and xs[0] > 0)
    low, high = _ends(*chart.range(metric), metric)
    y = _scale(low, high, HIGH - BOTTOM, TOP)
    return DrawnPanel(
        title=panel.title,
        x_label=chart.x,
        y_label=metric.heading,
        x_ticks=[Tick(at=x(value), text=f"{value:g}") for value in xs],
        y_ticks=[Tick(at=y(value), text=text) for value, text in _ticks(low, high)],
        curves=[_curve(chart, metric, curve, x, y) for curve in panel.curves],
        spoken=panel.spoken(chart),
    )


def _curve(chart: Chart, metric: TableMetric, curve: Curve, x: Pixels, y: Pixels) -> DrawnCurve:
    marks = [
        DrawnMark(
            x=x(at),
            y=y(found.value * metric.scale),
            words=f"{curve.label}, {chart.at(at)}: {in_words(metric, found)}",
            low=None if found.low is None else y(found.low * metric.scale),
            high=None if found.high is None else y(found.high * metric.scale),
        )
        for at, found in zip(curve.xs, curve.measurements, strict=True)
        if found.value is not None
    ]
    upper = [(m.x, m.high) for m in marks if m.high is not None]
    lower = [(m.x, m.low) for m in reversed(marks) if m.low is not None]
    return DrawnCurve(
        label=curve.label,
        colour=PAGE.of(curve.style),
        dashes=" ".join(f"{length:g}" for length in dash(curve.style)),
        line=_corners([(m.x, m.y) for m in marks]),
        band="" if curve.style.neutral or len(upper) < 2 else _corners([*upper, *lower]),
        marks=marks,
    )


def in_words(metric: TableMetric, found: Measurement) -> str:
    """Return a measurement as text: value, unit, interval, N and note."""
    unit = f" {metric.unit}" if metric.unit else ""
    span = metric.span(found.low, found.high)
    parts = [f"{metric.shown(found.value)}{unit}", *([span] if span else []), f"N {found.support}"]
    return ", ".join([*parts, *([found.note] if found.note else [])])


# ---- points ----------------------------------------------------------------------------------------------------------


def plot(chart: PointPlot, pages: Sequence[str]) -> DrawnPlot:
    """Return a plot of points; ``pages`` are the links of its points."""
    x = _scale(*chart.x_range, LEFT, PLOT_WIDE - RIGHT)
    y = _scale(*chart.y_range, PLOT_HIGH - BOTTOM, TOP)
    at = [
        (x((p.x.value or 0.0) * chart.x.scale), y((p.y.value or 0.0) * chart.y.scale), p, page)
        for p, page in zip(chart.points, pages, strict=True)
        if p in chart.known
    ]
    size = (PLOT_WIDE - RIGHT - LEFT, PLOT_HIGH - BOTTOM - TOP)
    texts = [shortened(p.label, _LONGEST) for _, _, p, _ in at]
    places = placed([((px - LEFT) / size[0], (py - TOP) / size[1]) for px, py, *_ in at], texts, size) if at else []
    points = []
    for (px, py, point, page), text, place in zip(at, texts, places, strict=True):
        label_at = None if place is None else (LEFT + place.x * size[0], TOP + place.y * size[1])
        label_end = None if place is None else (LEFT + place.end[0] * size[0], TOP + place.end[1] * size[1])
        points.append(
            DrawnPoint(
                name=point.label,
                page=page,
                x=px,
                y=py,
                path=shape(point.style, point.marker),
                colour=PAGE.of(point.style),
                hollow=point.hollow,
                x_span=_span(chart.x, point.x, x),
                y_span=_span(chart.y, point.y, y),
                words=_of_point(chart, point),
                label=text,
                label_at=label_at,
                label_end=label_end,
            )
        )
    return DrawnPlot(
        x_label=chart.x.heading,
        y_label=chart.y.heading,
        x_ticks=[Tick(at=x(value), text=text) for value, text in _ticks(max(0.0, chart.x_range[0]), 100.0)],
        y_ticks=[Tick(at=y(value), text=text) for value, text in _ticks(*_within(chart.y_range, chart.y))],
        zones=[(x(z.x[0]), y(z.y[1]), x(z.x[1]) - x(z.x[0]), y(z.y[0]) - y(z.y[1])) for z in chart.zones],
        across=[(r.axis, x(r.value) if r.axis == "x" else y(r.value), r.label) for r in chart.references],
        front=_corners([(x(px), y(py)) for px, py in chart.path]),
        points=points,
    )


def _of_point(chart: PointPlot, point: PlotPoint) -> str:
    lines = [f"{point.label}: leaks {in_words(chart.x, point.x)}", f"keeps {in_words(chart.y, point.y)}"]
    return "; ".join([*lines, *(f"{name}: {text}" for name, text in point.details)])


def _within(ends: tuple[float, float], metric: TableMetric) -> tuple[float, float]:
    """Return the part of a range of an axis that a metric can have, in the unit that is shown."""
    low, high = (end * metric.scale for end in metric.range)
    return max(ends[0], low), min(ends[1], high)


def _span(metric: TableMetric, found: Measurement, pixels: Pixels) -> tuple[float, float] | None:
    if found.low is None or found.high is None:
        return None
    return pixels(found.low * metric.scale), pixels(found.high * metric.scale)


# ---- axes ------------------------------------------------------------------------------------------------------------


def _scale(low: float, high: float, first: float, last: float, *, log: bool = False) -> Pixels:
    """Return the function from a number to its position on an axis; a single number stands in the middle."""
    ends = (math.log(low), math.log(high)) if log else (low, high)
    width = ends[1] - ends[0]

    def at(value: float) -> float:
        if width <= 0:
            return (first + last) / 2
        share = ((math.log(value) if log else value) - ends[0]) / width
        return round(first + share * (last - first), 1)

    return at


def _ends(low: float, high: float, metric: TableMetric) -> tuple[float, float]:
    """Return the ends of a vertical axis: round numbers, and all per cent where values are high."""
    if metric.unit == "%" and low >= 0 and high > 50:
        return 0.0, 100.0
    step = _step(low, high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _step(low: float, high: float) -> float:
    """Return a round distance of ticks: 1, 2 or 5 times a power of ten."""
    rough = (high - low or abs(high) or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)


def _ticks(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Yield round numbers within a range, with their texts."""
    step = _step(low, high)
    digits = max(0, -math.floor(math.log10(step)))
    first = math.ceil(low / step - 1e-9)
    for i in range(first, math.floor(high / step + 1e-9) + 1):
        yield i * step, f"{i * step:.{digits}f}".replace("-", "−")


def _corners(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
