"""The headline of attacks that rebuild faces or estimate attributes: the worst case over all, beside the floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.report.figures import ROW_KINDS, Figure, plural
from bench.report.measures import figure, measure_named
from bench.report.page.answers import Answer, Stat
from bench.report.rows import CellRow, Rows
from bench.report.tables.attributes import estimated
from bench.report.tables.layout import attacks, authorised_in, kind_of, label_of, points, side_of
from bench.report.tables.summary import FLOORS, floors

_SSIM, _MATCH, _RANK, _KEPT = (measure_named(n).quantity for n in ("ssim", "fmr-match", "rank-1", "srra"))


def reconstruction_answers(rows: Rows, experiment: str) -> list[Answer]:
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


def _reconstruction(rows: Rows, cells: Sequence[CellRow], clean: Sequence[CellRow], authorised: set[str]) -> Answer:
    fair = [c for c in cells if not c.leaky] or list(cells)
    judges, services = _sides(fair, authorised)
    ssim, match = worst(rows, fair, "ssim"), worst(rows, judges, "fmr-match")
    rank, kept = worst(rows, judges, "rank-1"), worst(rows, services, "srra", least=True)
    held = floors(rows, cells[0].experiment)
    sentences = [
        _rebuilt(rows, cells[0], fair, clean, ssim, _floor_text(held)),
        _found_again(rows, judges, match, rank),
    ]
    sentences += _leaks(rows, cells, fair)
    unprotected = worst(rows, _sides([c for c in clean if not c.leaky], authorised)[0], "fmr-match")
    known = unprotected.value is not None and not cells[0].clean
    beside = f"; unprotected {_MATCH.shown(unprotected.value)} %" if known else ""
    stats = [
        Stat(label="SSIM of the reconstruction, worst case", quantity=_SSIM, figure=ssim, detail=_by(ssim)),
        Stat(
            label="Person matched by other models, worst case",
            quantity=_MATCH,
            figure=match,
            detail=_by(match) + beside,
        ),
        Stat(label="Person first of all, worst case", quantity=_RANK, figure=rank, detail=_by(rank)),
        Stat(label="Recognised by the authorised model (SRRA), lowest", quantity=_KEPT, figure=kept, detail=_by(kept)),
    ]
    return Answer(
        experiment=cells[0].experiment,
        defense=cells[0].defense,
        kind=kind_of(cells[0]),
        sentences=[s for s in sentences if s],
        stats=stats,
    )


def worst(rows: Rows, cells: Sequence[CellRow], measure: str, *, least: bool = False) -> Figure:
    """The figure of the attack with the highest value (``least``: the lowest), data sets and models pooled."""
    found = [replace(figure(rows, own, measure), attack=name) for name, own in attacks(cells).items()]
    known = [f for f in found if f.value is not None]
    if not known:
        return found[0] if found else figure(rows, cells, measure)
    return (min if least else max)(known, key=lambda f: f.value or 0.0)


def _by(found: Figure) -> str:
    return f"by {found.attack}" if found.attack and found.value is not None else ""


def _floor_text(held: dict[str, dict[str, Figure]]) -> str:
    known = {name: m["ssim"].value for name, m in held.items() if m["ssim"].value is not None}
    if not known:
        return ""
    highest = max(known, key=lambda n: known[n] or 0.0)
    return f" Pictures that hold nothing of the face reach up to {_SSIM.shown(known[highest])} ({FLOORS[highest]})."


def _rebuilt(
    rows: Rows, first: CellRow, fair: Sequence[CellRow], clean: Sequence[CellRow], ssim: Figure, floor: str
) -> str:
    if ssim.value is None:
        return f"No figure: {ssim.status}{f', {ssim.reason}' if ssim.reason else ''}."
    n = len(attacks(fair))
    who = f"The strongest of {n} attacks, {ssim.attack}," if n > 1 else f"{ssim.attack}"
    told = f"{who} rebuilds the face to an SSIM of {_SSIM.shown(ssim.value)}"
    open_ = worst(rows, [c for c in clean if not c.leaky], "ssim")
    if not first.clean and open_.value is not None:
        told += f"; without protection {_SSIM.shown(open_.value)} ({open_.attack})"
    return f"{told}.{floor}"


def _found_again(rows: Rows, judges: Sequence[CellRow], match: Figure, rank: Figure) -> str:
    """Whether the person can be found: what SSIM does not tell."""
    if match.value is None:
        return "Whether the person can be found again was not measured: no model that took no part evaluates."
    gallery = [len(np.unique(s.left_id.astype(str))) for s in rows.scores_of(judges)]
    chance = f" (chance {100 / max(gallery):.1f} %)" if gallery else ""
    told = f", and {_RANK.shown(rank.value)} % of people come first among all originals{chance}" if rank.value else ""
    return (
        f"A low SSIM does not show that nothing leaks: models that took no part match {_MATCH.shown(match.value)} % of "
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


# ---- attributes ------------------------------------------------------------------------------------------------------


def attribute_answers(rows: Rows, experiment: str) -> list[Answer]:
    """One answer per defense on which attributes were estimated; none where only UP is asked for."""
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "attributes"]
    if not cells or any(rows.noise_levels(c) for c in cells):
        return []
    names = estimated(rows, experiment)
    made = [
        replace(_attributes(rows, own, names), defense=label_of(cells, point)) for point, own in points(cells).items()
    ]
    return sorted(made, key=lambda a: -ROW_KINDS.index(a.kind))


def _attributes(rows: Rows, cells: Sequence[CellRow], names: Sequence[str]) -> Answer:
    stats, safe, known = [], [], 0
    for name in names:
        quantity = measure_named(f"similarity:{name}").quantity
        least = quantity.better == "higher"
        found = worst(rows, cells, f"similarity:{name}", least=least)
        floor = figure(rows, cells, f"floor:{name}")
        if found.value is not None and floor.value is not None:
            known += 1
            if found.value >= floor.value if least else found.value <= floor.value:
                safe.append(name)
        by = f"{found.attack}; " if len(attacks(cells)) > 1 else ""
        detail = f"{by}constant answer {quantity.shown(floor.value)}"
        stats.append(Stat(label=quantity.name.capitalize(), quantity=quantity, figure=found, detail=detail))
    if known:
        listed = f" ({', '.join(safe)})" if safe else ""
        told = (
            f"For {len(safe)} of {plural(known, 'attribute')}{listed} the estimate is no nearer to that on the "
            "original than a constant answer; for the others something is left in the picture."
        )
    else:
        told = "No figure for any attribute."
    worst_of = f" Worst case of {len(attacks(cells))} attacks." if len(attacks(cells)) > 1 else ""
    return Answer(
        experiment=cells[0].experiment,
        defense=cells[0].defense,
        kind=kind_of(cells[0]),
        sentences=[told + worst_of],
        stats=stats,
    )
