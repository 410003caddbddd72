"""Real faces: the paper's data sets and any set of one's own, read from the files that researchers have.

Nothing here imports torch: a suite is planned from these declarations alone. `places` says where sets are looked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import click
from annotated_types import Ge, Gt, Le, Lt

from bench import Check, Dataset, DataStatus, Faces, MissingDataError, Pairs, TrainingSet, expand, hookimpl

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from bench import Context
    from bench_facesets.collection import Collection
    from bench_facesets.pairing import Division, Protocol

Layout = Literal["auto", "bin", "parquet", "people", "lfw", "agedb30", "calfw", "cfp-ff"]


class _Files(ABC):
    """What data sets and training sets read from files have in common."""

    @abstractmethod
    def place(self) -> tuple[Path, str]:
        """Where the files are, and which reader they need; `MissingDataError` when they are not there."""

    def collection(self) -> Collection:
        """The images, people and pairs; nothing is decoded."""
        from bench_facesets import locate

        return locate.open_set(*self.place())

    def fingerprint(self) -> str:
        """The digest of the files: images, and what says who they show and how they are paired."""
        from bench_facesets.fingerprints import fingerprint

        found = self.collection()
        return fingerprint(found.root, found.files)

    def _status(self, pairs: int | None) -> DataStatus:
        found = self.collection()
        where, images = str(self.place()[0]), len(found.encoded)
        return DataStatus(where=where, layout=found.layout, images=images, pairs=pairs, notes=found.notes)


@dataclass(frozen=True, kw_only=True)
class FileDataset(_Files, Dataset):
    """Faces from files. What the folds, thresholds and attackers get is in `pairing`.

    ``calibration_pairs``: of a set with a pair protocol, from the folds 0 to 7; the threshold for a scored pair is set
    on those of other folds.

    Without a pair protocol, people are divided by ``seed``: ``calibration_share`` of them set thresholds, at most
    ``calibration_identities``; ``auxiliary_share`` are for attackers, at most ``auxiliary_identities``; pairs are drawn
    among the others, within ten folds that share no people.
    """

    seed: Annotated[int, Ge(0)] = 0
    calibration_share: Annotated[float, Gt(0), Lt(1)] = 0.2
    auxiliary_share: Annotated[float, Gt(0), Lt(1)] = 0.2
    calibration_pairs: Annotated[int, Ge(20), Le(100_000)] = 1200
    calibration_identities: Annotated[int, Ge(10), Le(5000)] = 250
    auxiliary_identities: Annotated[int, Ge(10), Le(50_000)] = 250

    def __post_init__(self) -> None:
        """Checks that span fields. Raises ValueError."""
        if self.calibration_share + self.auxiliary_share > 0.9:
            total = self.calibration_share + self.auxiliary_share
            raise ValueError(f"calibration_share + auxiliary_share: expected at most 0.9, found {total:g}")

    def source(self) -> Protocol | Division:
        """How pairs come about: the set's own protocol, or drawn among people."""
        from bench_facesets.pairing import Division, Protocol

        found = self.collection()
        if found.pairs is not None:
            return Protocol.of(found)
        return Division.of(found, self.seed, self.calibration_share, self.auxiliary_share)

    def max_pairs(self) -> int:
        """The pairs of the protocol, or as many as can be drawn; half of them genuine.

        `DataError` when the first image cannot be used, so that a set that is not aligned stops a suite as it is
        planned.
        """
        from bench_facesets.pairing import Protocol
        from bench_facesets.readers.images import decode

        source, encoded = self.source(), self.collection().encoded
        decode(encoded.read(0), encoded.name(0))
        return len(source.order) if isinstance(source, Protocol) else source.max_pairs()

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """The first pairs; genuine and impostor alternate and the folds take turns, 8 and 9 last."""
        return self.source().evaluation(pairs)

    def calibration(self, ctx: Context) -> Faces | tuple[Faces, Pairs]:
        """Pairs of the folds 0 to 7, or, without a protocol, people who are not scored."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        if isinstance(source, Protocol):
            return source.calibration(self.calibration_pairs)
        return source.calibration_faces(self.calibration_identities)

    def auxiliary(self, ctx: Context) -> Faces:
        """People who are in no pair; where there are none, those of the folds 8 and 9 alone."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        if isinstance(source, Protocol):
            return source.auxiliary(self.auxiliary_identities)
        return source.auxiliary_faces(self.auxiliary_identities)

    def pairs_beside_auxiliary(self) -> int | None:
        """The pairs before the folds 8 and 9 begin, where these are what attackers learn from."""
        from bench_facesets.pairing import Protocol

        source = self.source()
        return source.early if isinstance(source, Protocol) and not len(source.leftover()) else None

    def status(self) -> DataStatus:
        """Where it is, in which layout, and what is missing."""
        try:
            return self._status(self.max_pairs())
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def verify(self, training: Mapping[str, TrainingSet]) -> Iterator[Check]:
        """Counts, decodability, pair protocol, overlap and near-duplicates; see `verification`."""
        from bench_facesets import audit

        yield from audit.verify(self, training)


@dataclass(frozen=True, kw_only=True)
class KnownSet(FileDataset):
    """One of the paper's sets. ``path`` names its file or folder; without, it is looked for in ``$BENCH_DATA``."""

    path: str = ""
    paper_name: ClassVar[str]
    published: ClassVar[Mapping[str, int]] = {}  #: what the set should hold: images, people, pairs

    @property
    def stands_in_for(self) -> str | None:  # type: ignore[override]
        """The paper's name of the set; none where pairs are drawn, for no published figure is about them."""
        return None if self._drawn() else self.paper_name

    def _drawn(self) -> bool:
        """Whether the set is there without its pair protocol."""
        try:
            return self.collection().pairs is None
        except MissingDataError:
            return False

    def status(self) -> DataStatus:
        """Also whether the pairs are those of the published protocol."""
        found = super().status()
        if not self._drawn():
            return found
        note = "its pair protocol is not there: pairs are drawn, and figures do not compare with published ones"
        return replace(found, notes=(*found.notes, note))

    @classmethod
    def known_as(cls) -> str:
        """The set's name."""
        return next(name for name, known in DATASETS.items() if known is cls)

    def place(self) -> tuple[Path, str]:
        """The given path, or the first known name in the data folders."""
        from bench_facesets import locate

        if self.path:
            return locate.known_at(self.known_as(), expand(self.path, "path"))
        return locate.find(self.known_as())


@dataclass(frozen=True, kw_only=True)
class Lfw(KnownSet):
    """Labeled Faces in the Wild (Huang et al. 2007), view 2: 10 folds of 300 genuine and 300 impostor pairs."""

    paper_name: ClassVar[str] = "LFW"
    stand_in: ClassVar[str | None] = "synth-lfw"
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
    """Cross-Age LFW (Zheng et al. 2017): 3000 genuine pairs with age gaps, 3000 impostor pairs of equal gender."""

    paper_name: ClassVar[str] = "CALFW"
    stand_in: ClassVar[str | None] = "synth-calfw"
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
class FaceSet(FileDataset):
    """A set of one's own: ``path`` is a folder ``subject/image``, a ``.bin``, Parquet, or one of the known layouts.

    ``license`` is a note for reports that show its faces.
    """

    path: str
    layout: Layout = "auto"
    license: str = "unknown; ask whoever collected it"  # type: ignore[misc]

    def place(self) -> tuple[Path, str]:
        """The given path; the reader is chosen by what lies there, unless ``layout`` says it."""
        from bench_facesets import locate

        path = expand(self.path, "path")
        found = locate.detect(path)
        return path, found if self.layout == "auto" else self.layout


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FileTraining(_Files, TrainingSet):
    """Training faces from a folder ``subject/image``, ``.rec`` with ``.idx``, or Parquet."""

    path: str = ""

    def place(self) -> tuple[Path, str]:
        """The given path."""
        from bench_facesets import locate

        path = expand(self.path, "path")
        reader = locate.detect(path)
        return path, "people" if path.is_dir() and reader != "parquet" else reader

    def status(self) -> DataStatus:
        """Where it is, in which layout, and what is missing."""
        try:
            return self._status(None)
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def people(self) -> Sequence[str]:
        """The names of the people; numbers, where names are not known."""
        return self._known().codes[1]

    def labels(self) -> NDArray[np.int64]:
        """The person of every image, ascending."""
        return self._known().codes[0]

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images uint8 ``(len(rows), 3, 112, 112)``."""
        import numpy as np

        from bench_facesets.readers.images import DecodedImages

        found = self._known()
        return DecodedImages(found.encoded, np.arange(len(found.encoded)))[rows]

    def _known(self) -> Collection:
        return self.collection().grouped


@dataclass(frozen=True, kw_only=True)
class FaceSetTraining(FileTraining):
    """Faces of one's own to train on; ``path`` is a folder, a ``.rec`` or Parquet."""

    license: ClassVar[str] = "unknown; ask whoever collected it"

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: expected a folder subject/image, a .rec or Parquet, found none")


@dataclass(frozen=True, kw_only=True)
class CasiaWebFace(FileTraining):
    """CASIA-WebFace (Yi et al. 2014). ``path``: its folder or file; without, it is looked for in ``$BENCH_DATA``."""

    license: ClassVar[str] = "non-commercial research only; no longer distributed by its authors"
    published: ClassVar[Mapping[str, int]] = {"images": 490623, "people": 10572}

    def place(self) -> tuple[Path, str]:
        """The given path, or the first known name in the data folders."""
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
    """The paper's four sets, and any other."""
    return DATASETS


@hookimpl
def bench_training_sets() -> Mapping[str, type[TrainingSet]]:
    """CASIA-WebFace, and any other."""
    return {"casia-webface": CasiaWebFace, "face-set": FaceSetTraining}


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    """What to do with files before they are used."""
    from bench_facesets import commands
    from bench_facesets.alignment import command

    return {"data align": command.align, "data convert": commands.convert, "data unpack": commands.unpack}
