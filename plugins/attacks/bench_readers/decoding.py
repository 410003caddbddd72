"""The decoder of representations: its network, training and use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import batches, parts
from bench_learners.fitting import fit
from bench_learners.weights import restored, state_of
from bench_translation.losses import PictureLoss
from bench_translation.networks import Residual, initialised
from bench_translation.training import People
from torch import Tensor, nn

from bench import Reconstructed
from bench_readers.linear import picture_of
from bench_readers.reading import Reading, most_faces, packed, shapes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples, Received
    from bench_readers.parameters import DecoderParameters

_FIRST, _LARGEST = 7, 28  # The side of the grid on which the network begins: that of the maps, between these.
_LOOKED_AT = 64  # At most so many held-out faces decide when the training stops.
_PATIENCE = 3
_SAMPLE = 1024  # At most so many faces decide the linear reading.


class DecoderNetwork(nn.Module):
    """The linear reading of a picture, to which residual units on a growing grid add what they learn.

    The grid begins with a fully connected layer of the vectors and a convolution of the maps (after NbNet: Mai et al.,
    "On the reconstruction of face images from deep face templates", 2019).
    """

    def __init__(self, reading: Reading, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.reading, self.size = reading, size
        self.start = picture_of(reading, size)
        self.grid = min(max(_FIRST, *reading.side), _LARGEST)
        steps = max(1, math.ceil(math.log2(max(size) / (2 * self.grid))))
        widths = [max(channels, 4 * channels // 2**k) for k in range(steps + 1)]
        self.from_vectors = nn.Linear(reading.length, widths[0] * _FIRST**2) if reading.length else None
        self.from_maps = nn.Conv2d(reading.channels, widths[0], 3, padding=1) if reading.channels else None
        self.units = nn.ModuleList(Residual(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 3 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return faces ``(n, 3, h, w)`` of packed representations ``(n, d)``; they are not clamped."""
        vectors, maps = self.reading(x)
        first = []
        if self.from_vectors is not None:
            first.append(self.from_vectors(vectors).unflatten(1, (-1, _FIRST, _FIRST)))
        if self.from_maps is not None:
            first.append(self.from_maps(maps))
        found = self.units[0](torch.stack([F.interpolate(m, size=self.grid, mode="area") for m in first]).sum(0))
        for up, unit in zip(self.up, self.units[1:], strict=True):
            found = unit(F.interpolate(up(found), scale_factor=2, mode="nearest"))
        made = F.pixel_shuffle(self.out(found), 2)
        more = F.interpolate(made, size=self.size, mode="bilinear", align_corners=False)
        whole: Tensor = self.start(vectors, maps) + more
        return whole


def fit_decoder(params: DecoderParameters, examples: Examples, ctx: Context) -> Mapping[str, Tensor]:
    """Train the decoder; return its state, as `bench_readers.RepresentationDecoder.fit` states."""
    people = People(examples, ctx)

    def sent(rows: NDArray[np.int64]) -> Tensor:
        return packed(examples.received(rows), ctx.plugin)

    loss = PictureLoss.of_network(params.network, ctx)
    order = torch.randperm(len(people.rows), generator=people.generator).numpy()
    shapes = shapes_of(examples.received(people.rows[:1]), ctx.plugin)
    known = people.rows[order[: min(_SAMPLE, most_faces(shapes))]]
    others = people.held_out[: min(_LOOKED_AT, most_faces(shapes))]
    sample, looked_at = sent(known), sent(others)
    faces, wanted = people.faces(known), people.faces(others)
    reading = Reading.of_sample(shapes, sample)
    with torch.random.fork_rng(devices=[]):
        network = DecoderNetwork(reading.cpu(), _size(faces), params.channels)
    initialised(network, [network.out], people.generator)
    network.to(ctx.device)
    with torch.no_grad():
        network.start.learn(network.reading, (sample, faces), (looked_at, wanted))
    network.start.requires_grad_(False)
    rows = batches(people.rows, params.batch_size, people.generator)

    def step_loss(step: int) -> Tensor:
        chosen = next(rows)
        return loss(network(sent(chosen)), people.faces(chosen)).mean()

    def held_out() -> float:
        looks = parts(np.arange(len(others)), params.batch_size)
        return float(torch.cat([loss(network(looked_at[p]).clamp(0, 1), wanted[p]) for p in looks]).mean())

    fit(
        network,
        step_loss,
        held_out,
        steps=params.steps,
        rate=params.learning_rate,
        patience=_PATIENCE,
        ctx=ctx,
    )
    return state_of(network)


def decoded(params: DecoderParameters, received: Received, ctx: Context) -> Reconstructed:
    """Decode representations."""
    x, shapes = packed(received, ctx.plugin), shapes_of(received, ctx.plugin)
    with torch.random.fork_rng(devices=[]):
        reading = Reading.of_state(shapes, ctx.state, "reading.", ctx.plugin)
        network = DecoderNetwork(reading, ctx.image_size, params.channels)
    restored(network, ctx.state).to(ctx.device)
    with torch.no_grad():
        return Reconstructed(images=network(x).clamp(0, 1))


def _size(faces: Tensor) -> tuple[int, int]:
    return int(faces.shape[2]), int(faces.shape[3])
