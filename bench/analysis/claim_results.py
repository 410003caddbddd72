"""Whether what a suite claims holds on the rows of a run.

A claim is decided on the figures themselves; beside each verdict stands whether the 95 % interval of the difference
leaves any doubt. Nothing is tested for significance: many claims are held against one run. No torch.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bench.analysis.measures import SampleMetric, measure, metric_named, pooled, select
from bench.analysis.pooling import DRAWS, SEED, Pool
from bench.analysis.rows import CellRow, Rows
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.table_model import Measurement, Metric, absent
from bench.core.errors import StorageError
from bench.core.text import plural
from bench.metrics import intervals
from bench.store.reading import Results
from bench.suite.claims import CELL_AXES, LEVELS, Axis, ClaimTable, SideTable

Outcome = Literal["holds", "does not hold", "not measured"]
OUTCOMES: Sequence[Outcome] = ("holds", "does not hold", "not measured")
AxisPoint = Mapping[Axis, str | float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The two figures of a claim at one value of each axis of ``each``.

    ``difference`` is left minus right with its interval. ``slack`` is how far it is on the side where the claim holds,
    in the measure's unit, negative where it does not hold, and none where a figure is absent.
    """

    at: AxisPoint
    left: Measurement
    right: Measurement
    difference: Measurement
    slack: float | None
    holds: bool | None
    clear: bool | None

    @property
    def gap(self) -> Measurement | None:
        """The figure that is not there, or none."""
        return next((f for f in (self.left, self.right) if f.value is None), None)


_ABSENT = absent("missing", "the suite does not ask for this combination")
_NOTHING = Comparison(at={}, left=_ABSENT, right=_ABSENT, difference=_ABSENT, slack=None, holds=None, clear=None)


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """What became of a claim. ``decisive`` is the comparison on which it hangs: the weakest of those that it needs."""

    claim: ClaimTable
    metric: Metric
    comparisons: Sequence[Comparison]
    outcome: Outcome
    decisive: Comparison
    reason: str | None = None

    @property
    def held(self) -> int:
        """In how many comparisons the relation holds."""
        return sum(c.holds is True for c in self.comparisons)


def claims_of(results: Results) -> list[ClaimTable]:
    """The claims of the suite of a run, as it was run: what they say of a component goes for its stand-in.

    `StorageError` when they are not sound.
    """
    found = results.run.suite.raw.get("claims") or []
    asked = {(c.kind, c.instead_of): c.label for c in results.run.components if c.instead_of}
    try:
        return [claim.renamed(asked) for claim in TypeAdapter(list[ClaimTable]).validate_python(found)]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StorageError(f"{results.folder / 'run.json'}: claims.{where}: {first['msg']}") from None


def judge(rows: Rows, claims: Sequence[ClaimTable]) -> list[ClaimVerdict]:
    """Hold claims against the rows of a run, in their order."""
    return [_verdict(rows, claim) for claim in claims]


def _verdict(rows: Rows, claim: ClaimTable) -> ClaimVerdict:
    metric = metric_named(claim.metric)
    compared = [_compare(rows, claim, metric, at) for at in _points(rows, claim)] or [_NOTHING]
    needed = math.ceil(round(claim.at_least * len(compared), 9))
    held = [c for c in compared if c.holds]
    missing = [c for c in compared if c.holds is None]
    if len(held) >= needed:
        outcome: Outcome = "holds"
    else:
        outcome = "not measured" if len(held) + len(missing) >= needed else "does not hold"
    reason = None
    if outcome == "not measured":
        decisive, reason = missing[0], _why(missing)
    else:  # from the strongest to the weakest, the last one that is needed
        measured = sorted((c for c in compared if c.slack is not None), key=lambda c: -(c.slack or 0.0))
        decisive = measured[min(needed, len(measured)) - 1]
    return ClaimVerdict(
        claim=claim, metric=metric, comparisons=compared, outcome=outcome, decisive=decisive, reason=reason
    )


def _why(missing: Sequence[Comparison]) -> str:
    """Why figures are absent: the reasons, each once."""
    measurements = [gap for c in missing if (gap := c.gap) is not None]
    return "; ".join(dict.fromkeys(f"{f.status}: {f.reason}" if f.reason else f.status for f in measurements))


# ---- which figures ---------------------------------------------------------------------------------------------------


def _points(rows: Rows, claim: ClaimTable) -> list[AxisPoint]:
    """The values of the axes of ``each`` at which the figures are compared: one point without axes, or none at all."""
    values = [claim.values(axis) or _found(rows, claim, axis) for axis in claim.each]
    points: list[AxisPoint] = [dict(zip(claim.each, point, strict=True)) for point in itertools.product(*values)]
    return [p for p in points if not _of_another_role(rows, claim, p)]


def _found(rows: Rows, claim: ClaimTable, axis: Axis) -> list[str]:
    """The values of an axis in the cells of the sides that follow it, in the suite's order."""
    following = [side for _, side in claim.sides if side.follows(axis)]
    return list(dict.fromkeys(getattr(c, axis) for side in following for c in _cells(rows, claim, side, {})))


def _of_another_role(rows: Rows, claim: ClaimTable, at: AxisPoint) -> bool:
    """Whether a side has cells at a point, and none of the role that the claim is about."""
    for _, side in claim.sides:
        if side.role and not _cells(rows, claim, side, at):
            return bool(_cells(rows, claim, side.model_copy(update={"role": None}), at))
    return False


def _cells(rows: Rows, claim: ClaimTable, side: SideTable, at: AxisPoint) -> list[CellRow]:
    where: dict[str, Any] = {"experiment": claim.experiment_of(side)}
    if side.role:
        where["role"] = side.role
    for axis in CELL_AXES:
        if axis in at and side.follows(axis):
            where[axis] = at[axis]
        elif (listed := side.listed(axis)) is not None:
            where[axis] = listed
    return select(rows, **where)


def _level(side: SideTable, axis: Literal["sigma", "kappa"], at: AxisPoint) -> float | None:
    """The noise level or threshold of a side at a point, or none for that of the experiment."""
    listed = side.listed(axis)
    value = at[axis] if axis in at and side.follows(axis) else listed[0] if listed else None
    return None if value is None else float(value)


# ---- how they compare ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """One side at one point: its figure and the values that it is the mean of."""

    measurement: Measurement
    values: Pool


def _side(rows: Rows, claim: ClaimTable, side: SideTable, metric: SampleMetric, at: AxisPoint) -> _Side:
    cells = _cells(rows, claim, side, at)
    sigma, kappa = _level(side, "sigma", at), _level(side, "kappa", at)
    values, _ = pooled(rows, metric.of(cells), metric, OperatingPoint(sigma=sigma, kappa=kappa))
    return _Side(measure(rows, cells, metric, sigma=sigma, kappa=kappa), values)


def _compare(rows: Rows, claim: ClaimTable, metric: SampleMetric, at: AxisPoint) -> Comparison:
    left = _side(rows, claim, claim.left, metric, at)
    if isinstance(claim.right, SideTable):
        right = _side(rows, claim, claim.right, metric, at)
        difference = _difference(left, right, metric.share)
    else:
        right = _Side(Measurement(value=claim.right), Pool())
        difference = _shifted(left.measurement, claim.right)
    slack = None if difference.value is None else _slack(claim, difference.value)
    holds = None if slack is None else slack > 0 or (slack == 0 and claim.relation not in ("<", ">"))
    return Comparison(
        at=at, left=left.measurement, right=right.measurement, difference=difference, slack=slack, holds=holds,
        clear=None if holds is None else _clear(claim, difference, holds),
    )  # fmt: skip


def _slack(claim: ClaimTable, difference: float) -> float:
    """How far a difference is on the side where the relation holds; rounded, so that equal figures are equal."""
    if claim.relation == "about":
        slack = claim.margin - abs(difference)
    else:
        slack = difference - claim.margin if claim.relation in (">", ">=") else claim.margin - difference
    return round(slack, 9)


def _clear(claim: ClaimTable, difference: Measurement, holds: bool) -> bool | None:
    """Whether the whole interval of the difference says the same as the difference; none without an interval."""
    if difference.low is None or difference.high is None:
        return None
    ends = [_slack(claim, end) for end in (difference.low, difference.high)]
    if holds:
        return min(ends) > 0 or (min(ends) == 0 and claim.relation not in ("<", ">"))
    if claim.relation == "about":  # both ends outside, and on the same side
        return max(ends) < 0 and difference.low * difference.high > 0
    return max(ends) < 0 or (max(ends) == 0 and claim.relation in ("<", ">"))


def _shifted(left: Measurement, number: float) -> Measurement:
    """A figure minus a number, with its interval."""
    if left.value is None:
        return left
    low, high = (None if end is None else end - number for end in (left.low, left.high))
    return Measurement(value=left.value - number, n=left.n, low=low, high=high, interval=left.interval)


def _difference(left: _Side, right: _Side, share: bool) -> Measurement:
    """Left minus right. People who are on both sides are drawn together, so that the comparison is paired.

    Otherwise, and where draws show no spread because all values of a side (or all paired decisions) agree, the two
    intervals are put together by squares (Newcombe 1998, Statistics in Medicine 17, method 10), as for independent
    samples.
    """
    a, b = left.measurement, right.measurement
    if a.value is None or b.value is None:
        return a if a.value is None else b
    value, n = a.value - b.value, min(a.n, b.n)
    if left.values.spread and right.values.spread and set(left.values.people) & set(right.values.people):
        ends = _paired_interval(left.values, right.values)
        if ends is not None and not (share and math.isclose(*ends, abs_tol=1e-9)):
            return Measurement(value=value, n=n, low=ends[0], high=ends[1], interval="bootstrap")
    if a.low is None and b.low is None:
        return Measurement(value=value, n=n)
    below = math.hypot(_reach(a, "low"), _reach(b, "high"))
    above = math.hypot(_reach(a, "high"), _reach(b, "low"))
    return Measurement(
        value=value, n=n, low=value - below, high=value + above, note="from the intervals of both figures"
    )


def _reach(of: Measurement, end: Literal["low", "high"]) -> float:
    """How far an interval reaches from its figure; 0 without an interval."""
    bound = of.low if end == "low" else of.high
    return 0.0 if bound is None or of.value is None else abs(bound - of.value)


def _paired_interval(left: Pool, right: Pool) -> tuple[float, float] | None:
    """95 % interval of the difference of two means, drawing people with all that they have on either side."""
    names = sorted({*left.people, *right.people})
    sums, counts = zip(left.per_person(names), right.per_person(names), strict=True)

    def difference(drawn: Any) -> float:
        left_sum, right_sum, left_n, right_n = drawn.sum(axis=0)
        return float(left_sum / left_n - right_sum / right_n) if left_n and right_n else math.nan

    per_person = np.stack([*sums, *counts], axis=1)
    return intervals.bootstrap_interval(per_person, np.arange(len(names)), difference, SEED, draws=DRAWS)


# ---- in words --------------------------------------------------------------------------------------------------------

COLUMNS = ("claim", "section", "left", "", "right", "verdict")


def verdict_rows(verdicts: Sequence[ClaimVerdict]) -> list[list[str]]:
    """A row of text per claim, for the columns `COLUMNS`."""
    return [
        [
            v.claim.text,
            v.claim.section,
            _shown(v, v.claim.left, v.decisive.left),
            v.claim.relation,
            _shown(v, v.claim.right, v.decisive.right) + margin(v),
            "; ".join(said(v)),
        ]
        for v in verdicts
    ]


def said(verdict: ClaimVerdict) -> Iterator[str]:
    """The verdict in words: how sure it is, in how many comparisons it holds, which one decides, why there is none."""
    shown, count = verdict.decisive, len(verdict.comparisons)
    doubt = {True: " (clear)", False: " (within the interval)", None: ""}[shown.clear]
    yield verdict.outcome + doubt
    if count > 1:
        yield f"in {verdict.held} of {count} comparisons; shown: {where(shown.at)}"
    if verdict.reason:
        yield verdict.reason
    yield from dict.fromkeys(f.note for f in (shown.left, shown.right) if f.note)


def where(at: AxisPoint) -> str:
    """A point in words."""
    return ", ".join(f"{axis} {value:g}" if isinstance(value, float) else str(value) for axis, value in at.items())


def _shown(verdict: ClaimVerdict, side: SideTable | float, found: Measurement) -> str:
    q = verdict.metric
    value = f"{q.shown(found.value)} {q.unit}".strip()
    if not isinstance(side, SideTable):
        return value
    name = side_name(side, verdict.decisive.at)
    if found.value is None:
        return f"{name}: {found.status}"
    span = f", {q.span(found.low, found.high)}" if found.low is not None else ""
    return f"{name}: {value} (N {found.n}{span})"


def side_name(side: SideTable, at: AxisPoint) -> str:
    """What tells a side apart at a point, as the suite says it."""
    names: list[str] = []
    axes: Sequence[Axis] = ("defense", "attack", "evaluated", *LEVELS)
    for axis in axes:
        values = [at[axis]] if axis in at and side.follows(axis) else side.listed(axis) or []
        names += [f"{axis} {v:g}" if isinstance(v, float) else v for v in values if v != ""]
    return ", ".join([*names, *([side.role] if side.role else [])]) or "all"


def margin(verdict: ClaimVerdict) -> str:
    """What is added to the right side of a claim, in words; empty where nothing is."""
    claim, q = verdict.claim, verdict.metric
    if not claim.margin:
        return ""
    unit = "points" if q.unit == "%" else q.unit
    sign = "±" if claim.relation == "about" else "+" if claim.margin > 0 else "−"
    return f" {sign} {q.shown(abs(claim.margin))} {unit}".rstrip()


def tally(verdicts: Sequence[ClaimVerdict]) -> str:
    """The last line: how many claims ended how."""
    counts = {o: sum(v.outcome == o for v in verdicts) for o in OUTCOMES}
    words = f"{counts['holds']} hold, {counts['does not hold']} do not hold, {counts['not measured']} not measured"
    return f"{plural(len(verdicts), 'claim')}: {words}"


def as_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """A Markdown table with a row per claim."""
    lines = [[name or "relation" for name in COLUMNS], ["---"] * len(COLUMNS)]
    lines += [[_escaped(text) for text in row] for row in verdict_rows(verdicts)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def as_json(verdicts: Sequence[ClaimVerdict]) -> str:
    """Everything about each verdict, as JSON."""
    return json.dumps([_record(v) for v in verdicts], indent=1, ensure_ascii=False)


def _record(verdict: ClaimVerdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        **claim.model_dump(exclude_none=True),
        "verdict": verdict.outcome,
        "clear": verdict.decisive.clear,
        "reason": verdict.reason,
        "held": verdict.held,
        "compared": len(verdict.comparisons),
        "decisive": verdict.comparisons.index(verdict.decisive),
        "comparisons": [
            {
                "at": dict(c.at),
                "holds": c.holds,
                "clear": c.clear,
                **{name: _numbers(getattr(c, name)) for name in ("left", "right", "difference")},
            }
            for c in verdict.comparisons
        ],
    }


def _numbers(of: Measurement) -> dict[str, Any]:
    names = ("value", "n", "low", "high", "interval", "status", "reason", "note")
    return {name: getattr(of, name) for name in names}
