"""Explains one cell of a run: what it measures, how it ended, and what was computed for it.

The explanation is made from the results of the run, and from its cache if that exists. It needs neither the plugins nor
the suite of the run, and does not import torch.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.rows import Rows
from bench.analysis.tables.goals import CONTROLS, SIDES, bound_in_words, goal_in_words
from bench.analysis.tables.self_checks import checked
from bench.analysis.threshold_words import ADVERSARY, thresholds_of
from bench.core.errors import StorageError, did_you_mean
from bench.core.people import LEARNT_FROM, TRAINED_ON
from bench.core.text import set_label
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.recorded_commands import offered, offered_words
from bench.store.reference import is_reference
from bench.store.run_record import RunRecord
from bench.suite.expand import reference_words

AXES = (
    *("experiment", "table", "dataset", "defense", "authorised", "attack", "via", "upload", "outputs", "evaluated"),
    *("role", "repeat", "status"),
)
_LISTED = 8  # The most cells or values of an axis that a message lists.
_FACTS = ("status", "reason", "seconds", "peak_mb", "batch", "cached", "device", "traceback", "log")
_ROLES = {
    "authorised": "the client authorised it",
    "unauthorised": "the client did not authorise it",
    "surrogate": "the client used it in place of an unknown model",
    "any": "no model is authorised here",
}
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExplainedComponent:
    """A component of a cell: its ``role``, all its parameters (``params``) and those that are written in the suite
    (``passed``). ``instead_of`` is the label of the component that it replaces and ``because`` the reason, or None.
    ``notes`` say what was noticed about its data or weights."""

    role: str
    name: str
    label: str
    distribution: str
    params: Mapping[str, Any]
    passed: Mapping[str, Any]
    instead_of: str | None
    because: str | None
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ExplainedStage:
    """A stage that a cell used. ``artifact`` is the folder of its artifact, or None if the cache does not have it."""

    key: str
    kind: str
    name: str
    status: str
    seconds: float
    peak_mb: float
    batch: int | None
    attempts: int | None
    cached: bool
    reason: str | None
    artifact: str | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The explanation of a cell. ``words`` describe by heading what it measures; ``axes`` are its coordinates in the
    run; ``facts`` describe how it ended: status, reason, seconds, memory in MB, batch, traceback and log.

    ``stages`` are the stages that were computed for it, inputs first. ``incomplete``: whether some are missing because
    the cache lacks the artifacts that lead to them. ``commands`` compute the cell again, by what they do.
    """

    run: str
    cell: str
    words: Mapping[str, str]
    axes: Mapping[str, Any]
    facts: Mapping[str, Any]
    parts: Sequence[ExplainedComponent]
    stages: Sequence[ExplainedStage]
    incomplete: bool
    commands: Mapping[str, str]


def find_cell(results: RunResults, terms: Sequence[str]) -> Row:
    """Return the cell with an id, with the beginning of an id, or that matches filters such as ``defense=PMT``.

    Labels are compared case-insensitively. Raises `StorageError` if no cell or several cells match; the message then
    lists what distinguishes them.
    """
    rows = results.cells
    if rows.empty:
        raise StorageError(f"{_place(results)}: this run has no cells; see: bench status")
    for n, term in enumerate(terms):
        column, equals, value = term.partition("=")
        if not term:
            raise StorageError(f"{_place(results)}: expected the id of a cell or AXIS=LABEL, found an empty text")
        fitting = _filtered(rows, column, value, results) if equals else rows[rows["cell"].str.startswith(term)]
        if fitting.empty:
            raise StorageError(f"{_place(results)}: {_why_none(rows, term, terms[:n])}")
        rows = fitting
    if len(rows) > 1:
        raise StorageError(f"{_place(results)}: {' '.join(terms)}: {_how_to_choose(rows)}")
    return _plain(rows)[0]


def _place(results: RunResults) -> str:
    """Return the last three parts of the path of the run folder; of a reference run, the version that names it."""
    return results.folder.name if is_reference(results) else "/".join(results.folder.parts[-3:])


def _filtered(rows: pd.DataFrame, column: str, value: str, results: RunResults) -> pd.DataFrame:
    if column not in AXES:
        hint = did_you_mean(column, AXES)
        raise StorageError(f"{_place(results)}: {column}={value}: expected the id of a cell or AXIS=LABEL; {hint}")
    texts = _texts(rows, column)
    exact = rows[texts == value]
    return exact if len(exact) else rows[texts.str.casefold() == value.casefold()]


def _texts(rows: pd.DataFrame, column: str) -> pd.Series[str]:
    if column == "authorised":
        return rows[column].map(set_label)
    return rows[column].astype(object).where(rows[column].notna(), "").astype(str)


def _why_none(rows: pd.DataFrame, term: str, before: Sequence[str]) -> str:
    """Return why no row fits a term; ``rows`` are the cells that fit the terms ``before`` it."""
    column, equals, value = term.partition("=")
    which = f"no cell with {' '.join(before)}" if before else "no cell of this run"
    if not equals:
        others = f"those that fit have {_listing(rows['cell'].tolist())}" if before else "the report shows their ids"
        return f"{which} has an id that begins with {term}; {others}"
    known = [text for text in sorted(set(_texts(rows, column))) if text]
    what = f"{column}={value or repr('')}"
    if not known:
        return f"{which} has {what}; none of them has any {column}"
    hint = did_you_mean(value, known) if value else ""
    return f"{which} has {what}; {hint if hint.startswith('did') else f'expected {_listing(known)}'}"


def _how_to_choose(rows: pd.DataFrame) -> str:
    """Return text that names the axes on which several cells differ, and the first of their ids."""
    values = {axis: list(dict.fromkeys(_texts(rows, axis))) for axis in AXES}
    lines = [f"  {axis}= {_listing(found)}" for axis, found in values.items() if len(found) > 1]
    choice = f"say which by their ids ({_listing(rows['cell'].tolist())})"
    return "\n".join([f"{len(rows)} cells fit, expected one; {choice}{' or by' if lines else ''}", *lines])


def _listing(values: Sequence[str]) -> str:
    """Return values as one types them; an empty one is marked as none."""
    shown = [repr(value) if " " in value else value or "'' (none)" for value in values[:_LISTED]]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def explain(results: RunResults, cell: Row, folder: Path, cache: Cache) -> Explanation:
    """Return the explanation of a cell, a row that `find_cell` returned; ``cache`` is that of its run."""
    stages, incomplete = _stages(cell, results.stages, cache)
    parts = list(_components(json.loads(cell["components"] or "[]"), results.run))
    return Explanation(
        run=str(folder),
        cell=cell["cell"],
        words=_words(results, cell, parts),
        axes={axis: value for axis in AXES if axis != "status" and (value := _shown(cell[axis])) not in (None, "")},
        facts={name: cell[name] for name in _FACTS},
        parts=parts,
        stages=stages,
        incomplete=incomplete,
        commands=_commands(folder, results, cell),
    )


def _shown(value: Any) -> Any:
    """Return the value of an axis; a set of models as its label."""
    return set_label(value) if isinstance(value, tuple) else value


def _plain(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return rows as values of Python, with None for what is not recorded."""
    return [dict(row) for row in rows.astype(object).where(rows.notna(), None).to_dict("records")]


# ---- in words --------------------------------------------------------------------------------------------------------


def _repeats(results: RunResults, cell: Row) -> int:
    """Return how often the experiment of a cell was repeated."""
    cells = results.cells
    return int(cells.loc[cells["experiment"] == cell["experiment"], "repeat"].nunique())


def _words(results: RunResults, cell: Row, parts: Sequence[ExplainedComponent]) -> dict[str, str]:
    attack, defense, evaluated = (cell[name] for name in ("attack", "defense", "evaluated"))
    authorised, upload = cell["authorised"], cell["upload"] or "images"
    faces = f"faces of {_data_set(cell, parts)}"
    models = " and ".join(authorised)
    recogniser = f"{attack} with {evaluated}" if cell.get("embeds") else evaluated
    held = f"{upload} of {models}" if models and upload.startswith("features") else f"the uploaded {upload}"
    held = "the representation that the defense sends" if upload == "a representation" else held
    questions = {
        "recognition": f"Does {recogniser} recognise people from {held}?",
        "images": f"What does {attack} rebuild from {held}, and does {evaluated} recognise the person in it?",
        "attributes": f"What does {attack} read from {held} about a person?",
        "links": f"Can {attack} with {evaluated} tell that two uploads show one person?",
    }
    words = {
        "question": questions.get(cell["outputs"] or "recognition", f"What does {attack} make of {held}?"),
        "client": f"protects {faces} with {defense}" + (f" for {models}" if models else ", for no particular model"),
        **({"not reproducible": f"{defense}: {cell['unstable']}"} if cell["unstable"] else {}),
        **({"attack not reproducible": f"{attack}: {cell['attack_unstable']}"} if cell["attack_unstable"] else {}),
        **_purpose(cell),
        "uploads": held if upload.startswith("features") else upload,
        "adversary": f"{attack}: {cell['threat'] or 'what it knows was not recorded'}",
    }
    if cell["leaky"]:
        words["adversary"] += "; it learnt from the people that are evaluated, so it is too strong"
    if budget := json.loads(cell.get("budget") or "{}"):
        words["adversary"] += f"; may spend {', '.join(f'{n:,} {name}' for name, n in budget.items())}"
    if cell["via"]:
        words["adversary"] += f"; works on what {cell['via']} rebuilds"
    words |= _self_check(results, cell)
    words |= _learns(results.run, cell)
    if cell["learner_overlap"]:
        words[LEARNT_FROM] = cell["learner_overlap"]
    if cell["training_overlap"]:
        words[TRAINED_ON] = cell["training_overlap"]
    if evaluated:
        own = any(part.role == "evaluated model" and part.label == f"{defense}'s recogniser" for part in parts)
        whose = "it belongs to the defense, and compares protected with protected pictures"
        words["recogniser"] = f"{evaluated}; {whose if own else _ROLES.get(cell['role'], cell['role'])}"
    repeats = _repeats(results, cell)
    again = f", repeat {cell['repeat']} of 0 to {repeats - 1}, which tables average" if repeats > 1 else ""
    heading = "measured on" if cell["status"] == "ok" else "would be measured on"
    words[heading] = f"{cell['pairs']} verification pairs{again}, fixed threshold {cell['kappa']}"
    return words | _thresholds(results, cell)


def _thresholds(results: RunResults, cell: Row) -> dict[str, str]:
    """Return the thresholds of a cell with results; of another one, what the plan says of the adversary's."""
    note = cell.get("threshold_note")
    if cell["status"] == "ok":
        return thresholds_of(results, cell["cell"], note)
    return {ADVERSARY: note} if note else {}


def _self_check(results: RunResults, cell: Row) -> dict[str, str]:
    """Return what the controls of the run say about the adversary of a cell."""
    try:
        return {"self-check": checked(Rows(results), cell["cell"])}
    except StorageError as error:
        return {"self-check": f"unknown: {error}"}


def _purpose(cell: Row) -> dict[str, str]:
    """Return what the defense of a cell is for, which pictures it protects, the surrogate models of the client, the
    formal guarantee, and what a control must show, as far as the run recorded them."""
    found = {}
    if cell["goal"]:
        found["goal"] = goal_in_words(cell["goal"])
    if cell["protects"]:
        found["protects"] = SIDES[cell["protects"]]
    if cell["surrogates"]:
        found["surrogates"] = f"{', '.join(cell['surrogates'])}; the client uses them in place of unknown models"
    if cell.get("control"):
        found["control"] = CONTROLS[cell["control"]]
    if cell["bound"]:
        found["formal guarantee"] = bound_in_words(cell["bound"])
    return found


def _data_set(cell: Row, parts: Sequence[ExplainedComponent]) -> str:
    """Return the label of the data set of a cell. If that is only its name, the parameters that the suite sets follow,
    such as ``purpose = "tuning"``, by which it shows other people."""
    label = str(cell["dataset"])
    passed = next((part.passed for part in parts if part.role == "data set" and part.name == label), {})
    about = [f"{name} = {json.dumps(value, default=str)}" for name, value in passed.items()]
    about += ["computer-generated"] if cell["synthetic"] else []
    return f"{label} ({', '.join(about)})" if about else label


def _learns(run: RunRecord, cell: Row) -> dict[str, str]:
    """Return from whose faces the defense and the attack of a cell learn, as far as the run recorded it."""
    dataset, first = cell["dataset"], cell["via"] or cell["attack"]
    attack = next((c.attack for c in run.components if c.kind == "attack" and c.label == first), None)
    defense = next((c.defense for c in run.components if c.kind == "defense" and c.label == cell["defense"]), None)
    experiment = run.suite.experiment(cell["experiment"])
    source = experiment.auxiliary.label if experiment and experiment.auxiliary else dataset
    found = []
    if attack and attack.trains_on in ("clean", "defense"):
        made = "uploads, made by the defense, of " if attack.trains_on == "defense" else ""
        trained = f", in the training of {reference_words(attack.trained_as)}" if attack.trained_as else ""
        found.append(f"{first} from {made}auxiliary faces of {source}{trained}")
    if defense and "training" in defense.needs:
        found.append(f"{cell['defense']} from auxiliary faces of {dataset}")
    return {"learns": "; ".join(found)} if found else {}


_COMPONENT_ROLES: Mapping[str, str] = {
    "dataset": "data set",
    "authorised": "authorised model",
    "evaluated": "evaluated model",
    "via": "attack before it",
}


def _components(components: Sequence[Row], run: RunRecord) -> Iterable[ExplainedComponent]:
    """Yield the components of a cell with the names of their roles, and with the notes in the record of the run. Of the
    notes about an attack, those that name another defense are left out; older runs name none."""
    names = _named_in_notes(components, run)
    for one in components:
        same = [c for c in run.components if (c.kind, c.label) == (one.get("kind"), one["label"])]
        origin = one.get("origin") or {}
        yield ExplainedComponent(
            role=_COMPONENT_ROLES.get(one["role"], one["role"]),
            name=one["name"],
            label=one["label"],
            distribution=f"{origin.get('distribution', 'unknown')} {origin.get('version', '')}".strip(),
            params=one.get("params") or {},
            passed=one.get("passed") or {},
            instead_of=one.get("instead_of"),
            because=one.get("because"),
            notes=tuple(
                dict.fromkeys(
                    note
                    for component in same
                    for note in component.notes
                    if component.kind != "attack" or _is_about(note, names)
                )
            ),
        )


def _named_in_notes(components: Sequence[Row], run: RunRecord) -> Mapping[str, bool]:
    """Return for each defense of a run how a note about an attack that met it begins, and whether it is that of a
    cell, perhaps under another label."""
    own = [(one["name"], one.get("params") or {}) for one in components if one["role"] == "defense"]
    labels = [one["label"] for one in components if one["role"] == "defense"]
    defenses = (c for c in run.components if c.kind == "defense")
    return {f"{c.label}: ": c.label in labels or (c.name, dict(c.params)) in own for c in defenses}


def _is_about(note: str, names: Mapping[str, bool]) -> bool:
    """Return False for a note that names another defense than that of the cell."""
    named = [own for name, own in names.items() if note.startswith(name)]
    return any(named) or not named


def _commands(folder: Path, results: RunResults, cell: Row) -> dict[str, str]:
    run = results.run
    if cell["status"] == "skipped":
        return {}
    command = offered(run.command)
    alone = cell_command(run, cell["cell"])
    found = {"computes this cell alone": alone} if alone else {}
    found |= {"computes what is missing of the run": command} if command else {}
    if run.ended and run.host and not run.rescored:  # The records of older versions do not hold enough.
        # A reference run lies where nothing else is written, so that its replay goes into the current folder.
        out = Path() if is_reference(results) else folder.parent.parent.parent
        words = ["bench", "run", "--replay", str(folder), *([] if out == Path() else ["--out", str(out)])]
        found["makes the run again from its record and compares"] = shlex.join(words)
    return found


_FLAGS = {"--fresh", "--no-retry", "--retry"}  # These options concern the whole run.


def cell_command(run: RunRecord, cell: str) -> str | None:
    """Return the command that computes one cell of a run, from its record. None for a run of an older version, whose
    cells had other ids, and for a run that was made from another one."""
    words = offered_words(run.command)
    if words[:2] != ["bench", "run"] or not run.host or run.replay_of:
        return None
    kept, rest = words[:2], iter(words[2:])
    for word in rest:
        if word == "--cell":
            next(rest, None)
        elif word not in _FLAGS and not word.startswith("--cell="):
            kept.append(word)
    return shlex.join([*kept, "--cell", cell])


# ---- stages ----------------------------------------------------------------------------------------------------------


def _stages(cell: Row, rows: Sequence[Row], cache: Cache) -> tuple[list[ExplainedStage], bool]:
    """Return the stages that a cell used, inputs first, and whether some are not known.

    The rows have the scores of a cell and the stage that failed; the cache has the inputs of every artifact.
    """
    by_key = {row["key"]: row for row in rows}
    keys: dict[str, None] = {}
    incomplete = False
    first = [cell["failed_stage"]] if cell["failed_stage"] in by_key else []
    stack = [(key, False) for key in reversed([*first, *json.loads(cell["stages"] or "[]")])]
    while stack:
        key, seen = stack.pop()
        if seen:
            keys[key] = None
        elif key not in keys:
            manifest = cache.manifest(key)
            incomplete |= manifest is None
            inputs = (manifest or {}).get("inputs") or {}
            stack += [(key, True), *((k, False) for k in reversed(list(inputs.values())))]
    return [_explained_stage(key, by_key.get(key, {}), cache) for key in keys], incomplete


def _explained_stage(key: str, row: Row, cache: Cache) -> ExplainedStage:
    """Return a stage from its row; what an older schema lacks comes from its artifact, if that exists."""
    manifest = cache.manifest(key)
    about = {**(manifest or {}), **{k: v for k, v in row.items() if v is not None}}
    return ExplainedStage(
        key=key,
        kind=about.get("kind", "score"),
        name=about.get("name", "not computed yet"),
        status=about.get("status", "ok" if manifest else "queued"),
        seconds=about.get("seconds", 0.0),
        peak_mb=about.get("peak_mb", 0.0),
        batch=about.get("batch"),
        attempts=about.get("attempts"),
        cached=bool(about.get("cached")),
        reason=about.get("reason"),
        artifact=str(cache.folder(key)) if manifest else None,
    )
