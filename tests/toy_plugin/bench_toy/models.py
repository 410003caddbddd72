"""Toy models: networks of two convolutions with random weights, which distinguish smooth patterns well enough."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import DataError, MissingDataError, Model, Network

if TYPE_CHECKING:
    from bench import TrainingJob


@dataclass(frozen=True, kw_only=True)
class ToyModel(Model):
    """A network whose weights are drawn from the seed in its weights file, a line of JSON."""

    file: ClassVar[str]
    input_size: ClassVar[tuple[int, int]] = (32, 32)
    embedding_size: ClassVar[int] = 64
    splits: ClassVar[Mapping[str, tuple[int, int, int]]] = {"stem": (8, 16, 16), "block": (16, 8, 8)}
    mflops: ClassVar[float] = 0.5
    license: ClassVar[str] = "none needed"

    def weights(self) -> Path:
        """Return the bundled file, or that in the folder that ``TOY_WEIGHTS`` names. Raises DataError."""
        path = Path(os.environ.get("TOY_WEIGHTS") or Path(__file__).parent) / self.file
        if not path.is_file():
            raise DataError(f"{path}: the toy weights are missing; unset TOY_WEIGHTS")
        return path

    def load(self) -> Network:
        """Return the network with weights drawn from the seed."""
        from bench_toy.networks import ToyNetwork

        return ToyNetwork(json.loads(self.weights().read_text())["seed"], self.embedding_size)

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Do not train, but write the arguments to the work folder, and return them as the card."""
        card = {
            "images": len(job.data.labels()),
            "shape": job.data.images(job.data.labels()[:2]).shape,
            "seed": job.seed,
            "recipe": dict(job.recipe),
            "validate_on": sorted(job.validate_on),
        }
        job.work.mkdir(parents=True, exist_ok=True)
        (job.work / f"{job.name}.json").write_text(json.dumps(card))
        return {**card, "sha256": f"of {card['images']} images"}


@dataclass(frozen=True, kw_only=True)
class ToyA(ToyModel):
    """The first toy model."""

    file = "toy-a.json"
    stands_in_for = "Model A"


@dataclass(frozen=True, kw_only=True)
class ToyB(ToyModel):
    """The second toy model."""

    file = "toy-b.json"
    stands_in_for = "Model B"


@dataclass(frozen=True, kw_only=True)
class ToyLarge(ToyModel):
    """A network for images of a size that no toy data set has."""

    file = "toy-a.json"
    input_size = (48, 48)


@dataclass(frozen=True, kw_only=True)
class ToyClosed(ToyModel):
    """A network without named split points, so that no client can hold a part of it."""

    file = "toy-b.json"
    splits: ClassVar[Mapping[str, tuple[int, int, int]]] = {}


@dataclass(frozen=True, kw_only=True)
class ToyLost(ToyModel):
    """A model whose weights file is missing."""

    file = "lost.json"


@dataclass(frozen=True, kw_only=True)
class ToyPublished(ToyModel):
    """A model whose weights may be missing; its stand-in is the first toy model."""

    file = "published.json"
    stand_in: ClassVar[str | None] = "toy-a"

    def weights(self) -> Path:
        """Return the file in the folder that ``TOY_WEIGHTS`` names. Raises MissingDataError."""
        try:
            return super().weights()
        except DataError as error:
            raise MissingDataError(str(error)) from None


MODELS: Mapping[str, type[Model]] = {
    "toy-a": ToyA,
    "toy-b": ToyB,
    "toy-large": ToyLarge,
    "toy-closed": ToyClosed,
    "toy-lost": ToyLost,
    "toy-published": ToyPublished,
}
