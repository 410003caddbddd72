"""The section "Threat models": for every attack what its adversary sees, knows, learns from and lacks; for every
defense what it promises, and what must be trusted.

The text is made from the declarations of plugins in the record of the run, so that a report needs no plugin. The record
of an older run lacks them, and the section says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.analysis.tables.goals import SIDES, bound_in_words, declared_bound, goal_in_words
from bench.core.people import LEARNT_FROM, part_of
from bench.core.text import plural
from bench.store.run_record import AttackDeclaration, ComponentRecord, DefenseDeclaration

UNSTATED = "not stated by the plugin"
UNRECORDED = "not recorded: the run is older than this section"
UNCHECKED = "not recorded: no stage of this run checked it"
_ENDS = {
    "recognition": "who it is, by a recognition model of its own",
    "images": "a picture of the face",
    "attributes": "age, gender and the like",
    "links": "whether two uploads show one person",
}
_NEEDS = {
    "full_gradients": "the whole authorised model",
    "subjects": "to know who is in the picture",
    "key": "a secret key per person",
    "enrolment": "further pictures of the same people",
    "training": "faces to learn from",
    "labels": "labels of these faces",
    "targets": "faces of other people as targets",
    "whole_set": "all faces that are released together",
    "own_recognizer": "a recognition model of its own",
}
_PROMISES = ("promise", "trusts", "not_promised")


@dataclass(frozen=True, kw_only=True)
class ThreatModelEntry:
    """The threat model of an attack, or the promise of a defense: name, plugin (``about``), description, single facts.

    ``mark`` is a warning, or empty.
    """

    name: str
    about: str
    words: str
    facts: Mapping[str, str]
    mark: str = ""


# ---- attacks ---------------------------------------------------------------------------------------------------------


def adversaries(rows: Rows) -> list[ThreatModelEntry]:
    """Return the threat model of every attack of the run, in the order of the suite."""
    found: dict[str, list[CellRow]] = {}
    for cell in rows.cells:
        found.setdefault(cell.attack, []).append(cell)
    return [adversary(rows, name, cells) for name, cells in found.items()]


def adversary(rows: Rows, name: str, cells: Sequence[CellRow]) -> ThreatModelEntry:
    """Return the threat model of the attack ``name``, to which the cells belong.

    An attack that works on the output of another one (``via``) has the knowledge of that one.
    """
    first = cells[0]
    second = _component(rows, "attack", name)
    component = _component(rows, "attack", first.via) if first.via else second
    declared = component and component.attack
    about = f"{first.attack_plugin}{f', on what {first.via} makes of the upload' if first.via else ''}"
    mark = "unstable: its figures cannot be reproduced" if any(c.attack_unstable for c in cells) else ""
    mark = "leakage: learnt from the evaluated people, never counted" if first.leaky else mark
    words = _joined(c.threat for c in cells) or UNSTATED
    known = component and second and second.attack and declared
    sees = set(declared.sees) if declared else set()
    facts = {
        "receives": _receives(cells, sees),
        "knows": _knows(sees) if known else UNRECORDED,
        "learns from": _learns(rows, cells, known) + _own_weights(component, second) if known else UNRECORDED,
        "adapts to the defense": _adapts(known, sees) if known else UNRECORDED,
        "ends with": _ENDS.get(first.outputs, first.outputs),
        "does not have": _lacks(first, sees) if known else UNRECORDED,
        **_unstable(cells),
    }
    return ThreatModelEntry(name=name, about=about, words=words, facts=facts, mark=mark)


def _unstable(cells: Sequence[CellRow]) -> dict[str, str]:
    """Return what differed when the host attacked a few faces of some cells again, as a fact; none if nothing did."""
    found = dict.fromkeys(f"against {c.defense}: {c.attack_unstable}" for c in cells if c.attack_unstable)
    return {"same face again": "; ".join(found)} if found else {}


def _receives(cells: Sequence[CellRow], sees: set[str]) -> str:
    """Return what an adversary receives: the uploads and their form. ``sees``: the declared inputs of the attack."""
    uploads = dict.fromkeys(c.upload for c in cells)
    received = []
    for upload in uploads:
        if upload != "images":
            received.append(f"the uploaded {upload}")
        elif "representation" in sees and "images" not in sees:
            received.append("the representation that is sent in place of an image")
        elif "features" in sees:
            received.append(
                f"the uploaded image{'' if 'images' in sees else ','} as features of the authorised model's splits"
            )
        else:
            received.append("the uploaded image")
    return "; ".join(received)


def _knows(sees: set[str]) -> str:
    """Return what an adversary knows about the authorised model and the defense."""
    found = []
    if "full_model" in sees:
        found.append("the whole authorised model")
    elif "shallow_weights" in sees:
        found.append("white box: the weights of the authorised shallow model")
    elif "features" in sees:
        found.append("black box: no weights")
    if "pairs" in sees:
        found.append("pairs of features and pictures")
    if "defense" in sees:
        found.append("the defense itself")
    return "; ".join(found) or "nothing of the authorised model"


def _learns(rows: Rows, cells: Sequence[CellRow], declared: AttackDeclaration) -> str:
    """Return what an attack is trained on in the run."""
    trains = declared.trains_on
    if trains == "nothing":
        return "nothing in this run"
    if trains == "evaluated":
        return "LEAKAGE: clean uploads of the evaluated faces themselves"
    whose = _auxiliary(rows, cells)
    made = "what the defense makes of" if trains == "defense" else "clean uploads of"
    return f"{made} {whose}{_scored(cells)}"


def _scored(cells: Sequence[CellRow]) -> str:
    """Return whether people from whom the attack of some cells learns are scored; a run of an older version relied on
    the splits of data sets."""
    found = dict.fromkeys(part_of(c.learner_overlap, c.via or c.attack) for c in cells if c.learner_overlap)
    if not found:
        return ", none of whom is scored"
    return f"; {LEARNT_FROM}: {' or '.join(found)}"


def _auxiliary(rows: Rows, cells: Sequence[CellRow]) -> str:
    """Return whose faces the attacks learn from: the auxiliary data of each experiment."""
    found = []
    for name in dict.fromkeys(c.experiment for c in cells):
        experiment = rows.results.run.suite.experiment(name)
        source = experiment and experiment.auxiliary
        if not source:
            found.append("other people of each data set")
            continue
        people = source.params.get("auxiliary_identities")
        others = plural(people, "other person", "other people") if people else "other people"
        found.append(others if others == source.label else f"{others} of {source.label}")
    return " or ".join(dict.fromkeys(found))


def _own_weights(*components: ComponentRecord | None) -> str:
    """Return text about weights that an attack brings because it was trained before the run; empty if it has none."""
    own = next((c for c in components if c and c.weights), None)
    if own is None:
        return ""
    source = ", learnt from generated faces" if own.synthetic else ""
    return f"; brings weights of its own{source}"


def _adapts(declared: AttackDeclaration, sees: set[str]) -> str:
    """Return as text whether an attack is adaptive: it is trained on uploads of the defense, or knows the defense."""
    if declared.trains_on == "defense":
        return "yes: learns from what the defense makes"
    return "yes: knows the defense" if "defense" in sees else "no"


def _lacks(first: CellRow, sees: set[str]) -> str:
    """Return what an adversary does not have."""
    found = [] if sees & {"shallow_weights", "full_model"} else ["the weights of the shallow model"]
    found += [] if first.outputs == "recognition" or "full_model" in sees else ["the deep part of the authorised model"]
    found += [] if "defense" in sees else ["the defense, to learn from or to run"]
    return "; ".join([*found, "the original face"])


# ---- defenses --------------------------------------------------------------------------------------------------------


def promises(rows: Rows) -> list[ThreatModelEntry]:
    """Return what every defense needs, promises and does not promise; settings of a plugin with equal declarations
    share one entry."""
    found: dict[tuple[str, ...], list[CellRow]] = {}
    for cell in rows.cells:
        component = _component(rows, "defense", cell.recorded)
        declared = component and component.defense
        declarations = tuple(str(getattr(declared, name, UNRECORDED)) for name in (*_PROMISES, "needs"))
        found.setdefault((cell.plugin, cell.goal, *declarations), []).append(cell)
    return [promise(rows, cells) for cells in found.values()]


def promise(rows: Rows, cells: Sequence[CellRow]) -> ThreatModelEntry:
    """Return the entry of the defenses to which the cells belong; all have the same declarations."""
    first = cells[0]
    component = _component(rows, "defense", first.recorded)
    declared = component and component.defense

    def declaration(name: str) -> str:
        return str(getattr(declared, name) or UNSTATED) if declared else UNRECORDED

    facts = {
        "goal": goal_in_words(first.goal),
        "protects": " or ".join(SIDES[side] for side in dict.fromkeys(c.protects for c in cells)),
        "the client needs": _needs(cells, declared) if declared else UNRECORDED,
        "leaves the client": ", ".join(dict.fromkeys(c.upload for c in cells)),
        "authorises": _authorises(declared) if declared else UNRECORDED,
        "is recognised by": _recognised_by(declared) if declared else UNRECORDED,
        "formal guarantee": _joined(bound_in_words(declared_bound(c.bound)) for c in cells if c.bound)
        or "none is declared",
        "must be trusted": declaration("trusts"),
        "does not promise": declaration("not_promised"),
        "same face again": stability(rows, cells),
    }
    names = ", ".join(dict.fromkeys(c.defense for c in cells))
    mark = "unstable: its figures cannot be reproduced" if any(c.unstable for c in cells) else ""
    return ThreatModelEntry(name=names, about=first.plugin, words=declaration("promise"), facts=facts, mark=mark)


def stability(rows: Rows, cells: Sequence[CellRow]) -> str:
    """Return what the host found when it protected a few faces of some cells again."""
    unstable = dict.fromkeys(f"{c.defense}: {c.unstable}" for c in cells if c.unstable)
    if unstable:
        return "; ".join(unstable)
    keys = {key for c in cells for key in c.protect}
    checked = [int(s["checked"]) for s in rows.results.stages if s.get("key") in keys and s.get("checked")]
    if checked:
        return f"the same upload: {plural(max(checked), 'face')} in another order, in another batch and alone"
    off = any(run.run.suite.head.get("check_defenses") is False for run in rows.results.runs)
    return "not checked: the suite turns it off" if off else UNCHECKED


def _knows_models(declared: DefenseDeclaration) -> bool:
    return bool({"shallow", "full_gradients"} & set(declared.needs))


def _needs(cells: Sequence[CellRow], declared: DefenseDeclaration) -> str:
    """Return what a client needs to run a defense."""
    needs = declared.needs
    models = dict.fromkeys(m for c in cells for m in c.authorised_models)
    found = [f"the shallow model of {', '.join(models) or 'the authorised network'}"] if "shallow" in needs else []
    surrogates = dict.fromkeys(m for c in cells for m in c.surrogates)
    found += [f"surrogate models in place of unknown ones: {', '.join(surrogates)}"] if surrogates else []
    found += [_NEEDS.get(n, n) for n in needs if n not in ("shallow", "surrogates")]
    return "; ".join(found) or "nothing but the face"


def _authorises(declared: DefenseDeclaration) -> str:
    """Return how many models a picture can be protected for."""
    if not _knows_models(declared):
        return "no model: it is the same for all"
    most = declared.max_authorised
    return "any number of models per picture" if most is None else f"at most {plural(most, 'model')} per picture"


def _recognised_by(declared: DefenseDeclaration) -> str:
    """Return what is meant to recognise what a defense sends."""
    if declared.own_recogniser:
        return "its own recogniser, which compares protected with protected pictures"
    if declared.goal in ("appearance", "anonymity"):
        return "no model"
    return "the authorised models"


# ---- both ------------------------------------------------------------------------------------------------------------


def _component(rows: Rows, kind: str, label: str) -> ComponentRecord | None:
    """Return the record of a component, or None if the run has none of that kind and label."""
    return rows.results.run.component(kind, label)


def _joined(values: Iterable[str]) -> str:
    """Return the distinct non-empty texts as alternatives."""
    return "; or: ".join(v for v in dict.fromkeys(values) if v)
