"""The section "Verdict" at the top of the page: which defense to use, how certain that is, what it costs, its worst
case, and the command that computes its leakage again.

The assessment itself is made by `bench.analysis.tables.recommendation`; this module turns it into text, a table and a
plot of utility against leakage with the Pareto front.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, Table, TableMetric
from bench.analysis.tables.assessed_defense import CHANCE, ENROLLED, LEAKAGE, OTHERS, AssessedDefense
from bench.analysis.tables.client_cost import BYTES, FLOPS, LATENCY
from bench.analysis.tables.controls import controls_tables
from bench.analysis.tables.recommendation import Recommendation, recommendations
from bench.analysis.tables.self_checks import AttackerCheck, self_checks
from bench.analysis.tables.tried_attacks import TriedAttack
from bench.analysis.tables.verdict_table import OF_CHANNEL, worst_case
from bench.core.domain import Channel
from bench.core.text import joined_labels, plural, set_label
from bench.report.charts import PlotPoint, PointPlot, Reference, Style, Zone
from bench.report.charts.theme import swatch
from bench.report.page.run_facts import repeats
from bench.report.page.verdict_words import Sentence, attack_name, headline, listed, power, sentences
from bench.store.recorded_commands import offered_words

PARETO = "pareto"  # The id of the plot of the first goal on the page.
_MODEL_FREE = {
    "recognition": "knows no model: utility is the accuracy of models that others authorise",
    "template": "has a recogniser of its own",
}
_FEW = 12  # A command names at most so many cells.
_DIGITS = 8  # The least number of digits of a cell's id in a command.


@dataclass(frozen=True, kw_only=True)
class MarkerLook:
    """The look of the marks of one kind of defense in the plot, with its key and label in the legend."""

    key: str
    label: str
    style: Style
    marker: int
    hollow: bool = False

    @property
    def swatch(self) -> Markup:
        """The picture of the mark for a legend."""
        return swatch(self.style, self.marker, line=False, hollow=self.hollow)


BEST = MarkerLook(key="free", label="faced every attack, dominated by none", style=Style(index=0), marker=0)
OVER = MarkerLook(key="over", label="dominated", style=Style(index=0), marker=0, hollow=True)
OPEN = MarkerLook(
    key="open",
    label="some attacks were not tried: leaks at least this much",
    style=Style(index=1),
    marker=3,
    hollow=True,
)
SAME = MarkerLook(key="same", label="leaks like no protection", style=Style(neutral=True), marker=0, hollow=True)
NONE = MarkerLook(key="none", label="no protection", style=Style(neutral=True), marker=1)
LOOKS = (BEST, OVER, OPEN, SAME, NONE)


@dataclass(frozen=True, kw_only=True)
class ChannelCase:
    """The worst case of a defense in one channel; ``leaks``: an attack of the channel beat chance."""

    channel: Channel
    metric: TableMetric
    measurement: Measurement
    leaks: bool


@dataclass(frozen=True, kw_only=True)
class RecommendationRow:
    """One defense in the table of the verdict.

    ``mark`` is the number of its point in the plot (empty if it has none), ``about`` what the row pools, and ``sets``
    are the authorised sets if there are several. ``attack`` is its worst case as text, ``channels`` are the worst cases
    of the channels that were attacked, ``dominated`` says which defenses dominate it, ``remarks`` are further facts,
    and ``command`` computes its leakage again.
    """

    mark: str
    look: MarkerLook
    entry: AssessedDefense
    about: Sequence[str]
    sets: Sequence[str]
    attack: Sequence[str]
    channels: Sequence[ChannelCase]
    dominated: str
    remarks: Sequence[str]
    command: str


@dataclass(frozen=True, kw_only=True)
class RecommendationSection:
    """What the section says about the defenses of one goal: headline, the ``best`` defense with its ``worst`` attack
    and what chance gives there (``strangers``) as text, sentences, the command that computes its leakage again, one
    line per defense, and the plot (None without points) with its id ``chart``, its legend ``looks`` and its text
    ``spoken``.

    ``goal`` is the goal as a heading, empty if all defenses of the run have the usual one, recognition. ``repeats``
    says whether defenses and learners were repeated. ``baseline`` is the match rate that chance gives, as text.
    ``unmeasured``: why no defense has a measured cost.
    """

    goal: str
    chart: str
    headline: str
    best: AssessedDefense | None
    worst: str
    strangers: str
    sentences: Sequence[Sentence]
    repeats: str
    command: str
    lines: Sequence[RecommendationRow]
    plot: Mapping[str, Any] | None
    looks: Sequence[MarkerLook]
    spoken: str
    baseline: str
    unmeasured: str
    metrics: Mapping[str, TableMetric]


def rulings(rows: Rows) -> list[RecommendationSection]:
    """Return the verdicts on a run, one for each goal of its defenses; none if the run has no cells."""
    if not rows.cells:
        return []
    found = recommendations(rows)
    return [_ruling(rows, one, PARETO + (f"-{one.goal}" if i else ""), len(found) > 1) for i, one in enumerate(found)]


@dataclass(frozen=True, kw_only=True)
class ControlsSection:
    """The attackers of a run on its controls: the ``table``, how many attackers are ``broken``, and ``words`` on what
    was tested of how many."""

    table: Table
    broken: int
    words: str


def controls_section(rows: Rows) -> ControlsSection | None:
    """Return the attackers of a run on its controls; None if it has no control."""
    checks = list(self_checks(rows).values())
    broken = sum(bool(check.broken) for check in checks)
    words = _checked_in_words(checks, broken)
    return next((ControlsSection(table=table, broken=broken, words=words) for table in controls_tables(rows)), None)


def _checked_in_words(checks: Sequence[AttackerCheck], broken: int) -> str:
    """Return what was tested of how many attackers on the controls, and how often it came out as it should."""
    tests = [
        ([c.succeeds for c in checks], "beat chance", "on unprotected faces"),
        ([c.silent for c in checks], "stayed at chance", "where nothing can leak"),
    ]
    learners = [c.undoes for c in checks if c.learns]
    tests += [(learners, "broke it", "on the control that can be learnt")] if learners else []
    failed = f"{plural(broken, 'attacker')} failed; " if broken else ""
    return f"{failed}of {plural(len(checks), 'attacker')}, {'; '.join(_came_out(*each) for each in tests)}."


def _came_out(results: Sequence[bool | None], as_it_should: str, where: str) -> str:
    tested = [result for result in results if result is not None]
    return f"{sum(tested)} of {len(tested)} tested {as_it_should} {where}" if tested else f"none was tested {where}"


def _ruling(rows: Rows, found: Recommendation, chart_id: str, goals: bool) -> RecommendationSection:
    """Return the verdict on the defenses of one goal; ``goals``: the run has several."""
    drawable = [e for e in found.entries if e.complete]
    marks = {id(e): str(i) for i, e in enumerate(drawable, 1)}
    several = len(rows.experiments) > 1
    worst = found.best.worst if found.best else None
    lines = [_row(rows, found, e, marks.get(id(e), ""), several) for e in found.entries]
    chart = pareto(found)
    return RecommendationSection(
        goal=f"Goal {found.goal}: {found.purpose.words}" if goals or found.goal != "recognition" else "",
        chart=chart_id,
        headline=headline(found),
        best=found.best,
        worst=attack_name(worst, several) if worst else "",
        strangers=f"{CHANCE.shown(worst.chance.value)} %" if worst and worst.chance.value is not None else "",
        sentences=sentences(found, several),
        repeats=repeats(found),
        command=command_again(rows, found.best),
        lines=lines,
        plot=_drawn_plot(chart, chart_id),
        looks=[look for look in LOOKS if any(line.look is look and line.mark for line in lines)],
        spoken=_spoken(found, drawable),
        baseline=_baseline(found),
        unmeasured=_unmeasured(found),
        metrics={
            "utility": found.purpose.utility,
            "others": OTHERS,
            "leakage": LEAKAGE,
            "enrolled": ENROLLED,
            "chance": CHANCE,
            "flops": FLOPS,
            "latency": LATENCY,
            "bytes": BYTES,
        },
    )


# ---- about all defenses ----------------------------------------------------------------------------------------------


def _baseline(found: Recommendation) -> str:
    """Return the lowest and highest match rate that chance gives, as text; empty if none is known."""
    rates = sorted({e.baseline for e in found.entries if e.baseline is not None})
    return " to ".join(dict.fromkeys(f"{LEAKAGE.shown(r)} %" for r in [*rates[:1], *rates[-1:]]))


def _unmeasured(found: Recommendation) -> str:
    """Return the reason why no defense has a measured cost; empty if one has, or if the reasons differ."""
    costs = [f for e in found.entries for f in (e.cost.flops, e.cost.latency)]
    reasons = {f.reason for f in costs}
    return str(reasons.pop()) if len(reasons) == 1 and all(f.value is None for f in costs) else ""


# ---- the table -------------------------------------------------------------------------------------------------------


def _row(rows: Rows, found: Recommendation, entry: AssessedDefense, mark: str, several: bool) -> RecommendationRow:
    about = [f"also called {', '.join(entry.also)}"] if entry.also else []
    if entry.kind == "clean":
        about.append("reference: no protection")
    elif entry.surrogates:
        about.append(f"made with {joined_labels(entry.surrogates)} in place of unknown models")
    elif entry.kind == "model-free":
        about.append(_MODEL_FREE.get(entry.goal, "knows no model"))
    elif len(entry.sets) == 1:
        about.append(f"for {set_label(entry.sets[0])}")
    attack = []
    if entry.worst:
        attack.append(attack_name(entry.worst, several))
        chosen = 1.0 if entry.worst_share is None else entry.worst_share
        share = f", in {100 * chosen:.0f} % of draws" if chosen < 1 else ""
        tried = len({a.attacker for a in entry.on_faces})
        attack.append(f"worst of {plural(tried, 'attack')}{share}" if tried > 1 else "")
    return RecommendationRow(
        mark=mark,
        look=_look(entry),
        entry=entry,
        about=about,
        sets=[set_label(models) for models in entry.sets] if len(entry.sets) > 1 else [],
        attack=[a for a in attack if a],
        channels=_channels(entry),
        dominated=_dominated(entry),
        remarks=remarks(entry),
        command=command_again(rows, entry),
    )


def _channels(entry: AssessedDefense) -> list[ChannelCase]:
    """Return the worst case of each channel, if the defense was attacked in several."""
    return [
        ChannelCase(channel=c, metric=metric, measurement=found, leaks=c in entry.leaking)
        for c, metric in OF_CHANNEL.items()
        if len(entry.channels) > 1 and (found := worst_case(entry, c)).status not in ("not tested", "not applicable")
    ]


def _look(entry: AssessedDefense) -> MarkerLook:
    if entry.kind == "clean":
        return NONE
    if entry.untried:
        return OPEN
    if entry.protects is False:
        return SAME
    return OVER if entry.dominators else BEST


def _dominated(entry: AssessedDefense) -> str:
    """Return which defenses dominate one, and in what share of the bootstrap draws; empty for no protection."""
    if entry.kind == "clean":
        return ""
    if not entry.complete:
        return "unknown"
    if not entry.dominators:
        share = f" ({100 * entry.front_share:.0f} % of draws)" if entry.front_share is not None else ""
        return f"by no other{share}"
    first, more = entry.dominators[0], len(entry.dominators) - 1
    others = f", and {more} more" if more else ""
    share = f"{100 * first.share:.0f} % of draws"
    return f"by {first.name} ({share}){others}" if first.certain else f"by {first.name}, but only in {share}{others}"


def remarks(entry: AssessedDefense) -> list[str]:
    """Return what a reader must know about a defense: untried attacks, missed bars, missing measurements."""
    if entry.kind == "clean":
        return []
    found = []
    if entry.untried:
        n = len(entry.attackers)
        many = "no attack was" if not n else "only 1 attack was" if n == 1 else f"only {n} attacks were"
        found.append(f"{many} tried on it; no claim beyond it (untried: {joined_labels(entry.untried)})")
    if entry.protects is False:
        found.append(
            "leaks like no protection: not significantly less than the unprotected upload under the same attacks, or "
            "than 100 %"
        )
    if entry.useful is False:
        found.append("misses the bar for utility")
    if entry.leaks is False:
        found.append(power(entry))
    found += [_by_design(attack) for attack in entry.insiders if attack.measurement.value is not None]
    lost = [a for a in entry.attacks if a not in entry.tried]
    if lost:
        found.append(f"without a measurement: {listed([f'{a.label} ({a.measurement.status})' for a in lost])}")
    return found


def _by_design(attack: TriedAttack) -> str:
    """Return the words for an insider who does what the authorised service is meant to do."""
    what = "links" if attack.channel == "linkage" else "matches"
    shown = f"{LEAKAGE.shown(attack.measurement.value)} %"
    return f"the service itself ({attack.label}) {what} {shown}: by design, and not counted as a leak"


# ---- to compute it again ---------------------------------------------------------------------------------------------


def command_again(rows: Rows, entry: AssessedDefense | None) -> str:
    """Return the command that computes the leakage of a defense again: the recorded command of the run, restricted to
    the cells of the worst attack unless they are many.

    It has one line for each run that the cells belong to, and is empty if no command was recorded.
    """
    if entry is None or entry.worst is None:
        return ""
    by_run: dict[str, tuple[list[str], list[str]]] = {}
    for cell in entry.worst.cells:
        results, own = rows.results.home(cell.cell)
        command = offered_words(results.run.command)
        if command[:2] == ["bench", "run"] and "--replay" not in command:
            by_run.setdefault(str(results.folder), (command, []))[1].append(own)
    ids = [c.cell for c in rows.cells]
    return "\n".join(shlex.join([*command, *_cell_options(own, ids)]) for command, own in by_run.values())


def _cell_options(own: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return ``--cell`` options for some cells, abbreviated so that no two of all ``ids`` are the same; none if the
    cells are too many."""
    if len(own) > _FEW:
        return []
    digits = next((n for n in range(_DIGITS, 17) if len({i[:n] for i in ids}) == len(set(ids))), None)
    return [part for cell in own for part in ("--cell", cell[:digits])]


# ---- the plot --------------------------------------------------------------------------------------------------------


def pareto(found: Recommendation) -> PointPlot | None:
    """Return the plot of utility against leakage with the Pareto front; None if no defense has both."""
    drawable = [e for e in found.entries if e.complete]
    if not drawable:
        return None
    chance = sorted(e.baseline for e in drawable if e.baseline is not None)  # One line, for the highest.
    utility, bars = found.purpose.utility, found.purpose.utility_bars
    low = utility.scale * min([*(bar.limit for bar in bars[:1]), *(_least(e.utility) for e in drawable)])
    top = 1.03 * utility.scale
    best = sorted((e for e in drawable if _look(e) is BEST), key=lambda e: (_value(e.leakage), _value(e.utility)))
    return PointPlot(
        title="Utility and leakage",
        x=replace(LEAKAGE, label="matched or linked by the worst attack, lower is better"),
        y=replace(utility, label=f"{utility.label}, higher is better"),
        x_range=(-3.0, 104.0),
        y_range=(max(-0.03 * utility.scale, low - 0.06 * utility.scale), top),
        points=[_point(e, str(i)) for i, e in enumerate(drawable, 1)],
        zones=[Zone(x=(-3.0, 104.0), y=(utility.scale * bar.limit, top)) for bar in bars[:1]],
        references=[
            *([Reference(axis="x", value=100 * chance[-1], label="chance")] if chance else []),
            *(Reference(axis="y", value=utility.scale * b.limit, label=f"bar: {b.text}") for b in bars[:1]),
        ],
        path=[(100 * _value(e.leakage), utility.scale * _value(e.utility)) for e in best],
    )


def _point(entry: AssessedDefense, mark: str) -> PlotPoint:
    """Return the point of a defense, with the text of its tooltip."""
    look, worst = _look(entry), entry.worst
    details = {
        "worst attack": f"{worst.label} ({worst.experiment})" if worst else "none",
        "attacks tried": f"{len(entry.attackers)}",
        "not tried": joined_labels(entry.untried) or "nothing: all attacks were tried",
        "dominated": _dominated(entry) or "reference",
        "client": ", ".join(_client_cost(entry)),
    }
    return PlotPoint(
        mark=mark,
        label=entry.name,
        x=entry.leakage,
        y=entry.utility,
        style=look.style,
        marker=look.marker,
        hollow=look.hollow,
        kinds=(look.key,),
        details=tuple(details.items()),
    )


def _client_cost(entry: AssessedDefense) -> list[str]:
    """Return the measured costs of the client as text: operations, latency and bytes of an upload."""
    known = [(FLOPS, entry.cost.flops), (LATENCY, entry.cost.latency), *((BYTES, f) for _, f in entry.cost.sent)]
    return [f"{q.shown(f.value)} {q.unit}" for q, f in known if f.value is not None] or ["not measured"]


def _drawn_plot(chart: PointPlot | None, chart_id: str) -> Mapping[str, Any] | None:
    """Return the data of the plot for the page's script; None if there is no plot."""
    if chart is None:
        return None
    from bench.report.charts import drawing  # This import is slow, and not every page has charts.

    return drawing.plot(chart, chart_id)


def _spoken(found: Recommendation, drawable: Sequence[AssessedDefense]) -> str:
    """Return the plot as a sentence for screen readers."""
    utility = found.purpose.utility
    unit = f" {utility.unit}" if utility.unit else ""
    points = [
        f"{e.name}: keeps {utility.shown(e.utility.value)}{unit}, leaks {LEAKAGE.shown(e.leakage.value)} %"
        for e in drawable
    ]
    return f"Utility against leakage of {plural(len(drawable), 'defense')}. {listed(points)}."


def _value(measurement: Measurement) -> float:
    return measurement.value or 0.0


def _least(measurement: Measurement) -> float:
    """Return the lower end of a measurement's interval, or its value if it has no interval."""
    return _value(measurement) if measurement.low is None else measurement.low
