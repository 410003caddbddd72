"""The definition of a metric that is computed from per-sample rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from bench.analysis.cells import CellRow
from bench.analysis.sample_values import ScoreFunction
from bench.analysis.table_model import Better, TableMetric
from bench.core.domain import Goal
from bench.store.schema import NEWER_COLUMNS

RECOGNISED = frozenset({"recognition", "images"})
ESTIMATED = frozenset({"attributes"})
LINKED = frozenset({"links"})
ANY = RECOGNISED | ESTIMATED | LINKED


@dataclass(frozen=True, kw_only=True)
class SampleMetric(TableMetric):
    """A metric that is computed from the per-sample rows of a run; ``name`` is its name in claims and exports.

    ``scores`` returns one score per sample of a cell, or None where the cell has no such rows. They come from the
    ``columns`` of the table ``samples/<table>``, whose rows are found by the columns ``by``, and from the
    ``cell_columns`` of ``cells.parquet``. ``about`` is the definition with its source.

    ``share``: the scores are decisions, 0 or 1; ``change``: they are differences of two decisions. ``outputs``: the
    outputs of the attacks that have such scores. ``once_per``: the scores do not depend on the evaluated model, so of
    all cells with the same key only one counts. ``missing``: why a cell that ended well can have no such scores.
    ``chance``: it says what chance gives, and is no result of a defense. ``of_set``: the label of a metric of a plugin
    that has one value per upload and no scores (see `bench.analysis.plugin_metrics`). ``sampled``: its chance level is
    itself a count, of so few pairs that it is uncertain. ``directions``: by the goal of a
    defense, which direction is better, where that depends on it.
    """

    name: str
    about: str
    scores: ScoreFunction
    table: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    cell_columns: tuple[str, ...] = ()
    share: bool = False
    change: bool = False
    outputs: frozenset[str] = ANY
    once_per: Callable[[CellRow], Hashable] | None = None
    missing: str = "the rows of the cell hold no such number"
    chance: bool = False
    of_set: str = ""
    sampled: bool = False
    directions: Mapping[str, Better] = field(default_factory=dict)

    @property
    def needs_newer(self) -> bool:
        """True if it needs columns that rows of older versions lack."""
        return not NEWER_COLUMNS.isdisjoint(self.columns)

    def toward(self, cells: Iterable[CellRow]) -> Self:
        """Return the metric with the direction that is better for the goals of the defenses of cells; with none if
        their goals contradict each other. No protection has no goal of its own beside defenses."""
        if not self.directions:
            return self
        cells = list(cells)
        goals = {c.goal for c in cells if not c.clean} or {c.goal for c in cells}
        found = {self.directions.get(goal, "") for goal in goals}
        better: Better = next(iter(found)) if len(found) == 1 else ""
        return self if better == self.better else replace(self, better=better)

    def for_goal(self, goal: Goal) -> Self:
        """Return the metric with the direction that is better for a goal."""
        return replace(self, better=self.directions.get(goal, "")) if self.directions else self

    @property
    def source(self) -> str:
        """The table and the columns that the scores are computed from, as text for a reader."""
        text = f"samples/{self.table} by {', '.join(self.by)}: {', '.join(self.columns)}"
        return f"{text}; {', '.join(self.cell_columns)} of cells.parquet" if self.cell_columns else text

    def of(self, cells: Iterable[CellRow]) -> list[CellRow]:
        """Return the cells that count for this metric, in order."""
        cells = [c for c in cells if c.outputs in self.outputs]
        if self.once_per is None:
            return cells
        chosen: dict[Hashable, CellRow] = {}
        for cell in cells:
            key = self.once_per(cell)
            if key not in chosen or (chosen[key].status != "ok" and cell.status == "ok"):
                chosen[key] = cell
        return list(chosen.values())
