"""The section on who is exposed: the groups of people whom a defense fails more than the rest, and all groups in
tables. The numbers are made by `bench.analysis.tables.exposed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.analysis.people_groups import EXPOSED
from bench.analysis.rows import Rows
from bench.analysis.table_model import RowGroup, Table, TableMetric
from bench.analysis.tables.exposed import (
    FLAGS,
    NEEDED,
    Asked,
    ExposedEntry,
    GroupAnswer,
    exposed,
    rows_of_entries,
    tables_of_entries,
)
from bench.analysis.tables.goals import purpose_of
from bench.analysis.tables.tried_attacks import MATCH
from bench.core.text import joined_labels, plural


@dataclass(frozen=True, kw_only=True)
class ExposedSection:
    """The whole section: ``found`` are the flagged gaps as sentences, ``tenth`` one sentence per defense on the people
    told apart best, ``tables`` all groups, one table per goal, and ``tested`` the number of defenses with a tested
    gap."""

    found: Sequence[str]
    tenth: Sequence[str]
    tables: Sequence[Table]
    tested: int


def section(rows: Rows) -> ExposedSection | None:
    """Return the section of a run; None if no group of people is known."""
    entries = exposed(rows)
    if not entries:
        return None
    protections = [e for e in entries if e.kind != "clean"]
    utilities = {goal: purpose_of(rows, goal).utility for goal in dict.fromkeys(e.goal for e in entries)}
    flagged = [
        f"{e.defense}: {e.group.name}: {sentence(asked, answer, utilities[e.goal])}"
        for e in protections
        for asked, answer in e.answers.items()
        if answer.flagged
    ]
    tenth = [
        f"{e.defense}: {sentence('leakage', e.answers['leakage'], utilities[e.goal])}"
        for e in protections
        if e.group.attribute == EXPOSED and "leakage" in e.answers and not e.too_few
    ]
    if few := [e.defense for e in protections if e.group.attribute == EXPOSED and e.too_few]:
        tenth.append(f"{joined_labels(few)}: too few people, because {NEEDED}.")
    by_goal = [[e for e in entries if e.goal == goal] for goal in dict.fromkeys(e.goal for e in entries)]
    tables = [_by_defense(*each) for each in zip(tables_of_entries(rows, entries), by_goal, strict=True)]
    tested = {e.defense for e in protections if any(a.test is not None for a in e.answers.values())}
    return ExposedSection(found=flagged, tenth=tenth, tables=tables, tested=len(tested))


def sentence(asked: Asked, answer: GroupAnswer, utility: TableMetric) -> str:
    """Return what was measured about a group as text, with the gap, its interval and its corrected p-value."""
    metric = MATCH if asked == "leakage" else utility
    split, unit = answer.split, f" {metric.unit}" if metric.unit else ""
    shown = f"{asked} {metric.shown(split.inside.value)}{unit}"
    shown += f" against {metric.shown(split.rest.value)}{unit} of the rest"
    if split.gap.value is None:
        return f"{shown}; no gap is tested: {split.gap.reason}."
    span = metric.span(split.gap.low, split.gap.high)
    points = "points" if metric.unit == "%" else metric.unit
    gap = f"gap {metric.shown(split.gap.value)}{f' {points}' if points else ''}"
    people = f"N = {plural(split.inside.people, 'person', 'people')}"
    p = f", {answer.test.words}" if answer.test else ""
    verdict = "" if not answer.test else f": {FLAGS[asked]}" if answer.flagged else ": not significant"
    return f"{shown}, {gap} ({f'{span}, ' if span else ''}{people}{p}){verdict}."


def _by_defense(table: Table, own: Sequence[ExposedEntry]) -> Table:
    """Return a table of the page with the entries of one goal, in which each defense is a group of rows."""
    groups = [
        RowGroup(
            label=defense,
            rows=rows_of_entries([e for e in own if e.defense == defense], named=False),
            synthetic=any(e.synthetic for e in own if e.defense == defense),
        )
        for defense in dict.fromkeys(e.defense for e in own)
    ]
    return replace(table, groups=groups, row_heading="Group of people")
