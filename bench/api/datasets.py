"""The base classes of data sets and training sets, and the job that trains on one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.api.types import Check, DataStatus, Faces, Pairs
from bench.core.errors import ContractError, MissingDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.api.context import Context


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """A source of faces and verification pairs.

    - ``stands_in_for``: for a stand-in, the name of the paper's data set that it replaces
    - ``synthetic``: True if the faces are generated; every row and every report then says so
    - ``stand_in``: the data set that replaces this one in a suite with ``data = "auto"`` when its files are missing
      (its methods then raise `MissingDataError`); the stand-in gets those parameters that both have
    - ``people_of``: whose people the images show. In data sets with the same text, equal subject numbers are the same
      person, who is then not counted twice where results are pooled; with an empty text, the people are the data set's
      own
    - ``image_size``: height and width of the images in pixels
    - ``license``: the license of the data
    """

    stands_in_for: ClassVar[str | None] = None
    synthetic: ClassVar[bool] = False
    stand_in: ClassVar[str | None] = None
    people_of: ClassVar[str] = ""
    image_size: ClassVar[tuple[int, int]] = (112, 112)
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of everything that decides the images: files, or the generator's version and seed."""

    def max_pairs(self) -> int | None:
        """Return the number of pairs that exist, or None if it is unlimited. A suite that requests more is an error."""
        return None

    @abstractmethod
    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """Return the images to evaluate and the first ``pairs`` verification pairs of them.

        Half of the pairs are genuine, and no person appears in two folds.
        """

    @abstractmethod
    def calibration(self, ctx: Context) -> Faces | tuple[Faces, Pairs]:
        """Return the calibration split: the faces on which thresholds are set.

        They show identities that are never scored, with at least two images each. All pairs of images of different
        people count as impostor pairs.

        If identities are known only within the pairs of a protocol, return the images and pairs of that protocol. The
        threshold for a scored pair is then set on the pairs of all other folds.
        """

    def calibration_people(self) -> int:
        """Return how many people `calibration` shows with at least two pictures each, without decoding an image; 0 if
        it returns pairs, whose people are scored in other folds.

        In an experiment with ``adversary_threshold = "calibration"``, pictures of some of them are protected like those
        of scored people, so that adversaries set their thresholds on them. With fewer than two, adversaries use the
        scored people.
        """
        return 0

    def auxiliary(self, ctx: Context) -> Faces:
        """Return training faces for defenses and attacks, of identities that are neither scored nor calibrated on."""
        raise ContractError(f"{type(self).__name__} has no auxiliary(): it has no faces to learn from")

    def pairs_beside_auxiliary(self) -> int | None:
        """Return how many pairs can be evaluated without any identity of `auxiliary`, or None if this is unlimited.

        If a suite evaluates more pairs, the cells whose attack or defense is trained on this data set are skipped.
        """
        return None

    def further_pictures(self, pairs: int) -> int:
        """Return how many pictures of each scored person are in no pair, at least; 0 if there are none.

        A defense with the need ``enrolment`` is skipped on data sets without such pictures.
        """
        return 0

    def further(self, pairs: int, ctx: Context) -> Faces:
        """Return pictures of the people whom the first ``pairs`` pairs show that are in no pair, with the same subject
        numbers. Called only if `further_pictures` says that there are some."""
        raise ContractError(f"{type(self).__name__} has further_pictures() and no further()")

    def people(self, pairs: int) -> Collection[str]:
        """Return the names of the people whom the first ``pairs`` pairs show, without decoding an image; an empty
        collection if they are not known.

        Names are compared with those of other data sets and of training sets, without case, spaces, punctuation and
        Unicode form (`bench.comparable_name`); a name that is only a number is compared within these files only. The
        result may name more people than are shown.
        """
        return ()

    def auxiliary_people(self, allowed: Callable[[str], bool]) -> Collection[str]:
        """Return the names of the people whose faces `auxiliary_among` returns; an empty collection if not known."""
        return ()

    def auxiliary_among(self, allowed: Callable[[str], bool], ctx: Context) -> Faces:
        """Return faces like `auxiliary`, of people whose names ``allowed`` accepts.

        Called only if `auxiliary_people` names people: some of them are scored, or a defense and an adversary of one
        cell must not learn from the same people.
        """
        raise ContractError(f"{type(self).__name__} has auxiliary_people() and no auxiliary_among()")

    def status(self) -> DataStatus:
        """Return what ``bench data status`` shows. Missing files are reported in it, not raised."""
        try:
            self.fingerprint()
        except MissingDataError as error:
            return DataStatus(missing=str(error))
        layout = "generated" if self.synthetic else ""
        return DataStatus(where=layout, layout=layout, pairs=self.max_pairs())

    def verify(self, training: Mapping[str, TrainingSet]) -> Iterator[Check]:
        """Yield the checks that ``bench data verify`` shows.

        They tell whether every image can be decoded, whether every pair is valid, and which images or identities the
        data set shares with the training sets in ``training`` (by label). Raises `MissingDataError` if the data set is
        missing.
        """
        yield Check(what="fingerprint", ok=True, found=self.fingerprint())


@dataclass(frozen=True, kw_only=True)
class TrainingSet(ABC):
    """A source of training faces for ``bench train``. Its identities appear in no data set that is evaluated."""

    image_size: ClassVar[tuple[int, int]] = (112, 112)
    license: ClassVar[str] = "unknown"

    def status(self) -> DataStatus:
        """Return what ``bench data status`` shows. Missing files are reported in it, not raised."""
        try:
            return DataStatus(images=len(self.labels()))
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def people(self) -> Sequence[str]:
        """Return the names of the people, in the order of the numbers in `labels`; empty if names are unknown."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of everything that decides the images."""

    @abstractmethod
    def labels(self) -> NDArray[np.int64]:
        """Return the identity of every image: int64 ``(n,)``, numbers in ascending order from 0."""

    @abstractmethod
    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at the indices ``rows``: uint8 ``(len(rows), 3, h, w)`` RGB, always the same for a row."""

    def attributes(self, rows: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        """Return the attribute labels of the images at the indices ``rows``, by name, each ``(len(rows),)``.

        ``age`` is a float in years; all other attributes are text.
        """
        raise ContractError(f"{type(self).__name__} has no attribute labels")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What the method ``train`` of a model, a defense or an attack receives.

    - ``name``: the name of what is trained
    - ``data``: the training faces
    - ``seed``: the seed of the training
    - ``recipe``: the training parameters that the suite sets; the plugin checks them
    - ``validate_on``: the data sets for validation, by label, with ``validation_pairs`` pairs each
    - ``work``: a folder for checkpoints and prepared data; after an interruption the same job gets the same folder
    - ``log``: a function that shows one line of text (only in the first process if torchrun has started several)
    - ``where``: the TOML path of the job, for error messages
    - ``command``: the command line that repeats the training, to be recorded in the model card
    """

    name: str
    data: TrainingSet
    seed: int
    recipe: Mapping[str, Any]
    validate_on: Mapping[str, Dataset]
    validation_pairs: int
    work: Path
    log: Callable[[str], None]
    where: str
    command: str = ""
