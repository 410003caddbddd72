"""The contract with third parties: the hooks, and the base classes of what they return. Only ever add to it.

A plugin is a module that is listed under the entry-point group ``bench`` and implements some of these hooks.
A component is a frozen, keyword-only dataclass: its fields are its suite parameters, its class variables declare
what it needs and what it gives, so that a suite is planned without importing torch. Import torch inside methods.

``time_limit_s`` of a component: the seconds that a stage in which it takes part may need, where it knows; the largest
one of a stage's components counts, and what the user or the suite says wins. None: the usual limit of an hour.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import click
import pluggy

from bench.api.context import Network
from bench.api.types import Check, DataStatus, Faces, Pairs, Protected, Received, Reconstructed
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
Sees = Literal["images", "features", "shallow_weights", "pairs", "defense"]


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """A source of faces and verification pairs.

    ``stands_in_for`` names the paper's data set; ``synthetic`` marks stand-ins, which every row and report repeats.
    ``stand_in`` names the data set that a suite with ``data = "auto"`` uses when the files of this one are missing
    (its methods then raise `MissingDataError`); it gets those parameters that both have.
    """

    stands_in_for: ClassVar[str | None] = None
    synthetic: ClassVar[bool] = False
    stand_in: ClassVar[str | None] = None
    image_size: ClassVar[tuple[int, int]] = (112, 112)
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of everything that decides the images: files, or the generator's version and seed."""

    def max_pairs(self) -> int | None:
        """The most pairs that it has; none for any number. A suite that asks for more is refused."""
        return None

    @abstractmethod
    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """The first ``pairs`` verification pairs and their images; half genuine, folds identity-disjoint."""

    @abstractmethod
    def calibration(self, ctx: Context) -> Faces | tuple[Faces, Pairs]:
        """What thresholds are set on: faces of identities that are never scored, at least two images each; all pairs
        of different people are impostors.

        Where people are not known beyond the pairs of a protocol: its pairs. The threshold for a scored pair of one
        fold is then set on the pairs of all other folds.
        """

    def auxiliary(self, ctx: Context) -> Faces:
        """Faces of further identities, neither scored nor calibrated on: what defenses and attackers learn from."""
        raise ContractError(f"{type(self).__name__} has no auxiliary(): it has no faces to learn from")

    def pairs_beside_auxiliary(self) -> int | None:
        """The most pairs that share no identity with `auxiliary`; none for any number. With more, cells whose attack
        or defense learns from this data set are skipped."""
        return None

    def status(self) -> DataStatus:
        """What ``bench data status`` shows; never raises for missing files."""
        try:
            self.fingerprint()
        except MissingDataError as error:
            return DataStatus(missing=str(error))
        layout = "generated" if self.synthetic else ""
        return DataStatus(where=layout, layout=layout, pairs=self.max_pairs())

    def verify(self, training: Mapping[str, TrainingSet]) -> Iterator[Check]:
        """What ``bench data verify`` shows: whether every image can be decoded and every pair makes sense, and what
        it shares with training sets, by label. Raises `MissingDataError` when there is nothing to verify."""
        yield Check(what="fingerprint", ok=True, found=self.fingerprint())


@dataclass(frozen=True, kw_only=True)
class TrainingSet(ABC):
    """A source of training faces for ``bench train``; identities disjoint from every evaluation."""

    image_size: ClassVar[tuple[int, int]] = (112, 112)
    license: ClassVar[str] = "unknown"

    def status(self) -> DataStatus:
        """What ``bench data status`` shows; never raises for missing files."""
        try:
            return DataStatus(images=len(self.labels()))
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    def people(self) -> Sequence[str]:
        """The names of the people of `labels`, in order; empty where they are not known."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of everything that decides the images."""

    @abstractmethod
    def labels(self) -> NDArray[np.int64]:
        """The identity of every image, int64 ``(n,)``, ascending from 0."""

    @abstractmethod
    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images ``rows``: uint8 ``(len(rows), 3, h, w)`` RGB; the same rows give the same images."""

    def attributes(self, rows: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        """What is known of the images ``rows``: ``age`` in years (float), others as text, each ``(len(rows),)``."""
        raise ContractError(f"{type(self).__name__} has no attribute labels")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What the ``train`` of a model or an attack gets.

    ``name``: what is trained; ``data``: the faces; ``recipe``: the suite's parameters, for the plugin to check;
    ``validate_on``: data sets by label, each with ``validation_pairs`` pairs; ``work``: a folder for checkpoints and
    prepared data, which the same job finds again after an interruption; ``log`` shows a line (in the first process
    only, when torchrun has started several); ``where`` is the TOML path, for error messages; ``command`` is how to do
    it again, for cards.
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

    ``splits``: the named split points from shallow to deep with their shapes ``(c, h, w)``. The *shallow model up to
    a split* is all that a client ever holds. ``stands_in_for`` names the paper's model. ``stand_in`` names the model
    that a suite with ``data = "auto"`` uses when the weights of this one are missing. Any of these declarations may
    be a property of the parameters.
    """

    stands_in_for: ClassVar[str | None] = None
    stand_in: ClassVar[str | None] = None
    synthetic: ClassVar[bool] = False
    input_size: ClassVar[tuple[int, int]] = (112, 112)
    embedding_size: ClassVar[int] = 0
    splits: ClassVar[Mapping[str, tuple[int, int, int]]] = {}
    mflops: ClassVar[float] = 0.0
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    @abstractmethod
    def weights(self) -> Path:
        """The weights file; its sha256 goes into every key and row. `MissingDataError` when it is not there."""

    def fingerprint(self) -> str:
        """The digest that goes into keys and rows as the weights': that of the file, unless more decides."""
        return file_sha256(self.weights())

    def status(self) -> DataStatus:
        """What ``bench models status`` shows; never raises for missing files."""
        try:
            return DataStatus(where=str(self.weights()))
        except MissingDataError as error:
            return DataStatus(missing=str(error))

    @abstractmethod
    def load(self) -> Network:
        """The network with its weights, on the CPU; the host moves, freezes and sets it to evaluation mode."""

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the network and store its weights; returns its model card. Only for ``bench train``."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")


@dataclass(frozen=True, kw_only=True)
class Defense(ABC):
    """What a client does to a face before it leaves.

    ``needs``: what it asks the context for; asking for anything else is an error. A defense without model needs is
    the same whatever model is authorised, and is run once. ``max_authorised``: how many models one image can be
    authorised for (none: any number).

    In words, for whoever reads a report: ``promise``, what it promises and against whom; ``trusts``, who must be
    trusted, with what; ``not_promised``, what nobody may expect of it.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    max_authorised: ClassVar[int | None] = None
    promise: ClassVar[str] = ""
    trusts: ClassVar[str] = ""
    not_promised: ClassVar[str] = ""
    time_limit_s: ClassVar[float | None] = None

    def passes(self) -> float:
        """Forward passes of the shallow model per image (a backward counts as two); only for cost estimates."""
        return 0.0

    def check_authorised(self, models: int) -> None:
        """`ValueError` when one image cannot be protected for so many models; the cell is skipped with its message."""
        if self.max_authorised is not None and models > self.max_authorised:
            raise ValueError(f"protects for at most {self.max_authorised} authorised model(s); {models} are asked for")

    def splits(self, available: Sequence[str]) -> Sequence[str]:
        """The split points that it uses of those that a model has; `ValueError` when a model lacks one."""
        return ()

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Learn from training faces (only with the need ``training``); the result arrives as ``ctx.state``."""
        raise ContractError(f"{type(self).__name__} declares the need 'training' and has no fit()")

    @abstractmethod
    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect a batch: float ``(n, 3, h, w)`` RGB in [0, 1] in, the same shape and range out."""


class Examples(Protocol):
    """What an adversary learns from: uploads of auxiliary faces, beside the faces themselves.

    ``images`` uint8 ``(n, 3, h, w)`` RGB are what it wants to get back, ``subjects (n,)`` who they show.
    """

    images: NDArray[np.uint8]
    subjects: NDArray[np.int64]

    def received(self, rows: NDArray[np.int64]) -> Received:
        """The uploads of some of the faces, on the context's device, without gradients."""
        ...


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What an adversary does with what it received. Any of these declarations may be a property of the parameters.

    ``sees``: what it must know: the uploaded ``images``, ``features`` of the shallow model, ``pairs`` of features and
    images to learn from, the ``shallow_weights`` (then ``ctx.shallow`` is allowed), the ``defense`` itself.
    ``outputs``: ``recognition`` feeds the received images to the evaluated model as they are, ``images`` implements
    `reconstruct`, ``attributes`` implements `estimate`.
    ``trains_on``: what `fit` learns from: ``nothing`` (it is not called), uploads of ``clean`` auxiliary faces,
    uploads of auxiliary faces after the ``defense`` (an adaptive adversary), or clean uploads of the ``evaluated``
    faces themselves, which is leakage and is reported as such.
    ``threat`` says in words what the adversary knows. ``synthetic``: what it brings along learnt from generated faces
    and knows nothing of real ones, on which it is skipped. ``license``: of the weights that it brings along, if any.
    """

    synthetic: ClassVar[bool] = False
    sees: ClassVar[frozenset[Sees]] = frozenset({"images"})
    outputs: ClassVar[Literal["recognition", "images", "attributes"]] = "images"
    trains_on: ClassVar[Literal["nothing", "clean", "defense", "evaluated"]] = "nothing"
    threat: ClassVar[str] = ""
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    def fingerprint(self) -> str | None:
        """A digest of the weights that the attack brings along; none without. `DataError` naming what is missing."""
        return None

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """The splits whose features it wants, of those that it can have: ``available`` ones of the model when images
        are uploaded, else the ``uploaded`` ones. `ValueError` when it cannot work with them; the cell is skipped."""
        return uploaded or available

    def passes(self) -> float:
        """Forward passes of the shallow model per attacked image (a backward counts as two); for cost estimates."""
        return 0.0

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Learn from examples (unless ``trains_on`` is ``nothing``); the result arrives as ``ctx.state``."""
        raise ContractError(f"{type(self).__name__} declares trains_on = {self.trains_on!r} and has no fit()")

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Images of the faces behind a batch of uploads (``outputs = "images"``)."""
        raise ContractError(f"{type(self).__name__} declares that it outputs images and has no reconstruct()")

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Attribute vectors of images ``(n, 3, h, w)`` in [0, 1]: name to ``(n, k)`` scores of its ``k`` classes, or
        to ``(n,)`` for a number such as ``age`` in years (``outputs = "attributes"``)."""
        raise ContractError(f"{type(self).__name__} declares that it outputs attributes and has no estimate()")

    def classes(self) -> Mapping[str, Sequence[str]]:
        """The names of the classes of each attribute vector, in order (``outputs = "attributes"``)."""
        return {}

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train what the attack brings along and store it; returns its card. Only for ``bench train``."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A piece of the report made by a plugin: a title and rows of cells (text only; the host escapes it)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@hookspec
def bench_datasets() -> Mapping[str, type[Dataset]]:  # type: ignore[empty-body]
    """Data sets by name."""


@hookspec
def bench_training_sets() -> Mapping[str, type[TrainingSet]]:  # type: ignore[empty-body]
    """Training sets by name, for ``bench train``."""


@hookspec
def bench_models() -> Mapping[str, type[Model]]:  # type: ignore[empty-body]
    """Recognition models by name."""


@hookspec
def bench_defenses() -> Mapping[str, type[Defense]]:  # type: ignore[empty-body]
    """Defenses by name."""


@hookspec
def bench_attacks() -> Mapping[str, type[Attack]]:  # type: ignore[empty-body]
    """Attacks by name."""


@hookspec
def bench_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Commands that a plugin adds to ``bench data`` or ``bench models``, by names such as ``data convert``."""


@hookspec
def bench_cell_done(outcome: Outcome) -> None:
    """Called in the main process for every cell (done, skipped or failed) after the rows of the run are written."""


@hookspec
def bench_report_sections(results: Results) -> Sequence[Section]:  # type: ignore[empty-body]
    """Sections that a plugin adds to the report, made from the rows of a run."""
