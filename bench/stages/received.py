"""What an attack receives in a stage: the uploads of some faces, or several of each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.types import Received
from bench.core.errors import CapabilityError, ContractError
from bench.stages.shares import has_input, uploads_of
from bench.stages.stage_inputs import Job, StoredFaces, Uploads, read_faces, victim_of
from bench.store.artifacts import Artifact

Rows = NDArray[np.int64]


class SeveralUploads:
    """The uploads of the faces of an artifact, as the attack of a stage gets them.

    The option ``uploads`` of the stage is how many there are of each face. Further ones of one photo are those that the
    client makes with fresh randomness, the inputs ``further 1``, ``further 2`` ... of the stage. Further ones of a
    person are the uploads of further photos, the input ``further``, whose faces are the input ``further_faces``; or,
    without these inputs, the uploads of other faces of the same artifact. Where the stage has no such inputs for a
    photo (clean uploads), all uploads of a face are equal. A person with fewer photos is shown by some of them again.
    """

    def __init__(self, job: Job, held: Artifact, subjects: NDArray[np.int64]) -> None:
        """``subjects (n,)`` are the people whom the uploads of ``held`` show."""
        self.first = self._of(job, held)
        self.n = self.first.n
        self.more: list[tuple[Uploads, Rows]] = []
        wanted = job.stage.options.get("uploads", 1) - 1
        if not wanted:
            return
        own = np.arange(self.n)
        if job.stage.options["uploads_of"] == "person":
            self.more = self._of_person(job, subjects, wanted)
        elif has_input(job, "further 1"):
            others = [uploads_of(job, f"further {j + 1}", subjects) for j in range(wanted)]
            self.more = [(self._of(job, other), own) for other in others]
            _note_equal(job, held, others)
        else:
            self.more = [(self.first, own)] * wanted

    @staticmethod
    def _of(job: Job, held: Artifact) -> Uploads:
        return Uploads(job, held, victim_of(job), job.stage.options["splits"])

    def _of_person(self, job: Job, subjects: NDArray[np.int64], wanted: int) -> list[tuple[Uploads, Rows]]:
        if "further" not in job.stage.inputs:
            rows = [_others(subjects, subjects, j + 1) for j in range(wanted)]
            return [(self.first, row) for row in rows]
        held = job.input("further")
        shown = read_faces(job.input("further_faces")).subjects[held.tables["samples"]["face"].to_numpy()]
        return [(self._of(job, held), _others(subjects, shown, j)) for j in range(wanted)]

    @property
    def each(self) -> int:
        """How many uploads there are of each face."""
        return 1 + len(self.more)

    @property
    def mirrorable(self) -> bool:
        """True if the uploads are nothing but images, which the adversary can mirror."""
        return not self.first.native and not self.first.sent

    def received(self, rows: Any, *, images: bool, mirrored: bool = False) -> Received:
        """Return what is received of some rows; see `Uploads.received`."""
        first = self.first.received(rows, images=images, mirrored=mirrored)
        further = (u.received(index[rows], images=images, mirrored=mirrored) for u, index in self.more)
        return replace(first, further=tuple(further))

    def upload(self, rows: Any, number: int, *, images: bool) -> Received:
        """Return the upload with this number of some rows; 0 is the first."""
        uploads, index = (self.first, np.arange(self.n)) if number == 0 else self.more[number - 1]
        return uploads.received(index[rows], images=images)


def _others(subjects: NDArray[np.int64], shown: NDArray[np.int64], step: int) -> Rows:
    """Return for each of ``subjects (n,)`` the row of a picture in ``shown (m,)`` of the same person.

    If both are the same pictures, it is the one that comes ``step`` places after the own one among those of the person,
    and otherwise that with the number ``step``; both count round.
    """
    same = subjects is shown
    by_person = {int(person): np.flatnonzero(shown == person) for person in np.unique(subjects)}
    found = np.empty(len(subjects), np.int64)
    for row, person in enumerate(subjects.tolist()):
        own = by_person[person]
        start = int(np.searchsorted(own, row)) if same else 0
        found[row] = own[(start + step) % len(own)]
    return found


def _note_equal(job: Job, held: Artifact, others: Sequence[Artifact]) -> None:
    """Warn if all uploads of each photo are equal: the defense has no randomness that could be averaged out."""
    if all(np.array_equal(tensor, other.tensors[name]) for name, tensor in held.tensors.items() for other in others):
        label = job.component("attack").label
        warnings.warn(
            f"{label} receives {1 + len(others)} uploads of each photo, and all are equal: the defense is "
            "deterministic, so further uploads of a photo tell nothing more",
            UserWarning,
            stacklevel=2,
        )


class LearningExamples:
    """Implements `bench.api.types.Examples`: faces, with their uploads, from which an attack learns.

    ``labelled``: whether the attack, which ``plugin`` names, may know whom and what the faces show.
    """

    def __init__(
        self, faces: StoredFaces, uploads: SeveralUploads, *, with_images: bool, labelled: bool, plugin: str
    ) -> None:
        self.images = faces.images
        self._faces = faces
        self._uploads = uploads
        self._with_images = with_images
        self._labelled = labelled
        self._plugin = plugin

    @property
    def subjects(self) -> NDArray[np.int64]:
        """The people whom the faces show."""
        return self._labels("subjects").subjects

    @property
    def attributes(self) -> Mapping[str, NDArray[Any]]:
        """The labels of the faces, by attribute. Raise `ContractError` for one that the data set does not know."""
        return _KnownLabels(self._labels("attributes").attributes, self._plugin)

    def _labels(self, what: str) -> StoredFaces:
        if not self._labelled:
            raise CapabilityError(f"{self._plugin} requested examples.{what}; declare 'labels' in its sees")
        return self._faces

    def received(self, rows: NDArray[np.int64], upload: int = 0) -> Received:
        """Return the uploads of some of the faces."""
        if not 0 <= upload < self._uploads.each:
            raise ContractError(
                f"{self._plugin} requested received(rows, upload={upload}); it declares uploads = "
                f"{self._uploads.each}, numbered from 0"
            )
        return self._uploads.upload(rows, upload, images=self._with_images)


class _KnownLabels(dict[str, NDArray[Any]]):
    """Labels by attribute, with an error in words for an attribute that does not exist."""

    def __init__(self, labels: Mapping[str, NDArray[Any]], plugin: str) -> None:
        super().__init__(labels)
        self._plugin = plugin

    def __missing__(self, name: str) -> NDArray[Any]:
        known = ", ".join(sorted(self)) or "none"
        raise ContractError(
            f"{self._plugin} requested examples.attributes[{name!r}]; the faces that it learns from have these "
            f"attributes: {known}. Learn those, or set auxiliary to a data set that has {name!r}"
        )
