"""The section on who is exposed: the groups of people whom a defense fails more than the rest, and all groups in
tables. The numbers are made by `bench.analysis.tables.exposed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.analysis.people_groups import EXPOSED
from bench.analysis.rows import Rows
from bench.analysis.table_model import RowGroup, Table
from bench.analysis.tables.exposed import (
    MORE_EXPOSED,
    Asked,
    ExposedEntry,
    GroupAnswer,
    exposed,
    row_of_entry,
    tables_of_entries,
)
from bench.analysis.tables.goals import PURPOSES
from bench.analysis.tables.tried_attacks import MATCH
from bench.core.text import plural


@dataclass(frozen=True, kw_only=True)
class ExposedSection:
    """The whole section: ``found`` are the flagged gaps as sentences, ``tenth`` one sentence per defense on the people
    told apart best, ``tables`` all groups, one table per goal, and ``tested`` the number of defenses."""

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
    flagged = [
        f"{e.defense}: {e.group.name}: {sentence(e, asked, answer)}"
        for e in protections
        for asked, answer in e.answers.items()
        if answer.flagged
    ]
    tenth = [
        f"{e.defense}: {sentence(e, 'leakage', e.answers['leakage'])}"
        for e in protections
        if e.group.attribute == EXPOSED and "leakage" in e.answers
    ]
    tables = [_by_defense(t, entries) for t in tables_of_entries(rows, entries)]
    return ExposedSection(found=flagged, tenth=tenth, tables=tables, tested=len({e.defense for e in protections}))


def sentence(entry: ExposedEntry, asked: Asked, answer: GroupAnswer) -> str:
    """Return what was measured about a group as text, with the gap, its interval and its corrected p-value."""
    metric = MATCH if asked == "leakage" else PURPOSES[entry.goal].utility
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
    verdict = "" if not answer.test else f": {_verdict(asked)}" if answer.flagged else ": not significant"
    return f"{shown}, {gap} ({f'{span}, ' if span else ''}{people}{p}){verdict}."


def _verdict(asked: Asked) -> str:
    return MORE_EXPOSED if asked == "leakage" else "served worse"


def _by_defense(table: Table, entries: Sequence[ExposedEntry]) -> Table:
    """Return a table of the page, in which each defense is a group of rows."""
    goal = {e.goal for e in entries if table.title.endswith(f"goal {e.goal}")} or {"recognition"}
    own = [e for e in entries if e.goal in goal]
    groups = [
        RowGroup(
            label=defense,
            rows=[row_of_entry(e, named=False) for e in own if e.defense == defense],
            synthetic=any(e.synthetic for e in own if e.defense == defense),
        )
        for defense in dict.fromkeys(e.defense for e in own)
    ]
    return replace(table, groups=groups, row_heading="Group of people")
