"""What a chart of the report is made of: plain data, no plotting library. `bench.report.charts.drawing` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.analysis.table_model import Column, Measurement, Metric, Row, RowGroup, Table

BANDS = 6  # more bands of intervals than this hide one another: then they are in the table only


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a curve or mark looks: the ``index``-th category, or step ``index`` of ``steps``, or ``neutral``."""

    index: int = 0
    steps: int = 0
    neutral: bool = False


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: a figure at each position."""

    label: str
    xs: Sequence[float]
    measurements: Sequence[Measurement]
    style: Style

    @property
    def values(self) -> list[float]:
        """The values that there are."""
        return [f.value for f in self.measurements if f.value is not None]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One set of axes: a data set, say."""

    title: str
    curves: Sequence[Curve]

    def spoken(self, chart: Chart) -> str:
        """The panel in a sentence, for those who do not see it."""
        q = chart.metric
        told = [
            f"{c.label}: {q.shown(c.values[0])} to {q.shown(c.values[-1])}"
            if c.values
            else f"{c.label}: no measurement"
            for c in self.curves
        ]
        span = f" from {chart.xs[0]:g} to {chart.xs[-1]:g}" if chart.xs else ""
        name = f"{chart.title}, {self.title}" if self.title else chart.title
        return f"{name}: {q.label} against {chart.x}{span}. {'; '.join(told)}."


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: panels that share their axes. ``number`` is the paper's figure, ``source`` the rows it is made of.

    ``variant``: it shows what another chart shows in a further form.
    """

    number: str
    title: str
    caption: str
    experiment: str
    x: str
    metric: Metric
    panels: Sequence[Panel]
    source: str
    variant: bool = False
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def xs(self) -> list[float]:
        """All positions, rising."""
        return sorted({x for p in self.panels for c in p.curves for x in c.xs})

    @property
    def range(self) -> tuple[float, float]:
        """What the vertical axis has to hold: every value, and every interval."""
        measurements = [f for p in self.panels for c in p.curves for f in c.measurements]
        found = [v for f in measurements for v in (f.value, f.low, f.high) if v is not None]
        scale = self.metric.scale
        return (min(found) * scale, max(found) * scale) if found else (0.0, 1.0)

    @property
    def banded(self) -> bool:
        """Whether there are few enough curves to show their intervals."""
        return max((len(p.curves) for p in self.panels), default=0) <= BANDS

    @property
    def legend(self) -> list[tuple[str, Style]]:
        """Each label once, with its style."""
        return list({c.label: c.style for p in self.panels for c in p.curves}.items())

    @property
    def spoken(self) -> str:
        """The chart in sentences, one per panel."""
        return " ".join(p.spoken(self) for p in self.panels)

    @property
    def table(self) -> Table:
        """The same figures as a table: curves down, positions across."""
        xs = self.xs
        missing = Measurement(status="missing", reason="the suite does not ask for this combination")
        groups = []
        for panel in self.panels:
            made = []
            for curve in panel.curves:
                known = dict(zip(curve.xs, curve.measurements, strict=True))
                made.append(Row(label=curve.label, kind="model-free", measurements=[known.get(x, missing) for x in xs]))
            groups.append(RowGroup(label=panel.title, rows=made))
        return Table(
            name=f"figure-{self.number}",
            title=f"{self.title}: the numbers",
            caption=f"{self.metric.label}, by {self.x}.",
            columns=[Column(label=f"{x:g}", metric=self.metric) for x in xs],
            groups=groups,
            experiment=self.experiment,
            source=self.source,
            row_heading="Line",
            notes=self.notes,
        )


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One setting in a scatter plot: ``number`` is its row in the table beside it, ``values`` are its parameters,
    ``gap`` is y minus x, and ``profile`` whether it is where one wants to be (none: no figure)."""

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
        """The label, with the parameters where it does not say them itself."""
        if all(value in self.label for value in self.values):
            return self.label
        named = ", ".join(f"{name} {value}" for name, value in zip(params, self.values, strict=True))
        return f"{self.label} ({named})"

    def numbered(self, number: int) -> Spot:
        """The same with a number."""
        return replace(self, number=number)


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """A scatter plot: ``zone`` (x0, x1, y0, y1, as shown) is where one wants to be; ``params`` name
    the spots' values; ``colours`` and ``shapes`` are the legends of two of them."""

    title: str
    caption: str
    experiment: str
    x: Metric
    y: Metric
    gap: Metric
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
    def spoken(self) -> str:
        """The plot in a sentence."""
        told = [
            f"{s.number}, {s.label}: {self.y.shown(s.y.value)} and {self.x.shown(s.x.value)}" for s in self.spots[:12]
        ]
        more = f"; and {len(self.spots) - 12} more" if len(self.spots) > 12 else ""
        return (
            f"{self.title}: {self.y.label} and {self.x.label} of {len(self.spots)} settings. {'; '.join(told)}{more}."
        )


# ---- points ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """One mark with two intervals. ``mark`` is written beside it and short; ``label`` is its name; a ``hollow`` one is
    drawn as an outline.

    ``kinds`` are its entries in the legends that the page shows as buttons; ``told`` are further lines of its tooltip.
    """

    mark: str
    label: str
    x: Measurement
    y: Measurement
    style: Style
    marker: int
    kinds: Sequence[str] = field(default_factory=tuple)
    told: Sequence[tuple[str, str]] = field(default_factory=tuple)
    hollow: bool = False

    @property
    def name(self) -> str:
        """Mark and label, as a legend and a tooltip say it."""
        return self.label if self.mark == self.label else f"{self.mark}: {self.label}"


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A shaded part of the axes, in units as shown. ``colour``: one of `bench.report.charts.theme.LIGHT`."""

    x: tuple[float, float]
    y: tuple[float, float]
    colour: str = "kept"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A dashed line across the axes at ``value`` of ``axis``, in units as shown, and what it is."""

    axis: Literal["x", "y"]
    value: float
    label: str


@dataclass(frozen=True, kw_only=True)
class PointPlot:
    """A plot of points on two quantities; the ranges are in units as shown, and so is ``path``, the corners of a line
    that joins some of them."""

    title: str
    x: Metric
    y: Metric
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    points: Sequence[PlotPoint]
    zones: Sequence[Zone] = field(default_factory=tuple)
    references: Sequence[Reference] = field(default_factory=tuple)
    path: Sequence[tuple[float, float]] = field(default_factory=tuple)

    @property
    def known(self) -> list[PlotPoint]:
        """Those that have both figures."""
        return [p for p in self.points if p.x.value is not None and p.y.value is not None]
