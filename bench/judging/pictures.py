"""Both folders of pictures, matched by name, and what was left out of them.

`bench.judging.reading` reads them.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from bench.api.context import Context
from bench.api.datasets import Dataset
from bench.core.errors import DataError
from bench.core.people import comparable_name
from bench.judging.reading import FolderFaces, Request, read_folders
from bench.metrics.arrays import Images
from bench.registry.components import instantiate
from bench.registry.discovery import Registry

if TYPE_CHECKING:
    import torch

NO_FACE, SEVERAL = "no face", "several faces"
_FACELESS = (NO_FACE, SEVERAL)
_BESIDE = ("no picture", "link")  # what is no picture, and is only counted

#: The alignments, which say where the face in a protected picture is taken to be: where it is found there, where it is
#: in the original, or everywhere, because the pictures are aligned crops.
OWN, ORIGINAL, GIVEN = "own", "original", "given"


@dataclass(frozen=True, kw_only=True)
class PhotoPeople:
    """Who the people of originals are: ``of`` gives the number of the person by name of a picture. ``known`` is False
    if nothing says so; then every picture has a number of its own, and two numbers may be one person."""

    of: Mapping[str, int]
    names: tuple[str, ...]
    known: bool

    @property
    def count(self) -> int:
        """The number of people, or of pictures if these are not known."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Pictures that are not judged, or only in part: how many and which, and why."""

    what: str
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JudgedPictures:
    """Everything that is judged.

    - ``gallery``: the names of all originals with a face, and ``originals`` their faces ``(m, 3, 112, 112)``
    - ``photos``: the names of the photos that are judged, all in the gallery: the original has a face, and the
      protected picture can be read
    - ``protected``: for each alignment, the rows in ``photos`` of those with a face, and these faces
    """

    people: PhotoPeople
    gallery: tuple[str, ...]
    originals: Images
    photos: tuple[str, ...]
    protected: Mapping[str, tuple[NDArray[np.int64], Images]]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def people_of(names: list[str], *, one_person_each: bool) -> PhotoPeople:
    """Return the people of pictures: the folders in which all of them lie, or each picture its own person."""
    folders = {name: posixpath.dirname(name) for name in names}
    if names and all(folders.values()) and not one_person_each:
        people = sorted(set(folders.values()))
        number = {folder: k for k, folder in enumerate(people)}
        return PhotoPeople(of={name: number[folders[name]] for name in names}, names=tuple(people), known=True)
    ordered = sorted(names)
    return PhotoPeople(of={name: k for k, name in enumerate(ordered)}, names=tuple(ordered), known=one_person_each)


def read_both(
    originals: Path, protected: Path, *, aligned: bool, suffix: str, one_person_each: bool, others: Path | None = None
) -> tuple[JudgedPictures, FolderFaces | None]:
    """Read both folders and match their pictures by name; and the folder of ``others``, if there is one. Raise
    `DataError` if nothing is left to judge."""
    given = GIVEN if aligned else OWN
    requests: dict[str, Request] = {
        "originals": Request(path=originals, aligned=aligned),
        given: Request(path=protected, aligned=aligned, suffix=suffix),
    }
    if not aligned:
        requests[ORIGINAL] = Request(path=protected, like=originals, suffix=suffix)
    if others is not None:
        requests["others"] = Request(path=others, aligned=aligned)
    found = dict(zip(requests, read_folders(list(requests.values())), strict=True))
    before, strangers = found.pop("originals"), found.pop("others", None)
    pictures = _matched(before, found, originals, protected, one_person_each=one_person_each)
    return pictures, strangers


def _matched(
    before: FolderFaces, after: Mapping[str, FolderFaces], originals: Path, protected: Path, *, one_person_each: bool
) -> JudgedPictures:
    """Match the originals with the protected pictures, which are ``after`` by alignment. Raise `DataError` if nothing
    is left to judge."""
    first = next(iter(after.values()))
    known = before.usable
    rows = {alignment: found.usable for alignment, found in after.items()}
    photos = sorted(name for name in known if any(name in found for found in rows.values()))
    left_out = tuple(group for group in _left_out(before, first, photos) if group.names)
    if not photos:
        raise DataError(_nothing(originals, protected, before, first, left_out))
    gallery = sorted(known)
    notes = _size_notes(after.get(ORIGINAL, first))
    return JudgedPictures(
        people=people_of(gallery, one_person_each=one_person_each),
        gallery=tuple(gallery),
        originals=before.images[[known[name] for name in gallery]],
        photos=tuple(photos),
        protected={
            alignment: (
                np.array([k for k, name in enumerate(photos) if name in rows[alignment]], dtype=np.int64),
                found.images[[rows[alignment][name] for name in photos if name in rows[alignment]]],
            )
            for alignment, found in after.items()
        },
        left_out=left_out,
        notes=notes,
    )


def _left_out(before: FolderFaces, after: FolderFaces, photos: list[str]) -> list[LeftOut]:
    """Return what is not judged or only in part: in originals, in protected pictures, and what has no counterpart."""
    judged, found = set(photos), []
    pictures = {
        side: {faces.names[row] for row in range(len(faces.names)) if faces.problems[row] not in _BESIDE}
        for side, faces in (("originals", before), ("protected", after))
    }

    def group(what: str, faces: FolderFaces, rows: list[int], *, detail: bool = False) -> None:
        texts = [f"{faces.names[row]} ({faces.details[row]})" if detail else faces.names[row] for row in rows]
        found.append(LeftOut(what=what, names=tuple(texts)))

    group("originals without a face that the detector finds", before, before.with_problem(NO_FACE))
    group("originals with several faces, none of which stands out", before, before.with_problem(SEVERAL))
    group("protected pictures without a face that the detector finds", after, after.with_problem(NO_FACE))
    group("protected pictures with several faces, none of which stands out", after, after.with_problem(SEVERAL))
    for word, faces in (("originals", before), ("protected pictures", after)):
        group(f"{word} that cannot be read", faces, faces.with_problem("unreadable"), detail=True)
        group(f"{word} of which two have one name", faces, faces.with_problem("same name"), detail=True)
        group(f"files among {word} that are no pictures", faces, faces.with_problem("no picture"), detail=True)
        group(f"links among {word}, which are not followed", faces, faces.with_problem("link"))
    for word, own, other in (
        ("originals without a protected picture of the same name", "originals", "protected"),
        ("protected pictures without an original of the same name", "protected", "originals"),
    ):
        alone = sorted(pictures[own] - pictures[other] - judged)
        found.append(LeftOut(what=word, names=tuple(alone)))
    return found


def _size_notes(after: FolderFaces) -> tuple[str, ...]:
    """Return a sentence on protected pictures of another size than the originals."""
    noted = [row for row, note in enumerate(after.notes) if note and not after.problems[row]]
    if not noted:
        return ()
    shape = sum("another shape" in after.notes[row] for row in noted)
    more = f"; {shape} of them also have another shape, so that the place of the face is uncertain" if shape else ""
    example = f"{after.names[noted[0]]}: {after.notes[noted[0]]}"
    return (
        f"{len(noted)} protected pictures have another size than their originals, and were compared at one size{more} "
        f"(such as {example})",
    )


def _nothing(
    originals: Path, protected: Path, before: FolderFaces, after: FolderFaces, left_out: tuple[LeftOut, ...]
) -> str:
    """Say why nothing is left to judge."""
    both = {name for name in before.names if name in set(after.names)}
    what = "; ".join(f"{len(group.names)} {group.what}" for group in left_out) or "both folders are empty"
    message = f"{protected}: expected protected pictures of the originals in {originals}, found none to judge: {what}"
    if not both and before.names and after.names:
        example = f"{before.names[0]!r} and {after.names[0]!r}"
        message += (
            f". Pictures belong together if their paths below the two folders are equal but for the suffix of the file "
            f"(here {example}); if the program adds a text to names, such as _cloaked, use --suffix _cloaked"
        )
    return message


# ---- other people, on whom thresholds are set ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OtherPeople:
    """Clean pictures of people other than those who are judged: ``images`` ``(n, 3, 112, 112)``, ``people (n,)`` their
    numbers; ``pairs (k, 2)`` the impostor pairs that count, None for all pairs of different people; and in words where
    they come from, with notes."""

    images: Images
    people: NDArray[np.int64]
    pairs: NDArray[np.int64] | None
    source: str
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of people."""
        return len(np.unique(self.people))


_PICTURES_EACH, _MOST_PEOPLE = 2, 250  # of strangers: more makes no threshold better that these photos can use
_MOST_PAIRS = 5000  # of different people, where a data set lists them


def strangers_of_folder(found: FolderFaces, folder: Path, pictures: JudgedPictures) -> OtherPeople:
    """Return the people of a folder with one folder per person, without those who are judged.

    People with the name of somebody who is judged are left out, and people of whom a picture is one of the originals.
    Raise `DataError` if nobody is left, or if the folder does not say who the people are.
    """
    usable = found.usable
    names = sorted(usable)
    if not names or not all(map(posixpath.dirname, names)):
        raise DataError(
            f"--calibrate {folder}: expected pictures in one folder per person, found "
            f"{'none with a face' if not names else 'pictures that lie in no such folder'}"
        )
    judged = {_key(name) for name in pictures.people.names} if pictures.people.known else set()
    same = {image.tobytes() for image in pictures.originals}
    by_person: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_person[posixpath.dirname(name)].append(name)
    left_out = sorted(
        person
        for person, own in by_person.items()
        if _key(person) in judged or any(found.images[usable[name]].tobytes() in same for name in own)
    )
    chosen = [person for person in by_person if person not in left_out][:_MOST_PEOPLE]
    if len(chosen) < 2:
        raise DataError(
            f"--calibrate {folder}: expected people other than those who are judged, found {len(chosen)}"
            f"{f' beside {len(left_out)} who are judged too' if left_out else ''}; name a folder of other people"
        )
    rows = [(k, usable[name]) for k, person in enumerate(chosen) for name in by_person[person][:_PICTURES_EACH]]
    notes = [f"{len(left_out)} people of --calibrate are judged too, by name or picture, and were left out"]
    faceless = len(found.with_problem(*_FACELESS, "unreadable", "same name"))
    notes += [f"{faceless} pictures of --calibrate were left out: no single face was found, or they cannot be read"]
    return OtherPeople(
        images=found.images[[row for _, row in rows]],
        people=np.array([person for person, _ in rows], dtype=np.int64),
        pairs=None,
        source=f"{len(chosen)} other people of the folder --calibrate",
        notes=tuple(note for note, count in zip(notes, (len(left_out), faceless), strict=True) if count),
    )


def strangers_of_dataset(registry: Registry, name: str) -> OtherPeople:
    """Return people of the calibration split of a registered data set. Raise `BenchError` if it cannot be read, and
    `DataError` if its faces are computer-generated or have another size."""
    where = f"--calibrate {name}"
    dataset: Dataset = instantiate(registry.find("dataset", name, where).cls, {}, where)
    found = dataset.calibration(Context(device=cast("torch.device", "cpu"), seed=0, plugin=f"data set {name}"))
    faces, pairs = found if isinstance(found, tuple) else (found, None)
    if tuple(faces.images.shape[1:]) != (3, 112, 112):
        raise DataError(f"{where}: expected aligned faces of 112x112, found {faces.images.shape[2:]}")
    subjects = np.asarray(faces.subjects)
    if pairs is None:
        first = [np.flatnonzero(subjects == who)[:_PICTURES_EACH] for who in np.unique(subjects)[:_MOST_PEOPLE]]
        rows, listed = np.concatenate(first), None
    else:
        apart = np.flatnonzero(~pairs.same)[:_MOST_PAIRS]
        rows, places = np.unique(np.stack([pairs.left[apart], pairs.right[apart]], axis=1), return_inverse=True)
        listed = places.reshape(-1, 2)
    notes = ("the people of --calibrate are computer-generated, so that this threshold says nothing about real photos",)
    return OtherPeople(
        images=np.asarray(faces.images[rows]),
        people=subjects[rows],
        pairs=listed,
        source=f"people of the calibration split of the data set {name}",
        notes=notes if dataset.synthetic else (),
    )


def _key(person: str) -> str:
    """Return the text by which people of two folders are compared; a number is compared as it is written."""
    return comparable_name(person) or person
