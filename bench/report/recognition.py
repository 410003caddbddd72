"""Recognition tables in the layout of the paper's Table VII: data sets and authorised models down, evaluated across.

One `Measure` makes one table; the rows, the averages and the reasons for gaps are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import metrics
from bench.report.figures import (
    ROW_KINDS,
    Column,
    Figure,
    Group,
    Quantity,
    Role,
    Row,
    Table,
    absent,
    distinct,
    plural,
)
from bench.report.rows import CellRow, Floats, Matrix, Part, Rows, Scores, incomplete, mean, why_absent


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a recognition table shows of each cell.

    ``values`` gives one number per pair, or none where the measure is undefined; ``clean`` the same without
    protection, or none where that says nothing. ``published``: whether the paper's figures are of this kind.
    """

    name: str
    title: str
    caption: str
    quantity: Quantity
    values: Callable[[Scores, float], Floats | None]
    clean: Callable[[Scores, float], Floats | None] | None
    share: bool = True
    published: bool = False


def _ten_fold(scores: Floats, of: Scores) -> Floats | None:
    if not np.isfinite(scores).all():
        return None
    found = metrics.ten_fold_accuracy(scores, of.same, of.fold)
    return None if found.accuracy is None else found.hits.astype(np.float64)


def _accuracy(name: str) -> Quantity:
    return Quantity(name=name, unit="%", digits=1, better="split")


MEASURES = (
    Measure(
        name="VII",
        title="Who recognises a protected face?",
        caption="Accuracy of Equation 10 at the calibrated threshold κ of each evaluated model.",
        quantity=_accuracy("accuracy"),
        values=lambda s, _: s.hits(),
        clean=lambda s, _: s.clean_hits(),
        published=True,
    ),
    Measure(
        name="VII-fixed",
        title="The same at the paper's fixed threshold",
        caption="Accuracy of Equation 10 at the fixed threshold κ of the paper, the same for all models.",
        quantity=_accuracy("accuracy"),
        values=lambda s, kappa: s.hits(kappa),
        clean=lambda s, kappa: s.clean_hits(kappa),
        published=True,
    ),
    Measure(
        name="ten-fold",
        title="10-fold verification accuracy",
        caption="Protected face against a clean one, with the threshold learnt on the other folds; chance is 50 %.",
        quantity=_accuracy("10-fold accuracy"),
        values=lambda s, _: _ten_fold(s.flip_cross, s),
        clean=lambda s, _: _ten_fold(s.flip_clean, s),
    ),
    Measure(
        name="cosine",
        title="Similarity of a protected face to its original",
        caption="Mean cosine of the embeddings of a protected face and of its original.",
        quantity=Quantity(name="cosine", digits=3, better="split"),
        values=lambda s, _: s.cos_self,
        clean=None,
        share=False,
    ),
)


def point(rows: Rows, cells: Sequence[CellRow], measure: Measure) -> Figure:
    """The figure of one point: its repeats pooled, or the reason why there is none."""
    role: Role = cells[0].role if cells else "any"
    ids = tuple(c.cell for c in cells)
    if not rows.scores_of(cells):
        status, reason = why_absent(cells)
        return absent(status, reason, role=role, cells=ids)
    parts = _measured(rows, cells, measure)
    if not parts:
        return absent("undefined", "scores are not finite, or all in one fold", role=role, cells=ids)
    figure = mean(
        parts,
        method="none" if not measure.share else "Wilson" if len(parts) == 1 else "bootstrap",
        share=measure.share,
        role=role,
        cells=ids,
        paper=rows.paper(cells[0]) if measure.published else None,
    )
    return replace(figure, note=incomplete(cells, len(parts)))


def _measured(rows: Rows, cells: Sequence[CellRow], measure: Measure) -> list[Part]:
    """The values of each cell that has scores and for which the measure is defined."""
    parts = []
    for cell in cells:
        scores = rows.scores.get(cell.cell)
        values = None if scores is None else measure.values(scores, cell.kappa)
        if scores is not None and values is not None:
            parts.append(Part(values, scores.person))
    return parts


def average(rows: Rows, points: Sequence[Sequence[CellRow]], figures: Sequence[Figure], measure: Measure) -> Figure:
    """The "Average" of a row: of its unauthorised models, or of all where none is authorised."""
    chosen = [i for i, f in enumerate(figures) if f.role != "authorised"]
    measured = [i for i in chosen if figures[i].value is not None]
    role: Role = "any" if all(f.role == "any" for f in figures) else "unauthorised"
    if not measured:
        first = next((figures[i] for i in chosen), None)
        if first is None:
            return absent("missing", "every evaluated model is authorised", role=role)
        return absent(first.status, first.reason, role=role)
    # Every model gets the same weight, which is the weight of its pairs: all models see the same pairs.
    parts = [part for i in measured for part in _measured(rows, points[i], measure)]
    papers = [figures[i].paper for i in chosen]
    known = [p for p in papers if p is not None]
    figure = mean(
        parts,
        method="bootstrap" if measure.share else "none",
        share=measure.share,
        role=role,
        cells=tuple(c for i in measured for c in figures[i].cells),
        paper=sum(known) / len(known) if known and len(known) == len(chosen) == len(measured) else None,
    )
    note = f"of {len(measured)} of {plural(len(chosen), 'model')}" if len(measured) < len(chosen) else None
    return replace(figure, note=note)


def recognition_table(rows: Rows, matrix: Matrix, measure: Measure) -> Table:
    """The table of a measure for one experiment."""
    cells = rows.of(matrix)
    evaluated = {c.evaluated: c.evaluated_stands_in_for for c in cells}
    columns = [
        Column(label=label, quantity=measure.quantity, stands_in_for=distinct(paper, label))
        for label, paper in evaluated.items()
    ]
    columns.append(Column(label="Average", quantity=measure.quantity, average=True))
    groups = []
    for dataset in dict.fromkeys(c.dataset for c in cells):
        of_dataset = [c for c in cells if c.dataset == dataset]
        made = []
        if measure.clean and not any(c.clean for c in of_dataset):
            made.append(_derived_clean(rows, of_dataset, list(evaluated), measure.clean))
        for defense, authorised in dict.fromkeys((c.defense, c.authorised) for c in of_dataset):
            made.append(_row(rows, matrix, (dataset, defense, authorised), list(evaluated), measure))
        made.sort(key=lambda r: ROW_KINDS.index(r.kind))
        first = of_dataset[0]
        groups.append(
            Group(
                label=dataset,
                rows=made,
                stands_in_for=distinct(first.dataset_stands_in_for, dataset),
                synthetic=first.synthetic,
            )
        )
    return Table(
        name=measure.name,
        title=measure.title,
        caption=measure.caption,
        columns=columns,
        groups=groups,
        experiment=matrix.experiment,
        source="samples/verification.parquet, where cell is the id of the figure",
        notes=_notes(rows, cells, measure),
    )


def _row(rows: Rows, matrix: Matrix, key: tuple[str, str, str], evaluated: Sequence[str], measure: Measure) -> Row:
    dataset, defense, authorised = key
    points = [rows.at(matrix, dataset, defense, authorised, e) for e in evaluated]
    figures = [point(rows, cells, measure) for cells in points]
    first = next(cells[0] for cells in points if cells)
    return Row(
        label=authorised or defense,
        kind="clean" if first.clean else "authorised" if authorised else "model-free",
        figures=[*figures, average(rows, points, figures, measure)],
        defense=defense,
        authorised=authorised,
        stands_in_for=distinct(first.authorised_stands_in_for, authorised) if authorised else None,
    )


def _derived_clean(
    rows: Rows, cells: Sequence[CellRow], evaluated: Sequence[str], of: Callable[[Scores, float], Floats | None]
) -> Row:
    """The "Clean" row of a suite without an unprotected defense: the same pairs, before protection."""
    figures, parts = [], []
    for label in evaluated:
        scored = [c for c in cells if c.evaluated == label and c.cell in rows.scores]
        values = of(rows.scores[scored[0].cell], scored[0].kappa) if scored else None
        if values is None:
            status, reason = why_absent([c for c in cells if c.evaluated == label])
            figures.append(absent(status, reason))
            continue
        part = Part(values, rows.scores[scored[0].cell].person)
        parts.append(part)
        figures.append(mean([part], method="Wilson", cells=(scored[0].cell,)))
    if parts:
        figures.append(mean(parts))
    else:
        figures.append(absent(figures[0].status, figures[0].reason))
    return Row(label="Clean", kind="clean", figures=figures, defense="Clean")


def _notes(rows: Rows, cells: Sequence[CellRow], measure: Measure) -> list[str]:
    notes = []
    if measure.name == "VII-fixed":
        kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
        notes.append(
            f"κ = {kappas}. Where a model gives many impostors a cosine above it, nearly everything is accepted and "
            "this accuracy says little; the calibrated threshold does not have this weakness."
        )
    notes.append("Average: of the unauthorised models; where no model is authorised, of all.")
    repeats = len({c.repeat for c in cells})
    if repeats > 1:
        notes.append(f"{repeats} repeats are pooled; intervals are then bootstrapped over identities.")
    if measure.published and rows.claims.get(cells[0].experiment if cells else ""):
        notes.append("The paper's average is the mean of the figures that it prints for the same models.")
    return notes


def measure_named(name: str) -> Measure:
    """A measure by the name of its table."""
    return next(m for m in MEASURES if m.name == name)
