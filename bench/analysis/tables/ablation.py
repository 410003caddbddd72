"""The tables that compare settings of one defense: the paper's Tables III, IV, V and X."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, SampleMetric, measure, select
from bench.analysis.paper_values import blocks, paper_value
from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Role, Row, Table, TableMetric, absent
from bench.analysis.tables.row_layout import authorised_in, grouped, label_of, points, row_of, side_of

TITLES = {
    "III": "Where the descent starts",
    "IV": "Augmentation and layer aggregation",
    "V": "The kernel that the gradient is convolved with",
    "X": "The three enhancements, one by one and together",
}
_SIDES: dict[str, Role] = {"Authorised": "authorised", "Unauthorised": "unauthorised"}
SIGMA = 0.1  # The noise level of UP in Table X, where it was measured.


def ablation_tables(rows: Rows, experiment: str, *, number: str, fixed: bool = False) -> list[Table]:
    """Build the table of accuracy of authorised and of all other models for each setting; Table X adds UP.

    ``fixed``: at the fixed threshold of the experiment, as in the paper, and without UP, which always uses that one.
    """
    every = [c for c in select(rows, experiment=experiment) if c.table == number]
    cells = [c for c in every if c.outputs == "recognition"] or every
    if not cells:
        return []
    authorised = authorised_in(every)
    accuracy = METRICS["accuracy-fixed" if fixed else "accuracy"]
    with_up = number == "X" and not fixed
    columns = [
        Column(label="Authorised", metric=replace(accuracy, better="higher")),
        Column(label="Unauthorised", metric=replace(accuracy, better="lower")),
    ]
    columns += [Column(label=label, metric=metric) for label, metric in _UP.items()] if with_up else []
    parts = blocks(cells)

    def made(of_dataset: list[CellRow]) -> list[Row]:
        found = []
        for block, labels in parts:
            own = [c for c in of_dataset if c.defense in labels]
            for point, mine in sorted(points(own).items(), key=lambda entry: labels.index(entry[0][0])):
                name = label_of(cells, point)
                measurements = [_accuracy(rows, mine, accuracy, column, authorised, block) for column in _SIDES]
                measurements += _up(rows, every, mine[0], authorised) if with_up else []
                found.append(row_of(mine[0], f"{block}: {name}" if len(parts) > 1 and block else name, measurements))
        return found

    return [
        Table(
            name=f"{number}-fixed" if fixed else number,
            title=f"{TITLES[number]}, at the paper's fixed threshold" if fixed else TITLES[number],
            caption=f"Accuracy of Equation 10 at the {'fixed' if fixed else 'calibrated'} threshold κ.",
            columns=columns,
            groups=grouped(cells, made),
            experiment=experiment,
            source="samples/verification and samples/up, where cell is an id of the measurement",
            row_heading="Setting",
            notes=_notes(rows, cells, every, fixed=fixed, with_up=with_up),
        )
    ]


def _accuracy(
    rows: Rows, cells: Sequence[CellRow], metric: SampleMetric, column: str, authorised: set[str], block: str
) -> Measurement:
    chosen = [c for c in cells if side_of(c, authorised) == _SIDES[column]]
    paper = paper_value(rows, chosen[0], column, block) if chosen else None
    return measure(rows, chosen, metric, role=_SIDES[column], paper=paper)


def _notes(rows: Rows, cells: Sequence[CellRow], every: Sequence[CellRow], *, fixed: bool, with_up: bool) -> list[str]:
    kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    note = f"κ = {kappas}, the same for all models."
    if not fixed:
        note = f"The paper's accuracies are at one fixed κ for all models: compare them with {cells[0].table}-fixed."
    return [*(_up_notes(rows, every) if with_up else []), note]


# ---- UP --------------------------------------------------------------------------------------------------------------

_UP: dict[str, TableMetric] = {"UP": METRICS["up"], "UP by LPIPS": METRICS["up-lpips"]}


def _up(rows: Rows, every: Sequence[CellRow], at: CellRow, authorised: set[str]) -> list[Measurement]:
    """Return UP of the authorised model, once with the distances of the attributes and once with LPIPS.

    The paper's UP uses LPIPS. Without the LPIPS weights, the paper's number is shown beside the UP of the attributes,
    with a note.
    """
    found = [c for c in every if (c.dataset, c.defense, c.authorised) == (at.dataset, at.defense, at.authorised)]
    cells = [c for c in found if c.outputs == "attributes" and side_of(c, authorised) == "authorised"]
    cells = [c for c in cells if c.attack == cells[0].attack]
    if not cells:
        none = absent("missing", "no attribute was estimated with noise on what is uploaded")
        return [none, none]
    paper = paper_value(rows, at, "UP")
    by_lpips = measure(rows, cells, "up-lpips", sigma=_sigma(rows, cells), kappa=at.kappa, paper=paper, role="any")
    fallback = paper if by_lpips.value is None else None
    by_attributes = measure(rows, cells, "up", sigma=_sigma(rows, cells), kappa=at.kappa, paper=fallback, role="any")
    if fallback is not None:
        by_attributes = replace(by_attributes, note="the weights of LPIPS, which the paper's number is by, are missing")
    return [by_attributes, by_lpips]


def _sigma(rows: Rows, cells: Sequence[CellRow]) -> float | None:
    """Return the paper's noise level if it was measured, otherwise the lowest one; None without any."""
    levels = {level for c in cells for level in rows.noise_levels(c)}
    return SIGMA if SIGMA in levels else min(levels, default=None)


def _up_notes(rows: Rows, cells: Sequence[CellRow]) -> list[str]:
    sigma = _sigma(rows, [c for c in cells if c.outputs == "attributes"])
    if sigma is None:
        return ["UP was not measured: the experiment has no noise levels, or no attack estimates attributes."]
    kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    return [
        f"UP(σ, κ) of Equation 9 at σ = {sigma:g} and κ = {kappas}, with f the authorised model. The paper's UP takes "
        "LPIPS for the second term; UP takes the estimated attributes."
    ]
