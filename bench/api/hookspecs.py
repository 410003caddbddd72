"""The contract with third-party plugins: the hooks, and the base classes of the components that hooks return.

A plugin is a module that is listed under the entry-point group ``bench`` and implements some of the hooks at the end
of this file. A component (data set, model, defense or attack) is a frozen, keyword-only dataclass. Its fields are the
parameters that a suite can set. Its class variables declare what it needs and what it provides, so that a suite can be
planned without importing torch: import torch inside the methods.

The contract only ever grows: nothing that a plugin uses is removed or changed.

Every component may declare ``time_limit_s``: how many seconds a stage that uses it may take. The largest value of the
components of a stage counts, unless the suite or the command line sets a limit. None means the usual limit of one hour.

A component whose parameters name code that does not belong to an installed plugin must define a method
``foreign_code() -> str``, which returns what would run, as text, without importing any of it. The host then builds
nothing from a suite or a record that names such a component until the user has allowed it with ``--trust``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click
import pluggy

from bench.api.attack import Attack as Attack
from bench.api.attack import Sees as Sees
from bench.api.context import Network
from bench.api.files import named_files
from bench.api.types import Check, DataStatus, Faces, Pairs, Protected, Section
from bench.core.domain import Outcome
from bench.core.errors import ContractError, MissingDataError
from bench.core.provenance import file_sha256

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from bench.api.context import Context
    from bench.api.results import Results

PROJECT = "bench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Need = Literal["shallow", "full_gradients", "subjects", "targets", "training", "own_recognizer"]


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

    def auxiliary(self, ctx: Context) -> Faces:
        """Return training faces for defenses and attacks, of identities that are neither scored nor calibrated on."""
        raise ContractError(f"{type(self).__name__} has no auxiliary(): it has no faces to learn from")

    def pairs_beside_auxiliary(self) -> int | None:
        """Return how many pairs can be evaluated without any identity of `auxiliary`, or None if this is unlimited.

        If a suite evaluates more pairs, the cells whose attack or defense is trained on this data set are skipped.
        """
        return None

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
    """What the method ``train`` of a model or an attack receives.

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


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A face-recognition network: its declarations, and how to load it.

    - ``stands_in_for``: for a stand-in, the name of the paper's model that it replaces
    - ``stand_in``: the model that replaces this one in a suite with ``data = "auto"`` when its weights are missing
    - ``synthetic``: True if the network was trained on generated faces
    - ``input_size``: height and width of its input images in pixels
    - ``embedding_size``: the length of its embeddings
    - ``splits``: the split points from shallow to deep, by name, with the shapes ``(c, h, w)`` of their feature maps;
      a client holds only the *shallow model*, which is the network up to a split point
    - ``mflops``: the cost of one forward pass in million floating-point operations, for time estimates
    - ``license``: the license of the weights
    - ``architecture``, ``loss_kind``, ``trained_on``, ``trained_on_people``: the family of its architecture, the kind
      of its training loss, the registered name of its training set, and a name for the set of people that this shows.
      The report compares held-out recognisers with authorised models by them, and the people of the training set are
      compared with the scored ones. Equal names mean the same people; different names mean that no person is
      in both. An empty text means that it is not known.
    - ``trained_on_parameters``: the parameters of the training set if they are not its defaults, such as its path

    Each of these may also be a property that depends on the parameters.
    """

    stands_in_for: ClassVar[str | None] = None
    stand_in: ClassVar[str | None] = None
    synthetic: ClassVar[bool] = False
    architecture: ClassVar[str] = ""
    loss_kind: ClassVar[str] = ""
    trained_on: ClassVar[str] = ""
    trained_on_parameters: ClassVar[Mapping[str, Any]] = {}
    trained_on_people: ClassVar[str] = ""
    input_size: ClassVar[tuple[int, int]] = (112, 112)
    embedding_size: ClassVar[int] = 0
    splits: ClassVar[Mapping[str, tuple[int, int, int]]] = {}
    mflops: ClassVar[float] = 0.0
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    @abstractmethod
    def weights(self) -> Path:
        """Return the path of the weights file. Raise `MissingDataError` if the file does not exist."""

    def fingerprint(self) -> str:
        """Return the digest of the weights, which is part of content keys and rows: by default the sha256 of the file.

        Override it if the result depends on more than the weights file.
        """
        return file_sha256(self.weights())

    def status(self) -> DataStatus:
        """Return what ``bench models status`` shows. Missing files are reported in it, not raised."""
        try:
            return DataStatus(where=str(self.weights()))
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    @abstractmethod
    def load(self) -> Network:
        """Return the network with its weights, on the CPU.

        The host moves it to the device, freezes its parameters and sets it to evaluation mode.
        """

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the network, store its weights and return its model card. Called by ``bench train`` only."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")


@dataclass(frozen=True, kw_only=True)
class Defense(ABC):
    """What a client does to a face image before the upload.

    - ``needs``: the capabilities that it uses: ``shallow`` (the shallow part of the authorised models),
      ``full_gradients`` (the whole authorised models), ``subjects`` (who the faces show), ``training`` (`fit` is called
      with training faces). A method of the context whose capability is not declared raises `CapabilityError`.
      A defense that needs no model has the same result for all authorised models and is run once for all of them.
    - ``sends``: what leaves the client: ``image``, ``feature`` or ``representation``
    - ``max_authorised``: the number of models for which one image can be authorised; None for any number
    - ``programs``, ``libraries``: the programs that it calls and further packages that it uses, by name (see below)
    - ``license``: the license of the files that `weights` names
    - ``promise``, ``trusts``, ``not_promised``: sentences for the report: what the defense promises and against whom;
      who must be trusted, and with what; what it does not promise

    Results are computed again when something has changed that decides them. The host finds the parameters, all files of
    the package of the plugin, and the code of packages that its source imports. The plugin declares the rest: files
    elsewhere (`weights`), programs (``programs``), packages that are imported under names made at run time
    (``libraries``), and anything else, such as the version of a service (`fingerprint`).
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    max_authorised: ClassVar[int | None] = None
    programs: ClassVar[Sequence[str]] = ()
    libraries: ClassVar[Sequence[str]] = ()
    license: ClassVar[str] = "unknown"
    promise: ClassVar[str] = ""
    trusts: ClassVar[str] = ""
    not_promised: ClassVar[str] = ""
    time_limit_s: ClassVar[float | None] = None

    def weights(self) -> Path | Sequence[Path]:
        """Return the files that decide what the defense does; of a folder, all files in it count.

        By default these are the files and folders that its parameters of the type `Path` name. A file that is returned
        and does not exist is an error before anything is computed.
        """
        return named_files(self)

    def fingerprint(self) -> str | None:
        """Return a text that changes with anything else that decides what the defense does; None if there is nothing.

        Raise `MissingDataError` or `DataError` naming a file that is missing or damaged.
        """
        return None

    def passes(self) -> float:
        """Return the forward passes of the shallow model per image, for time estimates.

        A backward pass counts as two forward passes.
        """
        return 0.0

    def check_authorised(self, models: int) -> None:
        """Raise ValueError if one image cannot be protected for this number of models.

        The cell is then skipped, and the message is its reason.
        """
        if self.max_authorised is not None and models > self.max_authorised:
            raise ValueError(f"protects for at most {self.max_authorised} authorised model(s); {models} are requested")

    def splits(self, available: Sequence[str]) -> Sequence[str]:
        """Return the split points that the defense uses, out of the ``available`` ones of a model.

        Raise ValueError if the model lacks one that the defense needs; the cell is then skipped.
        """
        return ()

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the defense on training faces and return its state, which `protect` receives as ``ctx.state``.

        Called only if the defense declares the need ``training``.
        """
        raise ContractError(f"{type(self).__name__} declares the need 'training' and has no fit()")

    @abstractmethod
    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect a batch of images, float ``(n, 3, h, w)`` RGB in [0, 1]; the result has the same shape and range."""


@hookspec
def bench_datasets() -> Mapping[str, type[Dataset]]:  # type: ignore[empty-body]
    """Return the data sets of a plugin by name."""


@hookspec
def bench_training_sets() -> Mapping[str, type[TrainingSet]]:  # type: ignore[empty-body]
    """Return the training sets of a plugin by name, for ``bench train``."""


@hookspec
def bench_models() -> Mapping[str, type[Model]]:  # type: ignore[empty-body]
    """Return the recognition models of a plugin by name."""


@hookspec
def bench_defenses() -> Mapping[str, type[Defense]]:  # type: ignore[empty-body]
    """Return the defenses of a plugin by name."""


@hookspec
def bench_attacks() -> Mapping[str, type[Attack]]:  # type: ignore[empty-body]
    """Return the attacks of a plugin by name."""


@hookspec
def bench_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return commands that a plugin adds to ``bench data`` or ``bench models``, by names such as ``data convert``."""


@hookspec
def bench_cell_done(outcome: Outcome) -> None:
    """Called in the main process for each cell (done, skipped or failed), after the rows of the run were written."""


@hookspec
def bench_report_sections(results: Results) -> Sequence[Section]:  # type: ignore[empty-body]
    """Return sections that a plugin adds to the report, made from the rows of a run."""
