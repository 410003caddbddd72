"""The rows of the benchmarks of suites: bench beside something else that does the same work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class RatioRow:
    """One comparison: the values of bench (``ours``) and of what it is compared with (``other``), in ``unit``, and
    their ratio. ``note`` says what ``other`` is, and what the bar is."""

    name: str
    ours: float
    other: float
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """The value of bench divided by the other one; infinite if that is 0."""
        return self.ours / self.other if self.other else float("inf")


def table(rows: Iterable[RatioRow]) -> str:
    """Return rows as a table in Markdown."""
    lines = ["| | bench | other | ratio | unit | |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.name} | {r.ours:.4g} | {r.other:.4g} | {r.ratio:.3f} | {r.unit} | {r.note} |" for r in rows]
    return "\n".join(lines)
