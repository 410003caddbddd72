"""The data model of a table of results, and how its numbers are written. Plain data: no file, no HTML.

Every table is a `Table` of `Measurement` objects, so that the page, the exports and the terminal show the same values.
A new table needs only a function that builds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.core.text import plural

Role = Literal["authorised", "unauthorised", "surrogate", "any"]
Method = Literal["Wilson", "clustered", "drawn", ""]
Better = Literal["higher", "lower", "split", ""]
RowKind = Literal["clean", "model-free", "authorised", "baseline"]
FlagLook = Literal["leaks", "safe", "both"]  # a warning, what warns of nothing, and what deceives
ROW_KINDS: Sequence[RowKind] = ("clean", "model-free", "authorised", "baseline")  # from top to bottom

_BETTER: Mapping[Better, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "split": "higher is better for the authorised model (underlined), lower for every other",
    "": "",
}


@dataclass(frozen=True, kw_only=True)
class TableMetric:
    """The definition of a number, as far as a table needs it: its label, unit, decimals, and which direction is better.

    ``better`` is ``split`` where higher is better for the authorised model and lower for every other. ``bounds`` are
    the lowest and the highest value that it can have, in the stored unit; None stands for those of a share if it is
    shown in per cent, and for no bounds otherwise.
    """

    label: str
    unit: str = ""
    digits: int = 2
    better: Better = ""
    bounds: tuple[float, float] | None = None

    @property
    def heading(self) -> str:
        """The label, with the unit in brackets."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def direction(self) -> str:
        """Which direction is better, as text."""
        return _BETTER[self.better]

    @property
    def arrow(self) -> str:
        """Which direction is better, as an arrow for narrow columns."""
        return {"higher": "↑", "lower": "↓"}.get(self.better, "")

    @property
    def scale(self) -> float:
        """The factor from a stored value to a shown one: shares are shown in per cent."""
        return 100.0 if self.unit in ("%", "points") else 1.0

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value that it can have; infinite where there is no bound."""
        return self.bounds or ((0.0, 1.0) if self.unit == "%" else (-math.inf, math.inf))

    def within(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Return the ends of an interval of a value, cut off at the bounds of the metric."""
        return _cut(low, high, *self.range)

    def difference_within(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Return the ends of an interval of a difference of two values, cut off at the largest possible difference."""
        most = self.range[1] - self.range[0]
        return _cut(low, high, -most, most)

    def shown(self, value: float | None) -> str:
        """Return a value as text without its unit; a dash where it is None or not finite."""
        if value is None or not math.isfinite(value):
            return "–"
        text = f"{value * self.scale:.{self.digits}f}"
        return text.replace("-", "−") if float(text) else text.replace("-", "")

    def visible(self, difference: float) -> bool:
        """Return True unless a difference of two values vanishes by rounding for display."""
        return abs(difference) * self.scale >= 0.5 * 10.0**-self.digits

    def span(self, low: float | None, high: float | None) -> str:
        """Return an interval as text without its unit; empty where an end is None."""
        if low is None or high is None:
            return ""
        text = f"{low * self.scale:.{self.digits}f}", f"{high * self.scale:.{self.digits}f}"
        return f"{text[0]} to {text[1]}".replace("-", "−") if low < 0 else f"{text[0]}–{text[1]}"


def _cut(low: float | None, high: float | None, lowest: float, highest: float) -> tuple[float | None, float | None]:
    return (None if low is None else max(lowest, low)), (None if high is None else min(highest, high))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value of a metric with its evidence.

    ``value`` is None where it could not be measured; ``status`` and ``reason`` then say why (``missing``: the suite has
    no such cell). ``n`` is the number of scores that were averaged, and ``people`` the number of people whom their
    samples show, on either side of a pair; it is 0 where it is not known. ``low`` and ``high`` are the ends of the 95 %
    interval and ``interval`` is its method: ``Wilson`` for independent decisions, ``clustered`` by both people of a
    sample for all others, ``drawn`` for a maximum. ``repeats`` are the fewest and the most repeats of a setting: the
    scores are means over them, and the interval contains the variance between them. ``paper`` is the published value,
    in the same unit, and ``paper_of`` says what it measures where that is another quantity than ours, otherwise
    nothing. ``cells`` are the ids of the cells whose rows were used, ``attack`` is the label of the attack that they
    share. ``metric`` is the name of the `SampleMetric` and ``at`` its noise level and threshold as text; both are empty
    where there is no such metric.
    """

    value: float | None = None
    n: int = 0
    people: int = 0
    repeats: tuple[int, int] = (1, 1)
    low: float | None = None
    high: float | None = None
    interval: Method = ""
    paper: float | None = None
    paper_of: str = ""
    role: Role = "any"
    status: str = "ok"
    reason: str | None = None
    note: str | None = None
    cells: tuple[str, ...] = ()
    attack: str = ""
    metric: str = ""
    at: str = ""

    @property
    def support(self) -> str:
        """N as text, with the number of people where the scores show some of them again, and the number of repeats:
        ``200 of 24 people, 3 repeats``."""
        again = 0 < self.people < self.n
        found = f"{self.n:,} of {plural(self.people, 'person', 'people')}" if again else f"{self.n:,}"
        return f"{found}, {self.repeated}" if self.repeated else found

    @property
    def repeated(self) -> str:
        """The number of repeats as text, such as ``3 repeats``; empty if nothing was repeated."""
        fewest, most = self.repeats
        if most == 1:
            return ""
        return f"{most} repeats" if fewest == most else f"{fewest} to {most} repeats"

    @property
    def difference(self) -> float | None:
        """The value minus the paper's; None where one of them is missing, or where the paper has another quantity."""
        return None if self.value is None or self.paper is None or self.paper_of else self.value - self.paper

    def published(self, metric: TableMetric) -> str:
        """Return the paper's value as text, with what it measures where that is another quantity; empty without one."""
        if self.paper is None:
            return ""
        return f"{metric.shown(self.paper)} ({self.paper_of})" if self.paper_of else metric.shown(self.paper)


def absent(status: str, reason: str | None, *, role: Role = "any", cells: tuple[str, ...] = ()) -> Measurement:
    """Return a measurement without a value, with the reason."""
    return Measurement(status=status, reason=reason, role=role, cells=cells)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    ``label`` is its name in the suite; ``stands_in_for`` is its name in the paper, where that is another one.
    ``average``: it holds the average of the other columns.
    """

    label: str
    metric: TableMetric
    stands_in_for: str | None = None
    average: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: one defense with its authorised models, or a baseline; one measurement per column.

    ``flags`` are conclusions from all measurements of the row, as text, and ``looks`` how those of them look that are
    no plain warning.
    """

    label: str
    kind: RowKind
    measurements: Sequence[Measurement]
    defense: str = ""
    authorised: str = ""
    stands_in_for: str | None = None
    flags: Sequence[str] = ()
    looks: Mapping[str, FlagLook] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """The rows of a table that share a data set."""

    label: str
    rows: Sequence[Row]
    stands_in_for: str | None = None
    synthetic: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of results.

    ``name`` is its name for ``bench export --table``; ``source`` describes the rows and the files that it was computed
    from; ``row_heading`` is the heading of its first column. ``ranked``: its rows are alternatives, one of which is the
    best. ``attack`` is the attack whose cells it is about, if its experiment has such a table for each of several.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    groups: Sequence[RowGroup]
    experiment: str
    source: str
    row_heading: str = "Defense"
    ranked: bool = True
    notes: Sequence[str] = field(default_factory=tuple)
    attack: str = ""

    @property
    def heading(self) -> str:
        """The title, with the attack where others of its experiment have the same title."""
        return f"{self.title}: {self.attack}" if self.attack else self.title

    def measurements(self) -> Iterator[tuple[RowGroup, Row, Column, Measurement]]:
        """Yield all measurements, row by row."""
        for group in self.groups:
            for row in group.rows:
                for column, measurement in zip(self.columns, row.measurements, strict=True):
                    yield group, row, column, measurement

    @property
    def common_n(self) -> int | None:
        """The N that all measurements but the averages share; None where they or their repeats differ."""
        counts = {(f.n, f.repeats) for _, _, c, f in self.measurements() if f.value is not None and not c.average}
        return counts.pop()[0] if len(counts) == 1 else None

    @property
    def repeated(self) -> str:
        """The repeats of the measurements as text; empty if nothing was repeated."""
        known = [f.repeats for _, _, _, f in self.measurements() if f.value is not None]
        fewest, most = min((r[0] for r in known), default=1), max((r[1] for r in known), default=1)
        return Measurement(repeats=(fewest, most)).repeated


def distinct(stands_in_for: str | None, label: str) -> str | None:
    """Return the paper's name; None where only case and punctuation differ, as in AgeDB-30 and ``agedb30``."""
    if not stands_in_for or _letters(stands_in_for) == _letters(label):
        return None
    return stands_in_for


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
