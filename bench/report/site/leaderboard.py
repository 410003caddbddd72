"""The leaderboards of the first page: a table and a Pareto front for each goal, ready to be printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.table_model import Measurement, TableMetric
from bench.analysis.tables.goals import bound_in_words, declared_bound
from bench.analysis.tables.tried_attacks import Attacker
from bench.analysis.tables.verdict_table import OF_CHANNEL, worst_case
from bench.core.domain import Channel
from bench.report.page.recommendation import LOOKS, MarkerLook, pareto
from bench.report.page.run_facts import repeats
from bench.report.page.verdict_words import headline
from bench.report.site.defense_page import chance_of, kinds_of
from bench.report.site.links import Content
from bench.report.site.pictures import DrawnPlot, plot
from bench.report.site.standings import Board, GoalBoard, Standing, of_attack

GROUPS = ("ranked", "controls", "unranked")


@dataclass(frozen=True, kw_only=True)
class BoardCell:
    """A measurement in the table: what a pointer on it is told, and whether it lies above chance."""

    metric: TableMetric
    measurement: Measurement
    words: str = ""
    leaks: bool = False


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """One defense in a leaderboard. ``worst`` are the worst cases by channel, ``each`` what each attacker found;
    ``bound`` is its formal guarantee as text, with the ``short`` numbers of it."""

    standing: Standing
    page: str
    run: str
    kinds: Sequence[str]
    worst: Mapping[Channel, BoardCell]
    each: Mapping[Channel, Sequence[BoardCell | None]]
    short: str
    bound: str

    @property
    def filters(self) -> Mapping[str, str]:
        """The values by which it is filtered, by the name of the filter."""
        one = self.standing
        promise = "formal guarantee" if self.bound else "no formal guarantee"
        return {"family": one.family, "promise": promise, "mark": one.mark, "plugin": one.badge}


@dataclass(frozen=True, kw_only=True)
class BoardSection:
    """The leaderboard of one goal. ``groups`` are its rows: ranked, controls, not ranked."""

    anchor: str
    board: Board
    goal: GoalBoard
    headline: str
    groups: Mapping[str, Sequence[BoardRow]]
    attackers: Mapping[Channel, Sequence[tuple[str, str]]]
    plot: DrawnPlot | None
    looks: Sequence[MarkerLook]
    repeats: str

    @property
    def size(self) -> int:
        """The number of rows."""
        return sum(len(rows) for rows in self.groups.values())


def board_sections(content: Content) -> list[BoardSection]:
    """Return the leaderboard of each goal of each board."""
    return [_section(content, board, goal, i) for i, (board, goal) in enumerate(content.goals, 1)]


def _section(content: Content, board: Board, goal: GoalBoard, number: int) -> BoardSection:
    parts: Mapping[str, Sequence[Standing]] = dict(
        zip(GROUPS, (goal.ranked, goal.controls, goal.unranked), strict=True)
    )
    chart = pareto(goal.found)
    by_name = {one.name: content.page_of(one) for one in goal.standings}
    pages = [by_name.get(point.label, "") for point in chart.points] if chart else []
    drawn = {point.kinds[0] for point in chart.points} if chart else set()
    return BoardSection(
        anchor=f"board-{number}",
        board=board,
        goal=goal,
        headline=headline(goal.found),
        groups={name: [_row(content, goal, one) for one in own] for name, own in parts.items()},
        attackers={
            channel: [(name, content.page_of_attacker(attacker)) for attacker, name in own.items()]
            for channel, own in goal.attackers.items()
        },
        plot=plot(chart, pages) if chart else None,
        looks=[look for look in LOOKS if look.key in drawn],
        repeats=repeats(goal.found),
    )


def _row(content: Content, goal: GoalBoard, one: Standing) -> BoardRow:
    bounds = dict.fromkeys(declared_bound(c.bound) for c in one.source.cells_of(one.cell) if c.bound)
    return BoardRow(
        standing=one,
        page=content.page_of(one),
        run=content.page_of_source(one.source),
        kinds=kinds_of(one),
        worst={channel: _worst(one, channel, metric) for channel, metric in OF_CHANNEL.items()},
        each={channel: [_each(one, attacker) for attacker in own] for channel, own in goal.attackers.items()},
        short=", ".join(dict.fromkeys(filter(None, map(_numbers, bounds)))),
        bound="; or: ".join(map(bound_in_words, bounds)),
    )


def _worst(one: Standing, channel: Channel, metric: TableMetric) -> BoardCell:
    found = worst_case(one.entry, channel)
    attack = one.entry.channels.get(channel)
    chance = chance_of(attack) if attack and channel != "attributes" else ""
    words = "; ".join(filter(None, [found.note, chance]))
    return BoardCell(metric=metric, measurement=found, words=words, leaks=channel in one.entry.leaking)


def _each(one: Standing, attacker: Attacker) -> BoardCell | None:
    attack = one.of_attackers.get(attacker)
    if attack is None:
        return None
    metric, found = of_attack(attack)
    span = metric.span(found.low, found.high)
    words = "; ".join(filter(None, [f"{span} {metric.unit}" if span else "", chance_of(attack)]))
    return BoardCell(metric=metric, measurement=found, words=words, leaks=attack.leaks is True)


def _numbers(bound: str) -> str:
    """Return the numbers of a formal guarantee as short text, such as ``ε = 2``."""
    found = json.loads(bound)
    signs = {"epsilon": "ε", "k": "k"}
    return ", ".join(
        f"{sign} = {found[name]:g}" for name, sign in signs.items() if isinstance(found.get(name), int | float)
    )
