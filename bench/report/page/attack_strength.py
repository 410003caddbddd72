"""The section on how strong attacks are: what more knowledge buys against each defense, and what a larger budget does.

The numbers are made by `bench.analysis.knowledge_steps` and `bench.analysis.budget_curves`, the charts by
`bench.report.charts.attack_strength`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.channel_leaks import channel_leaks
from bench.analysis.knowledge_steps import knowledge_steps
from bench.analysis.rows import Rows
from bench.core.domain import KNOWLEDGE
from bench.report.charts.attack_strength import budget_charts, knowledge_chart
from bench.report.page.experiments import DrawnChart, drawn_chart


@dataclass(frozen=True, kw_only=True)
class DefenseKnowledge:
    """What knowledge buys against one defense: its picture, and the warnings as sentences."""

    defense: str
    drawn: DrawnChart
    warnings: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class StrengthSection:
    """The whole section; ``steps`` are the names of the steps of knowledge, ``budgets`` the charts of budgets."""

    defenses: Sequence[DefenseKnowledge]
    budgets: Sequence[DrawnChart]
    steps: Sequence[str] = KNOWLEDGE

    @property
    def charts(self) -> list[DrawnChart]:
        """All charts of the section."""
        return [*(one.drawn for one in self.defenses), *self.budgets]


def section(rows: Rows) -> StrengthSection | None:
    """Return the section of a run; None if no channel has attacks of two steps of knowledge or of two budgets."""
    leaks = channel_leaks(rows)
    known, budgets = knowledge_steps(rows, leaks), budget_charts(leaks)
    if not known and not budgets:
        return None
    return StrengthSection(
        defenses=[
            DefenseKnowledge(
                defense=found.defense,
                drawn=drawn_chart(knowledge_chart(found), f"k{i}"),
                warnings=[one.words for one in found.overtaken],
            )
            for i, found in enumerate(known, 1)
        ],
        budgets=[drawn_chart(chart, f"b{i}") for i, chart in enumerate(budgets, 1)],
    )
