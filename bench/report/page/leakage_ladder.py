"""The leakage ladder as the page draws it: for each attack on each defense three rungs of small scales, on which right
is what leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.rows import Rows
from bench.analysis.table_model import Row
from bench.analysis.tables.leakage_ladder import (
    BOTH,
    MEANING,
    Entry,
    Reading,
    as_rows,
    counted,
    deceptive,
    ladder,
    untried,
)

_PSNR_TOP = 40.0  # dB: the right end of its scale


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A reading on its scale: where value, interval and floor lie, in per cent from what tells nothing to what tells
    most; none where there is no such number."""

    reading: Reading
    at: float | None
    low: float | None
    high: float | None
    floor: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One attack on a defense: its name, for which models and where it was asked, and its marks."""

    attack: str
    about: Sequence[str]
    leaky: bool
    kind: str
    both: bool
    flags: Sequence[str]
    row: Row
    marks: Sequence[Mark]


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The whole section. ``columns``: the readings of any line, for their headings; ``absent``: columns that no line
    has, with the reason. ``judged`` is how many of the ``total`` attacks that count have both an SSIM and a match rate,
    ``deceptive`` those of them that are safe by pixels and leaky by identity."""

    columns: Sequence[Reading]
    groups: Mapping[str, Sequence[Line]]
    absent: Sequence[str]
    total: int
    judged: int
    deceptive: Sequence[Entry]
    untried: Mapping[str, Sequence[str]]
    meaning: Mapping[str, str]
    both: str = BOTH


def drawn(rows: Rows) -> Ladder | None:
    """The ladder of a run; none without cells."""
    entries = ladder(rows)
    if not entries:
        return None
    shown = [i for i in range(len(entries[0].readings)) if not _absent(entries, i)]
    columns = [entries[0].readings[i] for i in shown]
    tops = [_top([e.readings[i] for e in entries]) for i in shown]
    groups: dict[str, list[Line]] = {}
    placed = len({e.experiment for e in entries}) > 1
    for entry, row in zip(entries, as_rows(entries), strict=True):
        marks = [_mark(entry.readings[i], top) for i, top in zip(shown, tops, strict=True)]
        groups.setdefault(entry.defense, []).append(_line(entry, row, marks, placed))
    fair = counted(entries)
    return Ladder(
        columns=columns,
        groups=groups,
        absent=[said for i in range(len(entries[0].readings)) if (said := _absent(entries, i))],
        total=len(fair),
        judged=sum(e.ssim.figure.value is not None and e.match.figure.value is not None for e in fair),
        deceptive=deceptive(entries),
        untried=untried(entries),
        meaning=MEANING,
    )


def _absent(entries: Sequence[Entry], i: int) -> str:
    """Why no entry has a reading, where that is the same for all of them; empty otherwise."""
    found = {(f.status, f.reason) for f in (e.readings[i].figure for e in entries)}
    if len(found) > 1:
        return ""
    status, reason = found.pop()
    return f"{entries[0].readings[i].label}: {reason or status}" if status == "missing" else ""


def _line(entry: Entry, row: Row, marks: Sequence[Mark], placed: bool) -> Line:
    about = [f"for {entry.authorised}"] if entry.authorised else []
    if placed:
        about.append(entry.experiment)
    return Line(
        attack=entry.attack,
        about=about,
        leaky=entry.leaky,
        kind=entry.kind,
        both=entry.both,
        flags=entry.flags,
        row=row,
        marks=marks,
    )


def _top(readings: Sequence[Reading]) -> float:
    """The right end of the scale that the readings of a column share, in their unit."""
    unit = readings[0].quantity.unit
    if unit == "dB":
        return _PSNR_TOP
    if unit != "years":
        return 1.0
    ends = [v for r in readings for v in (r.figure.value, r.figure.high, r.floor.value) if v is not None]
    return max(ends, default=1.0) or 1.0


def _mark(reading: Reading, top: float) -> Mark:
    """Where a reading lies. What tells less the higher it is runs the other way."""

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        share = min(1.0, max(0.0, value / top))
        return 100 * (1 - share if reading.quantity.better == "higher" else share)

    found = reading.figure
    ends = sorted(p for p in (place(found.low), place(found.high)) if p is not None)
    low, high = (ends[0], ends[-1]) if ends else (None, None)
    at = 100.0 if found.status == "infinite" else place(found.value)
    return Mark(reading=reading, at=at, low=low, high=high, floor=place(reading.floor.value))
