"""The built-in attribute network, trained further on protected pictures of auxiliary people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from bench_attributes.builtin import from_half, probabilities, resized
from bench_attributes.network import AttributeNetwork, age_loss
from bench_learners.examples import batches, coin, images_of, mirrored, split
from bench_learners.fitting import fit
from bench_learners.weights import restored, state_of
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from bench_probes.labels import UNKNOWN, targets

if TYPE_CHECKING:
    from bench import Context, Examples
    from bench_probes.parameters import EstimatorParameters


def adapt(params: EstimatorParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the weights of the network after the step that was best for held-out people.

    Raise `DataError` for faces without labels of an attribute, or of fewer than two people.
    """
    classes = params.classes()
    labels = {name: targets(examples, name, classes.get(name, ()), ctx).to(ctx.device) for name in params.estimated}
    generator = ctx.generator()
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, generator)
    network = from_half(load_file(params.weights())).to(ctx.device)
    order = batches(learning, params.batch, generator)

    def images(rows: NDArray[np.int64]) -> Tensor:
        return resized(images_of(examples.received(rows), ctx.plugin))

    def loss(step: int) -> Tensor:
        rows = next(order)
        return _loss(network, mirrored(images(rows), coin(len(rows), generator)), labels, rows)

    def on_others() -> float:
        parts = np.array_split(held_out, -(-len(held_out) // params.batch))
        return sum(float(_loss(network, images(part), labels, part)) * len(part) for part in parts) / len(held_out)

    fit(
        network,
        loss,
        on_others,
        steps=params.steps,
        rate=params.rate,
        patience=params.patience,
        ctx=ctx,
        statistics=params.statistics,
    )
    return state_of(network)


def estimate(params: EstimatorParameters, images: Tensor, ctx: Context) -> dict[str, Tensor]:
    """Return class probabilities ``(n, k)`` by attribute, and ``age (n,)`` in years."""
    network = AttributeNetwork().to(ctx.device)
    restored(network, ctx.state)
    found = probabilities(network, images)
    return {name: found[name] for name in params.estimated}


def _loss(network: AttributeNetwork, images: Tensor, labels: dict[str, Tensor], rows: NDArray[np.int64]) -> Tensor:
    """Return the sum over attributes of the mean losses on the faces whose label is known."""
    found, index = network(images), torch.from_numpy(rows)
    losses = []
    for name, label in labels.items():
        wanted = label[index.to(label.device)]
        known = ~wanted.isnan() if wanted.is_floating_point() else wanted != UNKNOWN
        if not known.any():
            continue
        if wanted.is_floating_point():
            losses.append(age_loss(found[name][known], wanted[known]))
        else:
            losses.append(F.cross_entropy(found[name][known], wanted[known]))
    return torch.stack(losses).sum() if losses else 0 * sum(values.sum() for values in found.values())
