"""How the kit calls plugins that work on images, batch by batch: models, defenses, attacks, metrics, training sets.

A trial makes the world of one component once, and then calls it for any rows of a few faces, through the host's checks
of what plugins return. What it returns is compared in the form in which a run stores it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.api.context import Capabilities
from bench.api.datasets import TrainingSet
from bench.api.defense import Defense
from bench.api.hookspecs import Model
from bench.api.metric import Metric
from bench.api.types import Pictures, Protected, Received
from bench.core.errors import ContractError
from bench.kit import world
from bench.kit.findings import NotAskedError
from bench.stages import contracts
from bench.stages.comparison import Results
from bench.stages.embedding import unit_embeddings
from bench.stages.stored import quantised, to_store

Rows = NDArray[np.int64]
# People whose two pictures each are processed, or are protected together, and from whom attacks and defenses learn:
# enough for the defaults of a defense that averages five people, or learns a hundred eigenfaces.
_PEOPLE, _RELEASED, LEARNT_FROM, _DEFENSES_LEARN_FROM = 4, 12, 24, 80


class Trial(ABC):
    """One component, and what it is called with.

    ``strict`` says that batches of different sizes must give the same but for rounding; otherwise results are compared
    as the host does after an optimisation (`bench.stages.repeatability`). ``whole`` says that all faces belong
    together.
    """

    kind: ClassVar[str]
    strict: ClassVar[bool] = True
    learns: bool = False
    whole: bool = False

    def __init__(self, plugin: Any, label: str, people: int = _PEOPLE) -> None:
        self.plugin = plugin
        self.people = people
        self.where = f"{self.kind.replace('_', ' ')} {label}"
        self.faces = world.faces(self.people)
        self.n = len(self.faces.images)
        self.state: Mapping[str, torch.Tensor] = {}
        self._lent: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def prepare(self) -> None:  # noqa: B027  # Most kinds load nothing.
        """Load what the component consists of; called once, and watched as its methods are."""

    @abstractmethod
    def results(self, rows: Rows) -> Results:
        """Return what the component makes of the faces at these rows, as arrays ``(len(rows), ...)`` by name."""

    def fit(self) -> Mapping[str, torch.Tensor]:
        """Return what the component learns from further people; most kinds learn nothing."""
        return {}

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks that the component is given or consists of, by name."""
        return {}

    def lend(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor that is given to the component, and remember what it holds."""
        self._lent.append((name, tensor, tensor.clone()))
        return tensor

    def changed(self) -> list[str]:
        """Return the names of lent tensors that have changed, and forget them all."""
        found = [name for name, now, before in self._lent if not torch.equal(now, before)]
        self._lent.clear()
        return list(dict.fromkeys(found))

    def ids(self, rows: Rows) -> list[str]:
        """Return the names of the samples at these rows."""
        return [str(name) for name in self.faces.sample_ids[rows]]

    def bytes_per_face(self, results: Results) -> float:
        """Return how many bytes of what it returns belong to one face."""
        return sum(values.nbytes for values in results.values()) / self.n


class DefenseTrial(Trial):
    """A defense that protects the faces for one tiny authorised model."""

    kind = "defense"
    strict = False

    def __init__(self, plugin: Defense, label: str) -> None:
        self.whole = "whole_set" in plugin.needs
        super().__init__(plugin, label, _RELEASED if self.whole else _PEOPLE)
        self.plugin: Defense = plugin
        self.learns = "training" in plugin.needs
        self.model = world.network()
        self.surrogate = world.network(1)
        self.shapes = dict(world.SPLITS)
        self.uploaded: tuple[str, ...] = ()
        if "image" not in plugin.sends and "feature" in plugin.sends:
            self.uploaded = tuple(self.shapes)[-1:]
        try:
            chosen = tuple(plugin.splits(tuple(self.shapes)))
            plugin.check_authorised(1)
        except ValueError as error:
            raise NotAskedError(f"it cannot work with the tiny model of the kit: {error}") from None
        self.uploaded = chosen or self.uploaded if self.uploaded else ()

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the authorised model and the surrogate."""
        return {"the authorised model": self.model, "the surrogate model": self.surrogate}

    def _capabilities(self, subjects: NDArray[np.int64]) -> Capabilities:
        known = Capabilities.of_defense(
            self.plugin.needs,
            {world.MODEL: (self.model, tuple(self.shapes))},
            uploaded=self.uploaded,
            subjects=torch.from_numpy(subjects.copy()),
            surrogates={world.SURROGATE: self.surrogate},
            targets=world.pictures(world.faces(2, first=500)) if "targets" in self.plugin.needs else None,
        )
        if "enrolment" not in self.plugin.needs:
            return known
        # The third and fourth pictures of the people of the batch.
        every = world.faces(self.people, 4)
        rows = np.flatnonzero(np.isin(every.subjects, subjects) & (np.arange(len(every.subjects)) % 4 > 1))
        held = world.floats(every.images[rows]), torch.from_numpy(every.subjects[rows])
        return replace(known, enrolment=Pictures(images=held[0], subjects=held[1]))

    def fit(self) -> Mapping[str, torch.Tensor]:
        """Let the defense learn from people who are not protected."""
        faces = world.faces(_DEFENSES_LEARN_FROM, first=100)
        ctx = world.context(self.where, self._capabilities(faces.subjects), sample_ids=list(faces.sample_ids))
        return self.plugin.fit(faces, ctx)

    def results(self, rows: Rows) -> Results:
        """Return what leaves the client, and its embeddings if the defense has a recogniser of its own."""
        images = self.lend("the images", world.floats(self.faces.images[rows]))
        capabilities = self._capabilities(self.faces.subjects[rows])
        ctx = world.context(self.where, capabilities, sample_ids=self.ids(rows), state=self.state)
        sent = contracts.protect_checked(self.plugin, images, ctx, self.shapes)
        found = to_store(sent, self.uploaded)
        if self.plugin.own_recogniser:
            found["embeddings by its own recogniser"] = self._recognised(sent, len(rows))
        return found

    def _recognised(self, sent: Protected, n: int) -> NDArray[Any]:
        where = f"the recogniser of {self.where}"
        ctx = world.context(where, self._capabilities(self.faces.subjects), state=self.state)
        received = Received(images=sent.images, features=sent.features, representation=sent.representation)
        made = contracts.recognised(self.plugin.recogniser(ctx), received, n, self.plugin.recogniser_size, where)
        return torch.nn.functional.normalize(made, dim=1).cpu().numpy()

    def bytes_per_face(self, results: Results) -> float:
        """Return how many bytes leave the client for one face."""
        return super().bytes_per_face({k: v for k, v in results.items() if not k.startswith("embeddings by")})


class ModelTrial(Trial):
    """A model that embeds the faces, in the size that it declares."""

    kind = "model"

    def __init__(self, plugin: Model, label: str) -> None:
        super().__init__(plugin, label)
        self.plugin: Model = plugin
        self.faces = world.faces(_PEOPLE, size=plugin.input_size)
        self.network: Any = None

    def prepare(self) -> None:
        """Load the network and put it into the mode in which the host uses it."""
        network: Any = self.plugin.load()
        if not isinstance(network, nn.Module):
            raise ContractError(f"{self.where}: load() must return a torch.nn.Module, got {type(network).__name__}")
        self.network = network.eval().requires_grad_(False)

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the network itself."""
        return {} if self.network is None else {"the network": self.network}

    def embed(self, rows: Rows) -> torch.Tensor:
        """Return what the network makes of some faces, ``(n, d)``: what one face costs is measured on this."""
        with torch.no_grad():
            made: torch.Tensor = self.network(world.floats(self.faces.images[rows]))
        return made

    def results(self, rows: Rows) -> Results:
        """Return the embeddings, the features at all split points, and the embeddings that follow from the deepest."""
        images = self.lend("the images", world.floats(self.faces.images[rows]))
        size, n = self.plugin.embedding_size, len(rows)
        with torch.no_grad():
            made = self.network(images)
            found = {"embeddings": self._unit(made, n, size)}
            if not self.plugin.splits:
                return found
            maps = self.network.features(images, tuple(self.plugin.splits))
            if len(maps) != len(self.plugin.splits):
                raise ContractError(
                    f"{self.where}: features() must return {len(self.plugin.splits)} maps, got {len(maps)}"
                )
            for (split, shape), values in zip(self.plugin.splits.items(), maps, strict=True):
                if tuple(values.shape) != (n, *shape) or not torch.isfinite(values).all():
                    raise ContractError(
                        f"{self.where}: declares finite features {shape} at {split}, got {tuple(values.shape)[1:]}"
                    )
                found[f"features at {split}"] = values.cpu().numpy()
            deepest = tuple(self.plugin.splits)[-1]
            follow = self._unit(self.network.from_features(maps[-1], deepest), n, size)
        apart = float(np.abs(follow - found["embeddings"]).max())
        if apart > 1e-2:
            raise ContractError(
                f"{self.where}: from_features() at {deepest} must give the embeddings of the images; units of the "
                f"two differ by up to {apart:.2g}"
            )
        return found

    def _unit(self, made: Any, n: int, size: int) -> NDArray[Any]:
        return unit_embeddings(made, n, size, self.where).cpu().numpy()

    def bytes_per_face(self, results: Results) -> float:
        """Return how many bytes an embedding has."""
        return super().bytes_per_face({"embeddings": results["embeddings"]})


class MetricTrial(Trial):
    """A metric that compares the faces with coarser copies of them."""

    kind = "metric"

    def __init__(self, plugin: Metric, label: str) -> None:
        super().__init__(plugin, label)
        self.plugin: Metric = plugin

    def results(self, rows: Rows) -> Results:
        """Return the numbers of the images, and the features of both sets."""
        first = self.lend("the originals", world.floats(self.faces.images[rows]))
        other = self.lend("the other images", world.floats(coarser(self.faces.images[rows])))
        ctx = world.context(self.where, sample_ids=self.ids(rows))
        found: dict[str, NDArray[Any]] = {}
        if self.plugin.defines("compute"):
            values = contracts.compute_checked(self.plugin, first, other, ctx)
            found["values"] = np.where(np.isinf(values), 0.0, values)
            found["infinite values"] = np.isinf(values).astype(np.float64)
        sides = (first, other)
        if self.plugin.defines("features"):
            sides = tuple(contracts.features_checked(self.plugin, side, ctx) for side in sides)  # type: ignore[assignment]
            found |= {f"features {i}": side.cpu().numpy() for i, side in enumerate(sides)}
        if self.plugin.defines("compute_set") and len(rows) == self.n:
            value = contracts.set_value_checked(self.plugin, sides[0], sides[1], ctx)
            if not found:  # One number for all: it is compared where all faces take part.
                found["set"] = np.full(self.n, value)
        return found or {"set": np.zeros(len(rows))}

    @property
    def of_sets_only(self) -> bool:
        """True if it has a value of whole sets only, which no part of them has."""
        return not (self.plugin.defines("compute") or self.plugin.defines("features"))


class TrainingSetTrial(Trial):
    """A training set of which a few rows are read."""

    kind = "training_set"
    _SHOWN = 4096  # rows among which a few are chosen

    def __init__(self, plugin: TrainingSet, label: str) -> None:
        super().__init__(plugin, label)
        self.plugin: TrainingSet = plugin

    def prepare(self) -> None:
        """Read the labels, and choose the rows that are read."""
        labels = np.asarray(self.plugin.labels())
        rising = bool((np.diff(labels) >= 0).all()) if labels.ndim == 1 else False
        if not len(labels) or labels.ndim != 1 or labels.dtype != np.int64 or labels[0] != 0 or not rising:
            raise ContractError(
                f"{self.where}: labels() must return int64 (n,), ascending from 0, got {labels.dtype} {labels.shape}"
            )
        self.rows = np.linspace(0, min(len(labels), self._SHOWN) - 1, min(8, len(labels))).round().astype(np.int64)
        self.n = len(self.rows)

    def results(self, rows: Rows) -> Results:
        """Return the images and, if they are known, the attributes and landmarks of some of the chosen rows."""
        index = self.rows[rows]
        images, expected = self.plugin.images(index), (len(rows), 3, *self.plugin.image_size)
        if not (isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape == expected):
            got = f"{getattr(images, 'dtype', type(images).__name__)} {getattr(images, 'shape', '')}"
            raise ContractError(f"{self.where}: images() must return uint8 {expected}, got {got}")
        found: dict[str, NDArray[Any]] = {"images": images}
        if type(self.plugin).attributes is not TrainingSet.attributes:
            for name, values in self.plugin.attributes(index).items():
                labels = np.asarray(values)
                if labels.shape != (len(rows),):
                    raise ContractError(
                        f"{self.where}: attribute {name!r}: expected ({len(rows)},), got {labels.shape}"
                    )
                found[f"attribute {name}"] = labels if labels.dtype.kind in "biuf" else labels.astype(str)
        if type(self.plugin).landmarks is not TrainingSet.landmarks:
            points = np.asarray(self.plugin.landmarks(index))
            if points.shape != (len(rows), 5, 2) or not np.isfinite(points).all():
                raise ContractError(f"{self.where}: landmarks() must return {(len(rows), 5, 2)}, got {points.shape}")
            found["landmarks"] = points
        return found


def coarser(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images as a simple client sends them: averages of 4 x 4 pixels."""
    small = torch.nn.functional.avg_pool2d(world.floats(images), 4)
    return quantised(torch.nn.functional.interpolate(small, scale_factor=4.0))
