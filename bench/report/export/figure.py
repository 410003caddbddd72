"""A figure as a file for a paper: the charts of the report as SVG, PDF or PNG, on white, with their legends."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from bench.errors import StorageError, SuiteError, did_you_mean
from bench.report.charts import Chart, Panel, Scatter, Style
from bench.report.charts.curves import charts, settings
from bench.report.charts.drawing import DASHES, MARKERS
from bench.report.charts.sensitivity import sensitivity
from bench.report.figures import Figure, Quantity
from bench.report.rows import Rows
from bench.store import Results

FIGURE_FORMATS = ("svg", "pdf", "png")
SENSITIVITY = "sensitivity"
_PICTURES = ("6", "7")  # of faces, which the report shows
_ACROSS = 3  # panels beside one another
_BESIDE = 2  # spots in the legend
_TICKS = 6
_WIDTH, _PANEL, _LEGEND, _LINE = 7.0, 2.4, 0.3, 0.17  # inches
_INK, _QUIET, _RULE = "#1a1d21", "#545b64", "#d5dae0"
_COLOURS = ("#0b5cad", "#b04600", "#00755a", "#9a2b8f", "#6b5d00", "#5a4fcf", "#a8183b", "#4a5560")
_STEPS = LinearSegmentedColormap.from_list("bench", ["#0b5cad", "#c46a00"])
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "pdf.fonttype": 42,  # TrueType: journals ask for embedded fonts that are no Type 3
    "font.size": 8,
    "axes.unicode_minus": True,
    "savefig.dpi": 300,
}
_UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def export_figure(results: Results, number: str, fmt: str, path: Path) -> None:
    """Write a figure of the paper, or ``sensitivity``, to a file, whole or not at all; the same bytes every time.

    Raises `SuiteError` for an unknown format or figure, and `StorageError` where the run makes no such figure.
    """
    if fmt not in FIGURE_FORMATS:
        raise SuiteError(f"--format {fmt}: expected one of {', '.join(FIGURE_FORMATS)} for --figure")
    found = _found(Rows(results), number)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with matplotlib.rc_context(_SETTINGS):
        canvas = _canvas(found)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.savefig(beside, format=fmt, metadata=_UNDATED[fmt], facecolor="white")
            os.replace(beside, path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _found(rows: Rows, number: str) -> list[Chart | Scatter]:
    """The charts of a number, those of all experiments."""
    made: dict[str, list[Chart | Scatter]] = {}
    for experiment in rows.experiments:
        for chart in charts(rows, experiment):
            made.setdefault(chart.number or "noise", []).append(chart)
    asked = [e for e in rows.experiments if SENSITIVITY in (settings(rows, e).get("figures") or [])]
    swept = [scatter for e in asked or rows.experiments if (scatter := sensitivity(rows, e))]
    made |= {SENSITIVITY: list(swept)} if swept else {}
    if number in made:
        return made[number]
    where = rows.results.folder
    if number in _PICTURES:
        raise SuiteError(f"--figure {number}: shows faces, and is a part of the page; see: bench report")
    there = ", ".join(made) or "none"
    raise StorageError(f"{where}: makes no figure {number!r}; it has {there}; {did_you_mean(number, made)}")


# ---- layout ----------------------------------------------------------------------------------------------------------


def _canvas(found: Sequence[Chart | Scatter]) -> Canvas:
    heights = [_height(chart) for chart in found]
    several = len({chart.experiment for chart in found}) > 1
    canvas = Canvas(figsize=(_WIDTH, sum(heights)), layout="constrained")
    FigureCanvasAgg(canvas)
    parts = canvas.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, chart in zip(parts, found, strict=True):
        title = f"{chart.title} ({chart.experiment})" if several else chart.title
        part.suptitle(title, fontsize=9, color=_INK, parse_math=False)
        if isinstance(chart, Chart):
            _curves(part, chart)
        else:
            _spots(part, chart)
    _settle(canvas)
    return canvas


def _settle(canvas: Canvas) -> None:
    """Lay everything out once, and clip nothing: the last bits of the layout differ from time to time, and SVG names
    its clip paths after them. Everything is within the axes."""
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")
    for artist in canvas.findobj():
        artist.set_clip_on(False)


def _height(chart: Chart | Scatter) -> float:
    if isinstance(chart, Scatter):
        return 1.5 * _PANEL + _LEGEND + _LINE * -(-len(chart.spots) // _BESIDE)
    rows = -(-len(chart.panels) // _ACROSS)
    return rows * _PANEL + _LEGEND + _LINE * -(-len(chart.legend) // _ACROSS)


def _axes(axes: Axes, x: str, y: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_QUIET)
    axes.tick_params(colors=_QUIET, labelcolor=_INK, length=3)
    axes.grid(color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x, color=_INK, parse_math=False)
    axes.set_ylabel(y, color=_INK, parse_math=False)


def _legend(part: SubFigure, lines: Sequence[Line2D], labels: Sequence[str], columns: int) -> None:
    """A legend whose labels are text, whatever they hold: no mathematics, and no label that is left out."""
    if not labels:
        return
    legend = part.legend(
        lines, [str(i) for i in range(len(labels))], loc="outside lower center", ncols=columns, frameon=False
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


# ---- curves ----------------------------------------------------------------------------------------------------------


def _look(style: Style) -> dict[str, Any]:
    if style.neutral:
        return {"color": _QUIET, "linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "none", "markersize": 3.5}
    if style.steps:
        colour = to_hex(_STEPS(style.index / max(1, style.steps - 1)))
        return {"color": colour, "marker": MARKERS[style.index % len(MARKERS)], "markersize": 3.5}
    dash = DASHES[style.index // len(_COLOURS) % len(DASHES)]
    marker = MARKERS[style.index % len(MARKERS)]
    return {
        "color": _COLOURS[style.index % len(_COLOURS)], "linestyle": dash, "marker": marker, "markersize": 3.5
    }  # fmt: skip


def _curves(part: SubFigure, chart: Chart) -> None:
    across = min(_ACROSS, len(chart.panels))
    grid = part.subplots(-(-len(chart.panels) // across), across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(chart.panels) :]:
        axes.set_visible(False)
    low, high = chart.range
    room = 0.04 * (high - low) or 0.05
    for axes, which in zip(grid, chart.panels, strict=False):
        _axes(axes, chart.x, _named(chart.quantity))
        axes.set_title(which.title, fontsize=8, color=_INK, parse_math=False)
        _panel(axes, chart, which)
        axes.set_ylim(low - room, high + room)
        axes.set_xticks(chart.xs[:: -(-len(chart.xs) // _TICKS) or 1])
        axes.label_outer()
    lines = [Line2D([], [], linewidth=1.2, **_look(style)) for _, style in chart.legend]
    _legend(part, lines, [label for label, _ in chart.legend], _ACROSS)


def _panel(axes: Axes, chart: Chart, which: Panel) -> None:
    scale = chart.quantity.scale
    for curve in which.curves:
        known = [(x, f) for x, f in zip(curve.xs, curve.figures, strict=True) if f.value is not None]
        look = _look(curve.style)
        axes.plot([x for x, _ in known], [scale * (f.value or 0) for _, f in known], linewidth=1.2, **look)
        bounded = [(x, f.low * scale, f.high * scale) for x, f in known if f.low is not None and f.high is not None]
        if chart.banded and bounded:
            at, low, high = zip(*bounded, strict=True)
            axes.fill_between(at, low, high, color=look["color"], alpha=0.13, linewidth=0)


# ---- spots -----------------------------------------------------------------------------------------------------------


def _spots(part: SubFigure, chart: Scatter) -> None:
    axes = part.subplots()
    _axes(axes, _named(chart.x), _named(chart.y))
    if chart.zone:
        x0, x1, y0, y1 = chart.zone
        axes.fill_between([x0, x1], y0, y1, color=_COLOURS[0], alpha=0.1, linewidth=0)
    lines, labels = [], []
    for spot in chart.spots:
        if spot.x.value is None or spot.y.value is None:
            continue
        look = _look(spot.style) | {"linestyle": "none", "marker": MARKERS[spot.marker % len(MARKERS)], "markersize": 5}
        x, y = chart.x.scale * spot.x.value, chart.y.scale * spot.y.value
        x_error, y_error = _error(chart.x, spot.x), _error(chart.y, spot.y)
        axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="none", ecolor=look["color"], elinewidth=0.7, alpha=0.4)
        axes.plot([x], [y], **look)
        axes.annotate(str(spot.number), (x, y), (3, 3), textcoords="offset points", fontsize=7, color=_INK)
        lines.append(Line2D([], [], **look))
        labels.append(f"{spot.number}: {spot.described(chart.params)}")
    _legend(part, lines, labels, _BESIDE)


def _named(quantity: Quantity) -> str:
    return f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name


def _error(quantity: Quantity, of: Figure) -> list[list[float]] | None:
    if of.value is None or of.low is None or of.high is None:
        return None
    return [[quantity.scale * (of.value - of.low)], [quantity.scale * (of.high - of.value)]]
