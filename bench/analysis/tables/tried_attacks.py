"""The attacks of a run on one defense, in all channels: what each finds, beside what chance gives.

All comparisons of all attacks on a defense are tested together, whatever their channel, because the more there are, the
likelier is it that one of them exceeds its chance level by chance (`bench.analysis.chance_tests`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.chance_tests import AgainstChance, ChanceTest, beyond_chance
from bench.analysis.measured_pools import measured
from bench.analysis.measures import metric_named
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.questions import PRIMARY
from bench.core.domain import Channel, channel

MATCH, MATCH_CHANCE = (metric_named(n) for n in (PRIMARY["leakage"], "impostor-match"))
OTHER_PHOTO, OTHER_PHOTO_CHANCE = (metric_named(n) for n in ("enrolled-match", "impostor-match-enrolled"))
LINKED, LINKED_CHANCE, AUC, AUC_CHANCE = (
    metric_named(n) for n in ("link-match", "link-match-chance", "link-auc", "link-auc-chance")
)
RECOVERED = TableMetric(label="of the way from chance to everything", unit="%", digits=1, better="lower")
CHANNEL_NAMES: Sequence[Channel] = get_args(Channel)


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
class Finding:
    """What an attack finds by one metric, beside what chance gives; ``test`` compares both, and is None without a value
    or where nothing is tested."""

    metric: SampleMetric
    measurement: Measurement
    chance: Measurement
    test: ChanceTest | None = None

    @property
    def leaks(self) -> bool:
        """True if it lies beyond chance."""
        return self.test is not None and self.test.beyond

    @property
    def recovered(self) -> Measurement:
        """How far it lies on the way from chance (0) to everything (1), whatever the unit: (value - chance) divided by
        (best - chance), where the best is 1, or 0 for a difference. The interval is that of the value."""
        value, chance = self.measurement.value, self.chance.value
        best = 0.0 if self.metric.better == "higher" else 1.0
        if value is None or chance is None or chance == best:
            why = "no chance level was measured" if self.measurement.reason is None else self.measurement.reason
            status = "missing" if self.measurement.status == "ok" else self.measurement.status
            return absent(status, why, cells=self.measurement.cells)
        low, high = (None if v is None else (v - chance) / (best - chance) for v in self._ends)
        note = f"{self.metric.label}: {self.shown}, by chance {self.metric.shown(chance)}"
        value = (value - chance) / (best - chance)
        return replace(self.measurement, value=value, low=low, high=high, metric="", note=note, role="any")

    @property
    def _ends(self) -> tuple[float | None, float | None]:
        """The ends of the interval, the one nearer to chance first."""
        ends = self.measurement.low, self.measurement.high
        return (ends[1], ends[0]) if self.metric.better == "higher" else ends

    @property
    def shown(self) -> str:
        """The value as text with its unit."""
        unit = f" {self.metric.unit}" if self.metric.unit else ""
        return f"{self.metric.shown(self.measurement.value)}{unit}"


@dataclass(frozen=True, kw_only=True)
class TriedAttack:
    """An attack of an experiment on a defense; authorised models and data sets are pooled.

    ``findings`` are its comparisons with chance over ``cells``, the first of which says most. In the channels
    recognition and reconstruction it is the share of faces that held-out recognisers match to the very photo that was
    attacked; ``enrolled`` is then the share that they match to another photo of the person, tested by
    ``enrolled_test``. In the channel linkage it is the share of pairs of one person that are linked, followed by the
    area under the ROC curve. In the channel attributes there is one finding per attribute. All findings are tested
    together with those of the other attacks on the defense. ``rebuilt``: the attack makes reconstructions.
    """

    experiment: str
    label: str
    attacker: Attacker
    channel: Channel
    rebuilt: bool
    cells: Sequence[CellRow]
    findings: Sequence[Finding]
    enrolled: Measurement
    enrolled_chance: Measurement
    enrolled_test: ChanceTest | None = None

    @property
    def measurement(self) -> Measurement:
        """The measurement of the first finding."""
        return self.findings[0].measurement

    @property
    def chance(self) -> Measurement:
        """The chance level of the first finding."""
        return self.findings[0].chance

    @property
    def test(self) -> ChanceTest | None:
        """The test of the first finding."""
        return self.findings[0].test

    @property
    def worst(self) -> Finding:
        """The finding that lies beyond chance most clearly; the first one if none was tested."""
        tested = [f for f in self.findings if f.test is not None]
        return min(tested, key=_clarity, default=self.findings[0])

    @property
    def tests(self) -> list[ChanceTest]:
        """The tests of all findings."""
        return [f.test for f in self.findings if f.test is not None]

    @property
    def leaks(self) -> bool | None:
        """True if any of its findings lies beyond chance; None if nothing was tested."""
        return any(t.beyond for t in self.tests) if self.tests else None

    @property
    def people(self) -> int:
        """The effective number of people of the finding that was tested on the fewest; 0 if none was tested."""
        return min((t.people for t in self.tests), default=0)

    @property
    def of_faces(self) -> bool:
        """True if its first finding is a share of faces or of pairs, so that it counts as the leakage of a defense."""
        return self.channel != "attributes"


def _clarity(finding: Finding) -> tuple[float, float]:
    recovered = finding.recovered.value
    return (1.0 if finding.test is None else finding.test.p), -(recovered or 0.0)


@dataclass(kw_only=True)
class _Read:
    """An attack with the pools of each finding, and those of matches to another photo."""

    attack: TriedAttack
    pools: Sequence[tuple[Pool, Pool]]
    other: tuple[Pool, Pool] = field(default_factory=lambda: (Pool(), Pool()))


def tried_attacks(
    rows: Rows, cells: Sequence[CellRow], *, together: bool = True
) -> tuple[list[TriedAttack], list[Pool]]:
    """Return the attacks that cells belong to, the one that leaks most first and those on attributes last, and the
    decisions of those that have a share of faces.

    All attacks are tested ``together``, or else each by itself.
    """
    by_attack: dict[tuple[str, str], list[CellRow]] = {}
    for c in cells:
        by_attack.setdefault((c.experiment, c.attack), []).append(c)
    read = [_read(rows, experiment, label, own) for (experiment, label), own in by_attack.items()]
    read.sort(key=lambda r: _order(r.attack), reverse=True)
    if together:
        _test(read)
    else:
        for one in read:
            _test([one])
    found = [r.attack for r in read]
    return found, [r.pools[0][0] for r in read if r.attack.of_faces and r.attack.measurement.value is not None]


def _order(attack: TriedAttack) -> float:
    value = attack.measurement.value
    return -2.0 if not attack.of_faces else -1.0 if value is None else value


def _read(rows: Rows, experiment: str, label: str, cells: Sequence[CellRow]) -> _Read:
    """Return an attack with its measurements, not tested yet."""
    nothing = absent("not applicable", "this attack ends with no picture")
    read = list(_findings(rows, experiment, cells))
    first = cells[0]
    attack = TriedAttack(
        experiment=experiment,
        label=label,
        attacker=attacker_of(first),
        channel=channel(first.outputs),
        rebuilt=bool(first.picture),
        cells=cells,
        findings=[found for found, _ in read],
        enrolled=nothing,
        enrolled_chance=nothing,
    )
    if first.outputs not in MATCH.outputs:
        return _Read(attack=attack, pools=[pools for _, pools in read])
    (enrolled, pool), (chance, level) = measured(rows, cells, OTHER_PHOTO, OTHER_PHOTO_CHANCE)
    enrolled, chance = (replace(m, role="unauthorised") for m in (enrolled, chance))
    attack = replace(attack, enrolled=enrolled, enrolled_chance=chance)
    return _Read(attack=attack, pools=[pools for _, pools in read], other=(pool, level))


def _findings(rows: Rows, experiment: str, cells: Sequence[CellRow]) -> Iterator[tuple[Finding, tuple[Pool, Pool]]]:
    """Yield what an attack finds and what chance gives, with the scores of both."""
    metrics = [(MATCH, MATCH_CHANCE)]
    if (of := channel(cells[0].outputs)) == "linkage":
        metrics = [(LINKED, LINKED_CHANCE), (AUC, AUC_CHANCE)]
    elif of == "attributes":
        names = estimated(rows, experiment)
        metrics = [(metric_named(f"similarity:{name}"), metric_named(f"permuted:{name}")) for name in names]
    read = measured(rows, cells, *(m for both in metrics for m in both))
    for i, (metric, _) in enumerate(metrics):
        (found, pool), (chance, level) = read[2 * i : 2 * i + 2]
        if metric is MATCH:
            found, chance = (replace(m, role="unauthorised") for m in (found, chance))
        yield Finding(metric=metric, measurement=found, chance=chance), (pool, level)


def _test(read: Sequence[_Read]) -> None:
    """Test all findings of some attacks together, and so their matches to another photo."""
    family = [(one, i) for one in read for i in range(len(one.pools))]
    tests = beyond_chance([_against(one.attack.findings[i].metric, one.pools[i]) for one, i in family])
    others = beyond_chance([_against(OTHER_PHOTO, one.other) for one in read])
    of: dict[int, list[Finding]] = {}
    for (one, i), test in zip(family, tests, strict=True):
        of.setdefault(id(one), []).append(replace(one.attack.findings[i], test=_known(test)))
    for one, other in zip(read, others, strict=True):
        one.attack = replace(one.attack, findings=of[id(one)], enrolled_test=_known(other))


def _against(metric: SampleMetric, pools: tuple[Pool, Pool]) -> AgainstChance:
    found, chance = pools
    sign = -1 if metric.better == "higher" else 1
    return AgainstChance(found=found, chance=chance, sign=sign, share=metric.share, sampled=metric.sampled)


def _known(test: ChanceTest) -> ChanceTest | None:
    return test if np.isfinite(test.difference) else None


def attacker_of(cell: CellRow) -> Attacker:
    """Return the attacker of a cell."""
    return Attacker(plugin=cell.attack_plugin, params=cell.attack_settings, via=cell.via, label=cell.attack)


def names_of(attackers: Sequence[Attacker]) -> dict[Attacker, str]:
    """Return each attacker once with its name: its label, with its parameters if another one has the same label."""
    found = dict.fromkeys(attackers)
    count = Counter(a.label for a in found)
    return {a: a.label if count[a.label] == 1 else f"{a.label} ({a.plugin}: {a.params}{a.via})" for a in found}


def worst_by_channel(attacks: Sequence[TriedAttack]) -> Mapping[Channel, TriedAttack]:
    """Return the worst attack of each channel that has a value: the highest share of faces or pairs, and for attributes
    the one that lies beyond chance most clearly."""
    found: dict[Channel, TriedAttack] = {}
    for name in CHANNEL_NAMES:
        known = [a for a in attacks if a.channel == name and a.worst.measurement.value is not None]
        if known and name == "attributes":
            found[name] = min(known, key=lambda a: _clarity(a.worst))
        elif known:
            found[name] = max(known, key=lambda a: a.measurement.value or 0.0)
    return found
