"""What each attack of a run leaks in its channel, beside chance, with what it knows and may spend.

Attacks that learned from the evaluated people do not count. In the channel of attributes every attribute is by itself:
its leak is how much nearer the answers are to those on the original than the same answers on other people (the family
``excess``), so that chance is 0; ages, which have another unit, are in the ladder only.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.measured_pools import measured
from bench.analysis.measures import AGE, metric_named
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.table_model import Measurement, TableMetric
from bench.analysis.tables.row_layout import Sides, sides_of
from bench.core.domain import CHANNELS, Channel, channel

LEAKAGE: Mapping[Channel, TableMetric] = {
    "recognition": TableMetric(label="matched", unit="%", digits=1, better="lower"),
    "reconstruction": TableMetric(label="reconstructions matched", unit="%", digits=1, better="lower"),
    "attributes": TableMetric(label="similarity beyond others", digits=3, better="lower", bounds=(-2.0, 2.0)),
    "linkage": TableMetric(label="linked", unit="%", digits=1, better="lower"),
}
ORDER: Sequence[Channel] = tuple(CHANNELS.values())


@dataclass(frozen=True, kw_only=True)
class ChannelLeak:
    """What one attack of an experiment leaks about one defense in its channel; data sets and judges are pooled.

    ``attribute`` is empty in all channels but that of attributes. ``spends`` is the budget by name, with the number of
    ``uploads``. ``knowledge`` is an index of `bench.core.domain.KNOWLEDGE`; None if an older version made the run.
    ``metrics`` are the metric of the leak and that of its chance level, None where chance is 0.
    """

    experiment: str
    defense: str
    clean: bool
    channel: Channel
    attack: str
    attribute: str
    plugin: str
    params: Mapping[str, object]
    via: str
    spends: Mapping[str, int]
    knowledge: int | None
    cells: Sequence[CellRow]
    found: Measurement
    pool: Pool
    chance: Measurement
    metrics: tuple[SampleMetric, SampleMetric | None]

    @property
    def name(self) -> str:
        """The name of the attack for a reader, with the attribute."""
        return f"{self.attack}, {self.attribute}" if self.attribute else self.attack

    @property
    def leak(self) -> float:
        """The value of the leak; minus infinity without one."""
        return float("-inf") if self.found.value is None else self.found.value


def channel_leaks(rows: Rows) -> list[ChannelLeak]:
    """Return what each attack leaks about each defense, in the order of the suite."""
    sides = sides_of(rows.cells)
    groups: dict[tuple[str, str, Channel, str], list[CellRow]] = {}
    for cell in rows.cells:
        if _counts(cell, sides):
            key = (cell.experiment, cell.defense, channel(cell.outputs), cell.attack)
            groups.setdefault(key, []).append(cell)
    return [leak for (_, _, own, _), cells in groups.items() for leak in _leaks(rows, own, cells)]


def _counts(cell: CellRow, sides: Sides) -> bool:
    """Return True if a cell shows a leak: the attack did not learn from the evaluated people, and a held-out recogniser
    judges, or the service itself if it is the adversary."""
    if cell.leaky or cell.outputs not in CHANNELS:
        return False
    return cell.insider or cell.outputs == "attributes" or sides.judges(cell)


def _leaks(rows: Rows, own: Channel, cells: Sequence[CellRow]) -> list[ChannelLeak]:
    if own == "attributes":
        names = [n for n in rows.attributes(cells[0].experiment) if n != AGE]
        return [_leak(rows, own, cells, name, metric_named(f"excess:{name}"), None) for name in names]
    matched, chance = ("link-match", "link-match-chance") if own == "linkage" else ("fmr-match", "impostor-match")
    return [_leak(rows, own, cells, "", metric_named(matched), metric_named(chance))]


def _leak(
    rows: Rows,
    own: Channel,
    cells: Sequence[CellRow],
    attribute: str,
    metric: SampleMetric,
    chance: SampleMetric | None,
) -> ChannelLeak:
    first = cells[0]
    ((found, pool),) = measured(rows, cells, metric)
    level = Measurement(value=0.0) if chance is None else measured(rows, cells, chance)[0][0]
    return ChannelLeak(
        experiment=first.experiment,
        defense=first.defense,
        clean=first.clean,
        channel=own,
        attack=first.attack,
        attribute=attribute,
        plugin=first.attack_plugin,
        params=first.attack_params,
        via=first.via,
        spends={"uploads": 1, **json.loads(first.budget or "{}")},
        knowledge=first.knowledge,
        cells=metric.of(cells),
        found=found,
        pool=pool,
        chance=level,
        metrics=(metric, chance),
    )


def on_common_cells(rows: Rows, leaks: Sequence[ChannelLeak]) -> list[Pool] | None:
    """Return the scores of several leaks where the same judge judges uploads of the same people, and all of them have
    scores; None if there is no such place."""
    places = [{_place(cell): cell for cell in leak.cells if cell.status == "ok"} for leak in leaks]
    common = [place for place in places[0] if all(place in own for own in places[1:])]
    if not common:
        return None
    pools = [
        measured(rows, [own[place] for place in common], leak.metrics[0])[0][1]
        for leak, own in zip(leaks, places, strict=True)
    ]
    return pools if all(pool.n for pool in pools) else None


def _place(cell: CellRow) -> Hashable:
    return cell.dataset, cell.authorised, cell.evaluated, cell.repeat, cell.pairs
