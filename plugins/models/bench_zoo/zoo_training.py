"""Training of a zoo network with ``bench train``: its recipe, its initial weights, and the files that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_training.config import TrainConfig, read_recipe
from bench_training.export import half_weights
from bench_training.jobs import Product, train_job
from torch import nn

from bench_zoo.loading import from_half
from bench_zoo.networks import EMBEDDING_SIZE, build, count_flops

if TYPE_CHECKING:
    from bench import TrainingJob


def train_zoo_model(name: str, architecture: str, loss: str, job: TrainingJob, weights_dir: Path) -> Mapping[str, Any]:
    """Train a network with the recipe of a job, write weights and model card into a folder, and return the card."""
    fixed = {"name": name, "architecture": architecture, "loss": loss, "embedding_size": EMBEDDING_SIZE}
    config, options = read_recipe(TrainConfig, job, fixed)

    def finish(net: nn.Module) -> Product:
        return rounded(architecture, net)

    return train_job(
        job, config, options, build=lambda: build(architecture, job.seed), finish=finish, weights_dir=weights_dir
    )


def rounded(architecture: str, net: nn.Module) -> Product:
    """Return a trained network rounded to half precision, as it is shipped in the package."""
    weights = half_weights(net)
    network = from_half(architecture, weights)
    facts = {
        "input": "float (n, 3, 112, 112), RGB, [0, 1]",
        "output": f"embedding (n, {EMBEDDING_SIZE}), not normalised",
        "mflops": round(count_flops(network) / 1e6, 2),
        "flops_convention": "a multiply-add counts as two; convolutions and linear layers only",
        "weights_precision": "float16; evaluated after rounding",
    }
    return Product(weights=weights, network=network, facts=facts)
