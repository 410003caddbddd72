"""The headline: what the run says about each defense, in words with the figures that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.measures import measure, metric_named
from bench.analysis.rows import CellRow, Matrix, Rows
from bench.analysis.table_model import ROW_KINDS, Measurement, Metric, RowKind
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.row_layout import attacks, authorised_in, kind_of, label_of, points, side_of
from bench.analysis.tables.summary import (
    AUTHORISED,
    BASELINES,
    CLEAN_ACCURACY,
    DROP,
    SSIM,
    UNAUTHORISED,
    WORST,
    Summary,
    baselines,
    overall,
)
from bench.core.text import plural


@dataclass(frozen=True, kw_only=True)
class HeadlineMeasurement:
    """A headline figure with its name and one line of context."""

    label: str
    metric: Metric
    measurement: Measurement
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class HeadlineAnswer:
    """The answer for one defense: a heading, sentences, and the figures."""

    experiment: str
    defense: str
    kind: RowKind
    sentences: Sequence[str]
    stats: Sequence[HeadlineMeasurement]


def answers(rows: Rows, matrix: Matrix, sets: Sequence[Summary]) -> list[HeadlineAnswer]:
    """One answer per defense; those that authorise models first, then the references. ``sets``: its summaries."""
    held = baselines(rows, matrix.experiment)
    made = [_answer(s, [p for p in sets if p.defense == s.defense], held) for s in overall(rows, matrix)]
    return sorted(made, key=lambda a: -ROW_KINDS.index(a.kind))


def _answer(s: Summary, sets: Sequence[Summary], held: Mapping[str, Mapping[str, Measurement]]) -> HeadlineAnswer:
    with_models = s.kind == "authorised"
    sentences = _with_models(s, sets) if with_models else [_without_models(s)]
    where = _where(s)
    stats = []
    if with_models:
        stats.append(
            HeadlineMeasurement(
                label="Authorised model", metric=AUTHORISED, measurement=s.kept, detail=_clean_detail(s)
            )
        )
        stats.append(
            HeadlineMeasurement(label="Unauthorised models, average", metric=UNAUTHORISED, measurement=s.leaked)
        )
        stats.append(
            HeadlineMeasurement(
                label="Unauthorised models, worst case", metric=WORST, measurement=s.worst, detail=where
            )
        )
    else:
        plain = Metric(label="accuracy", unit="%", digits=1, better="lower" if s.kind == "model-free" else "")
        stats.append(HeadlineMeasurement(label="All models, average", metric=plain, measurement=s.leaked))
        stats.append(HeadlineMeasurement(label="All models, highest", metric=plain, measurement=s.worst, detail=where))
    if s.kind != "clean":
        label = "SSIM to the original"
        stats.append(HeadlineMeasurement(label=label, metric=SSIM, measurement=s.ssim, detail=_baseline_detail(held)))
    return HeadlineAnswer(experiment=s.experiment, defense=s.defense, kind=s.kind, sentences=sentences, stats=stats)


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


def _baseline_detail(held: Mapping[str, Mapping[str, Measurement]]) -> str:
    known = [
        f"{BASELINES[name]} {SSIM.shown(m['ssim'].value)}" for name, m in held.items() if m["ssim"].value is not None
    ]
    return f"baselines: {'; '.join(known)}" if known else "no baselines were measured"


def _with_models(s: Summary, sets: Sequence[Summary]) -> list[str]:
    if s.kept.value is None and s.leaked.value is None:
        return [f"No measurement: {s.kept.status}{f', {s.kept.reason}' if s.kept.reason else ''}."]
    found = []
    if s.kept.value is not None:
        change = _change(s.drop)
        who = "Authorised models decide" if _together(sets) else "The authorised model decides"
        found.append(f"{who} {AUTHORISED.shown(s.kept.value)} % of pairs correctly{change}.")
    else:
        found.append(f"There is no measurement for the authorised model: {s.kept.status}, {s.kept.reason}.")
    if s.leaked.value is not None:
        worst = f" and {WORST.shown(s.worst.value)} % in the worst case" if s.worst.value is not None else ""
        found.append(f"Unauthorised models reach {UNAUTHORISED.shown(s.leaked.value)} % on average{worst}.")
    elif s.leaked.reason:
        found.append(f"There is no measurement for unauthorised models: {s.leaked.status}, {s.leaked.reason}.")
    return [" ".join(found), _bars(sets)]


def _change(drop: Measurement) -> str:
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
        for bar, measured, met in s.verdicts:
            if met is None:
                failed.append(f"{bar.metric.label} for {s.authorised} (no measurement: {measured.status})")
            elif not met:
                unit = {"%": " %", "points": " points"}.get(bar.metric.unit, "")
                shown = bar.metric.shown(measured.value)
                failed.append(f"{bar.metric.label} for {s.authorised} ({shown}{unit}, asked: {bar.text})")
    listed = "; ".join(failed[:6]) + (f"; and {len(failed) - 6} more" if len(failed) > 6 else "")
    return f"All bars are met for {passed} of {plural(len(sets), one, many)}. Not met: {listed}."


def _without_models(s: Summary) -> str:
    if s.leaked.value is None:
        return f"No measurement: {s.leaked.status}{f', {s.leaked.reason}' if s.leaked.reason else ''}."
    shown = UNAUTHORISED.shown(s.leaked.value)
    if s.kind == "clean":
        return f"Without protection, the models decide {shown} % of pairs correctly: the most that there is to keep."
    return f"It knows no model, so it cannot favour one: all models together decide {shown} % of pairs correctly."


_SSIM, _MATCH, _RANK, _KEPT = (metric_named(n) for n in ("ssim", "fmr-match", "rank-1", "srra"))


def reconstruction_answers(rows: Rows, experiment: str) -> list[HeadlineAnswer]:
    """One answer per defense and authorised model whose uploads were turned back into images."""
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "images"]
    clean, authorised = [c for c in cells if c.clean], authorised_in(cells)
    made = [
        replace(_reconstruction(rows, own, clean, authorised), defense=label_of(cells, point))
        for point, own in points(cells).items()
    ]
    return sorted(made, key=lambda a: -ROW_KINDS.index(a.kind))


def _sides(cells: Sequence[CellRow], authorised: set[str]) -> tuple[list[CellRow], list[CellRow]]:
    """The cells of models that took no part, and those of authorised models."""
    own: list[CellRow] = []
    others: list[CellRow] = []
    for c in cells:
        (own if side_of(c, authorised) == "authorised" else others).append(c)
    return others, own


def _reconstruction(
    rows: Rows, cells: Sequence[CellRow], clean: Sequence[CellRow], authorised: set[str]
) -> HeadlineAnswer:
    fair = [c for c in cells if not c.leaky] or list(cells)
    judges, services = _sides(fair, authorised)
    ssim, match = worst(rows, fair, "ssim"), worst(rows, judges, "fmr-match")
    rank, kept = worst(rows, judges, "rank-1"), worst(rows, services, "srra", least=True)
    held = baselines(rows, cells[0].experiment)
    sentences = [
        _rebuilt(rows, cells[0], fair, clean, ssim, _baseline_text(held)),
        _found_again(rows, judges, match, rank),
    ]
    sentences += _leaks(rows, cells, fair)
    unprotected = worst(rows, _sides([c for c in clean if not c.leaky], authorised)[0], "fmr-match")
    known = unprotected.value is not None and not cells[0].clean
    beside = f"; unprotected {_MATCH.shown(unprotected.value)} %" if known else ""
    stats = [
        HeadlineMeasurement(
            label="SSIM of the reconstruction, worst case", metric=_SSIM, measurement=ssim, detail=_by(ssim)
        ),
        HeadlineMeasurement(
            label="Person matched by other models, worst case",
            metric=_MATCH,
            measurement=match,
            detail=_by(match) + beside,
        ),
        HeadlineMeasurement(label="Person first of all, worst case", metric=_RANK, measurement=rank, detail=_by(rank)),
        HeadlineMeasurement(
            label="Recognised by the authorised model (SRRA), lowest", metric=_KEPT, measurement=kept, detail=_by(kept)
        ),
    ]
    return HeadlineAnswer(
        experiment=cells[0].experiment,
        defense=cells[0].defense,
        kind=kind_of(cells[0]),
        sentences=[s for s in sentences if s],
        stats=stats,
    )


def worst(rows: Rows, cells: Sequence[CellRow], metric: str, *, least: bool = False) -> Measurement:
    """The figure of the attack with the highest value (``least``: the lowest), data sets and models pooled."""
    found = [replace(measure(rows, own, metric), attack=name) for name, own in attacks(cells).items()]
    known = [f for f in found if f.value is not None]
    if not known:
        return found[0] if found else measure(rows, cells, metric)
    return (min if least else max)(known, key=lambda f: f.value or 0.0)


def _by(found: Measurement) -> str:
    return f"by {found.attack}" if found.attack and found.value is not None else ""


def _baseline_text(held: dict[str, dict[str, Measurement]]) -> str:
    known = {name: m["ssim"].value for name, m in held.items() if m["ssim"].value is not None}
    if not known:
        return ""
    highest = max(known, key=lambda n: known[n] or 0.0)
    return f" Pictures that hold nothing of the face reach up to {_SSIM.shown(known[highest])} ({BASELINES[highest]})."


def _rebuilt(
    rows: Rows, first: CellRow, fair: Sequence[CellRow], clean: Sequence[CellRow], ssim: Measurement, baseline: str
) -> str:
    if ssim.value is None:
        return f"No measurement: {ssim.status}{f', {ssim.reason}' if ssim.reason else ''}."
    n = len(attacks(fair))
    who = f"The strongest of {n} attacks, {ssim.attack}," if n > 1 else f"{ssim.attack}"
    told = f"{who} rebuilds the face to an SSIM of {_SSIM.shown(ssim.value)}"
    open_ = worst(rows, [c for c in clean if not c.leaky], "ssim")
    if not first.clean and open_.value is not None:
        told += f"; without protection {_SSIM.shown(open_.value)} ({open_.attack})"
    return f"{told}.{baseline}"


def _found_again(rows: Rows, judges: Sequence[CellRow], match: Measurement, rank: Measurement) -> str:
    """Whether the person can be found: what SSIM does not tell."""
    if match.value is None:
        return "Whether the person can be found again was not measured: no held-out recogniser evaluates."
    gallery = [len(np.unique(s.left_id.astype(str))) for s in rows.scores_of(judges)]
    chance = f" (chance {100 / max(gallery):.1f} %)" if gallery else ""
    told = f", and {_RANK.shown(rank.value)} % of people come first among all originals{chance}" if rank.value else ""
    return (
        f"A low SSIM does not show that nothing leaks: held-out recognisers match {_MATCH.shown(match.value)} % of "
        f"the reconstructions to the person at the calibrated false match rate ({match.attack}){told}."
    )


def _leaks(rows: Rows, cells: Sequence[CellRow], fair: Sequence[CellRow]) -> list[str]:
    """Attacks that learnt from the evaluated people: shown, marked, and never the headline."""
    leaky = [c for c in cells if c.leaky]
    if not leaky:
        return []
    found = worst(rows, leaky, "ssim")
    names = ", ".join(attacks(leaky))
    counted = "counted above for want of others" if list(fair) == list(cells) else "not counted above"
    reached = f"; SSIM {_SSIM.shown(found.value)}" if found.value is not None else ""
    return [f"{names}: trained on the evaluated identities, which is leakage; {counted}{reached}."]


def attribute_answers(rows: Rows, experiment: str) -> list[HeadlineAnswer]:
    """One answer per defense on which attributes were estimated; none where only UP is asked for."""
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "attributes"]
    if not cells or any(rows.noise_levels(c) for c in cells):
        return []
    names = estimated(rows, experiment)
    made = [
        replace(_attributes(rows, own, names), defense=label_of(cells, point)) for point, own in points(cells).items()
    ]
    return sorted(made, key=lambda a: -ROW_KINDS.index(a.kind))


def _attributes(rows: Rows, cells: Sequence[CellRow], names: Sequence[str]) -> HeadlineAnswer:
    stats, safe, known = [], [], 0
    for name in names:
        metric = metric_named(f"similarity:{name}")
        least = metric.better == "higher"
        found = worst(rows, cells, f"similarity:{name}", least=least)
        baseline = measure(rows, cells, f"baseline:{name}")
        if found.value is not None and baseline.value is not None:
            known += 1
            if found.value >= baseline.value if least else found.value <= baseline.value:
                safe.append(name)
        by = f"{found.attack}; " if len(attacks(cells)) > 1 else ""
        detail = f"{by}constant answer {metric.shown(baseline.value)}"
        stats.append(
            HeadlineMeasurement(label=metric.label.capitalize(), metric=metric, measurement=found, detail=detail)
        )
    if known:
        listed = f" ({', '.join(safe)})" if safe else ""
        told = (
            f"For {len(safe)} of {plural(known, 'attribute')}{listed} the estimate is no nearer to that on the "
            "original than a constant answer; for the others something is left in the picture."
        )
    else:
        told = "No measurement of any attribute."
    worst_of = f" Worst case of {len(attacks(cells))} attacks." if len(attacks(cells)) > 1 else ""
    return HeadlineAnswer(
        experiment=cells[0].experiment,
        defense=cells[0].defense,
        kind=kind_of(cells[0]),
        sentences=[told + worst_of],
        stats=stats,
    )
