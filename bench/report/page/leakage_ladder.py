"""The section with the leakage ladder: for each attack on each defense, small scales on its rungs (pixels, identity,
linkage, attributes). A mark further to the right on a scale means that more leaks.

The measurements are compared with their baselines by `bench.analysis.tables.leakage_ladder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.rows import Rows
from bench.analysis.table_model import Row, RowKind
from bench.analysis.tables.ladder_comparisons import LABELS, PIXELS, BaselineComparison
from bench.analysis.tables.leakage_ladder import (
    BOTH,
    MEANING,
    TWO_FAMILIES,
    LadderEntry,
    as_rows,
    corrected,
    counted,
    deceptive,
    ladder,
    untried,
)
from bench.analysis.tables.questions import PRIMARY
from bench.core.text import joined_labels

# The picture of the section shows one metric of pixels.
_FURTHER = frozenset(LABELS[name] for name in PIXELS if name != PRIMARY["appearance"])
_PSNR_TOP = 40.0  # The right end of the scale for PSNR, in dB.


@dataclass(frozen=True, kw_only=True)
class LadderMark:
    """A measurement on its scale: the positions of its value ``at``, its interval and its baseline, in per cent from
    the end where nothing leaks to the end where most leaks. A position is None if the number does not exist."""

    comparison: BaselineComparison
    at: float | None
    low: float | None
    high: float | None
    baseline: float | None


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One attack on a defense. ``about`` names the authorised models and, if there are several, the experiment;
    ``marks`` are its measurements on their scales, and ``row`` has its conclusions as flags."""

    attack: str
    about: Sequence[str]
    leaky: bool
    kind: str
    both: bool
    row: Row
    marks: Sequence[LadderMark]


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """A defense in the picture of the section: on each rung the mark of the attack that reveals most; None where no
    attack that counts has one."""

    defense: str
    kind: RowKind
    control: bool
    marks: Mapping[str, LadderMark | None]


@dataclass(frozen=True, kw_only=True)
class LadderSection:
    """The whole section.

    ``worst`` is the picture of the section, one line for each defense. ``columns`` are the comparisons of one row, for
    the headings of the table; ``absent`` are the columns that no row has, with the reason. ``total`` attacks count;
    ``judged`` of them have both an SSIM and a match rate, and ``deceptive`` are those that look safe by their pixels
    but leak the identity. ``corrected`` says for how many comparisons the flags are corrected, ``families`` why the
    verdict may say something else.
    """

    worst: Sequence[WorstCase]
    columns: Sequence[BaselineComparison]
    groups: Mapping[str, Sequence[LadderRow]]
    absent: Sequence[str]
    total: int
    judged: int
    deceptive: Sequence[LadderEntry]
    untried: Mapping[str, str]
    meaning: Mapping[str, str]
    corrected: str
    both: str = BOTH
    families: str = TWO_FAMILIES


def drawn(rows: Rows) -> LadderSection | None:
    """Return the leakage ladder of a run; None if it has no entries."""
    entries = ladder(rows)
    if not entries:
        return None
    shown = [i for i in range(len(entries[0].comparisons)) if not _absent(entries, i)]
    columns = [entries[0].comparisons[i] for i in shown]
    tops = [_top([e.comparisons[i] for e in entries]) for i in shown]
    groups: dict[str, list[LadderRow]] = {}
    climbed: dict[str, list[tuple[LadderEntry, Sequence[LadderMark]]]] = {}
    several = len({e.experiment for e in entries}) > 1
    for entry, row in zip(entries, as_rows(entries), strict=True):
        marks = [_mark(entry.comparisons[i], top) for i, top in zip(shown, tops, strict=True)]
        groups.setdefault(entry.defense, []).append(_row(entry, row, marks, several))
        climbed.setdefault(entry.defense, []).append((entry, marks))
    fair = counted(entries)
    return LadderSection(
        worst=[_worst(defense, own, list(dict.fromkeys(c.rung for c in columns))) for defense, own in climbed.items()],
        columns=columns,
        groups=groups,
        absent=[text for i in range(len(entries[0].comparisons)) if (text := _absent(entries, i))],
        total=len(fair),
        judged=sum(e.ssim.measurement.value is not None and e.match.measurement.value is not None for e in fair),
        deceptive=deceptive(entries),
        untried={what: joined_labels(defenses) for what, defenses in untried(entries).items()},
        meaning=MEANING,
        corrected=corrected(entries),
    )


def _absent(entries: Sequence[LadderEntry], i: int) -> str:
    """Return the reason if measurement ``i`` is missing in all entries for one and the same reason; empty otherwise."""
    found = {(f.status, f.reason) for f in (e.comparisons[i].measurement for e in entries)}
    if len(found) > 1:
        return ""
    status, reason = found.pop()
    return f"{entries[0].comparisons[i].label}: {reason or status}" if status == "missing" else ""


def _row(entry: LadderEntry, row: Row, marks: Sequence[LadderMark], name_experiment: bool) -> LadderRow:
    """Return the row of an attack; ``name_experiment``: whether it names its experiment."""
    about = [f"for {entry.authorised}"] if entry.authorised else []
    if name_experiment:
        about.append(entry.experiment)
    return LadderRow(
        attack=entry.attack,
        about=about,
        leaky=entry.leaky,
        kind=entry.kind,
        both=entry.both,
        row=row,
        marks=marks,
    )


def _worst(
    defense: str, climbed: Sequence[tuple[LadderEntry, Sequence[LadderMark]]], rungs: Sequence[str]
) -> WorstCase:
    """Return the line of a defense in the picture: of the marks on a rung that of a leak, or else that of a value which
    is furthest to the right."""
    own = [
        mark for entry, marks in climbed if entry.counts and not entry.leaky for mark in marks if mark.at is not None
    ]
    first = climbed[0][0]
    return WorstCase(
        defense=defense,
        kind=first.kind,
        control=first.control,
        marks={
            rung: max(
                (mark for mark in own if mark.comparison.rung == rung and mark.comparison.label not in _FURTHER),
                key=lambda mark: (mark.comparison.leaks is True, mark.at or 0.0),
                default=None,
            )
            for rung in rungs
        },
    )


def _top(comparisons: Sequence[BaselineComparison]) -> float:
    """Return the right end of the scale that the measurements of a column share, in their unit."""
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
    """Return the positions of a measurement on its scale, which is reversed if a higher value means less leakage."""

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
