"""Real faces: the paper's data sets and any other set, read from the files in which they are distributed.

This module does not import torch: a suite is planned from these declarations alone. `locate` says in which folders
data sets are searched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import click
from annotated_types import Ge, Gt, Le, Lt

from bench import (
    Allowed,
    Check,
    Dataset,
    DataStatus,
    Faces,
    MissingDataError,
    Pairs,
    TrainingSet,
    everyone,
    hookimpl,
)
from bench_facesets.choices import Choices

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from bench import Context
    from bench_facesets.collection import Collection as FaceCollection
    from bench_facesets.pairing import Division, Protocol

Layout = Literal["auto", "bin", "parquet", "people", "table", "lfw", "agedb30", "calfw", "cfp-ff"]


class _Files(ABC):
    """The common part of data sets and training sets that are read from files."""

    @abstractmethod
    def place(self) -> tuple[Path, str]:
        """Return the path of the files and the name of their reader. Raises MissingDataError if they do not exist."""

    def choices(self) -> Choices:
        """Return what the suite chooses about the people."""
        return Choices()

    def collection(self, fresh: bool = False) -> FaceCollection:
        """Return the images, people and pairs; no image is decoded. With ``fresh``, a folder is listed again."""
        from bench_facesets import locate

        return locate.open_set(*self.place(), self.choices(), fresh)

    def fingerprint(self) -> str:
        """Return the digest of all files as they are now: images, and the files that define people and pairs."""
        from bench_facesets.fingerprints import fingerprint

        found = self.collection(fresh=True)
        return fingerprint(found.root, found.files)

    def _header_notes(self) -> tuple[str, ...]:
        """Return sentences on images with an EXIF orientation, and on others whose header matters."""
        from bench_facesets import headers

        return headers.of_training_set(self.collection())

    def _status(self, pairs: int | None, notes: tuple[str, ...] = ()) -> DataStatus:
        """Return the counts, with the notes of the reader and ``notes``."""
        found = self.collection()
        where, images = str(self.place()[0]), len(found.encoded)
        every = (*found.notes, *([found.passed_over] if found.passed_over else []), *notes, *self._header_notes())
        return DataStatus(where=where, layout=found.layout, images=images, pairs=pairs, notes=every)


@dataclass(frozen=True, kw_only=True)
class FileDataset(_Files, Dataset):
    """Faces from files. `bench_facesets.pairing` defines the folds, the calibration split and the auxiliary faces.

    With a pair protocol, thresholds are set on ``calibration_pairs`` pairs of the folds 0 to 7; the threshold for a
    scored pair is set on the pairs of the other folds.

    Without a pair protocol, people are divided at random by ``seed``: ``calibration_share`` of them are for
    thresholds, at most ``calibration_identities``; ``auxiliary_share`` are for attackers, at most
    ``auxiliary_identities``; pairs are drawn among the others, within ten folds that share no people. Copies of a
    picture are left out, and so are pictures that are labelled with several people.

    Attackers learn from at most ``auxiliary_pictures`` of each of their people.

    ``purpose`` exists to refuse ``"tuning"``: every pair of a published protocol is scored, so it has no people on whom
    settings could be chosen.
    """

    purpose: Literal["scoring", "tuning"] = "scoring"
    seed: Annotated[int, Ge(0)] = 0
    calibration_share: Annotated[float, Gt(0), Lt(1)] = 0.2
    auxiliary_share: Annotated[float, Gt(0), Lt(1)] = 0.2
    calibration_pairs: Annotated[int, Ge(20), Le(100_000)] = 1200
    calibration_identities: Annotated[int, Ge(10), Le(5000)] = 250
    auxiliary_identities: Annotated[int, Ge(10), Le(50_000)] = 250
    auxiliary_pictures: Annotated[int, Ge(1), Le(10_000)] = 2

    def __post_init__(self) -> None:
        """Check the purpose, and that the shares leave people for evaluation. Raises ValueError."""
        if self.purpose == "tuning":
            raise ValueError(
                'purpose = "tuning": a real set has no people who are never scored; choose settings on another set, '
                "such as a face-set of other people, without `purpose` (docs/suites.md)"
            )
        if self.calibration_share + self.auxiliary_share > 0.9:
            total = self.calibration_share + self.auxiliary_share
            raise ValueError(f"calibration_share + auxiliary_share: expected at most 0.9, found {total:g}")

    def source(self) -> Protocol | Division:
        """Return the source of the pairs: the set's own protocol, or a division of its people.

        The result is kept in the instance as long as `collection` returns the same object.
        """
        from bench_facesets.fingerprints import fingerprint
        from bench_facesets.pairing import Division, Protocol

        found = self.collection()
        kept: Protocol | Division | None = vars(self).get("_source")
        if kept is None or kept.collection is not found:
            if found.pairs is not None:
                kept = Protocol.of(found)
            else:
                digest = fingerprint(found.root, found.files)
                kept = Division.of(found, digest, self.seed, self.calibration_share, self.auxiliary_share)
            vars(self)["_source"] = kept
        return kept

    def max_pairs(self) -> int:
        """Return the number of pairs of the protocol, or the number that can be drawn; half of them are genuine.

        Raises DataError if the first image cannot be used, so that a set that is not aligned is refused when a suite
        is planned.
        """
        from bench_facesets.readers.images import decode

        encoded = self.collection().encoded
        decode(encoded.read(0), encoded.name(0))
        return self.source().max_pairs()

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """Return the first ``pairs`` pairs and their images. Genuine and impostor pairs alternate; with a protocol, the
        folds 0 to 7 take turns before the folds 8 and 9."""
        faces, chosen = self.source().evaluation(pairs)
        return self._numbered(faces), chosen

    def calibration(self, ctx: Context) -> Faces | tuple[Faces, Pairs]:
        """Return pairs of the folds 0 to 7, or, without a protocol, faces of people who are not scored."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        if not isinstance(source, Protocol):
            return self._numbered(source.calibration_faces(self.calibration_identities))
        faces, pairs = source.calibration(self.calibration_pairs)
        return self._numbered(faces), pairs

    def calibration_people(self) -> int:
        """Return how many people the calibration split shows; 0 with a protocol, whose people are all scored."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        return 0 if isinstance(source, Protocol) else source.calibration_people(self.calibration_identities)

    def auxiliary(self, ctx: Context) -> Faces:
        """Return faces of people who are in no pair; if there are too few, of people who are only in the folds 8 and
        9."""
        return self.auxiliary_among(everyone, ctx)

    def auxiliary_among(self, allowed: Allowed, ctx: Context) -> Faces:
        """Return faces as `auxiliary` does, of people whose names are allowed."""
        return self._numbered(self.source().auxiliary(self.auxiliary_identities, self.auxiliary_pictures, allowed))

    def auxiliary_people(self, allowed: Allowed) -> Collection[str]:
        """Return the names of these people; none for files without names, such as ``.bin``."""
        if self.collection().people is None:
            return ()
        return self.source().auxiliary_people(self.auxiliary_identities, self.auxiliary_pictures, allowed)

    def people(self, pairs: int) -> Collection[str]:
        """Return the names of the people in the pairs of a protocol; without one, of all people of whom pairs may be
        drawn. Files without names, such as ``.bin``, give none."""
        return () if self.collection().people is None else self.source().people(pairs)

    def _numbered(self, faces: Faces) -> Faces:
        """Return the faces with subject numbers that follow from names, if other sets show the same people."""
        from bench_facesets.pairing import numbered_by_name

        return numbered_by_name(self.collection(), faces) if self.people_of else faces

    def pairs_beside_auxiliary(self) -> int | None:
        """Return the number of pairs before the folds 8 and 9 if attackers learn from these folds, else None."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        return source.early if isinstance(source, Protocol) and not len(source.leftover()) else None

    def status(self) -> DataStatus:
        """Return the path, the layout and the counts of the set, or what is missing."""
        try:
            return self._status(self.max_pairs(), self.source().notes)
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def _header_notes(self) -> tuple[str, ...]:
        """Return sentences on all images whose header matters."""
        from bench_facesets import headers
        from bench_facesets.fingerprints import fingerprint

        found = self.collection()
        return headers.of_evaluation_set(found, fingerprint(found.root, found.files))

    def verify(self, training: Mapping[str, TrainingSet]) -> Iterator[Check]:
        """Check counts, images, pair protocol, overlap with training sets and near-duplicates; see `audit`."""
        from bench_facesets import audit

        digest, published = self.fingerprint(), getattr(self, "published", {})
        yield from audit.verify(self.collection(), digest, published, lambda: self.source().max_pairs(), training)


@dataclass(frozen=True, kw_only=True)
class KnownSet(FileDataset):
    """One of the paper's sets. ``path`` is its file or folder; by default the folders of ``$BENCH_DATA`` are searched.

    ``published``: how many images, people and pairs the set should have. ``named_as``: the set whose names its people
    have.
    """

    path: str = ""
    paper_name: ClassVar[str]
    published: ClassVar[Mapping[str, int]] = {}
    named_as: ClassVar[str] = ""

    @property
    def people_of(self) -> str:  # type: ignore[override]
        """The set whose people it shows, if their names are known; otherwise they are the set's own."""
        try:
            return self.named_as if self.named_as and self.collection().people is not None else ""
        except MissingDataError:
            return ""

    @property
    def stands_in_for(self) -> str | None:  # type: ignore[override]
        """The paper's name of the set; None if pairs are drawn, because published results do not apply to them."""
        return None if self._drawn() else self.paper_name

    def _drawn(self) -> bool:
        """Return whether the set exists without its pair protocol."""
        try:
            return self.collection().pairs is None
        except MissingDataError:
            return False

    def status(self) -> DataStatus:
        """Return the status of the files, with a note if the pairs are not those of the published protocol."""
        found = super().status()
        if not self._drawn():
            return found
        note = "its pair protocol is missing: pairs are drawn, and results do not compare with published ones"
        return replace(found, notes=(*found.notes, note))

    @classmethod
    def known_as(cls) -> str:
        """Return the name under which the set is registered."""
        return next(name for name, known in DATASETS.items() if known is cls)

    def place(self) -> tuple[Path, str]:
        """Return the given path, or the first known name in the data folders."""
        from bench_facesets import locate

        if self.path:
            return locate.known_at(self.known_as(), locate.named(self.path))
        return locate.find(self.known_as())


@dataclass(frozen=True, kw_only=True)
class Lfw(KnownSet):
    """Labeled Faces in the Wild (Huang et al. 2007), view 2: 10 folds of 300 genuine and 300 impostor pairs."""

    paper_name: ClassVar[str] = "LFW"
    stand_in: ClassVar[str | None] = "synth-lfw"
    named_as: ClassVar[str] = "lfw"
    license: ClassVar[str] = "photographs from the news; research use, no license is granted for the images"
    published: ClassVar[Mapping[str, int]] = {"images": 13233, "people": 5749, "pairs": 6000}


@dataclass(frozen=True, kw_only=True)
class AgeDb30(KnownSet):
    """AgeDB (Moschoglou et al. 2017), pairs 30 years apart: 10 folds of 300 genuine and 300 impostor pairs."""

    paper_name: ClassVar[str] = "AgeDB-30"
    stand_in: ClassVar[str | None] = "synth-agedb30"
    license: ClassVar[str] = "non-commercial research only, on request from its authors"
    published: ClassVar[Mapping[str, int]] = {"images": 12240, "people": 570, "pairs": 6000}


@dataclass(frozen=True, kw_only=True)
class Calfw(KnownSet):
    """Cross-Age LFW (Zheng et al. 2017): people of LFW; 3000 genuine pairs with age gaps, 3000 impostor pairs."""

    paper_name: ClassVar[str] = "CALFW"
    stand_in: ClassVar[str | None] = "synth-calfw"
    named_as: ClassVar[str] = "lfw"
    license: ClassVar[str] = "photographs found on the web; research use, no license is granted for the images"
    published: ClassVar[Mapping[str, int]] = {"pairs": 6000}


@dataclass(frozen=True, kw_only=True)
class CfpFf(KnownSet):
    """Celebrities in Frontal-Profile (Sengupta et al. 2016), frontal to frontal: 10 folds of 350 + 350 pairs."""

    paper_name: ClassVar[str] = "CFP-FF"
    stand_in: ClassVar[str | None] = "synth-cfp-ff"
    license: ClassVar[str] = "photographs found on the web; research use, no license is granted for the images"
    published: ClassVar[Mapping[str, int]] = {"people": 500, "pairs": 7000}


@dataclass(frozen=True, kw_only=True)
class FaceSet(Choices, FileDataset):
    """Any other set: ``path`` is a folder ``subject/image``, a ``.bin``, Parquet, a table of images and people,
    or one of the known layouts.

    ``license`` is a note for reports that show its faces. ``people_of``: the set whose people it shows under the same
    names, such as ``lfw``; empty if the people are its own. The others are those of `Choices`.
    """

    path: str
    layout: Layout = "auto"
    people_of: str = ""  # type: ignore[misc]
    license: str = "unknown; ask the publisher of the data set"  # type: ignore[misc]

    def __post_init__(self) -> None:
        """Check the choices, the purpose and the shares. Raises ValueError."""
        Choices.__post_init__(self)
        FileDataset.__post_init__(self)

    def place(self) -> tuple[Path, str]:
        """Return the given path; the reader is detected from the files unless ``layout`` sets it."""
        from bench_facesets import locate

        path = locate.named(self.path)
        found = locate.detect(path)
        return path, found if self.layout == "auto" else self.layout

    def choices(self) -> Choices:
        """Return what the suite chooses about the people."""
        return self.chosen


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FileTraining(Choices, _Files, TrainingSet):
    """Training faces from a folder ``subject/image``, ``.rec`` with ``.idx``, Parquet or a table; the parameters are
    those of `Choices`."""

    path: str = ""

    def choices(self) -> Choices:
        """Return what the suite chooses about the people."""
        return self.chosen

    def place(self) -> tuple[Path, str]:
        """Return the given path and its reader."""
        from bench_facesets import locate

        path = locate.named(self.path)
        reader = locate.detect(path)
        return path, "people" if path.is_dir() and reader != "parquet" else reader

    def status(self) -> DataStatus:
        """Return the path, the layout and the counts of the set, or what is missing."""
        try:
            return self._status(None)
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def people(self) -> Sequence[str]:
        """Return the names of the people, or their numbers if the names are not known."""
        return self._known().codes[1]

    def labels(self) -> NDArray[np.int64]:
        """Return the person of every image, int64 ``(n,)``, ascending."""
        return self._known().codes[0]

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images ``rows``: uint8 ``(len(rows), 3, 112, 112)``."""
        import numpy as np

        from bench_facesets.readers.images import DecodedImages

        found = self._known()
        return DecodedImages(found.encoded, np.arange(len(found.encoded)))[rows]

    def _known(self) -> FaceCollection:
        return self.collection().grouped


@dataclass(frozen=True, kw_only=True)
class FaceSetTraining(FileTraining):
    """Any set of faces to train on; ``path`` is a folder, a ``.rec`` or Parquet."""

    license: ClassVar[str] = "unknown; ask the publisher of the data set"

    def __post_init__(self) -> None:
        """Check that a path is given. Raises ValueError."""
        super().__post_init__()
        if not self.path:
            raise ValueError("path: expected a folder subject/image, a .rec or Parquet, found none")


@dataclass(frozen=True, kw_only=True)
class CasiaWebFace(FileTraining):
    """CASIA-WebFace (Yi et al. 2014). ``path``: its folder or file; by default ``$BENCH_DATA`` is searched."""

    license: ClassVar[str] = "non-commercial research only; no longer distributed by its authors"
    published: ClassVar[Mapping[str, int]] = {"images": 490623, "people": 10572}

    def place(self) -> tuple[Path, str]:
        """Return the given path, or the first known name in the data folders."""
        from bench_facesets import locate

        return super().place() if self.path else locate.find("casia-webface")


DATASETS: Mapping[str, type[Dataset]] = {
    "lfw": Lfw,
    "agedb30": AgeDb30,
    "calfw": Calfw,
    "cfp-ff": CfpFf,
    "face-set": FaceSet,
}


@hookimpl
def bench_datasets() -> Mapping[str, type[Dataset]]:
    """Register the paper's four sets, and ``face-set`` for any other."""
    return DATASETS


@hookimpl
def bench_training_sets() -> Mapping[str, type[TrainingSet]]:
    """Register CASIA-WebFace, and ``face-set`` for any other training set."""
    return {"casia-webface": CasiaWebFace, "face-set": FaceSetTraining}


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    """Register ``bench data align``, ``convert`` and ``unpack``."""
    from bench_facesets import commands
    from bench_facesets.alignment import command

    return {"data align": command.align, "data convert": commands.convert, "data unpack": commands.unpack}
