"""The attributes that attacks estimate: the paper's Table VIII, with permuted and constant answers as baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure, metric_named, select
from bench.analysis.paper_values import paper_value
from bench.analysis.rows import Rows
from bench.analysis.sample_values import ALIASES
from bench.analysis.table_model import Column, Measurement, Row, Table, distinct
from bench.analysis.tables.row_layout import attacks, grouped, label_of, not_applicable, points, row_of

_CAPTION = (
    "Cosine of the attribute vectors of what the attack sees and of the original (Equation 11), and the absolute "
    "difference of the estimated ages. Permuted: the same with the answers on all other people, so what is no nearer "
    "to the original than that does not depend on the face. A constant predictor gives the best constant answer of "
    "other people's faces without looking; answers that are less similar than that can still depend on the face."
)
_CONSTANT = "a constant answer stays the same if it is permuted"
PAPER = ("emotion", "race", "gender", "age")  # The columns of Table VIII, from left to right.


def attribute_tables(rows: Rows, experiment: str, *, number: str | None) -> list[Table]:
    """Build the table of Equation 11 and of the age difference, per data set and defense.

    ``number`` is the paper's table that it reproduces; None for experiments that reproduce none.
    """
    cells = select(rows, experiment=experiment, outputs="attributes")
    cells = [c for c in cells if (c.table == number if number else c.table != "VIII")]
    if not cells:
        return []
    names = estimated(rows, experiment)
    columns = [column for name in names for column in _columns(name, names)]
    return [
        Table(
            name=number or "attributes",
            title="What does an upload reveal about the person?",
            caption=_CAPTION,
            columns=columns,
            groups=grouped(cells, lambda own: _rows(rows, cells, own, names)),
            experiment=experiment,
            source="samples/attributes, where cell is the id of the measurement",
            notes=_notes(rows, cells, names),
        )
    ]


def estimated(rows: Rows, *experiments: str) -> list[str]:
    """Return the attributes of experiments: the paper's in its order, then all others.

    Without any row, it returns the paper's attributes.
    """
    known = list(dict.fromkeys(name for experiment in experiments for name in rows.attributes(experiment)))
    if not known:
        return list(PAPER)
    wanted = [name if name in known or ALIASES.get(name) not in known else ALIASES[name] for name in PAPER]
    return [n for n in wanted if n in known] + [n for n in known if n not in wanted]


def _columns(name: str, names: Sequence[str]) -> list[Column]:
    """Return the columns of an attribute: its measurement, and the baseline of permuted answers."""
    label = name.capitalize()
    stands_in_for = distinct(_published(name), label) if name not in PAPER else None
    found = Column(label=label, metric=metric_named(f"similarity:{name}"), stands_in_for=stands_in_for)
    return [found, Column(label=f"{label} permuted", metric=replace(metric_named(f"permuted:{name}"), better=""))]


def _published(name: str) -> str:
    """Return the paper's name of a column."""
    return next((paper for paper, other in ALIASES.items() if other == name), name).capitalize()


def _rows(rows: Rows, every: Sequence[CellRow], cells: Sequence[CellRow], names: Sequence[str]) -> list[Row]:
    several = len({c.attack for c in every if not c.via}) > 1
    made = []
    for point, own in points(cells).items():
        for attack, recogniser, against in _attackers(rows, own):
            label = label_of(every, point)
            if against[0].via:
                label += f" via {against[0].via}"
            elif several:
                label += f", {attack}"
            label += f" with {recogniser}" if recogniser else ""
            measurements = [m for name in names for m in _measurements(rows, against, name)]
            made.append(row_of(own[0], label, measurements))
    return made + _baselines(rows, cells, names)


def _attackers(rows: Rows, cells: Sequence[CellRow]) -> list[tuple[str, str, list[CellRow]]]:
    """Return each attack with the model that it estimates with, an empty text if it needs none, and their cells."""
    found: dict[tuple[str, str], list[CellRow]] = {}
    for cell in cells:
        component = rows.results.run.component("attack", cell.attack)
        declared = component and component.attack
        recogniser = cell.evaluated if declared and "recogniser" in declared.sees else ""
        found.setdefault((cell.attack, recogniser), []).append(cell)
    return [(*attacker, against) for attacker, against in found.items()]


def _measurements(rows: Rows, cells: Sequence[CellRow], name: str) -> list[Measurement]:
    paper = None if cells[0].via else paper_value(rows, cells[0], _published(name))
    permuted = measure(rows, cells, f"permuted:{name}", role="any")
    return [measure(rows, cells, f"similarity:{name}", paper=paper, role="any"), permuted]


def _baselines(rows: Rows, cells: Sequence[CellRow], names: Sequence[str]) -> list[Row]:
    """Return the rows of the constant predictor, one per attack; its answer does not depend on the defense."""
    by_plugin: dict[str, list[CellRow]] = {}
    for c in cells:
        if c.status == "ok":
            by_plugin.setdefault(c.attack_plugin, []).append(c)
    made = []
    for plugin, own in by_plugin.items():
        label = "constant predictor" if len(by_plugin) == 1 else f"constant predictor of {plugin}"
        measurements = []
        for name in names:
            measurements += [
                measure(rows, own[:1], f"baseline:{name}", role="any"),
                not_applicable(_CONSTANT),
            ]
        made.append(Row(label=label, kind="baseline", measurements=measurements))
    return made


def _notes(rows: Rows, cells: Sequence[CellRow], names: Sequence[str]) -> list[str]:
    notes = []
    for name in names:
        if name in ALIASES.values():
            notes.append(f"{name.capitalize()} is estimated in place of the paper's {_published(name).lower()}.")
    if any(c.via for c in cells):
        notes.append("via: the attributes of what a reconstruction attack made of the upload.")
    if by_label := [label for label, own in attacks(cells).items() if _by_label(rows, own[0])]:
        notes.append(
            f"{', '.join(by_label)}: learnt from labels, and is compared with the label of the original in place of "
            "its own estimate on it."
        )
    return notes


def _by_label(rows: Rows, cell: CellRow) -> bool:
    """Return True if the estimates of a cell are compared with labels."""
    found = rows.attributes_of(cell)
    return "reference" in found and bool((found["reference"] == "label").any())
