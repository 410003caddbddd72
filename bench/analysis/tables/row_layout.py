"""How the rows of every table are named, ordered and grouped by data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.analysis.cells import CellRow
from bench.analysis.table_model import Measurement, Role, Row, RowGroup, RowKind, absent, distinct
from bench.core.domain import Goal

DefensePoint = tuple[str, str]  # The labels of the defense and of its authorised models.


def grouped(cells: Sequence[CellRow], make: Callable[[list[CellRow]], list[Row]]) -> list[RowGroup]:
    """Return one group per data set, in the suite's order; ``make`` builds its rows from its cells."""
    found = []
    for dataset in dict.fromkeys(c.dataset for c in cells):
        chosen = [c for c in cells if c.dataset == dataset]
        first = chosen[0]
        stands_in_for = distinct(first.dataset_stands_in_for, dataset)
        found.append(RowGroup(label=dataset, rows=make(chosen), stands_in_for=stands_in_for, synthetic=first.synthetic))
    return found


def points(cells: Iterable[CellRow]) -> dict[DefensePoint, list[CellRow]]:
    """Return the cells of each defense and authorised set, in the suite's order."""
    found: dict[DefensePoint, list[CellRow]] = {}
    for cell in cells:
        found.setdefault((cell.defense, cell.authorised), []).append(cell)
    return found


def attacks(cells: Iterable[CellRow]) -> dict[str, list[CellRow]]:
    """Return the cells of each attack, in the suite's order."""
    found: dict[str, list[CellRow]] = {}
    for cell in cells:
        found.setdefault(cell.attack, []).append(cell)
    return found


def kind_of(cell: CellRow) -> RowKind:
    """Return the kind of row that a cell belongs to."""
    return "clean" if cell.clean else "authorised" if cell.authorised else "model-free"


CONTROL = "control: tests the attackers, no protection"


def is_control(cell: CellRow) -> bool:
    """Return True if the defense of a cell is a control beside no protection, with which attackers are tested."""
    return cell.control is not None and not cell.clean


def row_of(cell: CellRow, label: str, measurements: Sequence[Measurement]) -> Row:
    """Return the row of the defense and the authorised models of a cell."""
    return Row(
        label=label,
        kind=kind_of(cell),
        measurements=measurements,
        defense=cell.defense,
        authorised=cell.authorised,
        stands_in_for=distinct(cell.authorised_stands_in_for, cell.authorised) if cell.authorised else None,
        flags=unstable_flags(cell),
    )


def unstable_flags(cell: CellRow) -> tuple[str, ...]:
    """Return what marks a row of a defense that did not give the same upload again, or of an attack that did not give
    the same result again; empty if both did."""
    return (*(["unstable"] if cell.unstable else []), *(["attack unstable"] if cell.attack_unstable else []))


def authorised_in(cells: Iterable[CellRow]) -> set[str]:
    """Return the labels of all models that are authorised in any of the cells."""
    return {model for c in cells for model in c.authorised_models}


def side_of(cell: CellRow, authorised: set[str]) -> Role:
    """Return the role of the evaluated model of a cell: ``authorised`` or ``unauthorised``.

    If the defense is model-free, a model of ``authorised`` (those that any other defense authorises) counts as
    authorised.
    """
    if cell.role != "any":
        return cell.role
    return "authorised" if cell.evaluated in authorised else "unauthorised"


def label_of(cells: Sequence[CellRow], point: DefensePoint) -> str:
    """Return the label of a defense, with its authorised models if it occurs with several sets of them."""
    defense, authorised = point
    sets = {c.authorised for c in cells if c.defense == defense and c.authorised}
    return f"{defense} for {authorised}" if len(sets) > 1 and authorised else defense


def not_applicable(reason: str) -> Measurement:
    """Return a measurement without a value, for a place where the metric does not apply."""
    return absent("not applicable", reason)


@dataclass(frozen=True)
class Sides:
    """The sets of models that the clients of each experiment authorise, and the surrogate models that they use."""

    sets: Mapping[str, frozenset[frozenset[str]]] = field(default_factory=dict)
    surrogates: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def serves(self, cell: CellRow) -> bool:
        """True if a cell measures utility: the evaluated model is authorised.

        For a model-free defense, the model must be in a set that other defenses authorise; if the experiment has no
        such set, every model counts.
        """
        sets = self.sets.get(cell.experiment)
        if cell.role != "any" or not sets:
            return cell.role not in ("unauthorised", "surrogate")
        return any(cell.evaluated in models for models in sets)

    def judges(self, cell: CellRow, goal: Goal | None = None) -> bool:
        """True if a cell measures leakage: the evaluated model is a held-out recogniser, which is not authorised.

        ``goal`` is what the cell is compared for, by default the goal of its defense. Where models are meant to
        recognise: for a model-free defense, the model must be missing from at least one set that other defenses
        authorise; if the experiment has no such set, every model counts. Where nobody is meant to recognise, every
        model counts but the surrogates. A copy that an attack adapts always counts.
        """
        adapted = cell.embeds and cell.role == "unauthorised"
        return adapted or self.holds_out(cell.experiment, cell.role, cell.evaluated, goal or cell.goal)

    def holds_out(self, experiment: str, role: str, evaluated: str | None, goal: Goal = "recognition") -> bool:
        """Do the same as `judges` for a model as it is, for the labels of a cell that need not have been computed."""
        if goal in ("appearance", "anonymity"):
            return evaluated not in self.surrogates.get(experiment, ())
        sets = self.sets.get(experiment)
        if role != "any" or not sets:
            return role not in ("authorised", "surrogate")
        return any(evaluated not in models for models in sets)


def sides_of(cells: Iterable[CellRow]) -> Sides:
    """Return the sets of models that the clients of each experiment authorise, from all cells of a run, and the
    surrogates that they use."""
    return sides_from((c.experiment, c.authorised_models, c.surrogates) for c in cells)


def sides_from(models: Iterable[tuple[str, Iterable[str], Iterable[str]]]) -> Sides:
    """Do the same as `sides_of`, from the experiment and the labels of authorised and surrogate models of each cell."""
    found: dict[str, set[frozenset[str]]] = {}
    used: dict[str, set[str]] = {}
    for experiment, authorised, surrogates in models:
        if together := frozenset(authorised):
            found.setdefault(experiment, set()).add(together)
        used.setdefault(experiment, set()).update(surrogates)
    return Sides(
        {experiment: frozenset(sets) for experiment, sets in found.items()},
        {experiment: frozenset(labels) for experiment, labels in used.items()},
    )
