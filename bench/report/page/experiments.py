"""What the page shows of each experiment: only what applies to it, in the order of the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bench.analysis.rows import Rows
from bench.analysis.table_model import Table
from bench.analysis.tables import tables_of
from bench.analysis.tables.summary import Summary, summaries
from bench.report.charts import Chart, Scatter, Style
from bench.report.charts.sensitivity import sensitivity
from bench.report.charts.theme import NEUTRAL, file_name, swatch
from bench.report.charts.utility_privacy import charts, settings, told
from bench.report.page import run_facts
from bench.report.page.dot_plot import DotPlotLine, lines
from bench.report.page.face_wall import Wall, walls
from bench.report.page.headlines import HeadlineAnswer, answers, attribute_answers, reconstruction_answers
from bench.report.page.image_budget import Album
from bench.report.page.run_facts import Grid
from bench.report.page.trimmed_tables import by_head, with_common_notes, without_empty

FEW = 2  # settings of a defense in one experiment; where there are more, what is said of each one is folded
ASIDE = frozenset({"summary", "images"})  # tables with a place of their own
SENSITIVITY = "sensitivity"
GRIDS = {"6": "reconstructed faces", "7": "faces and what attribute attacks take them for"}
PICTURED = frozenset({"VI", "VII", "VIII", "IX"})  # tables whose pictures get room before others


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One entry of a legend: the key of its marks (see `bench.report.charts.drawing`), its name and its picture."""

    key: str
    label: str
    swatch: Markup


@dataclass(frozen=True, kw_only=True)
class DrawnChart:
    """A chart with its place among the page's plots, its legend, and what it says in words."""

    chart: Chart
    id: str
    plot: Mapping[str, Any]
    legend: Sequence[LegendEntry]
    told: str


@dataclass(frozen=True, kw_only=True)
class DrawnScatter:
    """The sensitivity figure with its two legends and the swatch of each spot."""

    chart: Scatter
    id: str
    plot: Mapping[str, Any]
    colours: Sequence[LegendEntry]
    shapes: Sequence[LegendEntry]
    swatches: Sequence[Markup]


@dataclass(frozen=True, kw_only=True)
class ExperimentSection:
    """What the page shows of one experiment; what does not apply is empty.

    ``label`` names the paper's tables and figures that it answers. ``folded``: it compares settings of one defense,
    so that what is said about each of them stays folded.
    """

    experiment: str
    anchor: str
    label: str
    title: str
    about: Sequence[tuple[str, str]]
    answers: Sequence[HeadlineAnswer]
    plot: Sequence[DotPlotLine]
    summaries: Sequence[Summary]
    main: Sequence[Table]
    further: Sequence[Table]
    images: Sequence[Table]
    charts: Sequence[DrawnChart]
    scatter: DrawnScatter | None
    wall: Wall
    pictures: str
    subjects: Grid
    folded: bool

    @property
    def details(self) -> Sequence[HeadlineAnswer]:
        """The answers that are shown in full."""
        return [] if self.folded else self.answers

    @property
    def heading(self) -> str:
        """Label and title in one line."""
        return f"{self.label}: {self.title}" if self.label else self.title


def parts(rows: Rows, include_real_faces: bool, album: Album) -> list[ExperimentSection]:
    """One part per experiment, in the order of the suite; their pictures are in the album."""
    names = rows.experiments
    first = [n for n in names if _figures(rows, n) & GRIDS.keys()]
    others = sorted((n for n in names if n not in first), key=lambda n: _table(rows, n) not in PICTURED)
    found = walls(rows, [first, others], include_real_faces, album)
    return [_part(rows, name, i, found[name]) for i, name in enumerate(names, 1)]


def _table(rows: Rows, name: str) -> str | None:
    return next((c.table for c in rows.cells if c.experiment == name and c.table), None)


def _figures(rows: Rows, name: str) -> set[str]:
    return {str(f) for f in settings(rows, name).figures}


def _part(rows: Rows, name: str, i: int, pictured: Wall) -> ExperimentSection:
    matrices = [m for m in rows.matrices if m.experiment == name]
    tables = [with_common_notes(without_empty(t)) for t in tables_of(rows, name)]
    number, figures = _table(rows, name), settings(rows, name).figures
    found = [s for m in matrices for s in summaries(rows, m)]
    swept = SENSITIVITY in figures
    folded = swept or len({s.defense for s in found if s.kind == "authorised"}) > FEW
    shown = [t for t in tables if t.name not in ASIDE]
    main = [t for t in shown if t.name == number] or shown[:1]
    drawn = [_drawn(chart, f"x{i}-{k}") for k, chart in enumerate(charts(rows, name))]
    main = [] if swept or (drawn and not number and not matrices) else main
    scatter = _drawn_scatter(rows, name, i) if swept else None
    given = [a for m in matrices for a in answers(rows, m, [s for s in found if s.experiment == m.experiment])]
    given += reconstruction_answers(rows, name) + attribute_answers(rows, name)
    title, label = _title(name, number, figures, main or shown, drawn, scatter)
    return ExperimentSection(
        experiment=name,
        anchor=f"experiment-{i}",
        label=label,
        title=title,
        about=run_facts.about(rows, name),
        answers=given,
        plot=lines(found),
        summaries=found,
        main=[piece for t in main for piece in by_head(t)],
        further=[piece for t in shown if t not in main for piece in by_head(t)],
        images=[t for t in tables if t.name == "images"],
        charts=drawn,
        scatter=scatter,
        wall=pictured,
        pictures=_pictures(figures),
        subjects=run_facts.subjects(rows, name),
        folded=folded,
    )


def _pictures(figures: Sequence[str]) -> str:
    """The heading of the example faces: two of the paper's figures are such grids."""
    number = next((f for f in figures if f in GRIDS), None)
    return f"Figure {number}: {GRIDS[number]}" if number else "Example faces"


def _title(
    name: str,
    number: str | None,
    figures: Sequence[str],
    tables: Sequence[Table],
    drawn: Sequence[DrawnChart],
    scatter: DrawnScatter | None,
) -> tuple[str, str]:
    """The title of an experiment, and which of the paper's tables and figures it answers (or its name)."""
    labels = [f"Table {number}"] if number else []
    shown = [f for f in figures if f != SENSITIVITY]
    labels += [f"Figure{'s' if len(shown) > 1 else ''} {' and '.join(shown)}"] if shown else []
    spoken = name.replace("-", " ").capitalize()
    if scatter:
        titles = [scatter.chart.title]
    elif number or not drawn:
        titles = [t.title for t in tables[:1]]
    else:
        titles = list(dict.fromkeys(d.chart.title for d in drawn if not d.chart.variant))
    return "; ".join(titles) or spoken, ", ".join(labels) or spoken


# ---- drawings --------------------------------------------------------------------------------------------------------


def _drawn(chart: Chart, name: str) -> DrawnChart:
    from bench.report.charts import drawing  # takes a while to import, and not every page has charts

    kind = "-lpips" if chart.variant else ""
    return DrawnChart(
        chart=chart,
        id=name,
        plot=drawing.plot(chart, file_name(f"figure-{chart.number or 'noise'}{kind}-{chart.experiment}")),
        legend=[LegendEntry(key=f"s{i}", label=label, swatch=swatch(s)) for i, (label, s) in enumerate(chart.legend)],
        told=told(chart),
    )


def _drawn_scatter(rows: Rows, name: str, i: int) -> DrawnScatter | None:
    chart = sensitivity(rows, name)
    if chart is None:
        return None
    from bench.report.charts import drawing  # see above

    def entry(kind: str, label: str, style: Style, marker: int) -> LegendEntry:
        return LegendEntry(
            key=f"{kind}{marker if kind == 'shape' else style.index}",
            label=label,
            swatch=swatch(style, marker, line=False),
        )

    return DrawnScatter(
        chart=chart,
        id=f"x{i}-s",
        plot=drawing.plot(chart, file_name(f"figure-{SENSITIVITY}-{name}")),
        colours=[entry("colour", label, style, 0) for label, style in chart.colours],
        shapes=[entry("shape", label, NEUTRAL, k) for label, k in chart.shapes],
        swatches=[swatch(s.style, s.marker, line=False) for s in chart.spots],
    )
