"""The page of a defense: what attacks found of it, what knowledge and budgets buy, what it promises and costs, and how
to compute it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.channel_leaks import ChannelLeak, channel_leaks
from bench.analysis.knowledge_steps import KnowledgeOfDefense, knowledge_steps
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric
from bench.analysis.tables.assessed_defense import AssessedDefense
from bench.analysis.tables.client_cost import BYTES, FLOPS, LATENCY
from bench.analysis.tables.goals import bound_in_words, declared_bound
from bench.analysis.tables.tried_attacks import TriedAttack
from bench.analysis.tables.verdict_table import OF_CHANNEL, worst_case
from bench.core.domain import KNOWLEDGE
from bench.core.text import joined_labels, plural, set_label
from bench.report.charts import Chart
from bench.report.charts.attack_strength import budget_charts, knowledge_chart
from bench.report.page.recommendation import command_again, remarks
from bench.report.page.run_facts import params
from bench.report.page.threat_models import ThreatModelEntry, promise
from bench.report.page.verdict_words import Sentence, about, power, what_leaks
from bench.report.site.documentation import documentation
from bench.report.site.faces import FaceExample, examples
from bench.report.site.links import Content, all_attacks
from bench.report.site.pictures import DrawnPanel, panels
from bench.report.site.standings import Standing, of_attack

MISSING = "not recorded"


@dataclass(frozen=True, kw_only=True)
class AttackLine:
    """What one attack found of a defense. ``other`` is the page of the attack on the page of a defense, and the page of
    the defense on that of an attack; ``remark`` says why it does not count."""

    name: str
    other: str
    attack: TriedAttack
    metric: TableMetric
    measurement: Measurement
    chance: str
    knowledge: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class ChannelLine:
    """The worst case of a channel: the ``attack`` is None where nothing was measured."""

    channel: str
    metric: TableMetric
    measurement: Measurement
    attack: TriedAttack | None
    page: str
    chance: str


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A chart of the report with its panels as pictures."""

    chart: Chart
    panels: Sequence[DrawnPanel]


@dataclass(frozen=True, kw_only=True)
class DefensePage:
    """All that the page of a defense shows."""

    standing: Standing
    claim: str
    sentences: Sequence[Sentence]
    remarks: Sequence[str]
    channels: Sequence[ChannelLine]
    attacks: Sequence[AttackLine]
    knowledge: DrawnFigure | None
    warnings: Sequence[str]
    budgets: Sequence[DrawnFigure]
    faces: Sequence[FaceExample]
    promise: ThreatModelEntry
    bounds: Sequence[str]
    params: str
    costs: Sequence[tuple[TableMetric, Measurement, str]]
    command: str
    hashes: Sequence[tuple[str, str]]
    documentation: Sequence[str]
    steps: Sequence[str] = KNOWLEDGE


@dataclass(frozen=True, kw_only=True)
class Strength:
    """What is computed once for all defenses of a run: leaks of all channels, and what knowledge buys."""

    leaks: Sequence[ChannelLeak]
    knowledge: Mapping[str, KnowledgeOfDefense]


def strength_of(rows: Rows) -> Strength:
    """Return how strong the attacks of a run are against each of its defenses."""
    leaks = channel_leaks(rows)
    return Strength(leaks=leaks, knowledge={one.defense: one for one in knowledge_steps(rows, leaks)})


def defense_page(content: Content, one: Standing, strength: Strength) -> DefensePage:
    """Return the page of a defense."""
    entry, rows = one.entry, one.source.rows
    several = len(rows.experiments) > 1
    cells = one.source.cells_of(one.cell)
    labels = {c.defense for c in cells}
    known = next((strength.knowledge[label] for label in labels if label in strength.knowledge), None)
    budgets = budget_charts([leak for leak in strength.leaks if leak.defense in labels])
    words = about(one.found, entry, several) if entry.complete and entry.kind != "clean" and not one.control else []
    return DefensePage(
        standing=one,
        claim=claim(entry),
        sentences=words,
        remarks=[text for text in remarks(entry) if text not in one.reasons] if one.control is None else [],
        channels=list(_channels(content, one)),
        attacks=[
            attack_line(attack, attack.label, content.page_of_attacker(attack.attacker), remark)
            for attack, remark in all_attacks(one)
        ],
        knowledge=_figure(knowledge_chart(known)) if known else None,
        warnings=[warning.words for warning in known.overtaken] if known else [],
        budgets=[_figure(chart) for chart in budgets],
        faces=examples(one),
        promise=promise(rows, cells),
        bounds=list(dict.fromkeys(bound_in_words(declared_bound(c.bound)) for c in cells if c.bound)),
        params=params(one.cell.params),
        costs=list(_costs(one)),
        command=command_again(rows, entry),
        hashes=list(_hashes(one)),
        documentation=documentation(content.installed, one.component),
    )


def claim(entry: AssessedDefense) -> str:
    """Return what attacks found of a defense, as a sentence."""
    if entry.leaks is None:
        return "Whether it leaks is not known: nothing was tested."
    words = what_leaks(entry) if entry.leaks else power(entry)
    return f"{words[0].upper()}{words[1:]}."


def _figure(chart: Chart) -> DrawnFigure:
    return DrawnFigure(chart=chart, panels=panels(chart))


def _channels(content: Content, one: Standing) -> Iterator[ChannelLine]:
    for channel, metric in OF_CHANNEL.items():
        attack = one.entry.channels.get(channel)
        yield ChannelLine(
            channel=channel,
            metric=metric,
            measurement=worst_case(one.entry, channel),
            attack=attack,
            page=content.page_of_attacker(attack.attacker) if attack else "",
            chance=chance_of(attack) if attack else "",
        )


def chance_of(attack: TriedAttack) -> str:
    """Return what chance gives where an attack found something, as text; for attributes its finding beside it."""
    if attack.channel == "attributes":
        return attack.worst.recovered.note or ""
    metric, chance = attack.findings[0].metric, attack.chance
    unit = f" {metric.unit}" if metric.unit else ""
    return "" if chance.value is None else f"{metric.shown(chance.value)}{unit} by chance"


def known_by(cell: CellRow) -> str:
    """Return what the adversary of a cell knows, as text."""
    known = cell.knowledge
    return KNOWLEDGE[known] if known is not None and 0 <= known < len(KNOWLEDGE) else MISSING


def attack_line(attack: TriedAttack, name: str, other: str, remark: str) -> AttackLine:
    """Return the line of an attack in a table about ``name``, whose page has the path ``other``."""
    metric, measurement = of_attack(attack)
    return AttackLine(
        name=name,
        other=other,
        attack=attack,
        metric=metric,
        measurement=measurement,
        chance=chance_of(attack),
        knowledge=known_by(attack.cells[0]),
        remark=remark,
    )


def _costs(one: Standing) -> Iterator[tuple[TableMetric, Measurement, str]]:
    cost = one.entry.cost
    yield FLOPS, cost.flops, "operations"
    yield LATENCY, cost.latency, "time"
    for kind, sent in cost.sent:
        yield BYTES, sent, f"sent ({kind.split(' ')[0]})"


def _hashes(one: Standing) -> Iterator[tuple[str, str]]:
    """Yield what identifies the code, weights and plan behind a defense, as pairs of a name and a text."""
    component, run = one.component, one.source.run
    if component:
        origin = component.origin
        yield "Plugin", f"{component.name}, {origin.distribution} {origin.version}".strip()
        yield "Code, sha256", origin.digest or MISSING
        for name, digest in origin.libraries.items():
            yield f"Code of {name}", digest
        if component.weights:
            yield "Weights or files, sha256", component.weights
    yield "Plan of the run, sha256", run.digest or MISSING
    yield "Suite file, sha256", run.suite.sha256 or MISSING
    yield "bench", f"{one.source.version}{f', commit {run.commit}' if run.commit else ''}"


def kinds_of(one: Standing) -> list[str]:
    """Return what kind of defense it is, as short texts: whom it authorises, and other names."""
    entry = one.entry
    found = [one.family]
    if entry.sets:
        models = set_label(entry.sets[0]) if len(entry.sets) == 1 else plural(len(entry.sets), "authorised set")
        found = [f"for {models}"]
    if entry.surrogates:
        found.append(f"made with {joined_labels(entry.surrogates)} in place of unknown models")
    if entry.also:
        found.append(f"also called {joined_labels(entry.also)}")
    return found
