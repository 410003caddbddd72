"""The data model of the report's charts: curves in panels, scatter plots and plots of points.

These are plain data without a plotting library; `bench.report.charts.drawing` turns them into Vega-Lite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.analysis.table_model import Column, Measurement, Row, RowGroup, Table, TableMetric

BANDS = 6  # A panel with more curves draws no bands of intervals, which would hide one another.


@dataclass(frozen=True, kw_only=True)
class Style:
    """The look of a curve or mark: category ``index``, or step ``index`` of ``steps`` on a scale, or ``neutral``."""

    index: int = 0
    steps: int = 0
    neutral: bool = False


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart: a measurement at each horizontal position in ``xs``."""

    label: str
    xs: Sequence[float]
    measurements: Sequence[Measurement]
    style: Style

    @property
    def values(self) -> list[float]:
        """The values of the measurements that have one."""
        return [f.value for f in self.measurements if f.value is not None]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes with its curves, for example those of one data set.

    ``metric`` is that of its vertical axis, by default the one of its chart; ``defense`` the one that it is about.
    """

    title: str
    curves: Sequence[Curve]
    metric: TableMetric | None = None
    defense: str = ""

    def spoken(self, chart: Chart) -> str:
        """Return the panel as a sentence for screen readers: the first and last value of each curve."""
        q = self.metric or chart.metric
        ranges = [
            f"{c.label}: {q.shown(c.values[0])} to {q.shown(c.values[-1])}"
            if c.values
            else f"{c.label}: no measurement"
            for c in self.curves
        ]
        span = f" from {chart.at(chart.xs[0])} to {chart.at(chart.xs[-1])}" if chart.xs else ""
        name = f"{chart.title}, {self.title}" if self.title else chart.title
        return f"{name}: {q.label} against {chart.x}{span}. {'; '.join(ranges)}."


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of curves: panels with the same axes.

    ``number`` is that of the paper's figure, empty for none. ``x`` is the label of the horizontal axis, and ``metric``
    that of the vertical one. ``source`` names the table of samples that the measurements are computed from. A
    ``variant`` shows the same as another chart with a different metric. ``name`` is the name of a chart that is no
    figure of the paper, for exports. ``log``: the horizontal axis is logarithmic; ``positions`` names its positions,
    where numbers do not. ``from_zero``: the vertical axis includes 0. ``synthetic``: faces are generated. ``noted``:
    tooltips show notes of measurements.
    """

    number: str
    title: str
    caption: str
    experiment: str
    x: str
    metric: TableMetric
    panels: Sequence[Panel]
    source: str
    variant: bool = False
    notes: Sequence[str] = field(default_factory=tuple)
    name: str = ""
    log: bool = False
    positions: Mapping[float, str] = field(default_factory=dict)
    from_zero: bool = False
    synthetic: bool = False
    noted: bool = False

    def at(self, x: float) -> str:
        """Return a horizontal position as text."""
        return f"{x:g} ({self.positions[x]})" if x in self.positions else f"{x:g}"

    @property
    def xs(self) -> list[float]:
        """All horizontal positions, in rising order."""
        return sorted({x for p in self.panels for c in p.curves for x in c.xs})

    def range(self, metric: TableMetric) -> tuple[float, float]:
        """Return the lowest and highest number on the vertical axes with a metric, intervals included, in the unit that
        is shown."""
        panels = [p for p in self.panels if (p.metric or self.metric) == metric]
        measurements = [f for p in panels for c in p.curves for f in c.measurements]
        found = [v for f in measurements for v in (f.value, f.low, f.high) if v is not None]
        found += [0.0] if self.from_zero else []
        return (min(found) * metric.scale, max(found) * metric.scale) if found else (0.0, 1.0)

    @property
    def banded(self) -> bool:
        """Whether intervals are drawn as bands: no panel has more than `BANDS` curves."""
        return max((len(p.curves) for p in self.panels), default=0) <= BANDS

    @property
    def legend(self) -> list[tuple[str, Style]]:
        """The distinct labels of all curves, with their styles."""
        return list({c.label: c.style for p in self.panels for c in p.curves}.items())

    @property
    def spoken(self) -> str:
        """The chart as sentences for screen readers, one per panel."""
        return " ".join(p.spoken(self) for p in self.panels)

    @property
    def metrics(self) -> list[TableMetric]:
        """The distinct metrics of the vertical axes of all panels."""
        found: list[TableMetric] = []
        for panel in self.panels:  # Metrics need not be hashable.
            metric = panel.metric or self.metric
            found += [] if metric in found else [metric]
        return found

    @property
    def tables(self) -> list[Table]:
        """The same measurements as tables, one for each metric, with a row for each curve and a column for each
        position."""
        return [self._table(metric, first=i == 0) for i, metric in enumerate(self.metrics)]

    def _table(self, metric: TableMetric, *, first: bool) -> Table:
        xs = self.xs
        missing = Measurement(status="missing", reason="the suite does not contain this combination")
        groups = []
        for panel in (p for p in self.panels if (p.metric or self.metric) == metric):
            made = []
            for curve in panel.curves:
                known = dict(zip(curve.xs, curve.measurements, strict=True))
                found = [known.get(x, missing) for x in xs]
                made.append(Row(label=curve.label, kind="model-free", measurements=found, defense=panel.defense))
            groups.append(RowGroup(label=panel.title, rows=made, synthetic=self.synthetic))
        return Table(
            name=f"figure-{self.number or self.name}",
            title=f"{self.title}: the numbers",
            caption=f"{metric.label}, by {self.x}.",
            columns=[Column(label=self.at(x), metric=metric) for x in xs],
            groups=groups,
            experiment=self.experiment,
            source=self.source,
            row_heading="Line",
            notes=self.notes if first else (),
        )


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One setting of a defense in a scatter plot.

    ``number`` is its row in the table beside the plot, and ``values`` are its parameters as text. ``gap`` is y minus x.
    ``profile``: whether it shows the profile that the paper reports (None if x or y has no value).
    """

    number: int
    label: str
    values: Sequence[str]
    x: Measurement
    y: Measurement
    gap: float | None
    style: Style
    marker: int
    profile: bool | None

    def described(self, params: Sequence[str]) -> str:
        """Return the label, followed by the parameters if it does not contain their values. ``params``: their names."""
        if all(value in self.label for value in self.values):
            return self.label
        named = ", ".join(f"{name} {value}" for name, value in zip(params, self.values, strict=True))
        return f"{self.label} ({named})"

    def numbered(self, number: int) -> Spot:
        """Return a copy with this number."""
        return replace(self, number=number)


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """A scatter plot of settings.

    ``params`` are the names of the spots' ``values``; ``colours`` and ``shapes`` are the legends of two of them,
    ``colour_name`` and ``shape_name``. ``zone`` (x0, x1, y0, y1, in units as shown) is the area of the paper's profile.
    ``clean`` is the accuracy without protection, and ``verdict`` the result as a sentence.
    """

    title: str
    caption: str
    experiment: str
    x: TableMetric
    y: TableMetric
    gap: TableMetric
    spots: Sequence[Spot]
    params: Sequence[str]
    colours: Sequence[tuple[str, Style]]
    shapes: Sequence[tuple[str, int]]
    colour_name: str
    shape_name: str
    clean: Measurement
    verdict: str
    zone: tuple[float, float, float, float] | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def tables(self) -> list[Table]:
        """The same measurements as a table, with a row for each setting."""
        rows = [Row(label=s.label, kind="model-free", measurements=[s.x, s.y], defense=s.label) for s in self.spots]
        return [
            Table(
                name="figure-sensitivity",
                title=f"{self.title}: the numbers",
                caption=f"{self.y.label} and {self.x.label}.",
                columns=[Column(label=m.label, metric=m) for m in (self.x, self.y)],
                groups=[RowGroup(label="", rows=rows)],
                experiment=self.experiment,
                source="samples/verification",
                row_heading="Setting",
                notes=self.notes,
            )
        ]

    @property
    def spoken(self) -> str:
        """The plot as a sentence for screen readers, with the first 12 settings."""
        settings = [
            f"{s.number}, {s.label}: {self.y.shown(s.y.value)} and {self.x.shown(s.x.value)}" for s in self.spots[:12]
        ]
        more = f"; and {len(self.spots) - 12} more" if len(self.spots) > 12 else ""
        listed = "; ".join(settings) + more
        return f"{self.title}: {self.y.label} and {self.x.label} of {len(self.spots)} settings. {listed}."


# ---- points ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """One mark with two intervals.

    ``mark`` is the short text beside it, and ``label`` its name. A ``hollow`` mark is drawn as an outline. ``kinds``
    are the keys of its entries in the legends of the page (at most two); ``details`` are further lines of its tooltip,
    each a name and a text.
    """

    mark: str
    label: str
    x: Measurement
    y: Measurement
    style: Style
    marker: int
    kinds: Sequence[str] = field(default_factory=tuple)
    details: Sequence[tuple[str, str]] = field(default_factory=tuple)
    hollow: bool = False

    @property
    def name(self) -> str:
        """The name in a legend or tooltip: mark and label, or the label alone if both are the same."""
        return self.label if self.mark == self.label else f"{self.mark}: {self.label}"


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A shaded rectangle, with its ranges in units as shown; ``colour`` is a name in
    `bench.report.charts.theme.LIGHT`."""

    x: tuple[float, float]
    y: tuple[float, float]
    colour: str = "kept"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A dashed line across the plot at ``value`` of ``axis``, in units as shown, with a label."""

    axis: Literal["x", "y"]
    value: float
    label: str


@dataclass(frozen=True, kw_only=True)
class PointPlot:
    """A plot of points with a metric on each axis.

    ``path`` has the corners of a line that joins some points, such as a Pareto front. The ranges of the axes and the
    path are in units as shown.
    """

    title: str
    x: TableMetric
    y: TableMetric
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    points: Sequence[PlotPoint]
    zones: Sequence[Zone] = field(default_factory=tuple)
    references: Sequence[Reference] = field(default_factory=tuple)
    path: Sequence[tuple[float, float]] = field(default_factory=tuple)

    @property
    def known(self) -> list[PlotPoint]:
        """The points whose two measurements both have a value."""
        return [p for p in self.points if p.x.value is not None and p.y.value is not None]
