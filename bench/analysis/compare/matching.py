"""Which cells of two runs correspond, and which direction of a metric is better in a cell."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.analysis.cells import CellRow
from bench.analysis.measures import SampleMetric
from bench.analysis.rows import Rows
from bench.analysis.tables.row_layout import authorised_in, side_of

Better = Literal["higher", "lower", ""]
Meaning = tuple[Any, ...]
# The labels that identify a cell.
NAMED = ("experiment", "dataset", "defense", "authorised", "attack", "evaluated", "repeat")
# Recognition of what was uploaded is utility where the model is authorised, and leakage where it is not.
_RECOGNITION = frozenset(
    {"accuracy", "accuracy-fixed", "ten-fold", "cosine", "srra", "srra-fixed", "rank-1", "rank-1-enrolled"}
    | {"fmr-match", "fmr-match-deployed", "enrolled-match", "utility"}
)
_SPLIT: Mapping[str, Better] = {"authorised": "higher", "unauthorised": "lower"}
_OPPOSITE: Mapping[Better, Better] = {"higher": "lower", "lower": "higher", "": ""}


@dataclass(frozen=True, kw_only=True)
class UnmatchedCell:
    """A cell that only one run has; ``why`` lists other parameters with which the other run has it, or is empty."""

    cell: CellRow
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class MatchedCells:
    """The cells of two runs: pairs that correspond, and cells without a counterpart, in the order of the suites."""

    pairs: Sequence[tuple[CellRow, CellRow]]
    only_before: Sequence[UnmatchedCell]
    only_after: Sequence[UnmatchedCell]


def meaning(cell: CellRow) -> Meaning:
    """Return the identity of a cell, which does not depend on code, data or weights."""
    return (*_labels(cell), _canonical(cell.params), _canonical(cell.attack_params))


def _labels(cell: CellRow) -> Meaning:
    return (*(getattr(cell, name) for name in NAMED), cell.via, cell.upload, cell.outputs)


def _canonical(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True, default=str)


def match(before: Rows, after: Rows) -> MatchedCells:
    """Match the cells of two runs by their labels and parameters."""
    theirs = {meaning(c): c for c in after.cells}
    ours = {meaning(c): c for c in before.cells}
    return MatchedCells(
        pairs=[(cell, theirs[key]) for key, cell in ours.items() if key in theirs],
        only_before=list(_lone(ours, theirs)),
        only_after=list(_lone(theirs, ours)),
    )


def _lone(own: Mapping[Meaning, CellRow], others: Mapping[Meaning, CellRow]) -> Iterator[UnmatchedCell]:
    labelled = {_labels(c): c for c in others.values()}
    for key, cell in own.items():
        if key not in others:
            other = labelled.get(_labels(cell))
            yield UnmatchedCell(cell=cell, why=_other_parameters(cell, other) if other else "")


def _other_parameters(cell: CellRow, other: CellRow) -> str:
    """Return the parameters in which two cells with equal labels differ, as text."""
    found = []
    for own, theirs in ((cell.params, other.params), (cell.attack_params, other.attack_params)):
        for name in dict.fromkeys((*own, *theirs)):
            if own.get(name) != theirs.get(name):
                found.append(f"{name} is {own.get(name, 'not set')} here, {theirs.get(name, 'not set')} there")
    return "; ".join(found)


class Direction:
    """Which direction of a metric is better; it depends on whether the evaluated model of a cell is authorised."""

    def __init__(self, cells: Collection[CellRow]) -> None:
        experiments = {c.experiment for c in cells}
        self._authorised = {e: authorised_in(c for c in cells if c.experiment == e) for e in experiments}

    def of(self, metric: SampleMetric, cell: CellRow) -> Better:
        """Return which direction of a metric is better in a cell; empty if neither is."""
        name = metric.name
        if name in _RECOGNITION or name == "accuracy-drop":
            if cell.clean:  # Without protection, recognition is neither utility nor leakage.
                return ""
            better = _SPLIT[side_of(cell, self._authorised[cell.experiment])]
            return _OPPOSITE[better] if name == "accuracy-drop" else better
        if name in ("up", "up-lpips") and side_of(cell, self._authorised[cell.experiment]) != "authorised":
            return ""
        found = metric.toward([cell]).better
        return "" if found == "split" else found
