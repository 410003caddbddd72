"""Turns charts into Vega-Lite specifications; no other module uses the plotting library.

The page and exported files are made from the same specification, and a `Theme` holds what differs. Names from suites
become data values or plain titles, never a part of an expression or the name of a field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from bench.analysis.table_model import Measurement, TableMetric
from bench.report.charts import Chart, Panel, PlotPoint, PointPlot, Reference, Scatter, Style, Zone
from bench.report.charts.label_placement import placed
from bench.report.charts.theme import LIGHT, PAGE, PRINT, Theme, dash, shape

_SMALLEST = 270.0  # The width in pixels of a plot of points on a phone.
_TICKS = 7  # The most ticks on the horizontal axis of curves.
# Colour and dash of lines are fields of the data. As scales without a legend they would remove the legend of the marks.
_COLOUR, _DASH = alt.Color("colour:N").scale(None), alt.StrokeDash("dash:N").scale(None)
_SHOWN = "indexof(hidden, datum.key) < 0 && indexof(hidden, datum.kind) < 0"
_STRESSED = "stressed === '' || stressed === datum.key || stressed === datum.kind"
_ALONE = "stressed !== '' && stressed === datum.key"


def specification(chart: Chart | PointPlot | Scatter, theme: Theme = PAGE, columns: int = 2) -> dict[str, Any]:
    """Return a chart as a Vega-Lite specification without its configuration (`Theme.config`).

    ``columns`` is the number of panels side by side; the script of the page replaces it when it knows the width.
    """
    if isinstance(chart, Chart):
        columns = max(1, min(columns, len(chart.panels)))
        width = theme.wide / columns - theme.around
        metrics = chart.metrics
        kinds = [_curves(chart, metric, theme, width) for metric in metrics]
        of = [kinds[metrics.index(p.metric or chart.metric)] for p in chart.panels]
        panels = [(p.title, kind, _panel_data(chart, p, theme)) for p, kind in zip(chart.panels, of, strict=True)]
    else:
        points = points_of(chart) if isinstance(chart, Scatter) else chart
        columns = 1
        panel = _points(points, theme, theme.wide - theme.around)
        panels = [("", panel, _point_data(points, theme))]
    # Panels with one metric differ only in their titles and data, so one is built and copied: Altair would validate
    # each many times.
    made = {id(panel): _plain(panel) for panel in {id(panel): panel for _, panel, _ in panels}.values()}
    drawn = [{**made[id(panel)], "title": title, "data": {"values": data}} for title, panel, data in panels]
    params = [{"name": "hidden", "value": []}, {"name": "stressed", "value": ""}] if theme.interactive else []
    return {"params": params, "concat": drawn, "columns": columns, "spacing": 12}


def _plain(panel: alt.LayerChart) -> dict[str, Any]:
    """Return a panel as a specification without its configuration."""
    with alt.data_transformers.enable(consolidate_datasets=False):
        return {key: value for key, value in panel.to_dict().items() if key not in ("$schema", "config")}


def sheet(charts: Sequence[tuple[str, Chart | PointPlot | Scatter]], theme: Theme = PRINT) -> dict[str, Any]:
    """Return one complete specification of several charts below one another, each with its title and its own legend."""
    parts = [
        {**specification(chart, theme, _beside(chart)), "title": {"text": title, "offset": 10}}
        for title, chart in charts
    ]
    apart = dict.fromkeys(("fill", "stroke", "shape"), "independent")
    return {"vconcat": parts, "spacing": 24, "resolve": {"scale": apart}, "config": theme.config}


def _beside(chart: Chart | PointPlot | Scatter) -> int:
    """Return how many panels of a chart are side by side in a file: four fill a square."""
    return 2 if isinstance(chart, Chart) and len(chart.panels) == 4 else 3


def plot(chart: Chart | PointPlot | Scatter, file: str) -> dict[str, Any]:
    """Return what the script of the page needs to draw a chart.

    ``file`` is the name of a download. ``light`` maps colours of the page to the light ones of a download.
    """
    styles = [s for _, s in chart.legend] if isinstance(chart, Chart) else []
    return {"spec": specification(chart), "file": file, "light": {PAGE.of(s): PRINT.of(s) for s in styles if s.steps}}


def shared() -> dict[str, Any]:
    """Return what all plots of a page share: their configuration, and the light colours of downloads."""
    return {
        "config": PAGE.config,
        "around": PAGE.around,
        "light": {PAGE.colour(name): colour for name, colour in LIGHT.items()},
    }


# ---- curves ----------------------------------------------------------------------------------------------------------


def _curves(chart: Chart, metric: TableMetric, theme: Theme, width: float) -> alt.LayerChart:
    """Return the layers of a panel of curves with a metric, without data: bands of intervals, lines, marks, published
    values, and invisible marks for tooltips."""
    names, styles = zip(*chart.legend, strict=True) if chart.legend else ((), ())
    x, y = _curve_axes(chart, metric)
    looks = _Looks(names=names, theme=theme, styles=styles, markers=[None] * len(names))
    base = alt.Chart().encode(x=x, y=y)
    layers = []
    if chart.banded or theme.interactive:
        shade = _when(theme, _ALONE, 0.28, 0.13 if chart.banded else 0)
        layers.append(base.mark_area().encode(alt.Y("y_low:Q"), alt.Y2("y_high"), _COLOUR, opacity=shade))
    clear = _when(theme, _STRESSED, 1, 0.15)
    line = base.mark_line(strokeWidth=theme.line, strokeJoin="round")
    layers.append(line.encode(_COLOUR, _DASH, alt.Detail("series:N"), opacity=clear))
    marks = base.mark_point(size=theme.mark, strokeWidth=0.7 * theme.line, opacity=1)
    layers.append(marks.encode(*looks.marks(), opacity=clear))
    if any(f.paper is not None for p in chart.panels for c in p.curves for f in c.measurements):
        tick = base.mark_tick(thickness=theme.line, size=2.5 * theme.mark**0.5, orient="horizontal")
        layers.append(tick.encode(alt.Y("paper:Q"), _COLOUR, opacity=clear))
    if theme.interactive:
        tooltip = {"series": "line", "at": chart.x, **_tooltip_lines("y", metric)}
        tooltip |= {"note": "attack"} if chart.noted else {}
        layers.append(_tooltip_layer(base, theme, tooltip))
    return _layered(layers, theme, width=width, height=0.6 * theme.tall)


def _curve_axes(chart: Chart, metric: TableMetric) -> tuple[alt.X, alt.Y]:
    """Return the axes of a chart of curves: the same ranges for all panels with a metric, so that they can be compared,
    and at most seven ticks, which are at positions of measurements."""
    low, high = chart.range(metric)
    room = 0.04 * (high - low) or 0.05
    xs = sorted(chart.positions) or chart.xs or [0.0, 1.0]
    ticks = xs[:: -(-len(xs) // _TICKS)]
    x = alt.X("x:Q").title(chart.x)
    if chart.log:
        margin = (xs[-1] / xs[0]) ** 0.02
        x = x.scale(type="log", domain=[xs[0] / margin, xs[-1] * margin], nice=False)
    else:
        margin = 0.02 * (xs[-1] - xs[0]) or 0.05
        x = x.scale(domain=[xs[0] - margin, xs[-1] + margin], nice=False, zero=False)
    y = alt.Y("y:Q").title(metric.heading).scale(domain=[low - room, high + room], nice=False, zero=False)
    return x.axis(values=ticks, format="~g"), y


def _panel_data(chart: Chart, which: Panel, theme: Theme) -> list[dict[str, Any]]:
    names = [label for label, _ in chart.legend]
    return [
        _curve_datum(chart, which.metric or chart.metric, theme, c.label, names.index(c.label), x, measurement)
        for c in which.curves
        for x, measurement in zip(c.xs, c.measurements, strict=True)
    ]


def _curve_datum(
    chart: Chart, metric: TableMetric, theme: Theme, label: str, index: int, x: float, measurement: Measurement
) -> dict[str, Any]:
    """Return one point of a curve: its position, its look, and its measurement."""
    paper = {} if measurement.paper is None else {"paper": _scaled(metric, measurement.paper)}
    style = chart.legend[index][1]
    about = {"series": label, "key": f"s{index}", "kind": "", "x": x, "at": chart.at(x)}
    about |= {"note": measurement.note or ""} if chart.noted else {}
    about |= {"colour": theme.of(style), "dash": list(dash(style))}
    return about | _numbers("y", metric, measurement) | paper


# ---- points ----------------------------------------------------------------------------------------------------------


def points_of(chart: Scatter) -> PointPlot:
    """Return the sensitivity plot as a plot of points, with the zone of the paper's profile, a reference line at the
    accuracy without protection, and the numbers of the spots as labels."""
    right = max([40.0, *(chart.x.scale * (s.x.high or s.x.value or 0) for s in chart.spots)])
    clean = [] if chart.clean.value is None else [chart.y.scale * chart.clean.value]
    return PointPlot(
        title=chart.title,
        x=chart.x,
        y=chart.y,
        x_range=(-3, min(103.0, right + 4)),
        y_range=(-3, 106),
        points=[
            PlotPoint(
                mark=str(s.number),
                label=s.described(chart.params),
                x=s.x,
                y=s.y,
                style=s.style,
                marker=s.marker,
                kinds=(f"colour{s.style.index}", f"shape{s.marker}"),
                details=(("gap", f"{chart.gap.shown(s.gap)} {chart.gap.unit}"),),
            )
            for s in chart.spots
        ],
        zones=[] if chart.zone is None else [Zone(x=chart.zone[:2], y=chart.zone[2:])],
        references=[Reference(axis="y", value=v, label="unprotected") for v in clean],
    )


def _points(chart: PointPlot, theme: Theme, width: float) -> alt.LayerChart:
    """Return the layers of a plot of points: zones, references, path, intervals, marks, labels with their lines, and
    invisible marks for tooltips."""
    known = chart.known
    looks = _Looks(
        names=[p.name for p in known],
        theme=theme,
        styles=[p.style for p in known],
        markers=[p.marker for p in known],
        hollow=[p.hollow for p in known],
    )
    x, y = _axis(alt.X, chart.x, chart.x_range), _axis(alt.Y, chart.y, chart.y_range)
    clear, faint = _when(theme, _STRESSED, 1, 0.15), _when(theme, _STRESSED, 0.5, 0.1)
    quiet, ink = theme.colour("quiet"), theme.colour("ink")
    zones = alt.Chart(_rows([_corners(z, theme) for z in chart.zones])).mark_rect(opacity=0.1)
    zones = zones.encode(x("x0"), alt.X2("x1"), y("y0"), alt.Y2("y1"), _COLOUR)
    layers: list[Any] = [zones] if chart.zones else []
    layers += [layer for r in chart.references for layer in _reference(r, chart, x, y, theme)]
    if len(chart.path) > 1:
        corners = _rows([{"at": i, "x0": a, "y0": b} for i, (a, b) in enumerate(chart.path)])
        path = alt.Chart(corners).mark_line(strokeWidth=0.7 * theme.line, strokeDash=[6, 3])
        layers.append(path.encode(x("x0"), y("y0"), alt.Order("at:Q"), alt.ColorValue(theme.colour("kept"))))
    bar, lead = alt.Chart().mark_rule(strokeWidth=0.7 * theme.line), alt.Chart().mark_rule(strokeWidth=0.4 * theme.line)
    layers.append(bar.encode(x("x_low"), alt.X2("x_high"), y("y"), _COLOUR, opacity=faint))
    layers.append(bar.encode(x("x"), y("y_low"), alt.Y2("y_high"), _COLOUR, opacity=faint))
    layers.append(lead.encode(x("x"), alt.X2("lead_x"), y("y"), alt.Y2("lead_y"), alt.ColorValue(quiet), opacity=faint))
    marks = alt.Chart().mark_point(size=theme.mark, strokeWidth=0.7 * theme.line)
    layers.append(marks.encode(x("x"), y("y"), *looks.marks(), opacity=clear))
    words = alt.Chart().mark_text(baseline="middle")
    layers.append(words.encode(x("label_x"), y("label_y"), alt.Text("mark:N"), alt.ColorValue(ink), opacity=clear))
    if theme.interactive:
        tooltip = {"series": "point", **_tooltip_lines("y", chart.y), **_tooltip_lines("x", chart.x)}
        tooltip |= {f"more{i}": name for i, (name, _) in enumerate(known[0].details if known else ())}
        tooltip["same"] = "at the same place"
        layers.append(_tooltip_layer(alt.Chart().encode(x("x"), y("y")), theme, tooltip))
    return _layered(layers, theme, width=width, height=theme.tall)


def _axis(channel: Any, metric: TableMetric, domain: tuple[float, float]) -> Any:
    """Return a function from the name of a field to its encoding on one axis."""
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return lambda field: channel(f"{field}:Q").title(metric.heading).scale(scale)


def _corners(zone: Zone, theme: Theme) -> dict[str, Any]:
    return {"x0": zone.x[0], "x1": zone.x[1], "y0": zone.y[0], "y1": zone.y[1], "colour": theme.colour(zone.colour)}


def _reference(reference: Reference, chart: PointPlot, x: Any, y: Any, theme: Theme) -> list[alt.Chart]:
    """Return the layers of a reference line: the dashed line, and its label at the end of the line."""
    across = reference.axis == "y"
    end = chart.x_range[1] if across else chart.y_range[1]
    data = _rows([{"at": reference.value, "end": end, "label": reference.label}])
    base = alt.Chart(data)
    colour = alt.ColorValue(theme.colour("quiet"))
    line = base.mark_rule(strokeDash=[3, 3], strokeWidth=0.6 * theme.line).encode(
        y("at") if across else x("at"), colour
    )
    words = base.mark_text(fontSize=theme.size - 1, align="right", dy=-0.6 * theme.size)
    if not across:
        words = base.mark_text(fontSize=theme.size - 1, align="left", dx=4, dy=4)
    place = (x("end"), y("at")) if across else (x("at"), y("end"))
    return [line, words.encode(*place, alt.Text("label:N"), colour)]


def _point_data(chart: PointPlot, theme: Theme) -> list[dict[str, Any]]:
    """Return the data of a plot of points, with the place of each label and the marks at the same position."""
    known = chart.known
    at = [(_short(chart.x.scale * (p.x.value or 0)), _short(chart.y.scale * (p.y.value or 0))) for p in known]
    (x0, x1), (y0, y1) = chart.x_range, chart.y_range
    shares = [((x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)) for x, y in at]
    places = placed(shares, [p.mark for p in known], (_SMALLEST, PAGE.tall))
    data = []
    for point, here, place in zip(known, at, places, strict=True):
        same = [p.mark for p, there in zip(known, at, strict=True) if there == here and p is not point]
        key, kind = (*point.kinds, "", "")[:2]
        made: dict[str, Any] = {"series": point.name, "key": key, "kind": kind, "mark": point.mark}
        made["colour"] = theme.of(point.style)
        made |= _numbers("x", chart.x, point.x) | _numbers("y", chart.y, point.y)
        made |= {f"more{i}": text for i, (_, text) in enumerate(point.details)} | {
            "same": ", ".join(same) or "no other"
        }
        if place is not None:
            spots = {"label": (place.x, place.y), "lead": place.end}
            for field, (across, down) in spots.items():
                made |= {f"{field}_x": _short(x0 + across * (x1 - x0)), f"{field}_y": _short(y1 - down * (y1 - y0))}
        data.append(made)
    return data


# ---- both ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """The encodings that tell series apart: fill, stroke and shape of marks, by the names of the series.

    The legend shows the marks, so areas and lines have no legend of their own.
    """

    names: Sequence[str]
    styles: Sequence[Style]
    markers: Sequence[int | None]
    theme: Theme
    hollow: Sequence[bool] = ()

    def _scale(self, values: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=list(self.names), range=list(values))

    def marks(self) -> tuple[alt.Fill, alt.Stroke, alt.Shape]:
        """Return the encodings of marks; hollow marks are filled with the colour of the paper."""
        strokes = [self.theme.of(s) for s in self.styles]
        hollow = self.hollow or [s.neutral for s in self.styles]
        fills = [self.theme.colour("paper") if h else c for h, c in zip(hollow, strokes, strict=True)]
        shapes = [shape(s, m) for s, m in zip(self.styles, self.markers, strict=True)]
        return (
            alt.Fill("series:N").scale(self._scale(fills)),
            alt.Stroke("series:N").scale(self._scale(strokes)),
            alt.Shape("series:N").scale(self._scale(shapes)),
        )


def _layered(layers: Sequence[Any], theme: Theme, **about: Any) -> alt.LayerChart:
    """Return layers as one chart; on the page it leaves out the series that the legend hides."""
    drawn = alt.LayerChart(data=_rows([]), layer=list(layers), **about)
    if theme.interactive:
        drawn.transform = [alt.FilterTransform(_SHOWN)]
    return drawn


def _rows(data: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=[dict(d) for d in data])


def _tooltip_layer(base: alt.Chart, theme: Theme, lines: Mapping[str, str]) -> alt.Chart:
    """Return a layer of transparent marks with tooltips, large enough for a finger.

    ``lines`` maps the field of each line of a tooltip to its title.
    """
    tooltips = [alt.Tooltip(f"{field}:N", title=title) for field, title in lines.items()]
    marks: alt.Chart = base.mark_point(size=6 * theme.mark, filled=True, color="transparent", opacity=1)
    return marks.encode(tooltip=tooltips)


def _when(theme: Theme, test: str, then: float, otherwise: float) -> Any:
    """Return an opacity: ``then`` if the expression ``test`` about the stressed legend entry holds, else ``otherwise``.

    In a file no entry is stressed, so the opacity is constant.
    """
    if not theme.interactive:
        return alt.OpacityValue(otherwise if test is _ALONE else then)
    return alt.condition(test, alt.value(then), alt.value(otherwise))


def _tooltip_lines(axis: str, metric: TableMetric) -> dict[str, str]:
    """Return the lines of a tooltip about one measurement: the fields of `_numbers`, and their titles."""
    of = "" if axis == "y" else f", {metric.label}"
    return {f"{axis}_text": metric.label, f"{axis}_span": f"95 % interval{of}", f"{axis}_n": f"N{of}"}


def _numbers(axis: str, metric: TableMetric, measurement: Measurement) -> dict[str, Any]:
    """Return the fields of a measurement: the numbers to draw, in units as shown, and the text for a tooltip."""
    unit = f" {metric.unit}" if metric.unit else ""
    span = metric.span(measurement.low, measurement.high)
    return {
        axis: _scaled(metric, measurement.value),
        f"{axis}_low": _scaled(metric, measurement.low),
        f"{axis}_high": _scaled(metric, measurement.high),
        f"{axis}_text": f"{metric.shown(measurement.value)}{unit}"
        if measurement.value is not None
        else measurement.status,
        f"{axis}_span": f"{span}{unit}" if span else "none",
        f"{axis}_n": measurement.support,
    }


def _scaled(metric: TableMetric, value: float | None) -> float | None:
    return None if value is None else _short(metric.scale * value)


def _short(value: float) -> float:
    """Return a number rounded to six significant digits, which keeps the data of the page small."""
    return float(f"{value:.6g}")
