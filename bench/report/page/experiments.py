"""The sections of the page for the experiments, in the order of the suite. A section holds only what applies to its
experiment: headline answers, dot plot, tables, charts and face wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from bench.analysis.rows import Rows
from bench.analysis.table_model import Table
from bench.analysis.tables import tables_of
from bench.analysis.tables.kept import GOAL as ANONYMITY
from bench.analysis.tables.kept import NAME as KEPT
from bench.analysis.tables.summary import Summary, summaries
from bench.report.charts import Chart, Scatter, Style
from bench.report.charts.sensitivity import sensitivity
from bench.report.charts.theme import NEUTRAL, file_name, swatch
from bench.report.charts.utility_privacy import charts, settings
from bench.report.page import run_facts
from bench.report.page.dot_plot import DotPlotLine, lines
from bench.report.page.face_strip import strip
from bench.report.page.face_wall import Wall, walls
from bench.report.page.headlines import HeadlineAnswer, answers, attribute_answers, reconstruction_answers
from bench.report.page.image_budget import Album
from bench.report.page.run_facts import Grid
from bench.report.page.trimmed_tables import by_head, with_common_notes, without_empty

FEW = 2  # If an experiment has more settings of a defense, it gives no answer for each of them.
LEADS = 2  # The answers that stand above the picture of an experiment; all others are folded.
DOTS = 10  # A dot plot with more lines is folded.
ASIDE = frozenset({"summary", "images"})  # Tables that have a place of their own in a section.
SENSITIVITY = "sensitivity"
GRIDS = {"6": "reconstructed faces", "7": "faces and what attribute attacks take them for"}
Picture = Literal["scatter", "dots", "charts", "faces"]
PICTURED = frozenset({"VI", "VII", "VIII", "IX"})  # The faces of these tables are placed on the page before others.


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One entry of a legend: the key of its marks (see `bench.report.charts.drawing`), its name, and its mark as
    SVG."""

    key: str
    label: str
    swatch: Markup


@dataclass(frozen=True, kw_only=True)
class DrawnChart:
    """A chart of the page: its id, its specification for the script, and its legend."""

    chart: Chart
    id: str
    plot: Mapping[str, Any]
    legend: Sequence[LegendEntry]


@dataclass(frozen=True, kw_only=True)
class DrawnScatter:
    """The sensitivity plot of the page: its id and specification, its two legends, and the mark of each spot as SVG."""

    chart: Scatter
    id: str
    plot: Mapping[str, Any]
    colours: Sequence[LegendEntry]
    shapes: Sequence[LegendEntry]
    swatches: Sequence[Markup]


@dataclass(frozen=True, kw_only=True)
class ExperimentSection:
    """The section of one experiment; parts that do not apply are empty.

    ``label`` names the tables and figures of the paper that it reproduces. ``folded``: it compares many settings of one
    defense, so that it has no headline answers. What a reader sees first are the `leads` and the `picture`.
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
        """The headline answers with their measurements."""
        return [] if self.folded else self.answers

    @property
    def leads(self) -> Sequence[HeadlineAnswer]:
        """The answers whose first sentence stands above the picture: those of protections."""
        return [a for a in self.details if a.kind != "clean" and not a.control][:LEADS]

    @property
    def picture(self) -> Picture | None:
        """The kind of the one picture that is not folded; None if the experiment has none."""
        if self.scatter:
            return "scatter"
        if 0 < len(self.plot) <= DOTS:
            return "dots"
        if self.charts:
            return "charts"
        return "faces" if self.wall.shelves else None

    @property
    def strip(self) -> Wall:
        """The first face of its wall, which must have one."""
        return strip(self.wall)

    @property
    def heading(self) -> str:
        """The heading of the section: label and title."""
        return f"{self.label}: {self.title}" if self.label else self.title


def parts(rows: Rows, include_real_faces: bool, album: Album) -> list[ExperimentSection]:
    """Return one section per experiment, in the order of the suite, and add their pictures to the album.

    The album has a limited size: experiments that reproduce a grid of faces get room first, then the tables `PICTURED`.
    """
    names = rows.experiments
    first = [n for n in names if _paper_figures(rows, n) & GRIDS.keys()]
    others = sorted((n for n in names if n not in first), key=lambda n: _paper_table(rows, n) not in PICTURED)
    found = walls(rows, [first, others], include_real_faces, album)
    return [_section(rows, name, i, found[name]) for i, name in enumerate(names, 1)]


def _paper_table(rows: Rows, name: str) -> str | None:
    """Return the number of the paper's table that an experiment reproduces, or None."""
    return next((c.table for c in rows.cells if c.experiment == name and c.table), None)


def _paper_figures(rows: Rows, name: str) -> set[str]:
    """Return the numbers of the paper's figures that an experiment reproduces."""
    return {str(f) for f in settings(rows, name).figures}


def _section(rows: Rows, name: str, i: int, wall: Wall) -> ExperimentSection:
    """Return the section of the ``i``-th experiment, with its face wall."""
    matrices = [m for m in rows.matrices if m.experiment == name]
    tables = [with_common_notes(without_empty(t)) for t in tables_of(rows, name)]
    number, figures = _paper_table(rows, name), settings(rows, name).figures
    found = [s for m in matrices for s in summaries(rows, m)]
    swept = SENSITIVITY in figures
    folded = swept or len({s.defense for s in found if s.kind == "authorised"}) > FEW
    shown = [t for t in tables if t.name not in ASIDE]
    main = [t for t in shown if t.name == number] or _first(rows, name, shown)
    drawn = [drawn_chart(chart, f"x{i}-{k}") for k, chart in enumerate(charts(rows, name))]
    main = [] if swept or (drawn and not number and not matrices) else main
    scatter = _drawn_scatter(rows, name, i) if swept else None
    headlines = [a for m in matrices for a in answers(rows, m, [s for s in found if s.experiment == m.experiment])]
    headlines += reconstruction_answers(rows, name) + attribute_answers(rows, name)
    title, label = _title(name, number, figures, main or shown, drawn, scatter)
    return ExperimentSection(
        experiment=name,
        anchor=f"experiment-{i}",
        label=label,
        title=title,
        about=run_facts.about(rows, name),
        answers=headlines,
        plot=lines(found),
        summaries=found,
        main=[piece for t in main for piece in by_head(t)],
        further=[piece for t in shown if t not in main for piece in by_head(t)],
        images=[t for t in tables if t.name == "images"],
        charts=drawn,
        scatter=scatter,
        wall=wall,
        pictures=_wall_heading(figures),
        subjects=run_facts.subjects(rows, name),
        folded=folded,
    )


def _first(rows: Rows, name: str, tables: Sequence[Table]) -> Sequence[Table]:
    """Return the first table about all protections of an experiment: what anonymised pictures keep comes first only
    where all of them have that goal."""
    goals = {c.goal for c in rows.of_experiment(name) if c.control is None}
    return [t for t in tables if t.name != KEPT or goals == {ANONYMITY}][:1] or tables[:1]


def _wall_heading(figures: Sequence[str]) -> str:
    """Return the heading of the face wall; it names the paper's Figure 6 or 7, which are such grids of faces."""
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
    """Return the title of an experiment, and its label: the paper's tables and figures, or else the experiment's
    name."""
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


def drawn_chart(chart: Chart, name: str) -> DrawnChart:
    """Return a chart with its specification and legend; ``name`` is its id on the page."""
    from bench.report.charts import drawing  # This import is slow, and not every page has charts.

    kind = chart.number or chart.name or "noise"
    told = chart.title if chart.name else chart.experiment
    return DrawnChart(
        chart=chart,
        id=name,
        plot=drawing.plot(chart, file_name(f"figure-{kind}{'-lpips' if chart.variant else ''}-{told}")),
        legend=[LegendEntry(key=f"s{i}", label=label, swatch=swatch(s)) for i, (label, s) in enumerate(chart.legend)],
    )


def _drawn_scatter(rows: Rows, name: str, i: int) -> DrawnScatter | None:
    """Return the sensitivity plot of the ``i``-th experiment; None if it cannot be made."""
    chart = sensitivity(rows, name)
    if chart is None:
        return None
    from bench.report.charts import drawing  # This import is slow, and not every page has charts.

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
