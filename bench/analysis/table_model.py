"""What a table of the report is made of, and how its numbers are written. Plain data: no file, no HTML.

Every table, whatever it measures, is a `Table` of `Figure` objects, so that the page, the exports and the terminal
show the same values, and a new table needs a function that builds it and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["authorised", "unauthorised", "any"]
Better = Literal["higher", "lower", "split", ""]
RowKind = Literal["clean", "model-free", "authorised", "floor"]
ROW_KINDS: Sequence[RowKind] = ("clean", "model-free", "authorised", "floor")  # from top to bottom

_BETTER: Mapping[Better, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "split": "higher is better for the authorised model (underlined), lower for every other",
    "": "",
}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a figure measures: its name, unit, decimals and direction (``split``: depends on the model's role)."""

    name: str
    unit: Literal["%", "points", "dB", "years", "bytes", "ms", "GFLOP", ""] = ""
    digits: int = 2
    better: Better = ""

    @property
    def direction(self) -> str:
        """The direction in words."""
        return _BETTER[self.better]

    @property
    def arrow(self) -> str:
        """The direction as an arrow, for narrow columns."""
        return {"higher": "↑", "lower": "↓"}.get(self.better, "")

    @property
    def scale(self) -> float:
        """What a stored value is multiplied with to be shown: shares become per cent."""
        return 100.0 if self.unit in ("%", "points") else 1.0

    def shown(self, value: float | None) -> str:
        """A value without its unit, or a dash."""
        if value is None or not math.isfinite(value):
            return "–"
        text = f"{value * self.scale:.{self.digits}f}"
        return text.replace("-", "−") if float(text) else text.replace("-", "")

    def span(self, low: float | None, high: float | None) -> str:
        """An interval without its unit, or nothing."""
        if low is None or high is None:
            return ""
        text = f"{low * self.scale:.{self.digits}f}", f"{high * self.scale:.{self.digits}f}"
        return f"{text[0]} to {text[1]}".replace("-", "−") if low < 0 else f"{text[0]}–{text[1]}"


ACCURACY = Quantity(name="accuracy", unit="%", digits=1, better="split")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number with its evidence.

    ``value`` is none when there is no number; ``status`` and ``reason`` then say why (``missing``: no such cell was
    asked for). ``n`` counts the measurements behind it; ``low`` and ``high`` bound its 95 % interval and ``interval``
    names the method. ``paper`` is the published number in the same unit. ``cells``: the ids whose rows were used;
    ``attack``: the label of the attack that all of them share. ``measure`` names the `Measure` that it is of, and
    ``at`` where on its axes, in words; both are empty where it is of none.
    """

    value: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    interval: Literal["Wilson", "bootstrap", ""] = ""
    paper: float | None = None
    role: Role = "any"
    status: str = "ok"
    reason: str | None = None
    note: str | None = None
    cells: tuple[str, ...] = ()
    attack: str = ""
    measure: str = ""
    at: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, or none."""
        return None if self.value is None or self.paper is None else self.value - self.paper


def absent(status: str, reason: str | None, *, role: Role = "any", cells: tuple[str, ...] = ()) -> Figure:
    """A figure that does not exist, with the reason."""
    return Figure(status=status, reason=reason, role=role, cells=cells)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: ``label`` as in the suite, ``stands_in_for`` the paper's name of it where that differs."""

    label: str
    quantity: Quantity
    stands_in_for: str | None = None
    average: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: one defense with its authorised models (or a floor), and a figure per column. ``flags`` are what its
    figures say together, in words."""

    label: str
    kind: RowKind
    figures: Sequence[Figure]
    defense: str = ""
    authorised: str = ""
    stands_in_for: str | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that share a data set."""

    label: str
    rows: Sequence[Row]
    stands_in_for: str | None = None
    synthetic: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: ``name`` is what ``bench export --table`` takes, ``source`` says which rows of which file it used,
    ``row_heading`` what its rows are. ``ranked``: its rows are alternatives, one of which is the best."""

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    groups: Sequence[Group]
    experiment: str
    source: str
    row_heading: str = "Defense"
    ranked: bool = True
    notes: Sequence[str] = field(default_factory=tuple)

    def figures(self) -> Iterator[tuple[Group, Row, Column, Figure]]:
        """All figures, row by row."""
        for group in self.groups:
            for row in group.rows:
                for column, figure in zip(self.columns, row.figures, strict=True):
                    yield group, row, column, figure

    @property
    def common_n(self) -> int | None:
        """The N that all figures outside of averages share, or none."""
        counts = {f.n for _, _, c, f in self.figures() if f.value is not None and not c.average}
        return counts.pop() if len(counts) == 1 else None


def distinct(stands_in_for: str | None, label: str) -> str | None:
    """The paper's name where it says something that the label does not: ``agedb30`` is AgeDB-30."""
    if not stands_in_for or _letters(stands_in_for) == _letters(label):
        return None
    return stands_in_for


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
