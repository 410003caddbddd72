"""The paper's figures for the rows of a run: UP(σ, κ) of Equation 9 and its two terms, utility and privacy, against the
standard deviation σ of the noise.

A chart has one line per defense, per threshold κ, or per term; every point is a `Measurement` with N and an interval.
The evaluated model f is the authorised one, as in the paper. For a defense that knows no model, it is a model that
another defense authorises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure, metric_named
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric
from bench.report.charts import Chart, Curve, Panel, Style
from bench.store.run_record import ExperimentRecord

KAPPAS = tuple(k / 10 for k in range(1, 10))  # The thresholds of Figure 10.
_X = "noise σ"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to compute the second term of Equation 9: the names of the metrics of UP and of that term, the addition
    to the chart's title, and a description for its caption."""

    up: str
    privacy: str
    name: str
    about: str


FORMS = (
    Form(up="up", privacy="privacy", name="", about="Dist of Equation 9 over the estimated attributes mᵢ"),
    Form(up="up-lpips", privacy="privacy-lpips", name="by LPIPS", about="LPIPS in place of the mᵢ, as in the paper"),
)

_TITLES: Mapping[str, str] = {
    "4": "UP under noise, by kernel",
    "5": "UP under noise, by augmentation",
    "8": "Utility and privacy under noise",
    "9": "UP of uploaded features under noise",
    "10": "UP under noise, by threshold κ",
    "11": "UP under noise, with and without perturbation enhancement",
}


def settings(rows: Rows, experiment: str) -> ExperimentRecord:
    """Return the record of an experiment in the suite of the run; an empty record if the run has none of that name."""
    return rows.results.run.suite.experiment(experiment) or ExperimentRecord(name=experiment)


def charts(rows: Rows, experiment: str) -> list[Chart]:
    """Return the charts of an experiment: the paper's figures that the suite names, or else UP against the noise.

    Without at least two noise levels there is no chart.
    """
    cells = authorised_view([c for c in rows.cells if c.experiment == experiment and c.outputs == "attributes"])
    levels = sorted({s for c in cells for s in rows.noise_levels(c)})
    requested = settings(rows, experiment)
    if not levels:
        levels = [float(s) for s in requested.noise_levels or ()]
    numbers = [str(n) for n in requested.figures if str(n) in _TITLES]
    if not cells or len(levels) < 2:
        return []
    made = []
    for number in numbers or [""]:
        lines = {"8": _terms, "10": _thresholds}.get(number, _defenses)
        made += _forms(rows, cells, levels, number, lines)
    return made


def authorised_view(cells: Sequence[CellRow]) -> list[CellRow]:
    """Return the cells whose evaluated model is authorised. For a defense that knows no model, these are the cells with
    a model that another defense authorises."""
    own = {m for c in cells for m in c.authorised_models}
    return [c for c in cells if c.role == "authorised" or (c.role == "any" and (c.evaluated in own or not own))]


# A function that returns the panels of a chart, and the metric of their common vertical axis.
Lines = Callable[[Rows, Sequence[CellRow], Sequence[float], Form], tuple[list[Panel], TableMetric]]


def _forms(rows: Rows, cells: Sequence[CellRow], levels: Sequence[float], number: str, lines: Lines) -> list[Chart]:
    """Return the chart whose second term uses the estimated attributes mᵢ, and the one that uses LPIPS.

    If LPIPS was not measured, the first chart gets a note that says why.
    """
    made, notes = [], []
    for form in FORMS:
        known = measure(rows, cells, form.privacy, sigma=levels[-1])
        if form is not FORMS[0] and known.value is None:
            notes.append(f"The form by LPIPS, which the paper plots, is absent: {known.reason}.")
            continue
        panels, metric = lines(rows, cells, levels, form)
        made.append(_chart(rows, cells, number, form, panels, metric))
    return [replace(chart, notes=(*chart.notes, *notes)) for chart in made]


def _chart(
    rows: Rows, cells: Sequence[CellRow], number: str, form: Form, panels: Sequence[Panel], metric: TableMetric
) -> Chart:
    """Return a chart with its caption and notes."""
    title = _TITLES.get(number, "UP under noise") + (f", {form.name}" if form.name else "")
    kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    at = "" if number == "10" else f" κ = {kappas}."
    models = list(dict.fromkeys(c.evaluated for c in cells))
    pooled = f", {len(models)} models pooled" if len(models) > 1 else ""
    caption = (
        f"Noise of standard deviation σ is added to what is uploaded and to the original before f compares them; "
        f"f is the authorised model ({', '.join(models)}{pooled}).{at} Second term: {form.about}. Higher is better."
    )
    made = Chart(
        number=number,
        title=title,
        caption=caption,
        experiment=cells[0].experiment,
        x=_X,
        metric=metric,
        panels=panels,
        source=metric_named(form.up).source,
        variant=form is not FORMS[0],
        synthetic=any(c.synthetic for c in cells),
    )
    intervals = "Bands: 95 % intervals." if made.banded else "95 % intervals are in the table."
    return replace(made, notes=[f"{counted(made)} {intervals}"])


def _grouped(cells: Sequence[CellRow]) -> dict[str, list[CellRow]]:
    """Return the cells of each data set and attack by the title of their panel, which is empty if there is only one."""
    sets, attacks = {c.dataset for c in cells}, {c.attack for c in cells}
    made: dict[str, list[CellRow]] = {}
    for c in cells:
        named = [c.dataset] if len(sets) > 1 else []
        named += [c.attack] if len(attacks) > 1 else []
        made.setdefault(", ".join(named), []).append(c)
    return made


def _styles(cells: Sequence[CellRow]) -> dict[str, Style]:
    """Return a style for each defense: neutral for no protection, a category of its own for each of the others."""
    clean = {c.defense for c in cells if c.clean}
    names = list(dict.fromkeys(c.defense for c in cells if c.defense not in clean))
    return {name: Style(neutral=True) for name in clean} | {name: Style(index=i) for i, name in enumerate(names)}


def _by_defense(cells: Sequence[CellRow]) -> dict[str, list[CellRow]]:
    made: dict[str, list[CellRow]] = {}
    for c in cells:
        made.setdefault(c.defense, []).append(c)
    return made


def _curve_values(
    rows: Rows, cells: Sequence[CellRow], levels: Sequence[float], name: str, kappa: float
) -> list[Measurement]:
    """Return the measurements of one metric at each noise level."""
    return [measure(rows, cells, name, sigma=sigma, kappa=kappa) for sigma in levels]


def _defenses(
    rows: Rows, cells: Sequence[CellRow], levels: Sequence[float], form: Form
) -> tuple[list[Panel], TableMetric]:
    """Return the panels of Figures 4, 5, 9 and 11: UP, with one line per defense."""
    styles = _styles(cells)
    panels = []
    for title, group in _grouped(cells).items():
        curves = [
            Curve(
                label=d,
                xs=levels,
                measurements=_curve_values(rows, own, levels, form.up, own[0].kappa),
                style=styles[d],
            )
            for d, own in _by_defense(group).items()
        ]
        panels.append(Panel(title=title, curves=curves))
    return panels, metric_named(form.up)


def _terms(
    rows: Rows, cells: Sequence[CellRow], levels: Sequence[float], form: Form
) -> tuple[list[Panel], TableMetric]:
    """Return the panels of Figure 8: one panel per defense, with one line for each term of Equation 9."""
    panels = []
    for title, group in _grouped(cells).items():
        for defense, own in _by_defense(group).items():
            curves = [
                Curve(
                    label=label,
                    xs=levels,
                    measurements=_curve_values(rows, own, levels, name, own[0].kappa),
                    style=Style(index=i),
                )
                for i, (label, name) in enumerate((("utility", "utility"), ("privacy", form.privacy)))
            ]
            panels.append(Panel(title=f"{defense}, {title}" if title else defense, curves=curves))
    return panels, TableMetric(label="utility, privacy", digits=3, better="higher")


def _thresholds(
    rows: Rows, cells: Sequence[CellRow], levels: Sequence[float], form: Form
) -> tuple[list[Panel], TableMetric]:
    """Return the panels of Figure 10: one panel per defense, with one line for each threshold κ."""
    panels = []
    for title, group in _grouped(cells).items():
        for defense, own in _by_defense(group).items():
            curves = [
                Curve(
                    label=f"κ = {kappa:g}",
                    xs=levels,
                    measurements=_curve_values(rows, own, levels, form.up, kappa),
                    style=Style(index=i, steps=len(KAPPAS)),
                )
                for i, kappa in enumerate(KAPPAS)
            ]
            panels.append(Panel(title=f"{defense}, {title}" if title else defense, curves=curves))
    return panels, metric_named(form.up)


def counted(chart: Chart) -> str:
    """Return a sentence with the smallest and largest N of a chart's points; empty if no point has a value."""
    found = sorted({f.n for p in chart.panels for c in p.curves for f in c.measurements if f.value is not None})
    return (
        f"N = {' to '.join(f'{n:,}' for n in dict.fromkeys((found[0], found[-1])))} images per point." if found else ""
    )
