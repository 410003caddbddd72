"""Trims tables for the page: removes empty columns, merges repeated notes, and splits wide tables. Exports keep the
tables whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.analysis.table_model import RowGroup, Table

WIDE = 9  # The number of columns that fit side by side.


def without_empty(table: Table) -> Table:
    """Return a table without its missing columns: those in which no row has a value, all for the same reason.

    A note names each removed column and the reason.
    """
    kept, notes = [], []
    for i, column in enumerate(table.columns):
        measurements = [row.measurements[i] for group in table.groups for row in group.rows]
        applicable = [f for f in measurements if f.status != "not applicable"]
        reasons = {f.reason for f in applicable}
        missing = all(f.value is None and f.status == "missing" for f in applicable)
        if applicable and len(reasons) == 1 and missing:
            notes.append(f"{column.label}: absent. {(reasons.pop() or 'No reason was recorded').rstrip('.')}.")
        else:
            kept.append(i)
    if not notes or not kept:
        return table
    return replace(_columns(table, kept), notes=[*table.notes, *dict.fromkeys(notes)])


def with_common_notes(table: Table) -> Table:
    """Return a table in which a note that all measurements of a column share is moved below the table."""
    common: dict[int, str] = {}
    for i in range(len(table.columns)):
        known = [
            row.measurements[i].note for g in table.groups for row in g.rows if row.measurements[i].value is not None
        ]
        if len(known) > 1 and known[0] and len(set(known)) == 1:
            common[i] = known[0]
    if not common:
        return table
    columns: dict[str, list[str]] = {}
    for i, note in common.items():
        columns.setdefault(note, []).append(table.columns[i].label)
    groups = [
        replace(
            group,
            rows=[
                replace(
                    row,
                    measurements=[replace(f, note=None) if i in common else f for i, f in enumerate(row.measurements)],
                )
                for row in group.rows
            ],
        )
        for group in table.groups
    ]
    return replace(table, groups=groups, notes=[*table.notes, *(f"{', '.join(c)}: {n}." for n, c in columns.items())])


def by_head(table: Table) -> list[Table]:
    """Return a wide table in pieces, one for each first word of the column labels.

    The table stays whole if it is not wide or if a first word belongs to a single column.
    """
    heads: dict[str, list[int]] = {}
    for i, column in enumerate(table.columns):
        heads.setdefault(column.label.partition(" ")[0], []).append(i)
    if len(table.columns) <= WIDE or len(heads) < 2 or any(len(found) < 2 for found in heads.values()):
        return [table]
    made = []
    for k, (head, kept) in enumerate(heads.items(), 1):
        piece = _columns(table, kept)
        columns = [replace(c, label=c.label.removeprefix(head).strip() or head) for c in piece.columns]
        notes = table.notes if k == len(heads) else []
        made.append(replace(piece, title=f"{table.title} {head}", columns=columns, notes=notes))
    return made


def _columns(table: Table, kept: Sequence[int]) -> Table:
    """Return the table with only the columns at the indices ``kept``."""
    groups = [
        replace(group, rows=[replace(row, measurements=[row.measurements[i] for i in kept]) for row in group.rows])
        for group in table.groups
    ]
    return replace(table, columns=[table.columns[i] for i in kept], groups=groups)


def reasons(groups: Sequence[RowGroup]) -> list[tuple[str, str]]:
    """Return the distinct statuses and reasons of measurements without a value.

    Failed, skipped and queued ones are left out: they have a section of their own.
    """
    found = [(f.status, f.reason) for g in groups for r in g.rows for f in r.measurements if f.value is None]
    known = ("not applicable", "failed", "timeout", "skipped", "queued")
    return [
        (status, reason or "no reason was recorded") for status, reason in dict.fromkeys(found) if status not in known
    ]
