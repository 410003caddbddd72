"""Auxiliary faces that were protected in shares (see `bench.planning.shares`), put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.stages.stage_inputs import Job
from bench.store.artifacts import Artifact

Rows = NDArray[np.int64]


def person_by_person(subjects: NDArray[np.int64]) -> Rows:
    """Return the rows of faces in the order in which a budget takes them: person by person, in the order of the first
    face of each; the faces of a person stay in their order."""
    _, first, person = np.unique(subjects, return_index=True, return_inverse=True)
    return np.argsort(first[person], kind="stable")


def has_input(job: Job, role: str) -> bool:
    """Return True if a stage has an input ``role``, whole or in shares."""
    return role in job.stage.inputs or _named(role, 0) in job.stage.inputs


def uploads_of(job: Job, role: str, subjects: NDArray[np.int64]) -> Artifact:
    """Return the uploads that are the input ``role`` of a stage, in the order of the faces of these ``subjects (n,)``.

    Those of shares are not copied: the arrays of the artifact read them from the artifacts of the shares.
    """
    if role in job.stage.inputs:
        return job.input(role)
    parts: list[Artifact] = []
    while _named(role, len(parts)) in job.stage.inputs:
        parts.append(job.input(_named(role, len(parts))))
    held = [part for part in parts if len(part.tables["samples"])]
    place = np.empty(len(subjects), np.int64)
    place[person_by_person(subjects)] = np.arange(len(subjects))
    tensors: dict[str, Any] = {name: _InShares([p.tensors[name] for p in held], place) for name in held[0].tensors}
    return replace(held[0], tensors=tensors, tables={"samples": pa.table({"face": np.arange(len(subjects))})})


def _named(role: str, share: int) -> str:
    return f"{role}, share {share}"


class _InShares:
    """An array ``(n, ...)`` whose rows lie in several: row ``i`` is number ``place[i]`` of all rows of ``parts``."""

    def __init__(self, parts: Sequence[NDArray[Any]], place: Rows) -> None:
        self._parts = parts
        self._place = place
        self._ends = np.cumsum([len(part) for part in parts])
        self.dtype = parts[0].dtype
        self.shape = (len(place), *parts[0].shape[1:])
        assert self._ends[-1] == len(place)

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        place = self._place[rows]
        found = np.empty((*place.shape, *self.shape[1:]), self.dtype)
        share = np.searchsorted(self._ends, place, side="right")
        for number, part in enumerate(self._parts):
            own = share == number
            found[own] = part[place[own] - (self._ends[number] - len(part))]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self[:]
        return found if dtype is None else found.astype(dtype)
