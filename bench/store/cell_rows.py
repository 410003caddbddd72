"""The row of a cell in ``cells.parquet``, and the columns of its cell that are repeated in every row of samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from bench.api.datasets import Dataset
from bench.api.hookspecs import Model
from bench.core.domain import Cell, Component, Origin, Outcome
from bench.core.text import set_label
from bench.registry.discovery import Registry
from bench.store.badges import badges_of
from bench.store.schema import _COUNT, _FLAG, _TEXT

_NONE: Mapping[str, str] = MappingProxyType({})
# The columns that say how a cell ended: in words, and what was measured on one machine.
_IN_WORDS = ("status", "reason", "failed_stage", "traceback", "log")
MEASURED = ("batch", "seconds", "peak_mb", "cached")


def cell_row(outcome: Outcome, registry: Registry, unstable: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Return the row of ``cells.parquet`` of an outcome. ``unstable``: by the keys of stages, what a check found to
    differ."""
    cell = outcome.cell
    dataset: Dataset = registry.build(cell.dataset)
    return {
        "cell": cell.id,
        "suite_version": cell.suite_version,
        "experiment": cell.experiment,
        "table": cell.table,
        "dataset": cell.dataset.label,
        "dataset_stands_in_for": dataset.stands_in_for,
        "synthetic": dataset.synthetic,
        "people_of": dataset.people_of or None,
        "defense": cell.defense.label,
        "defense_params": json.dumps(dict(cell.defense.params), sort_keys=True, default=str),
        "authorised": [c.label for c in cell.authorised],
        "authorised_stand_in_for": [_stands_in_for(c, registry) for c in cell.authorised],
        "surrogates": [c.label for c in cell.surrogates],
        "goal": cell.goal,
        "protects": cell.protects,
        "bound": cell.bound,
        "control": cell.control,
        "attack": cell.attack.label,
        "via": cell.attack.via.label if cell.attack.via else None,
        "upload": cell.upload,
        "splits": list(cell.splits),
        "outputs": cell.outputs,
        "embeds": cell.embeds,
        "insider": cell.insider,
        "budget": cell.budget,
        "knowledge": cell.knowledge,
        "leaky": cell.leaky,
        "learner_overlap": cell.learner_overlap,
        "training_overlap": cell.training_overlap,
        "adversary_threshold": cell.adversary_threshold,
        "threshold_note": cell.threshold_note,
        "evaluated": cell.evaluated.label if cell.evaluated else "",
        "evaluated_stands_in_for": _stands_in_for(cell.evaluated, registry) if cell.evaluated else "",
        "role": role_of(cell),
        "repeat": cell.repeat,
        "pairs": cell.pairs,
        "kappa": cell.kappa,
        "badges": badges_of(component for _, component in cell.roles),
        "unstable": _joined(unstable, outcome.protect),
        "attack_unstable": _joined(unstable, outcome.attacks),
        "threat": cell.threat,
        "device": outcome.device,
        "stages": json.dumps(cell.stages),
        **ending_columns(vars(outcome)),
        "components": json.dumps([{"role": role, **vars(c)} for role, c in cell.roles], default=_plain),
    }


def _joined(unstable: Mapping[str, str], keys: Sequence[str]) -> str | None:
    """Return what checks of these stages found to differ, each once, as text; None if nothing did."""
    return "; ".join(dict.fromkeys(unstable[k] for k in keys if k in unstable)) or None


def ending_columns(ending: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that say how a cell ended, from these fields of its `bench.core.domain.Outcome` by name."""
    words = {name: ending[name] or None for name in _IN_WORDS}
    return {**words, **{name: ending[name] for name in MEASURED}, "protect": json.dumps(ending["protect"])}


def _plain(value: object) -> Any:
    """Return the fields of a component or of its origin, much faster than `dataclasses.asdict`; other values as
    text."""
    return vars(value) if isinstance(value, Component | Origin) else str(value)


def _stands_in_for(component: Component, registry: Registry) -> str:
    """Return the paper's name of a model, or its label if it has none."""
    if component.kind != "model":  # the own recogniser of a defense
        return component.label
    model: Model = registry.build(component)
    return model.stands_in_for or component.label


def role_of(cell: Cell) -> str:
    """Return the role of the evaluated model: ``authorised`` or ``unauthorised``, ``surrogate`` if the client
    used it in place of an unknown one, or ``any`` if the cell has no authorised or no evaluated model. The own
    recogniser of a defense is authorised. A copy that an attack adapts is unauthorised, whichever model it is of:
    nobody means an adversary to recognise."""
    evaluated = cell.evaluated
    if cell.adapts:
        return "unauthorised"
    if evaluated is not None and evaluated.kind == "defense":
        return "authorised"
    if evaluated is not None and any((c.name, c.params) == (evaluated.name, evaluated.params) for c in cell.surrogates):
        return "surrogate"
    if not cell.authorised or evaluated is None:
        return "any"
    authorised = any((c.name, c.params) == (evaluated.name, evaluated.params) for c in cell.authorised)
    return "authorised" if authorised else "unauthorised"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLabels:
    """What rows of samples repeat of their cell, and the keys of the scores that they are copied from (``stages``)."""

    cell: str
    suite_version: str | None
    experiment: str
    dataset: str
    synthetic: bool
    defense: str
    authorised: str
    repeat: int
    evaluated: str
    attack: str
    via: str
    stages: tuple[str, ...]


def labels_of(cell: Cell, registry: Registry) -> CellLabels:
    """Return the labels of a planned cell."""
    dataset: Dataset = registry.build(cell.dataset)
    return CellLabels(
        cell=cell.id,
        suite_version=cell.suite_version,
        experiment=cell.experiment,
        dataset=cell.dataset.label,
        synthetic=bool(dataset.synthetic),
        defense=cell.defense.label,
        authorised=set_label(c.label for c in cell.authorised),
        repeat=cell.repeat,
        evaluated=cell.evaluated.label if cell.evaluated else "",
        attack=cell.attack.label,
        via=cell.attack.via.label if cell.attack.via else "",
        stages=cell.stages,
    )


def labels_of_row(row: Mapping[str, Any]) -> CellLabels:
    """Return the labels of a cell from its row in ``cells.parquet``, whose sets of models are tuples."""
    plain = {name: row[name] for name in ("cell", "experiment", "dataset", "defense", "repeat", "attack")}
    return CellLabels(
        **plain,
        suite_version=row.get("suite_version"),
        synthetic=bool(row["synthetic"]),
        authorised=set_label(row["authorised"]),
        evaluated=row["evaluated"] or "",
        via=row["via"] or "",
        stages=tuple(json.loads(row["stages"])),
    )


def belongs(name: str, cell: CellLabels, reconstructed: bool) -> dict[str, Any]:
    """Return the columns that identify the cell of the rows of a score. Artifacts hold no labels, so that cells with
    different labels can share them.

    ``reconstructed``: whether the rows describe images that an attack reconstructed, not the uploaded images.
    """
    upload = ("suite_version", "experiment", "dataset", "synthetic", "defense", "authorised", "repeat")
    columns = {column: getattr(cell, column) for column in upload}
    if name in ("baselines", "people"):
        return {k: columns[k] for k in ("suite_version", "experiment", "dataset", "synthetic")}
    if name in ("images", "examples", "sets"):
        return {**columns, "attack": (cell.via or cell.attack) if reconstructed else ""}
    return {"cell": cell.cell, **columns, "evaluated": cell.evaluated, "attack": cell.attack, "via": cell.via}


def with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return a table with constant columns in front of its own."""
    constant = [pa.repeat(pa.scalar(value, _kind(value)), table.num_rows) for value in columns.values()]
    return pa.Table.from_arrays([*constant, *table.columns], names=[*columns, *table.column_names])


def _kind(value: object) -> pa.DataType:
    return _FLAG if isinstance(value, bool) else _COUNT if isinstance(value, int) else _TEXT
