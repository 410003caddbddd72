"""Linkage: can an adversary tell that two uploads show one person?"""

from __future__ import annotations

from bench.analysis.cells import CellRow
from bench.analysis.link_chance import in_words
from bench.analysis.measures import measure, metric_named, select
from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Row, Table
from bench.analysis.tables.row_layout import attacks, grouped, label_of, points, row_of

_METRICS = ("link-auc", "link-auc-chance", "link-match", "link-match-chance")
_CAPTION = (
    "Pairs of two uploads, both protected. Link AUC: the share of pairs of different people that score lower than a "
    "pair of one person; half of them where the scores say nothing. Linked: pairs of one person above the threshold "
    "that the adversary sets on pairs of other people. Chance is what a linker finds that knows only the groups of "
    "people, such as gender: each first upload with one of somebody else in the same groups, or where too few of them "
    "are known permuted pairs, in which the second upload is that of another pair."
)


def linkage_tables(rows: Rows, experiment: str) -> list[Table]:
    """Build the table of linkage, per data set, defense, attack and evaluated model."""
    cells = select(rows, experiment=experiment, outputs="links")
    if not cells:
        return []
    return [
        Table(
            name="linkage",
            title="Can two uploads of one person be linked?",
            caption=f"{_CAPTION} {in_words(rows, cells)}".strip(),
            columns=[Column(label=m.label, metric=m) for m in map(metric_named, _METRICS)],
            groups=grouped(cells, lambda own: _rows(rows, cells, own)),
            experiment=experiment,
            source="samples/links, where cell is the id of the measurement",
            row_heading="Defense, attack",
        )
    ]


def _rows(rows: Rows, every: list[CellRow], cells: list[CellRow]) -> list[Row]:
    made = []
    for point, own in points(cells).items():
        for attack, against in attacks(own).items():
            for evaluated in dict.fromkeys(c.evaluated for c in against):
                mine = [c for c in against if c.evaluated == evaluated]
                label = f"{label_of(every, point)}, {attack} with {evaluated}"
                made.append(row_of(mine[0], label, [measure(rows, mine, name, role="any") for name in _METRICS]))
    return made
