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
    BaselineComparison,
    LadderEntry,
    as_rows,
    counted,
    deceptive,
    ladder,
    untried,
)

_PSNR_TOP = 40.0  # dB: the right end of its scale


@dataclass(frozen=True, kw_only=True)
class LadderMark:
    """A reading on its scale: where value, interval and floor lie, in per cent from what tells nothing to what tells
    most; none where there is no such number."""

    comparison: BaselineComparison
    at: float | None
    low: float | None
    high: float | None
    baseline: float | None


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One attack on a defense: its name, for which models and where it was asked, and its marks."""

    attack: str
    about: Sequence[str]
    leaky: bool
    kind: str
    both: bool
    flags: Sequence[str]
    row: Row
    marks: Sequence[LadderMark]


@dataclass(frozen=True, kw_only=True)
class LadderSection:
    """The whole section. ``columns``: the readings of any line, for their headings; ``absent``: columns that no line
    has, with the reason. ``judged`` is how many of the ``total`` attacks that count have both an SSIM and a match rate,
    ``deceptive`` those of them that are safe by pixels and leaky by identity."""

    columns: Sequence[BaselineComparison]
    groups: Mapping[str, Sequence[LadderRow]]
    absent: Sequence[str]
    total: int
    judged: int
    deceptive: Sequence[LadderEntry]
    untried: Mapping[str, Sequence[str]]
    meaning: Mapping[str, str]
    both: str = BOTH


def drawn(rows: Rows) -> LadderSection | None:
    """The ladder of a run; none without cells."""
    entries = ladder(rows)
    if not entries:
        return None
    shown = [i for i in range(len(entries[0].comparisons)) if not _absent(entries, i)]
    columns = [entries[0].comparisons[i] for i in shown]
    tops = [_top([e.comparisons[i] for e in entries]) for i in shown]
    groups: dict[str, list[LadderRow]] = {}
    placed = len({e.experiment for e in entries}) > 1
    for entry, row in zip(entries, as_rows(entries), strict=True):
        marks = [_mark(entry.comparisons[i], top) for i, top in zip(shown, tops, strict=True)]
        groups.setdefault(entry.defense, []).append(_line(entry, row, marks, placed))
    fair = counted(entries)
    return LadderSection(
        columns=columns,
        groups=groups,
        absent=[said for i in range(len(entries[0].comparisons)) if (said := _absent(entries, i))],
        total=len(fair),
        judged=sum(e.ssim.measurement.value is not None and e.match.measurement.value is not None for e in fair),
        deceptive=deceptive(entries),
        untried=untried(entries),
        meaning=MEANING,
    )


def _absent(entries: Sequence[LadderEntry], i: int) -> str:
    """Why no entry has a reading, where that is the same for all of them; empty otherwise."""
    found = {(f.status, f.reason) for f in (e.comparisons[i].measurement for e in entries)}
    if len(found) > 1:
        return ""
    status, reason = found.pop()
    return f"{entries[0].comparisons[i].label}: {reason or status}" if status == "missing" else ""


def _line(entry: LadderEntry, row: Row, marks: Sequence[LadderMark], placed: bool) -> LadderRow:
    about = [f"for {entry.authorised}"] if entry.authorised else []
    if placed:
        about.append(entry.experiment)
    return LadderRow(
        attack=entry.attack,
        about=about,
        leaky=entry.leaky,
        kind=entry.kind,
        both=entry.both,
        flags=entry.flags,
        row=row,
        marks=marks,
    )


def _top(comparisons: Sequence[BaselineComparison]) -> float:
    """The right end of the scale that the readings of a column share, in their unit."""
    unit = comparisons[0].metric.unit
    if unit == "dB":
        return _PSNR_TOP
    if unit != "years":
        return 1.0
    ends = [
        v for r in comparisons for v in (r.measurement.value, r.measurement.high, r.baseline.value) if v is not None
    ]
    return max(ends, default=1.0) or 1.0


def _mark(comparison: BaselineComparison, top: float) -> LadderMark:
    """Where a reading lies. What tells less the higher it is runs the other way."""

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        share = min(1.0, max(0.0, value / top))
        return 100 * (1 - share if comparison.metric.better == "higher" else share)

    found = comparison.measurement
    ends = sorted(p for p in (place(found.low), place(found.high)) if p is not None)
    low, high = (ends[0], ends[-1]) if ends else (None, None)
    at = 100.0 if found.status == "infinite" else place(found.value)
    return LadderMark(comparison=comparison, at=at, low=low, high=high, baseline=place(comparison.baseline.value))
