"""Whether the claims of a suite hold on the rows of a run.

A claim is decided on the measured values. Each verdict also says whether the whole 95 % interval of the difference
agrees with it. No claim is a test of significance, because many claims are checked on one run.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from bench.analysis.cells import CellRow
from bench.analysis.measures import SampleMetric, measure, metric_in, pooled, select
from bench.analysis.pooling import Pool, difference_of
from bench.analysis.rows import Rows
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.core.errors import StorageError, SuiteError
from bench.core.text import plural, set_label
from bench.store.reading import RunResults
from bench.store.reference import MARK
from bench.store.run_record import RECORD
from bench.suite.claims import CELL_AXES, LEVELS, Axis, ClaimTable, SideTable
from bench.suite.strict_table import StrictTable
from bench.suite.tables import explain

Outcome = Literal["holds", "does not hold", "not measured"]
OUTCOMES: Sequence[Outcome] = ("holds", "does not hold", "not measured")
AxisPoint = Mapping[Axis, str | float]
_FIELDS: Mapping[str, str] = {"defense": "label"}  # the field of a cell for an axis


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The two measurements of a claim at one value of each axis of ``each``.

    ``difference`` is left minus right with its interval. ``slack`` is the distance of the difference from the limit of
    the claim, in the metric's unit: positive where the claim holds, negative where it does not, None if a measurement
    has no value. ``clear`` is True if the whole interval agrees with ``holds``, and None without an interval.
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
        """The side without a value; None if both sides have one."""
        return next((f for f in (self.left, self.right) if f.value is None), None)


_ABSENT = absent("missing", "the suite does not contain this combination")
_NOTHING = Comparison(at={}, left=_ABSENT, right=_ABSENT, difference=_ABSENT, slack=None, holds=None, clear=None)


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """The outcome of a claim.

    ``decisive`` is the comparison that decides it: the weakest of the comparisons that it needs. ``reason`` says why it
    was not measured.
    """

    claim: ClaimTable
    metric: TableMetric
    comparisons: Sequence[Comparison]
    outcome: Outcome
    decisive: Comparison
    reason: str | None = None

    @property
    def held(self) -> int:
        """The number of comparisons in which the relation holds."""
        return sum(c.holds is True for c in self.comparisons)


class _RecordedClaims(StrictTable):
    """The claims in the record of a run."""

    claims: list[ClaimTable]


def claims_of(results: RunResults) -> list[ClaimTable]:
    """Return the claims of the suite of a run; a claim about a component is about the stand-in that replaced it, and
    one about a defense whose rows are read from the reference run is about these.

    Raises `StorageError` if the recorded claims are not valid.
    """
    found = results.run.suite.raw.get("claims") or []
    replaced_by = {(c.kind, c.instead_of): c.label for c in results.run.components if c.instead_of}
    read = (label for label in dict.fromkeys(results.cells["defense"]) if label.endswith(MARK))
    replaced_by |= {("defense", label.removesuffix(MARK)): label for label in read}
    replaced_by |= {("authorised", name): label for name, label in _sets_by_requested_name(results).items()}
    try:
        recorded = _RecordedClaims.model_validate({"claims": found})
    except ValidationError as error:
        where = f"{results.folder / RECORD}: suite.raw"
        raise StorageError("\n".join(f"{where}.{line}" for line in explain(error))) from None
    return [claim.renamed(replaced_by) for claim in recorded.claims]


def _sets_by_requested_name(results: RunResults) -> dict[str, str]:
    """Return the labels of the sets of authorised models of a run by the labels that a suite may use for them.

    A suite may name a stand-in by its own label or by the label of the model that it replaces.
    """
    requested: dict[str, list[str]] = defaultdict(list)
    for c in results.run.components:
        if c.kind == "model" and c.instead_of:
            requested[c.label].append(c.instead_of)
    found = {}
    for models in dict.fromkeys(results.cells["authorised"]):
        for names in itertools.product(*([model, *requested.get(model, ())] for model in models)):
            found[set_label(names)] = set_label(models)
    return found


def judge(rows: Rows, claims: Sequence[ClaimTable]) -> list[ClaimVerdict]:
    """Return the verdict on each claim, from the rows of a run.

    Raises `StorageError` for a metric that neither bench nor a plugin of the run has.
    """
    metrics = []
    for i, claim in enumerate(claims):
        try:
            metrics.append(metric_in(rows, claim.metric))
        except SuiteError as error:
            raise StorageError(f"{RECORD}: suite.raw.claims[{i}].metric: {error}") from None
    return [_verdict(rows, claim, metric) for claim, metric in zip(claims, metrics, strict=True)]


def _verdict(rows: Rows, claim: ClaimTable, metric: SampleMetric) -> ClaimVerdict:
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
    else:  # Sorted from the strongest to the weakest, the last comparison that the claim needs decides it.
        measured = sorted((c for c in compared if c.slack is not None), key=lambda c: -(c.slack or 0.0))
        decisive = measured[min(needed, len(measured)) - 1]
    return ClaimVerdict(
        claim=claim, metric=metric, comparisons=compared, outcome=outcome, decisive=decisive, reason=reason
    )


def _why(missing: Sequence[Comparison]) -> str:
    """Return the reasons of missing measurements as text, each reason once."""
    measurements = [gap for c in missing if (gap := c.gap) is not None]
    return "; ".join(dict.fromkeys(f"{f.status}: {f.reason}" if f.reason else f.status for f in measurements))


# ---- what is compared ------------------------------------------------------------------------------------------------


def _points(rows: Rows, claim: ClaimTable) -> list[AxisPoint]:
    """Return the points at which both sides are compared: the combinations of the values of all axes of ``each``.

    A point at which a side has cells, but none with the role that the claim requires, is left out. A claim without axes
    has one empty point.
    """
    values = [claim.values(axis) or _found(rows, claim, axis) for axis in claim.each]
    points: list[AxisPoint] = [dict(zip(claim.each, point, strict=True)) for point in itertools.product(*values)]
    return [p for p in points if not _of_another_role(rows, claim, p)]


def _found(rows: Rows, claim: ClaimTable, axis: Axis) -> list[str]:
    """Return the values of an axis in the cells of the sides that vary along it, in the suite's order."""
    following = [side for _, side in claim.sides if side.follows(axis)]
    cells = [c for side in following for c in _cells(rows, claim, side, {})]
    return list(dict.fromkeys(getattr(c, _FIELDS.get(axis, axis)) for c in cells))


def _of_another_role(rows: Rows, claim: ClaimTable, at: AxisPoint) -> bool:
    """True if a side has cells at this point, but none with the role that the claim requires."""
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
            where[_FIELDS.get(axis, axis)] = at[axis]
        elif (listed := side.listed(axis)) is not None:
            where[_FIELDS.get(axis, axis)] = listed
    return select(rows, **where)


def _lacking(rows: Rows, claim: ClaimTable, side: SideTable, at: AxisPoint) -> list[str]:
    """Return the labels that a side pools, and of which the experiment has no cell at all: the mean of the others is
    not what the claim is about."""
    own, found = select(rows, experiment=claim.experiment_of(side)), []
    for axis in CELL_AXES:
        if not (axis in at and side.follows(axis)):
            known = {getattr(c, _FIELDS.get(axis, axis)) for c in own}
            found += [str(label) for label in side.listed(axis) or () if label not in known]
    return found


def _level(side: SideTable, axis: Literal["sigma", "kappa"], at: AxisPoint) -> float | None:
    """Return the noise level or the threshold of a side at a point; None means the default of the metric."""
    listed = side.listed(axis)
    value = at[axis] if axis in at and side.follows(axis) else listed[0] if listed else None
    return None if value is None else float(value)


# ---- the comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """One side of a claim at one point: its measurement and the pooled scores ``values`` of which it is the mean."""

    measurement: Measurement
    values: Pool


def _side(rows: Rows, claim: ClaimTable, side: SideTable, metric: SampleMetric, at: AxisPoint) -> _Side:
    cells = _cells(rows, claim, side, at)
    if cells and (lacking := _lacking(rows, claim, side, at)):
        return _Side(absent("missing", f"the run has no cell of {' and '.join(lacking)}"), Pool())
    sigma, kappa = _level(side, "sigma", at), _level(side, "kappa", at)
    values, _ = pooled(rows, metric.of(cells), metric, OperatingPoint(sigma=sigma, kappa=kappa))
    return _Side(measure(rows, cells, metric, sigma=sigma, kappa=kappa), values)


def _compare(rows: Rows, claim: ClaimTable, metric: SampleMetric, at: AxisPoint) -> Comparison:
    left = _side(rows, claim, claim.left, metric, at)
    if isinstance(claim.right, SideTable):
        right = _side(rows, claim, claim.right, metric, at)
        difference = _difference(left, right, metric.share)
        low, high = metric.difference_within(difference.low, difference.high)
        difference = replace(difference, low=low, high=high)
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
    """Return the distance of a difference from the limit of the claim, positive where the relation holds.

    It is rounded, so that values that differ only by floating-point error count as equal.
    """
    if claim.relation == "about":
        slack = claim.margin - abs(difference)
    else:
        slack = difference - claim.margin if claim.relation in (">", ">=") else claim.margin - difference
    return round(slack, 9)


def _clear(claim: ClaimTable, difference: Measurement, holds: bool) -> bool | None:
    """Return whether the whole interval of the difference gives the same verdict; None without an interval."""
    if difference.low is None or difference.high is None:
        return None
    ends = [_slack(claim, end) for end in (difference.low, difference.high)]
    if holds:
        return min(ends) > 0 or (min(ends) == 0 and claim.relation not in ("<", ">"))
    if claim.relation == "about":  # Both ends lie outside, on the same side.
        return max(ends) < 0 and difference.low * difference.high > 0
    return max(ends) < 0 or (max(ends) == 0 and claim.relation in ("<", ">"))


def _shifted(left: Measurement, number: float) -> Measurement:
    """Return a measurement minus a number, with its interval."""
    if left.value is None:
        return left
    low, high = (None if end is None else end - number for end in (left.low, left.high))
    return Measurement(value=left.value - number, n=left.n, low=low, high=high, interval=left.interval)


def _difference(left: _Side, right: _Side, share: bool) -> Measurement:
    """Return left minus right with its interval.

    If people occur on both sides, their scores are subtracted before the error is computed, so that the comparison is
    paired (`bench.analysis.pooling.difference_of`). Otherwise, and where the differences show no spread because all
    scores of a side (or all paired decisions) are equal, the intervals of both sides are combined as for independent
    samples (Newcombe 1998, Statistics in Medicine 17, method 10).
    """
    a, b = left.measurement, right.measurement
    if a.value is None or b.value is None:
        return a if a.value is None else b
    value, n = a.value - b.value, min(a.n, b.n)
    if left.values.spread and right.values.spread and set(left.values.people) & set(right.values.people):
        found = difference_of(right.values, left.values)
        ends = None if found is None else found.interval()
        if ends is not None and not (share and math.isclose(*ends, abs_tol=1e-9)):
            return Measurement(value=value, n=n, low=ends[0], high=ends[1], interval="clustered")
    if a.low is None and b.low is None:
        return Measurement(value=value, n=n)
    below = math.hypot(_reach(a, "low"), _reach(b, "high"))
    above = math.hypot(_reach(a, "high"), _reach(b, "low"))
    return Measurement(
        value=value, n=n, low=value - below, high=value + above, note="from the intervals of both measurements"
    )


def _reach(of: Measurement, end: Literal["low", "high"]) -> float:
    """Return the distance from the value of a measurement to an end of its interval; 0 without an interval."""
    bound = of.low if end == "low" else of.high
    return 0.0 if bound is None or of.value is None else abs(bound - of.value)


# ---- text ------------------------------------------------------------------------------------------------------------

COLUMNS = ("claim", "from", "left", "", "right", "verdict")


def verdict_rows(verdicts: Sequence[ClaimVerdict]) -> list[list[str]]:
    """Return one row of text per claim, for the columns `COLUMNS`."""
    return [
        [
            v.claim.text,
            v.claim.place,
            _shown(v, v.claim.left, v.decisive.left),
            v.claim.relation,
            _shown(v, v.claim.right, v.decisive.right) + margin(v),
            "; ".join(verdict_parts(v)),
        ]
        for v in verdicts
    ]


def verdict_parts(verdict: ClaimVerdict, names: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the parts of a verdict as text: the outcome, the number of comparisons that hold, the reason, and notes."""
    shown, count = verdict.decisive, len(verdict.comparisons)
    doubt = {True: " (clear)", False: " (within the interval)", None: ""}[shown.clear]
    yield verdict.outcome + doubt
    if count > 1:
        yield f"in {verdict.held} of {count} comparisons; shown: {where(shown.at, names)}"
    if verdict.reason:
        yield verdict.reason
    yield from dict.fromkeys(f.note for f in (shown.left, shown.right) if f.note)


def where(at: AxisPoint, names: Mapping[str, str] | None = None) -> str:
    """Return a point of the axes as text, such as ``lfw, sigma 0.1``; ``names``: see `side_name`."""
    return ", ".join(
        f"{axis} {value:g}" if isinstance(value, float) else _named(axis, value, names) for axis, value in at.items()
    )


def _named(axis: Axis, value: str, names: Mapping[str, str] | None) -> str:
    return names.get(value, value) if names and axis == "defense" else value


def _shown(verdict: ClaimVerdict, side: SideTable | float, found: Measurement) -> str:
    q = verdict.metric
    value = f"{q.shown(found.value)} {q.unit}".strip()
    if not isinstance(side, SideTable):
        return value
    name = side_name(side, verdict.decisive.at)
    if found.value is None:
        return f"{name}: {found.status}"
    span = f", {q.span(found.low, found.high)}" if found.low is not None else ""
    return f"{name}: {value} (N {found.support}{span})"


def side_name(side: SideTable, at: AxisPoint, names: Mapping[str, str] | None = None) -> str:
    """Return the name of a side at a point: the labels of the suite that select its cells. ``names`` are the names of
    defenses for readers, by label."""
    found: list[str] = []
    axes: Sequence[Axis] = ("defense", "attack", "evaluated", *LEVELS)
    for axis in axes:
        values = [at[axis]] if axis in at and side.follows(axis) else side.listed(axis) or []
        found += [f"{axis} {v:g}" if isinstance(v, float) else _named(axis, v, names) for v in values if v != ""]
    return ", ".join([*found, *([side.role] if side.role else [])]) or "all"


def margin(verdict: ClaimVerdict) -> str:
    """Return the margin that a claim adds to its right side, as text; empty if it is 0."""
    claim, q = verdict.claim, verdict.metric
    if not claim.margin:
        return ""
    unit = "points" if q.unit == "%" else q.unit
    sign = "±" if claim.relation == "about" else "+" if claim.margin > 0 else "−"
    return f" {sign} {q.shown(abs(claim.margin))} {unit}".rstrip()


def tally(verdicts: Sequence[ClaimVerdict]) -> str:
    """Return the summary line: the number of claims of each outcome."""
    if not verdicts:
        return "the suite makes no claims"
    counts = {o: sum(v.outcome == o for v in verdicts) for o in OUTCOMES}
    words = f"{counts['holds']} hold, {counts['does not hold']} do not hold, {counts['not measured']} not measured"
    return f"{plural(len(verdicts), 'claim')}: {words}"


def as_markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """Return the verdicts as a Markdown table with one row per claim."""
    lines = [[name or "relation" for name in COLUMNS], ["---"] * len(COLUMNS)]
    lines += [[_escaped(text) for text in row] for row in verdict_rows(verdicts)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def verdict_record(verdict: ClaimVerdict) -> dict[str, Any]:
    """Return everything about a verdict as JSON values."""
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
    names = ("value", "n", "people", "low", "high", "interval", "status", "reason", "note")
    return {name: getattr(of, name) for name in names}
