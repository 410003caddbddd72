"""Recognition tables in the layout of the paper's Table VII.

Rows are data sets and authorised models, columns are evaluated models. Each `Layout` defines one table; all layouts
share the code for rows, averages and the reasons of missing measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, measure
from bench.analysis.paper_values import paper_quantity, paper_value
from bench.analysis.rows import Matrix, Rows, why_absent
from bench.analysis.table_model import ROW_KINDS, Column, Measurement, Role, Row, Table, absent, distinct
from bench.analysis.tables.row_layout import grouped, not_applicable, points, row_of
from bench.core.text import plural


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A recognition table.

    ``metric`` is the name of the metric of each cell, ``clean`` the name of the same metric without protection; None if
    that would be meaningless. ``numbers`` are the paper's tables that it reproduces (None stands for an experiment that
    reproduces no table); if empty, it is made for every experiment with recognition. ``published``: the paper's numbers
    stand beside it. ``beside`` are further metrics of the models of the average, by the label of their column.
    """

    name: str
    title: str
    caption: str
    metric: str
    clean: str | None
    numbers: tuple[str | None, ...] = ()
    published: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)


_SCALE = (
    " It is no accuracy on a scale from 50 %: an upload must also match its own original. Beside the average stand the "
    "10-fold accuracy of the same uploads, for which guessing gives 50 %, and the chance level of Equation 10."
)
_CALIBRATED = "Accuracy of Equation 10 at the calibrated threshold κ of each evaluated model." + _SCALE
_FIXED = "Accuracy of Equation 10 at the fixed threshold κ of the experiment, the same for all models." + _SCALE
_BESIDE = {"10-fold": "ten-fold", "Chance at most": "accuracy-chance"}
_BESIDE_FIXED = {"10-fold": "ten-fold", "Chance at most": "accuracy-chance-fixed"}
LAYOUTS = (
    Layout(
        name="VII",
        title="Who recognises a protected face?",
        caption=_CALIBRATED,
        metric="accuracy",
        clean="clean-accuracy",
        numbers=("VII", None),
        published=True,
        beside=_BESIDE,
    ),
    Layout(
        name="VII-fixed",
        title="The same at the paper's fixed threshold",
        caption=_FIXED,
        metric="accuracy-fixed",
        clean="clean-accuracy-fixed",
        numbers=("VII", None),
        published=True,
        beside=_BESIDE_FIXED,
    ),
    Layout(
        name="IX",
        title="One image for several models",
        caption=_CALIBRATED,
        metric="accuracy",
        clean="clean-accuracy",
        numbers=("IX",),
        published=True,
        beside=_BESIDE,
    ),
    Layout(
        name="IX-fixed",
        title="One image for several models, at the paper's fixed threshold",
        caption=_FIXED,
        metric="accuracy-fixed",
        clean="clean-accuracy-fixed",
        numbers=("IX",),
        published=True,
        beside=_BESIDE_FIXED,
    ),
    Layout(
        name="ten-fold",
        title="10-fold verification accuracy",
        caption="Protected face against a clean one, with the threshold learnt on the other folds; chance is 50 %.",
        metric="ten-fold",
        clean="clean-ten-fold",
    ),
    Layout(
        name="chance",
        title="The chance level of Equation 10",
        caption="At most this share of the pairs succeeds by Equation 10 with the upload of a random other person, at "
        "the calibrated threshold κ.",
        metric="accuracy-chance",
        clean=None,
    ),
    Layout(
        name="cosine",
        title="Similarity of a protected face to its original",
        caption="Mean cosine of the embeddings of a protected face and of its original.",
        metric="cosine",
        clean=None,
    ),
)

_UPLOADS = "the chance level is that of uploads"


def point(rows: Rows, cells: Sequence[CellRow], layout: Layout) -> Measurement:
    """Return the measurement of one point over all its repeats."""
    published = layout.published and bool(cells)
    paper = paper_value(rows, cells[0], cells[0].evaluated_stands_in_for) if published else None
    return measure(rows, cells, layout.metric, paper=paper)


def average(
    rows: Rows, at: Sequence[Sequence[CellRow]], measurements: Sequence[Measurement], layout: Layout
) -> Measurement:
    """Return the "Average" of a row: over its unauthorised models, or over all models if none is authorised."""
    chosen = [i for i, f in enumerate(measurements) if f.role != "authorised"]
    measured = [i for i in chosen if measurements[i].value is not None]
    role: Role = "any" if all(f.role == "any" for f in measurements) else "unauthorised"
    if not measured:
        first = next((measurements[i] for i in chosen), None)
        if first is None:
            return absent("not applicable", "every evaluated model is authorised", role=role)
        return absent(first.status, first.reason, role=role)
    papers = [measurements[i].paper for i in chosen]
    known = [p for p in papers if p is not None]
    paper = sum(known) / len(known) if known and len(known) == len(chosen) == len(measured) else None
    # Pooling gives every model the same weight, because all models see the same pairs.
    cells = [c for i in measured for c in at[i]]
    found = measure(rows, cells, layout.metric, paper=paper, role=role)
    if len(measured) < len(chosen):
        return replace(found, note=f"of {len(measured)} of {plural(len(chosen), 'model')}")
    return found


def recognition_table(rows: Rows, matrix: Matrix, layout: Layout) -> Table:
    """Build the table of a layout for one experiment."""
    cells = rows.of(matrix)
    metric = METRICS[layout.metric]
    evaluated = {c.evaluated: c.evaluated_stands_in_for for c in cells}
    columns = [
        Column(label=label, metric=metric, stands_in_for=distinct(paper, label)) for label, paper in evaluated.items()
    ]
    columns.append(Column(label="Average", metric=metric, average=True))
    columns += [Column(label=label, metric=METRICS[name], average=True) for label, name in layout.beside.items()]

    def made(of_dataset: list[CellRow]) -> list[Row]:
        found = [_row(rows, own, list(evaluated), layout) for own in points(of_dataset).values()]
        if layout.clean and not any(c.clean for c in of_dataset):
            found.insert(0, _derived_clean(rows, of_dataset, list(evaluated), layout))
        return sorted(found, key=lambda r: ROW_KINDS.index(r.kind))

    return Table(
        name=layout.name,
        title=layout.title,
        caption=layout.caption,
        columns=columns,
        groups=grouped(cells, made),
        experiment=matrix.experiment,
        source="samples/verification, where cell is the id of the measurement",
        row_heading="Authorised model",
        notes=_notes(rows, cells, layout),
    )


def recognition_tables(rows: Rows, experiment: str, layout: Layout) -> list[Table]:
    """Build the tables of a layout for an experiment: one per attack with recognition as output."""
    found = [m for m in rows.matrices if m.experiment == experiment]
    if layout.numbers:
        found = [m for m in found if rows.of(m)[0].table in layout.numbers]
    return named_by_attack([(m.attack, recognition_table(rows, m, layout)) for m in found])


def named_by_attack(found: Sequence[tuple[str, Table]]) -> list[Table]:
    """Return the tables of an experiment, of which each names its attack if they have several."""
    if len({attack for attack, _ in found}) < 2:
        return [table for _, table in found]
    return [replace(table, attack=attack) for attack, table in found]


def _row(rows: Rows, cells: Sequence[CellRow], evaluated: Sequence[str], layout: Layout) -> Row:
    at = [[c for c in cells if c.evaluated == label] for label in evaluated]
    measurements = [point(rows, own, layout) for own in at]
    together = average(rows, at, measurements, layout)
    beside = [_beside(rows, at, measurements, together, name) for name in layout.beside.values()]
    first = cells[0]
    return row_of(first, first.authorised or first.defense, [*measurements, together, *beside])


def _beside(
    rows: Rows, at: Sequence[Sequence[CellRow]], measurements: Sequence[Measurement], together: Measurement, metric: str
) -> Measurement:
    """Return another metric of the models that the average ``together`` is about."""
    if together.value is None:
        return together
    chosen = [i for i, m in enumerate(measurements) if m.role != "authorised" and m.value is not None]
    return measure(rows, [c for i in chosen for c in at[i]], metric, role=together.role)


def _derived_clean(rows: Rows, cells: Sequence[CellRow], evaluated: Sequence[str], layout: Layout) -> Row:
    """Return the "Clean" row of a suite without the defense ``identity``: the same pairs, before protection."""
    measurements, scored, metric = [], [], layout.clean or layout.metric
    for label in evaluated:
        own = [c for c in cells if c.evaluated == label]
        first = [c for c in own if c.cell in rows.scores][:1]
        scored += first
        measurements.append(measure(rows, first, metric, role="any") if first else absent(*why_absent(own)))
    together = (
        measure(rows, scored, metric, role="any") if scored else absent(measurements[0].status, measurements[0].reason)
    )
    beside = [
        measure(rows, scored, "clean-ten-fold", role="any")
        if name == "ten-fold" and scored
        else not_applicable(_UPLOADS)
        for name in layout.beside.values()
    ]
    return Row(label="Clean", kind="clean", measurements=[*measurements, together, *beside], defense="Clean")


def _notes(rows: Rows, cells: Sequence[CellRow], layout: Layout) -> list[str]:
    notes = []
    if layout.metric.endswith("-fixed"):
        kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
        notes.append(
            f"κ = {kappas}. Where a model gives many impostors a cosine above it, nearly everything is accepted and "
            "this accuracy says little; the calibrated threshold does not have this weakness."
        )
    notes.append("Average: of the unauthorised models; where no model is authorised, of all.")
    repeats = len({c.repeat for c in cells})
    if repeats > 1:
        notes.append(f"Means over {repeats} repeats; intervals contain the spread between repeats and between people.")
    if layout.published and rows.claims.get(cells[0].experiment if cells else ""):
        notes.append("The paper's average is the mean of the numbers that it prints for the same models.")
        if paper_quantity(layout.metric):
            notes.append(
                f"The paper's numbers are at one fixed κ for all models: compare them with {layout.name}-fixed."
            )
    return notes


def layout_named(name: str) -> Layout:
    """Return a layout by the name of its table."""
    return next(m for m in LAYOUTS if m.name == name)
