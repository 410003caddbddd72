"""The service's recogniser of channels: a linear map back to pixels, and a recognition network behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from bench_learners.fitting import fit
from bench_learners.losses import towards
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench_representations.shapes import PICTURE
from bench_representations.training_faces import TrainingFaces, loaded

if TYPE_CHECKING:
    from bench import Context, Model

# What leaves the client for some pictures, as the recogniser gets it ``(n, c, s, s)``, with the randomness of a stream.
Sent = Callable[[Tensor, torch.Generator], Tensor]

_RATE, _PATIENCE = 2e-3, 3
_RIDGE = 1e-4  # of the mean variance of a channel
_CONTRAST = 0.2  # The standard deviation of the picture that the network sees first: that of a face.
_PREFIX = "recogniser."


class ChannelRecogniser(nn.Module):
    """Maps the standardised channels at each position to its pixels, and shows the picture to a network."""

    scale: Tensor

    def __init__(self, channels: int, side: int, network: Any) -> None:
        super().__init__()
        self.pixels = PICTURE // side
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        with torch.random.fork_rng(devices=[]):  # The first weights are replaced by `_start`.
            self.front = nn.Conv2d(channels, 3 * self.pixels**2, 1)
        self.network: nn.Module = network

    def picture(self, channels: Tensor) -> Tensor:
        """Return the picture ``(n, 3, 112, 112)`` that the network sees of channels ``(n, c, s, s)``."""
        return F.pixel_shuffle(self.front(channels * self.scale), self.pixels)

    def forward(self, channels: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)`` of channels ``(n, c, s, s)``."""
        found: Tensor = self.network(self.picture(channels))
        return found


def trained(model: Model, sent: Sent, training: TrainingFaces, steps: int, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a recogniser of what is sent, which is trained towards the embeddings of unprotected faces.

    The loss is that of an adapted recogniser (`bench_learners.losses.towards`). The training ends early where held-out
    people are recognised no better.
    """
    generator = training.generator
    held_out = sent(training.held_out, generator)
    recogniser = ChannelRecogniser(held_out.shape[1], held_out.shape[2], loaded(model, ctx)).to(ctx.device)
    _start(recogniser, sent, training)

    def loss(step: int) -> Tensor:
        images, targets, _ = training.batch()
        return towards(recogniser(sent(images, generator)), targets)

    fit(
        recogniser,
        loss,
        lambda: float(towards(recogniser(held_out), training.held_out_targets)),
        steps=steps,
        rate=_RATE,
        patience=_PATIENCE,
        ctx=ctx,
    )
    return state_of(recogniser, _PREFIX)


def recogniser_of(model: Model, channels: int, side: int, ctx: Context) -> nn.Module:
    """Return the recogniser of channels with the state of the context."""
    return restored(ChannelRecogniser(channels, side, loaded(model, ctx)).to(ctx.device), ctx.state, _PREFIX)


def _start(recogniser: ChannelRecogniser, sent: Sent, training: TrainingFaces) -> None:
    """Give a recogniser the linear map that estimates pixels best (least squares), with the contrast of a face."""
    generator = training.generator
    some = sent(next(training.pictures()), generator)
    scale = 1 / some.std(dim=(0, 2, 3)).clamp(min=1e-6)
    count = len(scale) + 1
    products, wanted = (
        torch.zeros(count, n, dtype=torch.double, device=some.device) for n in (count, recogniser.front.out_channels)
    )
    for images in training.pictures():
        channels = sent(images, generator) * scale[:, None, None]
        x = F.pad(channels.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        y = F.pixel_unshuffle(images, recogniser.pixels).movedim(1, -1).flatten(0, 2)
        products += (x.T @ x).double()
        wanted += (x.T @ y).double()
    products += _RIDGE * products.diagonal().mean() * torch.eye(count).to(products)
    found = torch.linalg.solve(products, wanted).float()
    bias = recogniser.front.bias
    assert bias is not None
    with torch.no_grad():
        recogniser.scale.copy_(scale[:, None, None])
        recogniser.front.weight.copy_(found[:-1].T[:, :, None, None])
        bias.copy_(found[-1])
        made = recogniser.picture(some)
        gain = _CONTRAST / made.std().clamp(min=1e-6)
        recogniser.front.weight.mul_(gain)
        bias.sub_(made.mean()).mul_(gain).add_(0.5)
