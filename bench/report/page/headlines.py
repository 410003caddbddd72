"""The headline answers of an experiment: for each defense sentences and the measurements that they rest on.

There are three kinds of answers, by what the attacks of the experiment give: recognition (`answers`), reconstructed
images (`reconstruction_answers`) and estimated attributes (`attribute_answers`). Every number is also in a table of the
page; a worst case is the measurement of the strongest attack or model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure, metric_named
from bench.analysis.rows import Matrix, Rows
from bench.analysis.table_model import ROW_KINDS, Measurement, RowKind, TableMetric
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.goals import AUTHORISED, DROP, PURPOSES, SSIM, UNAUTHORISED
from bench.analysis.tables.row_layout import attacks, authorised_in, is_control, kind_of, label_of, points, side_of
from bench.analysis.tables.summary import BASELINES, CLEAN_ACCURACY, WORST, Summary, baselines, overall
from bench.core.text import plural

_MATCH, _RANK, _SRRA = (metric_named(name) for name in ("fmr-match", "rank-1", "srra"))


@dataclass(frozen=True, kw_only=True)
class HeadlineMeasurement:
    """A measurement of a headline, with its label and one line of context."""

    label: str
    metric: TableMetric
    measurement: Measurement
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class HeadlineAnswer:
    """The answer of an experiment for one defense: sentences, and the measurements that they rest on. ``control``: the
    defense is a control, and no protection."""

    experiment: str
    defense: str
    kind: RowKind
    sentences: Sequence[str]
    measurements: Sequence[HeadlineMeasurement]
    control: bool = False


# ---- recognition -----------------------------------------------------------------------------------------------------


def answers(rows: Rows, matrix: Matrix, sets: Sequence[Summary]) -> list[HeadlineAnswer]:
    """Return one answer per defense on who recognises protected faces; defenses that authorise models come first.

    ``sets`` are the summaries of the experiment: one for each defense and authorised set.
    """
    measured = baselines(rows, matrix.experiment)
    made = [_recognition(s, [p for p in sets if p.defense == s.defense], measured) for s in overall(rows, matrix)]
    return _in_order(made)


def _recognition(
    s: Summary, sets: Sequence[Summary], measured: Mapping[str, Mapping[str, Measurement]]
) -> HeadlineAnswer:
    """Return the answer for a defense from the summary of all its authorised sets, and those of each set."""
    with_models = s.kind == "authorised"
    sentences = _sentences_with_models(s, sets) if with_models else [_sentence_without_models(s)]
    where = _where(s)
    if with_models:
        found = [
            ("Authorised model", AUTHORISED, s.kept, _clean_detail(s)),
            ("Unauthorised models, average", UNAUTHORISED, s.leaked, ""),
            ("Unauthorised models, worst case", WORST, s.worst, where),
        ]
    else:
        plain = TableMetric(label="accuracy", unit="%", digits=1, better="lower" if s.kind == "model-free" else "")
        found = [("All models, average", plain, s.leaked, ""), ("All models, highest", plain, s.worst, where)]
    if s.kind != "clean":
        found.append(("SSIM to the original", SSIM.for_goal(s.goal), s.ssim, _baseline_detail(measured)))
    return HeadlineAnswer(
        experiment=s.experiment,
        defense=s.defense,
        kind=s.kind,
        sentences=sentences,
        measurements=_measurements(found),
        control=s.control,
    )


def _clean_detail(s: Summary) -> str:
    """Return the accuracy without protection and the drop as text; empty if one of them is unknown."""
    if s.clean.value is None or s.drop.value is None:
        return ""
    interval = f" ({DROP.span(s.drop.low, s.drop.high)})" if s.drop.low is not None else ""
    return f"unprotected {CLEAN_ACCURACY.shown(s.clean.value)} %; drop {DROP.shown(s.drop.value)} points{interval}"


def _where(s: Summary) -> str:
    """Return the model, data set and authorised set of the worst case as text; empty if it is unknown."""
    if s.worst_at is None:
        return ""
    protected = f", face protected for {s.worst_at.authorised}" if s.worst_at.authorised else ""
    return f"{s.worst_at.evaluated} on {s.worst_at.dataset}{protected}"


def _sentences_with_models(s: Summary, sets: Sequence[Summary]) -> list[str]:
    """Return the sentences about a defense that authorises models: its accuracies, and the bars that it meets."""
    if s.kept.value is None and s.leaked.value is None:
        return [_no_value(s.kept)]
    found = []
    if s.kept.value is not None:
        change = _change(s.drop)
        who = "Authorised models decide" if _joint_sets(sets) else "The authorised model decides"
        found.append(f"{who} {AUTHORISED.shown(s.kept.value)} % of pairs correctly{change}.")
    else:
        found.append(f"There is no measurement for the authorised model: {s.kept.status}, {s.kept.reason}.")
    if s.leaked.value is not None:
        worst_case = f" and {WORST.shown(s.worst.value)} % in the worst case" if s.worst.value is not None else ""
        found.append(f"Unauthorised models reach {UNAUTHORISED.shown(s.leaked.value)} % on average{worst_case}.")
    elif s.leaked.reason:
        found.append(f"There is no measurement for unauthorised models: {s.leaked.status}, {s.leaked.reason}.")
    return [" ".join(found), *([] if s.control else [_bars(sets)])]


def _sentence_without_models(s: Summary) -> str:
    """Return the sentence about no protection, or about a defense that knows no model."""
    if s.leaked.value is None:
        return _no_value(s.leaked)
    shown = UNAUTHORISED.shown(s.leaked.value)
    if s.kind == "clean":
        return f"Without protection, the models decide {shown} % of pairs correctly: the most that there is to keep."
    return f"It knows no model, so it cannot favour one: all models together decide {shown} % of pairs correctly."


def _change(drop: Measurement) -> str:
    """Return the difference to the accuracy without protection as text; empty if it is unknown."""
    if drop.value is None:
        return ""
    if abs(drop.value) * 100 < 0.05:
        return ", the same as without protection"
    side = "below" if drop.value > 0 else "above"
    return f", {DROP.shown(abs(drop.value))} points {side} unprotected faces"


def _joint_sets(sets: Sequence[Summary]) -> bool:
    """Return whether one image is protected for several models at once."""
    return any(s.together > 1 for s in sets)


def _bars(sets: Sequence[Summary]) -> str:
    """Return the sentences that say which bars are met, and by which authorised sets they are not."""
    passed = sum(s.meets_all for s in sets)
    one, many = "authorised model", "authorised models"
    if _joint_sets(sets):
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
                failed.append(f"{bar.metric.label} for {s.authorised} ({shown}{unit}, required: {bar.text})")
    listed = "; ".join(failed[:6]) + (f"; and {len(failed) - 6} more" if len(failed) > 6 else "")
    return f"All bars are met for {passed} of {plural(len(sets), one, many)}. Not met: {listed}."


# ---- reconstruction --------------------------------------------------------------------------------------------------


def reconstruction_answers(rows: Rows, experiment: str) -> list[HeadlineAnswer]:
    """Return one answer per defense and authorised set on the images that attacks reconstruct from uploads."""
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "images"]
    clean, authorised = [c for c in cells if c.clean], authorised_in(cells)
    made = [
        replace(_reconstruction(rows, own, clean, authorised), defense=label_of(cells, point))
        for point, own in points(cells).items()
    ]
    return _in_order(made)


def _reconstruction(
    rows: Rows, cells: Sequence[CellRow], clean: Sequence[CellRow], authorised: set[str]
) -> HeadlineAnswer:
    """Return the answer for the cells of one defense. ``clean`` are the cells without protection.

    Attacks that learnt from the evaluated people count only if there are no others.
    """
    fair = [c for c in cells if not c.leaky] or list(cells)
    held_out, own = _by_side(fair, authorised)
    ssim, match = worst(rows, fair, "ssim"), worst(rows, held_out, "fmr-match")
    rank, srra = worst(rows, held_out, "rank-1"), worst(rows, own, "srra", least=True)
    sentences = [
        _similarity_sentences(rows, fair, clean, ssim),
        _match_sentence(rows, held_out, match, rank),
        *_leaky_sentences(rows, cells, fair),
    ]
    unprotected = worst(rows, _by_side([c for c in clean if not c.leaky], authorised)[0], "fmr-match")
    known = unprotected.value is not None and not cells[0].clean
    similarity = SSIM if PURPOSES[cells[0].goal].hides_pixels else replace(SSIM, better="")
    beside = f"; unprotected {_MATCH.shown(unprotected.value)} %" if known else ""
    found = [
        ("SSIM of the reconstruction, worst case", similarity, ssim, _by(ssim)),
        ("Person matched by other models, worst case", _MATCH, match, _by(match) + beside),
        ("Person first of all, worst case", _RANK, rank, _by(rank)),
        ("Recognised by the authorised model (SRRA), lowest", _SRRA, srra, _by(srra)),
    ]
    return _answer(cells, [s for s in sentences if s], _measurements(found))


def _by_side(cells: Sequence[CellRow], authorised: set[str]) -> tuple[list[CellRow], list[CellRow]]:
    """Return the cells of held-out recognisers, and those of authorised models."""
    own: list[CellRow] = []
    held_out: list[CellRow] = []
    for c in cells:
        (own if side_of(c, authorised) == "authorised" else held_out).append(c)
    return held_out, own


def _similarity_sentences(rows: Rows, fair: Sequence[CellRow], clean: Sequence[CellRow], ssim: Measurement) -> str:
    """Return the sentences about the SSIM of the strongest attack, beside no protection and the baselines."""
    if ssim.value is None:
        return _no_value(ssim)
    n = len(attacks(fair))
    who = f"The strongest of {n} attacks, {ssim.attack}," if n > 1 else f"{ssim.attack}"
    text = f"{who} rebuilds the face to an SSIM of {SSIM.shown(ssim.value)}"
    unprotected = worst(rows, [c for c in clean if not c.leaky], "ssim")
    if not fair[0].clean and unprotected.value is not None:
        text += f"; without protection {SSIM.shown(unprotected.value)} ({unprotected.attack})"
    return f"{text}.{_highest_baseline(baselines(rows, fair[0].experiment))}"


def _highest_baseline(measured: Mapping[str, Mapping[str, Measurement]]) -> str:
    """Return a sentence with the highest SSIM among the baselines; empty if none was measured."""
    known = {name: m["ssim"].value for name, m in measured.items() if m["ssim"].value is not None}
    if not known:
        return ""
    highest = max(known, key=lambda n: known[n] or 0.0)
    return f" Pictures that hold nothing of the face reach up to {SSIM.shown(known[highest])} ({BASELINES[highest]})."


def _match_sentence(rows: Rows, held_out: Sequence[CellRow], match: Measurement, rank: Measurement) -> str:
    """Return the sentence on whether held-out recognisers find the person again, which SSIM cannot show."""
    if match.value is None:
        return "Whether the person can be found again was not measured: no held-out recogniser evaluates it."
    first = ""
    if rank.value:
        chance = _chance(rows, held_out, rank, "rank-1-chance")
        first = f", and {_RANK.shown(rank.value)} % of people come first among all originals{chance}"
    return (
        f"A low SSIM does not show that nothing leaks: held-out recognisers match {_MATCH.shown(match.value)} % of "
        f"the reconstructions to the person{_chance(rows, held_out, match, 'impostor-match')} at the threshold that "
        f"the adversary sets ({match.attack}){first}."
    )


def _chance(rows: Rows, cells: Sequence[CellRow], found: Measurement, name: str) -> str:
    """Return the chance level of a measurement, measured in its own cells, as text; empty if it is not known."""
    chance = measure(rows, [c for c in cells if c.cell in found.cells], name)
    return "" if chance.value is None else f" (chance {_MATCH.shown(chance.value)} %)"


def _leaky_sentences(rows: Rows, cells: Sequence[CellRow], fair: Sequence[CellRow]) -> list[str]:
    """Return a sentence about attacks that learnt from the evaluated people; an empty list if there are none."""
    leaky = [c for c in cells if c.leaky]
    if not leaky:
        return []
    found = worst(rows, leaky, "ssim")
    names = ", ".join(attacks(leaky))
    counted = "counted above for want of others" if list(fair) == list(cells) else "not counted above"
    reached = f"; SSIM {SSIM.shown(found.value)}" if found.value is not None else ""
    return [f"{names}: trained on the evaluated identities, which is leakage; {counted}{reached}."]


# ---- attributes ------------------------------------------------------------------------------------------------------


def attribute_answers(rows: Rows, experiment: str) -> list[HeadlineAnswer]:
    """Return one answer per defense and authorised set on the attributes that attacks estimate.

    There is none for an experiment that measures UP under noise (Equation 9).
    """
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "attributes"]
    if not cells or any(rows.noise_levels(c) for c in cells):
        return []
    names = estimated(rows, experiment)
    made = [
        replace(_attributes(rows, own, names), defense=label_of(cells, point)) for point, own in points(cells).items()
    ]
    return _in_order(made)


def _attributes(rows: Rows, cells: Sequence[CellRow], names: Sequence[str]) -> HeadlineAnswer:
    """Return the answer for the cells of one defense: each attribute beside permuted and constant answers.

    An attribute depends on the face where the 95 % interval of the difference from permuted answers, sample by sample,
    lies on the side that leaks.
    """
    entries = []
    apart: list[str] = []
    near: list[str] = []
    for name in names:
        metric = metric_named(f"similarity:{name}")
        least = metric.better == "higher"
        found = worst(rows, cells, f"similarity:{name}", least=least)
        own = [c for c in cells if not found.attack or c.attack == found.attack]
        permuted, excess, constant = (measure(rows, own, f"{f}:{name}") for f in ("permuted", "excess", "baseline"))
        if excess.value is not None:
            end = excess.high if least else excess.low
            end = excess.value if end is None else end
            (near if (end < 0 if least else end > 0) else apart).append(name)
        by = f"{found.attack}; " if len(attacks(cells)) > 1 else ""
        detail = f"{by}permuted {metric.shown(permuted.value)}, constant answer {metric.shown(constant.value)}"
        entries.append((metric.label.capitalize(), metric, found, detail))
    if known := len(apart) + len(near):
        listed = f" ({', '.join(near)})" if near else ""
        text = (
            f"For {len(near)} of {plural(known, 'attribute')}{listed} the answer depends on the face: it is nearer to "
            "that on the original than answers that are permuted over people, by the 95 % interval of the difference."
        )
    elif any(found.value is not None for _, _, found, _ in entries):
        text = "This run stores no permuted answers to compare with; bench rescore adds them."
    else:
        text = "No measurement of any attribute."
    worst_of = f" Worst case of {len(attacks(cells))} attacks." if len(attacks(cells)) > 1 else ""
    return _answer(cells, [text + worst_of], _measurements(entries))


# ---- shared ----------------------------------------------------------------------------------------------------------


def worst(rows: Rows, cells: Sequence[CellRow], metric: str, *, least: bool = False) -> Measurement:
    """Return the measurement of the strongest attack: the highest value (``least``: the lowest) of all attacks, each
    with data sets and models pooled."""
    found = [replace(measure(rows, own, metric), attack=name) for name, own in attacks(cells).items()]
    known = [f for f in found if f.value is not None]
    if not known:
        return found[0] if found else measure(rows, cells, metric)
    return (min if least else max)(known, key=lambda f: f.value or 0.0)


def _answer(cells: Sequence[CellRow], sentences: Sequence[str], found: Sequence[HeadlineMeasurement]) -> HeadlineAnswer:
    """Return an answer about a defense, whose name and kind come from its first cell."""
    first = cells[0]
    return HeadlineAnswer(
        experiment=first.experiment,
        defense=first.defense,
        kind=kind_of(first),
        sentences=sentences,
        measurements=found,
        control=is_control(first),
    )


def _measurements(found: Sequence[tuple[str, TableMetric, Measurement, str]]) -> list[HeadlineMeasurement]:
    """Return measurements of a headline from their labels, metrics, values and details."""
    return [HeadlineMeasurement(label=label, metric=q, measurement=m, detail=d) for label, q, m, d in found]


def _in_order(found: Sequence[HeadlineAnswer]) -> list[HeadlineAnswer]:
    """Return answers in their order on the page: defenses that authorise models, then those that do not, then none."""
    return sorted(found, key=lambda a: -ROW_KINDS.index(a.kind))


def _no_value(found: Measurement) -> str:
    """Return the sentence that says why a measurement has no value."""
    return f"No measurement: {found.status}{f', {found.reason}' if found.reason else ''}."


def _by(found: Measurement) -> str:
    """Return the attack of a worst case as text; empty if it has no value."""
    return f"by {found.attack}" if found.attack and found.value is not None else ""


def _baseline_detail(measured: Mapping[str, Mapping[str, Measurement]]) -> str:
    """Return the SSIM of each baseline as text."""
    known = [
        f"{BASELINES[name]} {SSIM.shown(m['ssim'].value)}"
        for name, m in measured.items()
        if m["ssim"].value is not None
    ]
    return f"baselines: {'; '.join(known)}" if known else "no baselines were measured"
