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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
import pluggy

from bench.api.attack import Attack as Attack
from bench.api.attack import Sees as Sees
from bench.api.context import Network
from bench.api.datasets import Dataset, TrainingJob, TrainingSet
from bench.api.defense import Defense
from bench.api.metric import Metric
from bench.api.types import DataStatus, Section
from bench.core.domain import Outcome
from bench.core.errors import ContractError, MissingDataError
from bench.core.provenance import file_sha256

if TYPE_CHECKING:
    from bench.api.results import Results

PROJECT = "bench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


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
    - ``libraries``: the names of further packages that decide what the network computes, such as converters

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
        """Return the network with its weights, on the CPU. The host moves it to the device, freezes its parameters and
        sets it to evaluation mode."""

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the network, store its weights and return its model card. Called by ``bench train`` only."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")


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
def bench_metrics() -> Mapping[str, type[Metric]]:  # type: ignore[empty-body]
    """Return the image metrics of a plugin by name."""


@hookspec
def bench_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return commands that a plugin adds to ``bench data`` or ``bench models``, by names such as ``data convert``."""


@hookspec
def bench_cell_done(outcome: Outcome) -> None:
    """Called in the main process for each cell (done, skipped or failed), after the rows of the run were written."""


@hookspec
def bench_report_sections(results: Results) -> Sequence[Section]:  # type: ignore[empty-body]
    """Return sections that a plugin adds to the report, made from the rows of a run."""
