"""Charts of how strong attacks are: leakage against their budget, and against what the adversary knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.analysis.budget_curves import BUDGETS, Budget, BudgetCurve, budget_curves
from bench.analysis.channel_leaks import LEAKAGE, ORDER, ChannelLeak, channel_leaks
from bench.analysis.knowledge_steps import KnowledgeOfDefense, knowledge_steps
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.core.domain import KNOWLEDGE, Channel
from bench.report.charts import Chart, Curve, Panel, Style
from bench.report.charts.theme import NEUTRAL

BUDGET, KNOWN = "budget", "knowledge"  # Their names for exports.
CHANCE, BEST = "chance", "best attack"
_WORDS: Mapping[Budget, str] = {
    "faces": "auxiliary faces",
    "uploads": "uploads of each face",
    "steps": "optimisation steps",
    "queries": "queries of the defense",
}
_SOURCES: Mapping[Channel, str] = {
    "recognition": "samples/verification",
    "reconstruction": "samples/verification",
    "attributes": "samples/attributes",
    "linkage": "samples/links",
}
_BANDS = "Bands: 95 % intervals."
_CHANCE_OF = (
    "Chance: the share of strangers whom the same uploads match, or of other pairs that are linked; the highest of all "
    "attacks."
)


def _synthetic(leaks: Sequence[ChannelLeak]) -> bool:
    return any(cell.synthetic for leak in leaks for cell in leak.cells)


def strength_charts(rows: Rows) -> list[Chart]:
    """Return all charts of this module for a run: budgets, then knowledge."""
    leaks = channel_leaks(rows)
    return [*budget_charts(leaks), *map(knowledge_chart, knowledge_steps(rows, leaks))]


# ---- budgets ---------------------------------------------------------------------------------------------------------


def budget_charts(leaks: Sequence[ChannelLeak]) -> list[Chart]:
    """Return a chart for each channel and budget that attacks differ in, with a panel for each defense."""
    found = budget_curves(leaks)
    made = []
    for channel in ORDER:
        for budget in BUDGETS:
            if own := [c for c in found if (c.channel, c.budget) == (channel, budget)]:
                made.append(_budget_chart(channel, budget, own))
    return made


def _budget_chart(channel: Channel, budget: Budget, curves: Sequence[BudgetCurve]) -> Chart:
    styles = {label: Style(index=i) for i, label in enumerate(dict.fromkeys(c.label for c in curves))}
    experiments = list(dict.fromkeys(c.experiment for c in curves))
    several = len(experiments) > 1
    grow = "".join(f" and in {_WORDS[g]}, which grow with them" for g in BUDGETS if any(c.grows == g for c in curves))
    panels: dict[str, list[BudgetCurve]] = {}
    for c in curves:
        panels.setdefault(f"{c.defense} ({c.experiment})" if several else c.defense, []).append(c)
    return Chart(
        number="",
        name=BUDGET,
        title=f"{channel.capitalize()}: leakage over {_WORDS[budget]}",
        caption=f"A line joins attacks of one plugin whose parameters differ only in {_WORDS[budget]}{grow}; data sets "
        "and evaluated models pooled. Higher leaks more; a line that still rises says that a larger budget may leak "
        "more.",
        experiment=" + ".join(experiments),
        x=_WORDS[budget],
        metric=LEAKAGE[channel],
        panels=[
            Panel(title=title, curves=_with_chance(own, styles), defense=own[0].defense)
            for title, own in panels.items()
        ],
        source=_SOURCES[channel],
        notes=[_chance_note(channel), _BANDS],
        log=True,
        synthetic=_synthetic([leak for c in curves for leak in c.leaks]),
        from_zero=True,
    )


def _with_chance(curves: Sequence[BudgetCurve], styles: Mapping[str, Style]) -> list[Curve]:
    """Return the curves of a panel, and a curve with the highest chance level at each position."""
    made = [
        Curve(label=c.label, xs=c.xs, measurements=[leak.found for leak in c.leaks], style=styles[c.label])
        for c in curves
    ]
    levels: dict[float, Measurement] = {}
    for c in curves:
        for x, leak in zip(c.xs, c.leaks, strict=True):
            levels[x] = _higher(levels.get(x), leak.chance)
    return [*made, _chance(levels)]


def _chance(levels: Mapping[float, Measurement]) -> Curve:
    xs = sorted(levels)
    return Curve(label=CHANCE, xs=xs, measurements=[levels[x] for x in xs], style=NEUTRAL)


def _higher(first: Measurement | None, second: Measurement) -> Measurement:
    if first is None or first.value is None or (second.value is not None and second.value > first.value):
        return second
    return first


def _chance_note(channel: Channel) -> str:
    return "Chance is 0: answers on other people are subtracted." if channel == "attributes" else _CHANCE_OF


# ---- knowledge -------------------------------------------------------------------------------------------------------


def knowledge_chart(found: KnowledgeOfDefense) -> Chart:
    """Return the picture of one defense: the best leak at each step of knowledge, with a panel for each channel."""
    leaks = [step.best for steps in found.steps.values() for step in steps]
    panels = []
    for channel, steps in found.steps.items():
        xs = [float(step.knowledge) for step in steps]
        best = Curve(label=BEST, xs=xs, measurements=[step.found for step in steps], style=Style(index=0))
        chance = _chance({float(step.knowledge): step.best.chance for step in steps})
        panels.append(
            Panel(title=channel.capitalize(), curves=[best, chance], metric=LEAKAGE[channel], defense=found.defense)
        )
    return Chart(
        number="",
        name=KNOWN,
        title=f"What more knowledge buys against {found.defense}",
        caption="The attack that leaks most at each step of knowledge; data sets and evaluated models pooled. Higher "
        "leaks more.",
        experiment=" + ".join(dict.fromkeys(leak.experiment for leak in leaks)),
        x="knowledge, 0 least to 5 most",
        metric=next(iter(panels)).metric or LEAKAGE["recognition"],
        panels=panels,
        source="samples/verification, samples/attributes and samples/links",
        notes=[f"{_BANDS} Of several attacks on a step, the interval is that of their maximum.", _CHANCE_OF],
        synthetic=_synthetic(leaks),
        positions={float(i): words for i, words in enumerate(KNOWLEDGE)},
        from_zero=True,
        noted=True,
    )
