"""The sensitivity plot: accuracy of the authorised model against that of all others, with one point per setting.

The paper does not state its split points, pooling, update rule and K. A suite that sweeps them has one defense per
setting. Each defense becomes a point, and the report says which ones show the profile that the paper reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric
from bench.core.text import plural
from bench.report.charts import Scatter, Spot, Style

# The profile of the paper's Table VII: the authorised accuracy is at most `DROP` below that of unprotected faces, and
# the accuracy of the others is at most `OTHERS`, often at most `FEW`.
DROP, OTHERS, FEW = 0.08, 0.20, 0.10
OWN = TableMetric(label="authorised accuracy", unit="%", digits=1, better="higher")
OTHER = TableMetric(label="unauthorised accuracy, average", unit="%", digits=1, better="lower")
GAP = TableMetric(label="gap", unit="points", digits=1, better="higher")
# The first of these parameters that varies decides the colour of a point, or its shape.
_COLOURS = ("layers", "splits", "split", "balance")
_SHAPES = ("pool", "pool_kernel", "steps", "update")


def sensitivity(rows: Rows, experiment: str) -> Scatter | None:
    """Return the sensitivity plot of an experiment; None if none of its defenses authorises a model."""
    cells = [c for c in rows.cells if c.experiment == experiment and c.outputs == "recognition"]
    knowing = [c for c in cells if c.authorised]
    if not knowing:
        return None
    varying = _varying({c.defense: c.params for c in knowing})
    colour, shape = _axes(varying)
    clean = measure(rows, [c for c in knowing if c.role == "authorised"], "clean-accuracy")
    spots = _spots(rows, knowing, varying, (colour, shape), clean)
    notes = ["A point's bars are 95 % intervals. Data sets and authorised models are pooled."]
    return Scatter(
        title="Where the paper’s profile appears",
        caption=(
            "One point per setting, numbered as in the table. Top left is best: the authorised model still recognises "
            "the face and no other does. Shaded: the profile of the paper’s Table VII, an authorised accuracy at most "
            f"{100 * DROP:g} points below clean and the others at most {100 * OTHERS:g} %."
        ),
        experiment=experiment,
        x=OTHER,
        y=OWN,
        gap=GAP,
        spots=spots,
        params=list(varying),
        colours=[(v, Style(index=i)) for i, v in enumerate(varying.get(colour, ()))],
        shapes=[(v, i) for i, v in enumerate(varying.get(shape, ()))],
        colour_name=colour,
        shape_name=shape,
        clean=clean,
        verdict=_verdict(spots, clean),
        zone=None if clean.value is None else (0, 100 * OTHERS, max(0.0, 100 * (clean.value - DROP)), 100),
        notes=notes,
    )


def _varying(params: Mapping[str, Mapping[str, object]]) -> dict[str, list[str]]:
    """Return the parameters that differ between defenses, with their values as text, in the order of the suite."""
    names = dict.fromkeys(name for p in params.values() for name in p)
    found = {name: list(dict.fromkeys(shown(p.get(name)) for p in params.values())) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def shown(value: object) -> str:
    """Return the value of a parameter as short text."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _axes(varying: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Return the names of the parameters that colour and shape stand for; empty if too few parameters vary."""
    colour = next((n for n in _COLOURS if n in varying), next(iter(varying), ""))
    rest = [n for n in varying if n != colour]
    return colour, next((n for n in _SHAPES if n in rest), rest[0] if rest else "")


def _spots(
    rows: Rows,
    cells: Sequence[CellRow],
    varying: Mapping[str, Sequence[str]],
    axes: tuple[str, str],
    clean: Measurement,
) -> list[Spot]:
    """Return the settings as numbered spots, those with the widest gap first and those without values last."""
    made = []
    for defense in dict.fromkeys(c.defense for c in cells):
        own = [c for c in cells if c.defense == defense]
        y = measure(rows, [c for c in own if c.role == "authorised"], "accuracy")
        x = measure(rows, [c for c in own if c.role == "unauthorised"], "accuracy")
        values = {name: shown(own[0].params.get(name)) for name in varying}
        colour, shape = (varying[a].index(values[a]) if a else 0 for a in axes)
        known = x.value is not None and y.value is not None
        made.append(
            Spot(
                number=0,
                label=defense,
                values=tuple(values.values()),
                x=x,
                y=y,
                gap=(y.value or 0) - (x.value or 0) if known else None,
                style=Style(index=colour),
                marker=shape,
                profile=_profile(x, y, clean),
            )
        )
    made.sort(key=lambda s: -2 if s.gap is None else s.gap, reverse=True)
    return [s.numbered(i) for i, s in enumerate(made, 1)]


def _profile(own_x: Measurement, own_y: Measurement, clean: Measurement) -> bool | None:
    """Return whether a setting shows the paper's profile; None if a measurement has no value."""
    if own_x.value is None or own_y.value is None or clean.value is None:
        return None
    return own_y.value >= clean.value - DROP and own_x.value <= OTHERS


def _verdict(spots: Sequence[Spot], clean: Measurement) -> str:
    """Return sentences that say how many settings show the profile, and which has the widest gap."""
    known = [s for s in spots if s.profile is not None]
    if not known:
        return "No setting has measurements of both."
    fitting = [s for s in known if s.profile]
    best = known[0]
    widest = (
        f"{best.label} has the widest gap: {OWN.shown(best.y.value)} % for the authorised model and "
        f"{OTHER.shown(best.x.value)} % for the others on average (clean: {OWN.shown(clean.value)} %)."
    )
    if not fitting:
        none = "The only setting does not show" if len(known) == 1 else f"None of {len(known):,} settings shows"
        return f"{none} the paper’s profile. {widest}"
    few = sum((s.x.value or 0) <= FEW for s in fitting)
    return (
        f"The paper’s profile appears in {len(fitting)} of {plural(len(known), 'setting')}; in {few} of them the "
        f"others stay at or below {100 * FEW:g} %. {widest}"
    )
