"""The check that the splits of a data set are apart: whoever is calibrated on or learnt from is not scored.

A stage that loads faces records whose people the subject numbers count; a stage in which a defense or an attack learns
records the people and pictures that it learnt from. Where the scored faces are used, both are compared.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.datasets import Dataset
from bench.core.domain import Component
from bench.core.errors import ContractError
from bench.core.text import plural
from bench.stages.stage_inputs import Job, read_faces
from bench.store.artifacts import Artifact

_STRANGERS = "strangers"  # The split of calibration people on whom an adversary sets his threshold.
_LEARNT = "learnt"  # The table of the people and pictures that a state was learnt from.


def facts_of_faces(component: Component, dataset: Dataset, split: str) -> dict[str, str]:
    """Return the facts of an artifact with faces: the name of its split, whether the faces are real, and ``people``,
    which is equal for data sets whose subject numbers count the same people. An artifact holds no label: suites with
    other labels share it."""
    people = f"people of {dataset.people_of}" if dataset.people_of else f"{component.name}\0{component.weights}"
    kind = "generated" if dataset.synthetic else "real"
    return {"split": split, "of": _described(component, dataset), "people": people, "kind": kind}


def _described(component: Component, dataset: Dataset) -> str:
    """Return the name of a data set with the parameters that are not its defaults."""
    defaults = {field.name: field.default for field in fields(dataset)}
    own = [f"{name} = {value}" for name, value in sorted(component.params.items()) if value != defaults.get(name)]
    return f"{component.name} ({', '.join(own)})" if own else component.name


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The people and pictures of a split: the subject, the sample id, and a digest of the pixels of each image."""

    facts: Mapping[str, str]
    subjects: NDArray[np.int64]
    sample_ids: NDArray[np.str_]
    pictures: NDArray[np.bytes_]

    @classmethod
    def in_faces(cls, artifact: Artifact) -> Shown:
        """Return what the faces of a stage show."""
        faces = read_faces(artifact)
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in faces.images]
        facts = {name: str(value) for name, value in artifact.facts.items()}
        return cls(facts=facts, subjects=faces.subjects, sample_ids=faces.sample_ids, pictures=np.array(digests, "S32"))

    @classmethod
    def learnt_from(cls, state: Artifact) -> Shown | None:
        """Return what the examples of a state showed; None if it does not record them."""
        table = state.tables.get(_LEARNT)
        if table is None:
            return None
        return cls(
            facts={name: str(value) for name, value in state.facts.items()},
            subjects=table["subject"].to_numpy(),
            sample_ids=np.array(table["sample_id"].to_pylist()),
            pictures=np.array(table["picture"].to_pylist(), "S32"),
        )

    def table(self) -> dict[str, pa.Table]:
        """Return the table that `learnt_from` reads."""
        columns = {"subject": self.subjects, "sample_id": pa.array(map(str, self.sample_ids))}
        return {_LEARNT: pa.table({**columns, "picture": pa.array(self.pictures.tolist(), pa.binary())})}

    @property
    def name(self) -> str:
        """The name of the split for messages."""
        split = self.facts.get("split")
        return f"{'calibration' if split == _STRANGERS else split} faces of {self.facts.get('of')}"


def learnt(state: Mapping[str, NDArray[Any]], source: Artifact) -> Artifact:
    """Return an artifact with what was learnt and with whom and what the faces of ``source`` showed."""
    shown = Shown.in_faces(source)
    return Artifact(tensors=state, tables=shown.table(), facts=shown.facts)


def check_learnt(job: Job, role: str = "faces") -> None:
    """Raise `ContractError` if the state of a stage was learnt from people or pictures that are scored, if it has
    targets that show some, or if its further pictures of scored people are scored themselves. ``role`` is that of the
    input with the scored faces."""
    others = {name: job.input(name) for name in ("state", "targets", "enrolment") if name in job.stage.inputs}
    scored = Shown.in_faces(job.input(role)) if others else None
    if scored and "state" in others:
        check_apart(scored, Shown.learnt_from(others["state"]))
    if scored and "targets" in others:
        check_apart(scored, Shown.in_faces(others["targets"]))
    if scored and "enrolment" in others:
        check_other_pictures(scored, Shown.in_faces(others["enrolment"]))


def check_apart(scored: Shown, other: Shown | None) -> None:
    """Raise `ContractError` if faces that are calibrated on or learnt from (``other``) show scored people or pictures.

    Subjects are compared if both splits count the same people, and pictures always; of two real data sets that share no
    picture a warning says so, because their names may not be comparable. ``scored`` may also be people of the
    calibration split on whom an adversary sets his threshold. Faces of other splits are not scored, and an attack may
    be declared to learn from the scored faces themselves; then nothing is compared.
    """
    split = scored.facts.get("split")
    if other is None or split not in ("evaluation", _STRANGERS) or other.facts.get("split") == "evaluation":
        return
    if scored.facts.get("people") == other.facts.get("people"):
        _check_different(scored, other, scored.subjects, other.subjects, "person", "people")
    _check_different(scored, other, scored.pictures, other.pictures, "picture", "pictures")
    kinds = {scored.facts.get("kind"), other.facts.get("kind")}
    if split == "evaluation" and kinds == {"real"} and scored.facts.get("people") != other.facts.get("people"):
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # A plugin may have turned warnings into errors.
            warnings.warn(
                f"no picture of the {other.name} is among the {scored.name}, by the pixels of all of them; other "
                "pictures of one person are not found by this",
                stacklevel=2,
            )


def check_other_pictures(scored: Shown, further: Shown) -> None:
    """Raise `ContractError` if further pictures of scored people are scored pictures, show other people, or show
    nothing of one of the scored people."""
    others = np.flatnonzero(~np.isin(further.subjects, scored.subjects))
    if len(others):
        raise ContractError(
            f"the {further.name} show {plural(len(np.unique(further.subjects[others])), 'person', 'people')} whom no "
            f"scored picture shows, such as image {further.sample_ids[others[0]]}; further() must return pictures of "
            "the scored people only, with the same subject numbers"
        )
    without = np.flatnonzero(~np.isin(scored.subjects, further.subjects))
    if len(without):
        people = plural(len(np.unique(scored.subjects[without])), "person", "people")
        raise ContractError(
            f"the {further.name} have no picture of {people} who are scored, such as on image "
            f"{scored.sample_ids[without[0]]}; correct further_pictures() or further()"
        )
    _check_different(scored, further, scored.pictures, further.pictures, "picture", "pictures")


def _check_different(
    scored: Shown, other: Shown, mine: NDArray[np.generic], theirs: NDArray[np.generic], one: str, many: str
) -> None:
    shared = np.intersect1d(mine, theirs)
    if len(shared):
        first = scored.sample_ids[np.flatnonzero(mine == shared[0])[0]]
        second = other.sample_ids[np.flatnonzero(theirs == shared[0])[0]]
        raise ContractError(
            f"the {scored.name} and the {other.name} share {plural(len(shared), one, many)}, such as that of the "
            f"images {first} and {second}: whoever is learnt from or calibrated on must not be scored; correct the "
            "data set, or its plugin"
        )
