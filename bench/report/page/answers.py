"""The headline: what the run says about each defense, in words with the figures that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.figures import ROW_KINDS, Figure, Quantity, RowKind, plural
from bench.report.rows import Matrix, Rows
from bench.report.tables.summary import (
    AUTHORISED,
    CLEAN_ACCURACY,
    DROP,
    FLOORS,
    SSIM,
    UNAUTHORISED,
    WORST,
    Summary,
    floors,
    overall,
)


@dataclass(frozen=True, kw_only=True)
class Stat:
    """A headline figure with its name and one line of context."""

    label: str
    quantity: Quantity
    figure: Figure
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer for one defense: a heading, sentences, and the figures."""

    experiment: str
    defense: str
    kind: RowKind
    sentences: Sequence[str]
    stats: Sequence[Stat]


def answers(rows: Rows, matrix: Matrix, sets: Sequence[Summary]) -> list[Answer]:
    """One answer per defense; those that authorise models first, then the references. ``sets``: its summaries."""
    held = floors(rows, matrix.experiment)
    made = [_answer(s, [p for p in sets if p.defense == s.defense], held) for s in overall(rows, matrix)]
    return sorted(made, key=lambda a: -ROW_KINDS.index(a.kind))


def _answer(s: Summary, sets: Sequence[Summary], held: Mapping[str, Mapping[str, Figure]]) -> Answer:
    with_models = s.kind == "authorised"
    sentences = _with_models(s, sets) if with_models else [_without_models(s)]
    where = _where(s)
    stats = []
    if with_models:
        stats.append(Stat(label="Authorised model", quantity=AUTHORISED, figure=s.kept, detail=_clean_detail(s)))
        stats.append(Stat(label="Unauthorised models, average", quantity=UNAUTHORISED, figure=s.leaked))
        stats.append(Stat(label="Unauthorised models, worst case", quantity=WORST, figure=s.worst, detail=where))
    else:
        plain = Quantity(name="accuracy", unit="%", digits=1, better="lower" if s.kind == "model-free" else "")
        stats.append(Stat(label="All models, average", quantity=plain, figure=s.leaked))
        stats.append(Stat(label="All models, highest", quantity=plain, figure=s.worst, detail=where))
    if s.kind != "clean":
        label = "SSIM to the original"
        stats.append(Stat(label=label, quantity=SSIM, figure=s.ssim, detail=_floor_detail(held)))
    return Answer(experiment=s.experiment, defense=s.defense, kind=s.kind, sentences=sentences, stats=stats)


def _clean_detail(s: Summary) -> str:
    if s.clean.value is None or s.drop.value is None:
        return ""
    interval = f" ({DROP.span(s.drop.low, s.drop.high)})" if s.drop.low is not None else ""
    return f"unprotected {CLEAN_ACCURACY.shown(s.clean.value)} %; drop {DROP.shown(s.drop.value)} points{interval}"


def _where(s: Summary) -> str:
    if s.worst_at is None:
        return ""
    protected = f", face protected for {s.worst_at.authorised}" if s.worst_at.authorised else ""
    return f"{s.worst_at.evaluated} on {s.worst_at.dataset}{protected}"


def _floor_detail(held: Mapping[str, Mapping[str, Figure]]) -> str:
    known = [f"{FLOORS[name]} {SSIM.shown(m['ssim'].value)}" for name, m in held.items() if m["ssim"].value is not None]
    return f"floors: {'; '.join(known)}" if known else "no floors were measured"


def _with_models(s: Summary, sets: Sequence[Summary]) -> list[str]:
    if s.kept.value is None and s.leaked.value is None:
        return [f"No figure: {s.kept.status}{f', {s.kept.reason}' if s.kept.reason else ''}."]
    found = []
    if s.kept.value is not None:
        change = _change(s.drop)
        who = "Authorised models decide" if _together(sets) else "The authorised model decides"
        found.append(f"{who} {AUTHORISED.shown(s.kept.value)} % of pairs correctly{change}.")
    else:
        found.append(f"There is no figure for the authorised model: {s.kept.status}, {s.kept.reason}.")
    if s.leaked.value is not None:
        worst = f" and {WORST.shown(s.worst.value)} % in the worst case" if s.worst.value is not None else ""
        found.append(f"Unauthorised models reach {UNAUTHORISED.shown(s.leaked.value)} % on average{worst}.")
    elif s.leaked.reason:
        found.append(f"There is no figure for unauthorised models: {s.leaked.status}, {s.leaked.reason}.")
    return [" ".join(found), _bars(sets)]


def _change(drop: Figure) -> str:
    if drop.value is None:
        return ""
    if abs(drop.value) * 100 < 0.05:
        return ", the same as without protection"
    side = "below" if drop.value > 0 else "above"
    return f", {DROP.shown(abs(drop.value))} points {side} unprotected faces"


def _together(sets: Sequence[Summary]) -> bool:
    """Whether one image is made for several models at once."""
    return any("+" in (s.authorised or "") for s in sets)


def _bars(sets: Sequence[Summary]) -> str:
    """Which bars are met, and for whom they are not."""
    passed = sum(s.meets_all for s in sets)
    one, many = "authorised model", "authorised models"
    if _together(sets):
        one, many = f"set of {many}", f"sets of {many}"
    if passed == len(sets):
        who = f"the {one}" if len(sets) == 1 else f"each of {len(sets)} {many}"
        return f"All {len(sets[0].verdicts)} bars are met for {who}."
    failed = []
    for s in sets:
        for bar, figure, met in s.verdicts:
            if met is None:
                failed.append(f"{bar.quantity.name} for {s.authorised} (no figure: {figure.status})")
            elif not met:
                unit = {"%": " %", "points": " points"}.get(bar.quantity.unit, "")
                shown = bar.quantity.shown(figure.value)
                failed.append(f"{bar.quantity.name} for {s.authorised} ({shown}{unit}, asked: {bar.text})")
    listed = "; ".join(failed[:6]) + (f"; and {len(failed) - 6} more" if len(failed) > 6 else "")
    return f"All bars are met for {passed} of {plural(len(sets), one, many)}. Not met: {listed}."


def _without_models(s: Summary) -> str:
    if s.leaked.value is None:
        return f"No figure: {s.leaked.status}{f', {s.leaked.reason}' if s.leaked.reason else ''}."
    shown = UNAUTHORISED.shown(s.leaked.value)
    if s.kind == "clean":
        return f"Without protection, the models decide {shown} % of pairs correctly: the most that there is to keep."
    return f"It knows no model, so it cannot favour one: all models together decide {shown} % of pairs correctly."
