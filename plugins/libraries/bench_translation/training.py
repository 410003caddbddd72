"""The training of networks that make faces: on some people, with early stopping on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from bench_learners.examples import batches, coin, faces_of, mirrored, split
from bench_learners.fitting import fit
from bench_learners.weights import state_of
from torch import Tensor, nn

from bench import ContractError
from bench_translation.losses import FaceLoss
from bench_translation.networks import EmbeddingDecoder, Translator, initialised
from bench_translation.rearrangement import FACES, find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench import Context, Examples

HELD_OUT = 0.15  # of the people decide when the training stops.
_LOOKED_AT = 64  # At most so many held-out faces are looked at.
_PATIENCE = 3
_N = TypeVar("_N", bound=nn.Module)

# What a network gets for the faces with these rows; with fresh randomness for every step from 1 on, and with the same
# randomness in every call for step 0, which is that of held-out faces.
Inputs = Callable[["NDArray[np.int64]", int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained: the number of steps with ``batch`` faces each, the largest learning rate, and the
    number of channels at the finest scale."""

    steps: int
    batch: int
    rate: float
    channels: int


class People:
    """The auxiliary faces of a training: the rows to learn from, and held-out rows of other people in random order."""

    def __init__(self, examples: Examples, ctx: Context) -> None:
        self.examples, self.ctx, self.generator = examples, ctx, ctx.generator()
        self.rows, held_out = split(examples.subjects, HELD_OUT, self.generator)
        self.held_out = held_out[torch.randperm(len(held_out), generator=self.generator).numpy()]

    def faces(self, rows: NDArray[np.int64]) -> Tensor:
        """Return some of the faces, float ``(len(rows), 3, h, w)`` in [0, 1]."""
        return faces_of(self.examples, rows, self.ctx)

    def sample(self) -> NDArray[np.int64]:
        """Return at most `FACES` rows to learn from, in random order."""
        order = torch.randperm(len(self.rows), generator=self.generator)[:FACES]
        return self.rows[order.numpy()]


def train_translator(people: People, inputs: Inputs, loss: FaceLoss, settings: Settings) -> Mapping[str, Tensor]:
    """Train a network from pictures, which ``inputs`` returns ``(n, 3, h, w)``, to faces; return its state."""
    sample, held_out = people.sample(), people.held_out[:FACES]
    pictures = inputs(sample, 0)
    if pictures.shape[1:] != people.faces(sample[:1]).shape[1:]:
        raise ContractError(
            f"{people.ctx.plugin}: expected pictures of the size of the faces, "
            f"{tuple(people.faces(sample[:1]).shape[2:])}, received {tuple(pictures.shape[2:])}"
        )
    chosen_on = inputs(held_out, 0), people.faces(held_out)
    front = find(pictures, people.faces(sample), chosen_on)
    with torch.random.fork_rng(devices=[]):
        network = Translator(front, settings.channels)
    initialised(network, [network.out], people.generator)
    return _trained(network, people, inputs, loss, settings, mirror=front.in_order)


def train_decoder(people: People, inputs: Inputs, loss: FaceLoss, settings: Settings) -> Mapping[str, Tensor]:
    """Train a network from embeddings, which ``inputs`` returns ``(n, d)``, to faces; return its state."""
    sample = people.sample()
    size, mean_face = inputs(sample[:1], 0).shape[1], people.faces(sample).mean(0)
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingDecoder(size, mean_face.cpu(), settings.channels)
    initialised(network, [network.out], people.generator)
    return _trained(network, people, inputs, loss, settings, mirror=False)


def _trained(
    network: _N, people: People, inputs: Inputs, loss: FaceLoss, settings: Settings, *, mirror: bool
) -> Mapping[str, Tensor]:
    """Train a network; ``mirror``: learn from mirrored pictures and faces as well. Return its best state."""
    ctx, generator = people.ctx, people.generator
    network.to(ctx.device, memory_format=torch.channels_last)
    rows = batches(people.rows, settings.batch, generator)
    looked_at = people.held_out[:_LOOKED_AT]

    def step_loss(step: int) -> Tensor:
        chosen = next(rows)
        pictures, faces = inputs(chosen, step + 1), people.faces(chosen)
        if mirror:
            turned = coin(len(chosen), generator)
            pictures, faces = mirrored(pictures, turned), mirrored(faces, turned)
        return loss(network(pictures), faces).mean()

    def held_out() -> float:
        parts = [looked_at[i : i + settings.batch] for i in range(0, len(looked_at), settings.batch)]
        errors = [loss(network(inputs(part, 0)).clamp(0, 1), people.faces(part)) for part in parts]
        return float(torch.cat(errors).mean())

    fit(network, step_loss, held_out, steps=settings.steps, rate=settings.rate, patience=_PATIENCE, ctx=ctx)
    return {name: value.contiguous() for name, value in state_of(network).items()}
