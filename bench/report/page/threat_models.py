"""Threat models: of every attack what its adversary sees, knows, learns from and lacks; of every defense what it
promises to whom.

Told from what plugins declare, as run.json keeps it, so that a report needs no plugin. Of an older run, which does not
keep it, that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.rows import CellRow, Rows
from bench.core.text import plural
from bench.store.run_record import AttackDeclaration, ComponentRecord, DefenseDeclaration

UNSAID = "not said by the plugin"
UNRECORDED = "not recorded: the run is older than this section"
_ENDS = {
    "recognition": "who it is, by a recognition model of its own",
    "images": "a picture of the face",
    "attributes": "age, gender and the like",
}
_NEEDS = {
    "full_gradients": "the whole authorised model",
    "subjects": "to know who is in the picture",
    "training": "faces to learn from",
    "targets": "target faces",
    "own_recognizer": "a recognition model of its own",
}
_PROMISES = ("promise", "trusts", "not_promised")


@dataclass(frozen=True, kw_only=True)
class ThreatModelEntry:
    """The threat model of an attack, or what a defense promises: its name, in words, and fact by fact. ``mark``: what a
    reader must not miss of it; empty without."""

    name: str
    about: str
    words: str
    facts: Mapping[str, str]
    mark: str = ""


# ---- attacks ---------------------------------------------------------------------------------------------------------


def adversaries(rows: Rows) -> list[ThreatModelEntry]:
    """The threat model of every attack of the run, in the suite's order."""
    found: dict[str, list[CellRow]] = {}
    for cell in rows.cells:
        found.setdefault(cell.attack, []).append(cell)
    return [_adversary(rows, name, cells) for name, cells in found.items()]


def _adversary(rows: Rows, name: str, cells: Sequence[CellRow]) -> ThreatModelEntry:
    first = cells[0]
    second = _component(rows, "attack", name)
    component = _component(rows, "attack", first.via) if first.via else second
    declared = component and component.attack
    about = f"{first.attack_plugin}{f', on what {first.via} makes of the upload' if first.via else ''}"
    mark = "leakage: learnt from the evaluated people, never counted" if first.leaky else ""
    words = _one(c.threat for c in cells) or UNSAID
    known = component and second and second.attack and declared
    sees = set(declared.sees) if declared else set()
    facts = {
        "receives": _receives(cells, sees),
        "knows": _knows(sees) if known else UNRECORDED,
        "learns from": _learns(rows, cells, known) + _brought(component, second) if known else UNRECORDED,
        "adapts to the defense": _adapts(known, sees) if known else UNRECORDED,
        "ends with": _ENDS.get(first.outputs, first.outputs),
        "does not have": _lacks(first, sees) if known else UNRECORDED,
    }
    return ThreatModelEntry(name=name, about=about, words=words, facts=facts, mark=mark)


def _receives(cells: Sequence[CellRow], sees: set[str]) -> str:
    uploads = dict.fromkeys(c.upload for c in cells)
    told = []
    for upload in uploads:
        if upload != "images":
            told.append(f"the uploaded {upload}")
        elif "features" in sees:
            told.append(
                f"the uploaded image{'' if 'images' in sees else ','} as features of the authorised model's splits"
            )
        else:
            told.append("the uploaded image")
    return "; ".join(told)


def _knows(sees: set[str]) -> str:
    found = []
    if "shallow_weights" in sees:
        found.append("white box: the weights of the authorised shallow model")
    elif "features" in sees:
        found.append("black box: no weights")
    if "pairs" in sees:
        found.append("pairs of features and pictures")
    if "defense" in sees:
        found.append("the defense itself")
    return "; ".join(found) or "nothing of the authorised model"


def _learns(rows: Rows, cells: Sequence[CellRow], declared: AttackDeclaration) -> str:
    trains = declared.trains_on
    if trains == "nothing":
        return "nothing in this run"
    if trains == "evaluated":
        return "LEAKAGE: clean uploads of the evaluated faces themselves"
    whose = _auxiliary(rows, cells)
    made = "what the defense makes of" if trains == "defense" else "clean uploads of"
    return f"{made} {whose}, none of whom is scored"


def _auxiliary(rows: Rows, cells: Sequence[CellRow]) -> str:
    """Whose faces attackers learn from."""
    found = []
    for name in dict.fromkeys(c.experiment for c in cells):
        experiment = rows.results.run.suite.experiment(name)
        source = experiment and experiment.auxiliary
        if not source:
            found.append("other people of each data set")
            continue
        people = source.params.get("auxiliary_identities")
        found.append(
            f"{plural(people, 'other person', 'other people') if people else 'other people'} of {source.label}"
        )
    return " or ".join(dict.fromkeys(found))


def _brought(*components: ComponentRecord | None) -> str:
    """What it learnt before the run."""
    own = next((c for c in components if c and c.weights), None)
    if own is None:
        return ""
    source = ", learnt from generated faces" if own.synthetic else ""
    return f"; brings weights of its own{source}"


def _adapts(declared: AttackDeclaration, sees: set[str]) -> str:
    if declared.trains_on == "defense":
        return "yes: learns from what the defense makes"
    return "yes: knows the defense" if "defense" in sees else "no"


def _lacks(first: CellRow, sees: set[str]) -> str:
    found = [] if "shallow_weights" in sees else ["the weights of the shallow model"]
    found += [] if first.outputs == "recognition" else ["the deep part of the authorised model"]
    found += [] if "defense" in sees else ["the defense, to learn from or to run"]
    return "; ".join([*found, "the original face"])


# ---- defenses --------------------------------------------------------------------------------------------------------


def promises(rows: Rows) -> list[ThreatModelEntry]:
    """What every defense needs, promises and does not promise; settings that say the same together."""
    found: dict[tuple[str, ...], list[CellRow]] = {}
    for cell in rows.cells:
        component = _component(rows, "defense", cell.defense)
        declared = component and component.defense
        said = tuple(str(getattr(declared, name, UNRECORDED)) for name in (*_PROMISES, "needs"))
        found.setdefault((cell.plugin, *said), []).append(cell)
    return [_promised(rows, cells) for cells in found.values()]


def _promised(rows: Rows, cells: Sequence[CellRow]) -> ThreatModelEntry:
    first = cells[0]
    component = _component(rows, "defense", first.defense)
    declared = component and component.defense

    def said(name: str) -> str:
        return str(getattr(declared, name) or UNSAID) if declared else UNRECORDED

    facts = {
        "the client needs": _needs(cells, declared) if declared else UNRECORDED,
        "leaves the client": ", ".join(dict.fromkeys(c.upload for c in cells)),
        "authorises": _authorises(declared) if declared else UNRECORDED,
        "must be trusted": said("trusts"),
        "does not promise": said("not_promised"),
    }
    names = ", ".join(dict.fromkeys(c.defense for c in cells))
    return ThreatModelEntry(name=names, about=first.plugin, words=said("promise"), facts=facts)


def _knows_models(declared: DefenseDeclaration) -> bool:
    return bool({"shallow", "full_gradients"} & set(declared.needs))


def _needs(cells: Sequence[CellRow], declared: DefenseDeclaration) -> str:
    needs = declared.needs
    models = dict.fromkeys(m for c in cells for m in c.authorised.split("+") if m)
    told = [f"the shallow model of {', '.join(models) or 'the authorised network'}"] if "shallow" in needs else []
    told += [_NEEDS.get(n, n) for n in needs if n != "shallow"]
    return "; ".join(told) or "nothing but the face"


def _authorises(declared: DefenseDeclaration) -> str:
    if not _knows_models(declared):
        return "no model: it is the same for all"
    most = declared.max_authorised
    return "any number of models per picture" if most is None else f"at most {plural(most, 'model')} per picture"


# ---- both ------------------------------------------------------------------------------------------------------------


def _component(rows: Rows, kind: str, label: str) -> ComponentRecord | None:
    """The record of a component, or None."""
    return rows.results.run.component(kind, label)


def _one(values: Iterable[str]) -> str:
    return "; or: ".join(v for v in dict.fromkeys(values) if v)
