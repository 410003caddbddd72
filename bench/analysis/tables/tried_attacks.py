"""The attacks of a run on one defense: what held-out recognisers match after each, beside what chance gives.

All attacks on a defense are tested together, because the more attacks there are, the likelier is it that one of them
exceeds its chance level by chance (`bench.analysis.chance_tests`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.chance_tests import AgainstChance, ChanceTest, beyond_chance
from bench.analysis.measured_pools import measured
from bench.analysis.measures import metric_named
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.analysis.tables.questions import PRIMARY

MATCH, MATCH_CHANCE = (metric_named(n) for n in (PRIMARY["leakage"], "impostor-match"))
OTHER_PHOTO, OTHER_PHOTO_CHANCE = (metric_named(n) for n in ("enrolled-match", "impostor-match-enrolled"))


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """An attack plugin with its parameters, which also say what it learns from.

    Two defenses are compared only under the same attackers. ``params`` is canonical text. ``via`` is the label of the
    attack that ran before it, empty if there was none. ``label`` is the first label that the suite gives it.
    """

    plugin: str
    params: str
    via: str
    label: str = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class TriedAttack:
    """An attack of an experiment on a defense; authorised models and data sets are pooled.

    ``measurement`` is the share of faces that held-out recognisers match to the very photo that was attacked, over
    ``cells``, and ``chance`` the share of strangers whom they match in this way. ``enrolled`` is the share that they
    match to another photo of the person, and ``enrolled_chance`` its chance level. ``test`` and ``enrolled_test``
    compare both with chance, corrected for the number of attacks on the defense; None without a value. ``rebuilt``: the
    attack makes reconstructions.
    """

    experiment: str
    label: str
    attacker: Attacker
    rebuilt: bool
    cells: Sequence[CellRow]
    measurement: Measurement
    chance: Measurement
    enrolled: Measurement
    enrolled_chance: Measurement
    test: ChanceTest | None = None
    enrolled_test: ChanceTest | None = None


def tried_attacks(rows: Rows, cells: Sequence[CellRow]) -> tuple[list[TriedAttack], list[Pool]]:
    """Return the attacks that cells belong to, the one that leaks most first, and the decisions of those that have a
    value. All attacks are tested together."""
    by_attack: dict[tuple[str, str], list[CellRow]] = {}
    for c in cells:
        if c.outputs in MATCH.outputs:
            by_attack.setdefault((c.experiment, c.attack), []).append(c)
    tried: list[tuple[TriedAttack, Pool, Pool, Pool, Pool]] = []
    for (experiment, label), own in by_attack.items():
        metrics = (MATCH, MATCH_CHANCE, OTHER_PHOTO, OTHER_PHOTO_CHANCE)
        found, chance, enrolled, enrolled_chance = measured(rows, own, *metrics)
        attack = TriedAttack(
            experiment=experiment,
            label=label,
            attacker=_attacker(own[0]),
            rebuilt=bool(own[0].picture),
            cells=own,
            measurement=replace(found[0], role="unauthorised"),
            chance=replace(chance[0], role="unauthorised"),
            enrolled=replace(enrolled[0], role="unauthorised"),
            enrolled_chance=replace(enrolled_chance[0], role="unauthorised"),
        )
        tried.append((attack, found[1], chance[1], enrolled[1], enrolled_chance[1]))
    tried.sort(key=lambda t: -1.0 if t[0].measurement.value is None else t[0].measurement.value, reverse=True)
    tests = beyond_chance([AgainstChance(found=found, chance=chance) for _, found, chance, *_ in tried])
    others = beyond_chance([AgainstChance(found=found, chance=chance) for *_, found, chance in tried])
    made = [
        replace(
            attack,
            test=test if np.isfinite(test.difference) else None,
            enrolled_test=other if np.isfinite(other.difference) else None,
        )
        for (attack, *_), test, other in zip(tried, tests, others, strict=True)
    ]
    return made, [pool for attack, pool, *_ in tried if attack.measurement.value is not None]


def _attacker(cell: CellRow) -> Attacker:
    return Attacker(plugin=cell.attack_plugin, params=cell.attack_settings, via=cell.via, label=cell.attack)


def names_of(attackers: Sequence[Attacker]) -> dict[Attacker, str]:
    """Return each attacker once with its name: its label, with its parameters if another one has the same label."""
    found = dict.fromkeys(attackers)
    count = Counter(a.label for a in found)
    return {a: a.label if count[a.label] == 1 else f"{a.label} ({a.plugin}: {a.params}{a.via})" for a in found}
