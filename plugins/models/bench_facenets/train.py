"""Training of a full-size network with ``bench train``: its recipe, its initial weights, and the files that are stored.

Weights are stored in ``<work>/weights/<name>.safetensors`` with a card beside them. The metadata of the file describe
the network's input and origin: ``bench.channels`` (``rgb`` or ``bgr``), ``bench.mean`` and ``bench.std`` (JSON lists of
three, for pixels from 0 to 255, in the network's own channel order), ``bench.embedding_size``, ``bench.layout`` (the
layout of the key names), ``bench.recipe`` (the digest of the recipe).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt
from bench_training.config import TrainConfig, read_recipe
from bench_training.export import full_weights
from bench_training.jobs import Product, train_job
from torch import nn

from bench_facenets.files.pixels import Numbers, Pixels, with_parameters
from bench_facenets.loading.preprocess import Preprocess
from bench_facenets.networks import build

if TYPE_CHECKING:
    from bench import TrainingJob

# Published margins and scales: ArcFace (Deng et al. 2019), CosFace (Wang et al. 2018), SphereFace with normalised
# features (Liu et al. 2022). Plain softmax has neither.
_PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "arcface": {"margin": 0.5, "scale": 64.0},
    "cosface": {"margin": 0.35, "scale": 64.0},
    "normface": {"scale": 64.0},
    "sphereface": {"margin": 1.5, "scale": 30.0},
}


@dataclass(frozen=True, kw_only=True)
class FaceNetConfig(TrainConfig):
    """A recipe that also defines the preprocessing of pixels: ``(x - mean) / std`` for values from 0 to 255."""

    embedding_size: Annotated[int, Ge(2)] = 512
    batch: Annotated[int, Ge(2)] = 512
    scale: Annotated[float, Gt(0)] = 64.0
    channels: Literal["rgb", "bgr"] = "rgb"  # The networks that are trained have three input channels.
    mean: Numbers = 127.5
    std: Numbers = 127.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pixels()

    def pixels(self) -> Pixels:
        """Return the input of the network. Raises ValueError for implausible numbers."""
        return with_parameters(Pixels(), mean=self.mean, std=self.std, channels=self.channels)


def train_facenet(name: str, architecture: str, default_loss: str, job: TrainingJob) -> Mapping[str, Any]:
    """Train a network with the recipe of a job, store weights and card in the work folder, and return the card.

    The recipe may set ``loss``; the default margin and scale are those published for it.
    """
    loss = job.recipe.get("loss", default_loss)
    defaults = {"loss": loss, **(_PUBLISHED.get(loss, {}) if isinstance(loss, str) else {})}
    config, options = read_recipe(FaceNetConfig, job, {"name": name, "architecture": architecture}, defaults)

    def first() -> nn.Module:
        network = build(architecture, embedding_size=config.embedding_size, seed=config.seed)
        return nn.Sequential(Preprocess(config.pixels()), network)

    return train_job(
        job, config, options, build=first, finish=lambda net: _product(config, net), weights_dir=job.work / "weights"
    )


def _product(config: FaceNetConfig, trained: nn.Module) -> Product:
    from bench_facenets.files.known_checkpoints import default

    _, network = trained.children()
    pixels, layout = config.pixels(), default(config.architecture).name
    metadata = {
        "bench.channels": pixels.channels,
        "bench.mean": json.dumps(pixels.mean),
        "bench.std": json.dumps(pixels.std),
        "bench.embedding_size": str(config.embedding_size),
        "bench.layout": layout,
        "bench.recipe": config.digest,
    }
    facts = {
        "input": f"aligned faces, {pixels}",
        "output": f"embedding (n, {config.embedding_size}), not normalised",
        "layout": layout,
        "weights_precision": "float32",
    }
    return Product(weights=full_weights(network), network=trained, facts=facts, metadata=metadata)
