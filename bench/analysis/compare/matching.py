"""Which cells of two runs mean the same, and what is better in a cell: more of a measure, or less."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.analysis.measures import SampleMetric
from bench.analysis.rows import CellRow, Rows
from bench.analysis.tables.row_layout import authorised_in, side_of

Better = Literal["higher", "lower", ""]
Meaning = tuple[Any, ...]
NAMED = ("experiment", "dataset", "defense", "authorised", "attack", "evaluated", "repeat")  # a cell, for people
# Recognition of what was uploaded is utility where the model is authorised, and leakage where it is not.
_RECOGNITION = frozenset(
    {"accuracy", "accuracy-fixed", "ten-fold", "cosine", "srra", "srra-fixed", "rank-1", "rank-1-enrolled"}
    | {"fmr-match", "utility"}
)
_SPLIT: Mapping[str, Better] = {"authorised": "higher", "unauthorised": "lower"}
_OPPOSITE: Mapping[Better, Better] = {"higher": "lower", "lower": "higher", "": ""}


@dataclass(frozen=True, kw_only=True)
class UnmatchedCell:
    """A cell that only one run has; ``why`` says so where the other one has it with other parameters."""

    cell: CellRow
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class MatchedCells:
    """The cells of two runs: pairs that mean the same, and those without a counterpart, in the suites' order."""

    pairs: Sequence[tuple[CellRow, CellRow]]
    only_before: Sequence[UnmatchedCell]
    only_after: Sequence[UnmatchedCell]


def meaning(cell: CellRow) -> Meaning:
    """What a cell is, whatever code, data and weights it was computed with."""
    return (*_labels(cell), _canonical(cell.params), _canonical(cell.attack_params))


def _labels(cell: CellRow) -> Meaning:
    return (*(getattr(cell, name) for name in NAMED), cell.via, cell.upload, cell.outputs)


def _canonical(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True, default=str)


def match(before: Rows, after: Rows) -> MatchedCells:
    """Match the cells of two runs by what they mean."""
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
    """The parameters in which two cells of the same labels differ, in words."""
    found = []
    for own, theirs in ((cell.params, other.params), (cell.attack_params, other.attack_params)):
        for name in dict.fromkeys((*own, *theirs)):
            if own.get(name) != theirs.get(name):
                found.append(f"{name} is {own.get(name, 'not set')} here, {theirs.get(name, 'not set')} there")
    return "; ".join(found)


class Direction:
    """What is better: judged by what the evaluated model of a cell is to the client in its run."""

    def __init__(self, cells: Collection[CellRow]) -> None:
        experiments = {c.experiment for c in cells}
        self._authorised = {e: authorised_in(c for c in cells if c.experiment == e) for e in experiments}

    def of(self, metric: SampleMetric, cell: CellRow) -> Better:
        """Whether more or less of a measure is better in a cell; nothing where neither is."""
        name = metric.name
        if name in _RECOGNITION or name == "accuracy-drop":
            if cell.clean:  # nothing is protected: recognition is neither kept nor leaked
                return ""
            better = _SPLIT[side_of(cell, self._authorised[cell.experiment])]
            return _OPPOSITE[better] if name == "accuracy-drop" else better
        if name in ("up", "up-lpips") and side_of(cell, self._authorised[cell.experiment]) != "authorised":
            return ""
        found = metric.better
        return "" if found == "split" else found
