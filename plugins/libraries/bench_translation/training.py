"""The training of networks that make faces: on some people, with early stopping on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from bench_learners.examples import batches, coin, faces_of, images_of, mirrored, parts, split
from bench_learners.fitting import fit
from bench_learners.rearrangement import FACES, find, nothing_rearranged
from bench_learners.weights import state_of
from torch import Tensor, nn

from bench import ContractError
from bench_translation.degradations import degraded
from bench_translation.losses import PictureLoss
from bench_translation.networks import EmbeddingDecoder, Translator, initialised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench import Context, Examples

HELD_OUT = 0.15  # of the people decide when the training stops.
_LOOKED_AT = 64  # At most so many held-out faces are looked at.
_PATIENCE = 3

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
        chosen: NDArray[np.int64] = self.rows[order.numpy()]
        return chosen

    def uploads(self, rows: NDArray[np.int64], step: int = 0) -> Tensor:
        """Return the received images of some of the faces: `Inputs`. Raise `ContractError` if there are none."""
        return images_of(self.examples.received(rows), self.ctx.plugin)

    def degraded(self, rows: NDArray[np.int64], step: int) -> Tensor:
        """Return some of the faces after random degradations: `Inputs`."""
        return degraded(self.faces(rows), self.generator if step else self.ctx.generator())


def train_restorer(
    people: People, pairs: Literal["clean", "defense"], loss: PictureLoss, settings: Settings
) -> Mapping[str, Tensor]:
    """Train a network from uploads to faces; return its state. ``pairs``: it learns from what the ``defense`` makes of
    faces, or from ``clean`` faces and random degradations."""
    adaptive = pairs == "defense"
    inputs = people.uploads if adaptive else people.degraded
    return train_translator(people, inputs, lambda rows, step: people.faces(rows), loss, settings, rearranged=adaptive)


def train_translator(
    people: People,
    inputs: Inputs,
    wanted: Inputs,
    loss: PictureLoss,
    settings: Settings,
    *,
    rearranged: bool = True,
) -> Mapping[str, Tensor]:
    """Train a network from pictures to pictures of the same size ``(n, 3, h, w)``; return its state.

    ``rearranged``: it starts with the `Rearrangement` that suits these pictures best.
    """
    sample, held_out = people.sample(), people.held_out[:FACES]
    pairs, chosen_on = ((inputs(rows, 0), wanted(rows, 0)) for rows in (sample, held_out))
    if pairs[0].shape != pairs[1].shape:
        raise ContractError(
            f"{people.ctx.plugin}: expected received images of the size of the faces, found "
            f"{tuple(pairs[0].shape[2:])} and {tuple(pairs[1].shape[2:])}"
        )
    front = find(*pairs, chosen_on) if rearranged else nothing_rearranged(pairs[0].mean(0))
    with torch.random.fork_rng(devices=[]):
        network = Translator(front, settings.channels)
    initialised(network, [network.out], people.generator)
    return _trained(network, people, inputs, wanted, loss, settings, mirror=front.in_order)


def train_decoder(people: People, inputs: Inputs, loss: PictureLoss, settings: Settings) -> Mapping[str, Tensor]:
    """Train a network from embeddings, which ``inputs`` returns ``(n, d)``, to faces; return its state."""
    sample = people.sample()
    size, mean_face = inputs(sample[:1], 0).shape[1], people.faces(sample).mean(0)
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingDecoder(size, mean_face.cpu(), settings.channels)
    initialised(network, [network.out], people.generator)
    return _trained(network, people, inputs, lambda rows, step: people.faces(rows), loss, settings, mirror=False)


def _trained(
    network: nn.Module,
    people: People,
    inputs: Inputs,
    wanted: Inputs,
    loss: PictureLoss,
    settings: Settings,
    *,
    mirror: bool,
) -> Mapping[str, Tensor]:
    """Train a network; ``mirror``: learn from mirrored pairs of pictures as well. Return its best state."""
    ctx, generator = people.ctx, people.generator
    network.to(ctx.device).to(memory_format=torch.channels_last)
    rows = batches(people.rows, settings.batch, generator)
    looked_at = people.held_out[:_LOOKED_AT]

    def step_loss(step: int) -> Tensor:
        chosen = next(rows)
        given, target = inputs(chosen, step + 1), wanted(chosen, step + 1)
        if mirror:
            turned = coin(len(chosen), generator)
            given, target = mirrored(given, turned), mirrored(target, turned)
        return loss(network(given), target).mean()

    def held_out() -> float:
        looks = parts(looked_at, settings.batch)
        errors = [loss(network(inputs(part, 0)).clamp(0, 1), wanted(part, 0)) for part in looks]
        return float(torch.cat(errors).mean())

    fit(network, step_loss, held_out, steps=settings.steps, rate=settings.rate, patience=_PATIENCE, ctx=ctx)
    return {name: value.contiguous() for name, value in state_of(network).items()}
