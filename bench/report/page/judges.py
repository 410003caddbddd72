"""What held-out recognisers share with the authorised models whose uploads they judge: training pictures, people,
architecture and kind of loss.

A recogniser that learnt from the same pictures as the authorised model makes similar mistakes. A defense that hides a
face from it may therefore not hide it from a recogniser that has nothing in common with the authorised model. The facts
are those that the plugins of the models declare; what a plugin does not declare is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import RECOGNISED
from bench.analysis.tables.row_layout import Sides, sides_of
from bench.core.text import plural
from bench.report.page.run_facts import Grid
from bench.store.run_record import ModelDeclaration

_FACTS: Mapping[str, str] = {
    "trained_on": "training pictures",
    "trained_on_people": "people in them",
    "architecture": "architecture",
    "loss_kind": "kind of loss",
}
_LISTED = 4  # The most names in a sentence.


def judged_models(rows: Rows) -> dict[str, list[str]]:
    """Return the labels of the authorised models that each held-out recogniser judges, by its label."""
    sides = sides_of(rows.cells)
    found: dict[str, dict[str, None]] = {}
    for cell in rows.cells:
        if cell.evaluated and cell.outputs in RECOGNISED and cell.status != "skipped" and sides.judges(cell):
            found.setdefault(cell.evaluated, {}).update(dict.fromkeys(_authorised(cell, sides)))
    return {judge: [m for m in models if m != judge] for judge, models in found.items() if set(models) - {judge}}


def _authorised(cell: CellRow, sides: Sides) -> Sequence[str]:
    """Return the authorised models of a cell; for a model-free defense, those of the sets that lack the evaluated
    model."""
    sets = sides.sets.get(cell.experiment, frozenset())
    return cell.authorised_models or sorted({m for models in sets if cell.evaluated not in models for m in models})


def shared_facts(rows: Rows) -> Grid:
    """Return a table of the held-out recognisers and what each shares with the authorised models that it judges."""
    known = _declared(rows)
    made = []
    for judge, models in judged_models(rows).items():
        relations = [_relation(name, judge, models, known) for name in _FACTS]
        made.append([judge, ", ".join(models), *relations])
    return Grid(columns=["held-out recogniser", "judges uploads for", *_FACTS.values()], rows=made)


def sentence(rows: Rows) -> str:
    """Return what the held-out recognisers of a run share with the authorised models; empty without recognisers."""
    known, judges = _declared(rows), judged_models(rows)
    if not judges:
        return ""
    same, apart, partly, unknown = [], [], [], []
    for judge, models in judges.items():
        pictures = {_same("trained_on", judge, m, known) for m in models}
        facts = {_same(name, judge, m, known) for name in _FACTS for m in models}
        if True in pictures:
            same.append(judge)
        elif facts == {False}:
            apart.append(judge)
        elif True in facts:
            partly.append(judge)
        else:
            unknown.append(judge)
    parts = []
    if apart:
        shares = "shares" if len(apart) == 1 else "share"
        parts.append(f"{_names(apart)} {shares} no training picture, person, architecture or kind of loss with them")
    if same:
        parts.append(f"{_names(same)} learnt from the same pictures as one of them, and may make the same mistakes")
    if unknown:
        parts.append(f"what {_names(unknown)} and they have in common is not known")
    if partly:
        has = "has" if len(partly) == 1 else "have"
        parts.append(f"{_names(partly)} {has} people, architecture or kind of loss in common with one of them")
    start = f"{plural(len(judges), 'held-out recogniser')} judged the uploads for authorised models"
    return f"{start}: {'; '.join(parts)}."


def _declared(rows: Rows) -> dict[str, ModelDeclaration]:
    """Return what the plugins of the models of a run declare, by label."""
    components = [c for run in rows.results.runs for c in run.run.components]
    return {c.label: c.model for c in components if c.kind == "model" and c.model is not None}


def _same(name: str, judge: str, model: str, known: Mapping[str, ModelDeclaration]) -> bool | None:
    """Return whether two models have a fact in common; None if it is not known of both."""
    own, other = (getattr(known.get(label, ModelDeclaration()), name) for label in (judge, model))
    return own == other if own and other else None


def _relation(name: str, judge: str, models: Sequence[str], known: Mapping[str, ModelDeclaration]) -> str:
    """Return a fact of a recogniser, and of which models it is the same, as text."""
    own = getattr(known.get(judge, ModelDeclaration()), name) or "unknown"
    by_answer: dict[bool | None, list[str]] = {}
    for model in models:
        by_answer.setdefault(_same(name, judge, model, known), []).append(model)
    words = {True: "the same as", False: "other than", None: "not known for"}
    if len(by_answer) == 1:
        alone = {True: "the same", False: "other", None: "not known"}
        return own if own == "unknown" else f"{alone[next(iter(by_answer))]} ({own})"
    parts = [f"{words[answer]} {', '.join(by_answer[answer])}" for answer in words if answer in by_answer]
    return f"{'; '.join(parts)} ({own})"


def _names(labels: Sequence[str]) -> str:
    more = len(labels) - _LISTED
    return ", ".join(labels[:_LISTED]) + (f" and {more} more" if more > 0 else "")
