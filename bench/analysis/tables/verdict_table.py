"""The verdict as a table, for exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Row, RowGroup, Table, TableMetric, absent
from bench.analysis.tables.assessed_defense import (
    CHANCE,
    DROP,
    ENROLLED,
    LEAKAGE,
    NO_ATTACK,
    OTHERS,
    AssessedDefense,
)
from bench.analysis.tables.client_cost import BYTES, FLOPS, LATENCY
from bench.analysis.tables.goals import PURPOSES
from bench.analysis.tables.recommendation import Recommendation, recommendations
from bench.analysis.tables.summary import POOLED
from bench.analysis.tables.tried_attacks import LINKED, MATCH, RECOVERED
from bench.core.domain import Channel
from bench.core.text import joined_labels, plural, set_label

# The worst case of each channel. Attributes have several units, so that their column is a share of what can be known.
OF_CHANNEL: Mapping[Channel, TableMetric] = {
    "recognition": replace(MATCH, label="recognition: faces matched"),
    "reconstruction": replace(MATCH, label="reconstruction: faces matched"),
    "attributes": replace(RECOVERED, label="attributes: recovered"),
    "linkage": replace(LINKED, label="linkage: pairs linked"),
}


def worst_case(entry: AssessedDefense, channel: Channel) -> Measurement:
    """Return the worst case of a defense in a channel, in the unit of `OF_CHANNEL`; the note names the attack."""
    attack = entry.channels.get(channel)
    if attack is None:
        if channel == "attributes" and not PURPOSES[entry.goal].hides_attributes:
            return absent("not applicable", f"the goal {entry.goal} keeps attributes on purpose")
        return absent("not tested", f"no attack of this run has a result in the channel {channel}")
    found = attack.worst.recovered if channel == "attributes" else attack.measurement
    notes = [found.note] if found.note else []
    return replace(found, attack=attack.label, note="; ".join([*notes, f"by {attack.label} ({attack.experiment})"]))


def verdict_tables(rows: Rows) -> list[Table]:
    """Return the recommendation as a table per goal, for exports; the flags of a row hold what is not a number."""
    return [_verdict_table(rows, found) for found in recommendations(rows)] if rows.cells else []


def _verdict_table(rows: Rows, found: Recommendation) -> Table:
    metrics = (found.purpose.utility, DROP, OTHERS, LEAKAGE, CHANCE, ENROLLED, *OF_CHANNEL.values())
    metrics = (*metrics, FLOPS, LATENCY, BYTES)
    made = []
    for e in found.entries:
        sent = next((f for _, f in e.cost.sent if f.value is not None), absent("missing", "nothing was uploaded"))
        unknown = absent("missing", NO_ATTACK)
        chance = e.worst.chance if e.worst else unknown
        enrolled = e.enrolled.enrolled if e.enrolled else unknown
        measurements = [e.utility, e.drop, e.others, e.leakage, chance, enrolled]
        measurements += [worst_case(e, channel) for channel in OF_CHANNEL]
        measurements += [e.cost.flops, e.cost.latency, sent]
        made.append(
            Row(
                label=e.name,
                kind=e.kind,
                measurements=measurements,
                defense=e.name,
                authorised=", ".join(map(set_label, e.sets)),
                flags=_flags(e),
            )
        )
    other_goal = "" if found.goal == "recognition" else f", goal {found.goal}"
    return Table(
        name="verdict",
        title=f"Which defense to use{other_goal}",
        caption="Utility, leakage under the worst of all attacks and in each channel, and cost per face of every "
        "defense; authorised models and data sets pooled, repeats averaged. Attributes: how far the clearest finding "
        "lies on the way from chance (0 %) to everything (100 %).",
        columns=[Column(label=m.label, metric=m) for m in metrics],
        groups=[RowGroup(label=POOLED, rows=made, synthetic=any(e.synthetic for e in found.entries))],
        experiment=" + ".join(rows.experiments),
        source="samples/verification, samples/links, samples/attributes, samples/images and stages.parquet",
        ranked=False,
    )


def _flags(entry: AssessedDefense) -> list[str]:
    """Return the flags of a row: the worst attack, whether it leaks and in which channels, missing attackers, attackers
    that do not count, and the strongest dominator."""
    found = []
    if entry.worst is not None:
        several = plural(len({a.attacker for a in entry.on_faces}), "attack")
        found.append(f"worst of {several}: {entry.worst.label} ({entry.worst.experiment})")
    if entry.leak_words:
        found.append(entry.leak_words)
    if entry.protects is False:
        found.append("leaks like no protection")
    if entry.untried and entry.kind != "clean":
        found.append(f"not tried: {joined_labels(entry.untried)}")
    found += dict.fromkeys(f"{attack.label}: {why}" for attack, why in entry.aside)
    if entry.dominators:
        first = entry.dominators[0]
        found.append(f"{'' if first.certain else 'probably '}dominated by {first.name}")
    return found
