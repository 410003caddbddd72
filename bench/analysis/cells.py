"""The rows of ``cells.parquet`` as objects: what a cell is about, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, cast, get_args

import pandas as pd

from bench.analysis.enhancement_names import spelled_out
from bench.analysis.table_model import Role
from bench.core.domain import Control, Goal
from bench.core.text import set_label

UPLOAD = ("experiment", "dataset", "defense", "authorised", "repeat", "attack")
CLEAN = "identity"  # The defense plugin that uploads the face unchanged.


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of ``cells.parquet``.

    ``defense`` is the name of the defense for readers; ``label``, ``plugin`` and ``params`` are those that the suite
    gives it: rows of samples name it by the label, and the parameters are the effective ones. ``via`` is the label of
    the attack that ran first, empty if there was none. ``evaluated`` is the label of the evaluated model, empty if no
    model evaluates the cell. ``run`` is the name of the run, where several runs are read together. ``protect`` are the
    keys of the stages in which the client protects faces. ``people_of`` is `Dataset.people_of`, by default the data
    set. ``learner_overlap`` and ``training_overlap`` are those of `bench.core.domain.Cell`; None also where an older
    version of bench did not record them. ``goal`` is what the defense is for, ``protects`` the side of pairs that is
    protected, ``surrogates`` the models that the client used in place of unknown ones, and ``bound`` its formal
    guarantee as JSON, empty if it gives none. ``unstable`` says what differed when the host protected some faces again,
    and ``attack_unstable`` what differed when it attacked some again. ``control`` says what the tester must find if the
    defense is a control (`bench.Defense`), and is None for all others. ``knowledge`` is how much the adversary knows
    (an index of `bench.core.domain.KNOWLEDGE`), and ``suite_version`` the version of the suite; None where they are not
    recorded. ``threshold_note`` is a remark on the adversary's threshold, empty if there is none.
    """

    cell: str
    experiment: str
    table: str | None
    dataset: str
    dataset_stands_in_for: str | None
    synthetic: bool
    defense: str
    plugin: str
    authorised: str
    authorised_models: tuple[str, ...]
    authorised_stands_in_for: str
    authorised_models_stand_in_for: tuple[str, ...]
    attack: str
    evaluated: str
    evaluated_stands_in_for: str
    role: Role
    repeat: int
    pairs: int
    kappa: float
    threat: str
    status: str
    reason: str | None
    via: str = ""
    upload: str = "images"
    outputs: str = "recognition"
    embeds: bool = False
    insider: bool = False
    budget: str | None = None
    knowledge: int | None = None
    leaky: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    attack_plugin: str = ""
    attack_params: Mapping[str, Any] = field(default_factory=dict)
    traceback: str = ""
    log: str = ""
    batch: int | None = None
    run: str = ""
    protect: tuple[str, ...] = ()
    people_of: str = ""
    learner_overlap: str | None = None
    training_overlap: str | None = None
    goal: Goal = "recognition"
    protects: str = "probe"
    surrogates: tuple[str, ...] = ()
    bound: str = ""
    unstable: str = ""
    attack_unstable: str = ""
    control: Control | None = None
    suite_version: str | None = None
    threshold_note: str = ""
    label: str = ""

    @property
    def clean(self) -> bool:
        """True if the cell has no protection."""
        return self.plugin == CLEAN

    @property
    def settings(self) -> str:
        """The parameters of the defense as canonical text: equal parameters give equal text."""
        return json.dumps(dict(self.params), sort_keys=True, default=str)

    @property
    def attack_settings(self) -> str:
        """The parameters of the attack as canonical text: equal parameters give equal text."""
        return json.dumps(dict(self.attack_params), sort_keys=True, default=str)

    @property
    def picture(self) -> str:
        """The label of the attack that made the image which the adversary ends with; empty for the uploaded image."""
        return self.attack if self.outputs == "images" else self.via

    @property
    def picture_point(self) -> tuple[str, ...]:
        """What identifies the picture that the adversary ends with, apart from the repeat."""
        return self.run, self.experiment, self.dataset, self.defense, self.authorised, self.picture

    @property
    def upload_key(self) -> tuple[str, str, str, str, int, str]:
        """The values of the columns `UPLOAD`, by which the rows of this cell in ``samples/images`` are found."""
        return self.experiment, self.dataset, self.recorded, self.authorised, self.repeat, self.picture

    @property
    def recorded(self) -> str:
        """The label of the defense in the suite and in the rows of samples."""
        return self.label or self.defense


"""A column of images, and the people whom they show: ``(n,)`` each."""


def cell_row_of(row: Mapping[Any, Any]) -> CellRow:
    """Return the object of a row, whose sets of models are tuples."""
    text = partial(_text, row)
    defense, attack = _defense_and_attack(text("components") or "[]")
    return CellRow(
        cell=str(row["cell"]),
        experiment=str(row["experiment"]),
        table=text("table"),
        dataset=str(row["dataset"]),
        dataset_stands_in_for=text("dataset_stands_in_for"),
        synthetic=bool(row["synthetic"]),
        defense=spelled_out(str(row["defense"]), text("table")),
        label=str(row["defense"]),
        plugin=str(defense.get("name", "")),
        authorised=set_label(row["authorised"]),
        authorised_models=row["authorised"],
        authorised_stands_in_for=set_label(row["authorised_stand_in_for"]),
        authorised_models_stand_in_for=row["authorised_stand_in_for"],
        attack=str(row["attack"]),
        evaluated=text("evaluated") or "",
        evaluated_stands_in_for=text("evaluated_stands_in_for") or text("evaluated") or "",
        role=cast(Role, str(row["role"])),
        repeat=int(row["repeat"]),
        pairs=int(row["pairs"]),
        kappa=float(row["kappa"]),
        threat=text("threat") or "",
        status=str(row["status"]),
        reason=text("reason"),
        via=text("via") or "",
        upload=text("upload") or "images",
        outputs=text("outputs") or "recognition",
        embeds=text("embeds") == "True",
        insider=text("insider") == "True",
        budget=text("budget"),
        knowledge=None if text("knowledge") is None else int(row["knowledge"]),
        leaky=text("leaky") == "True",
        params=defense.get("params") or {},
        attack_plugin=str(attack.get("name", "")),
        attack_params=attack.get("params") or {},
        traceback=text("traceback") or "",
        log=text("log") or "",
        batch=None if text("batch") is None else int(row["batch"]),
        run=text("run") or "",
        people_of=text("people_of") or str(row["dataset"]),
        learner_overlap=text("learner_overlap"),
        training_overlap=text("training_overlap"),
        goal=_goal(text("goal")),
        protects=text("protects") or "probe",
        surrogates=_labels(row.get("surrogates")),
        bound=text("bound") or "",
        unstable=text("unstable") or "",
        attack_unstable=text("attack_unstable") or "",
        control=_control(text("control"), str(defense.get("name", ""))),
        suite_version=text("suite_version"),
        threshold_note=text("threshold_note") or "",
        protect=tuple(json.loads(text("protect") or "[]")),
    )


def _text(row: Mapping[Any, Any], name: str) -> str | None:
    """Return a value of a row as text; None where it is missing."""
    value = row.get(name)
    return None if value is None or value is pd.NA or value != value else str(value)


def _goal(found: str | None) -> Goal:
    """Return the goal of a cell; runs of older versions record none, and all their defenses have this one."""
    return cast(Goal, found) if found in get_args(Goal) else "recognition"


def _control(found: str | None, plugin: str) -> Control | None:
    """Return what the tester must find of a defense. Older versions recorded nothing; the upload as it is leaks."""
    if found in get_args(Control):
        return cast(Control, found)
    return "leaks" if plugin == CLEAN else None


def _labels(found: Any) -> tuple[str, ...]:
    """Return a set of labels; empty where an older version recorded none."""
    return found if isinstance(found, tuple) else ()


@lru_cache(maxsize=4096)
def _defense_and_attack(components: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a row of cells records of its defense and of its attack, from its JSON; many cells share it."""
    by_role = {c["role"]: c for c in reversed(json.loads(components))}
    return by_role.get("defense", {}), by_role.get("attack", {})
