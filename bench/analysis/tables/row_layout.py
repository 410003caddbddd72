"""How the rows of a table are named, ordered and gathered by data set: the same for every table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.analysis.rows import CellRow
from bench.analysis.table_model import Measurement, Role, Row, RowGroup, RowKind, absent, distinct

DefensePoint = tuple[str, str]  # defense and authorised models


def grouped(cells: Sequence[CellRow], make: Callable[[list[CellRow]], list[Row]]) -> list[RowGroup]:
    """One group per data set, in the suite's order, with the rows that ``make`` makes of its cells."""
    found = []
    for dataset in dict.fromkeys(c.dataset for c in cells):
        chosen = [c for c in cells if c.dataset == dataset]
        first = chosen[0]
        stands_in_for = distinct(first.dataset_stands_in_for, dataset)
        found.append(RowGroup(label=dataset, rows=make(chosen), stands_in_for=stands_in_for, synthetic=first.synthetic))
    return found


def points(cells: Iterable[CellRow]) -> dict[DefensePoint, list[CellRow]]:
    """The cells of each defense and authorised set, in the suite's order."""
    found: dict[DefensePoint, list[CellRow]] = {}
    for cell in cells:
        found.setdefault((cell.defense, cell.authorised), []).append(cell)
    return found


def attacks(cells: Iterable[CellRow]) -> dict[str, list[CellRow]]:
    """The cells of each attack, in the suite's order."""
    found: dict[str, list[CellRow]] = {}
    for cell in cells:
        found.setdefault(cell.attack, []).append(cell)
    return found


def kind_of(cell: CellRow) -> RowKind:
    """The kind of row that a cell belongs to."""
    return "clean" if cell.clean else "authorised" if cell.authorised else "model-free"


def row_of(cell: CellRow, label: str, measurements: Sequence[Measurement]) -> Row:
    """The row of a cell's defense and authorised models."""
    return Row(
        label=label,
        kind=kind_of(cell),
        measurements=measurements,
        defense=cell.defense,
        authorised=cell.authorised,
        stands_in_for=distinct(cell.authorised_stands_in_for, cell.authorised) if cell.authorised else None,
    )


def authorised_in(cells: Iterable[CellRow]) -> set[str]:
    """The labels of all models that are authorised somewhere among the cells."""
    return {model for c in cells for model in c.authorised.split("+") if model}


def side_of(cell: CellRow, authorised: set[str]) -> Role:
    """Whether a cell's model is authorised; where the defense knows no model, whether others authorise it."""
    if cell.role != "any":
        return cell.role
    return "authorised" if cell.evaluated in authorised else "unauthorised"


def label_of(cells: Sequence[CellRow], point: DefensePoint) -> str:
    """A defense's label, with its authorised models where the defense appears with several sets of them."""
    defense, authorised = point
    sets = {c.authorised for c in cells if c.defense == defense and c.authorised}
    return f"{defense} for {authorised}" if len(sets) > 1 and authorised else defense


def not_applicable(reason: str) -> Measurement:
    """A figure that makes no sense in its place."""
    return absent("not applicable", reason)


@dataclass(frozen=True)
class Sides:
    """Whom the clients of each experiment authorise: sets of models."""

    sets: Mapping[str, frozenset[frozenset[str]]] = field(default_factory=dict)

    def serves(self, cell: CellRow) -> bool:
        """Whether a cell says how useful an upload is: its model is authorised; where the defense knows no model, by
        others; where nobody authorises any, all are asked."""
        sets = self.sets.get(cell.experiment)
        if cell.role != "any" or not sets:
            return cell.role != "unauthorised"
        return any(cell.evaluated in models for models in sets)

    def judges(self, cell: CellRow) -> bool:
        """Whether a cell says what leaks: its model took no part; where the defense knows no model, in what some other
        client authorises."""
        sets = self.sets.get(cell.experiment)
        if cell.role != "any" or not sets:
            return cell.role != "authorised"
        return any(cell.evaluated not in models for models in sets)


def sides_of(cells: Iterable[CellRow]) -> Sides:
    """Whom the clients of each experiment authorise, of all cells of a run."""
    found: dict[str, set[frozenset[str]]] = {}
    for c in cells:
        if c.authorised:
            found.setdefault(c.experiment, set()).add(frozenset(c.authorised.split("+")))
    return Sides({experiment: frozenset(sets) for experiment, sets in found.items()})
