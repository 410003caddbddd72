"""The service's recogniser of channels: a linear map back to pixels, and a recognition network behind it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from bench_learners.fitting import fit
from bench_learners.losses import rank_error, temperature_of, towards
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench_representations.shapes import PICTURE
from bench_representations.training_faces import TrainingFaces, loaded

if TYPE_CHECKING:
    from bench import Context, Model

# What leaves the client for some pictures, with the randomness of a stream: channels ``(n, c, s, s)``, and which of
# several sets of channels they are, ``(n,)`` from 0.
Sent = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]

_RATE, _PATIENCE = 2e-3, 4
_LOSS_SHARE = 1e-3  # of the loss beside the rank error where held-out people are looked at
_RIDGE = 1e-4  # of the mean variance of a channel
_CONTRAST = 0.2  # The standard deviation of what tells faces apart in the picture that the network sees first.
_SAMPLE, _MOST_NUMBERS = 512, 2**27  # At most so many faces and numbers decide the linear map.
_PREFIX = "recogniser."


class ChannelRecogniser(nn.Module):
    """Maps the standardised channels around each position to its pixels, and shows the picture to a network.

    Each of ``sets`` sets of channels has a map of its own, of ``reach`` x ``reach`` positions.
    """

    scale: Tensor

    def __init__(self, channels: int, side: int, network: Any, sets: int = 1, reach: int = 1) -> None:
        super().__init__()
        self.pixels = PICTURE // side
        self.register_buffer("scale", torch.ones(sets, channels, 1, 1))
        with torch.random.fork_rng(devices=[]):  # The first weights are replaced by `_start`.
            self.fronts = nn.ModuleList(
                nn.Conv2d(channels, 3 * self.pixels**2, reach, padding=reach // 2) for _ in range(sets)
            )
        self.network: nn.Module = network

    def picture(self, channels: Tensor, sets: Tensor) -> Tensor:
        """Return the picture ``(n, 3, 112, 112)`` that the network sees of channels ``(n, c, s, s)``, which are those
        of the ``sets (n,)``."""
        made = channels.new_zeros(len(channels), 3 * self.pixels**2, *channels.shape[2:])
        for number, front in enumerate(self.fronts):
            rows = (sets == number).nonzero()[:, 0]
            made = made.index_copy(0, rows, front(channels[rows] * self.scale[number]))
        return F.pixel_shuffle(made, self.pixels)

    def forward(self, channels: Tensor, sets: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)`` of channels ``(n, c, s, s)``, which are those of the ``sets (n,)``."""
        found: Tensor = self.network(self.picture(channels, sets))
        return found


def one_set(channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return channels with the number of their set, where there is only one."""
    return channels, torch.zeros(len(channels), dtype=torch.long, device=channels.device)


def trained(new: ChannelRecogniser, sent: Sent, training: TrainingFaces, steps: int, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a new recogniser of what is sent, trained towards the embeddings of unprotected faces.

    The loss and the early stopping are those of an adapted recogniser (`bench_learners.recognition.adapt`); each step
    sees what is sent with new randomness.
    """
    generator = training.generator
    held_out, wanted = sent(training.held_out, generator), training.held_out_targets
    temperature = temperature_of(training.targets, training.people)
    start(new, sent, training)

    def loss(step: int) -> Tensor:
        images, targets, _ = training.batch()
        return towards(new(*sent(images, generator)), targets, temperature)

    def error() -> float:
        found = new(*held_out)
        return rank_error(found, wanted) + _LOSS_SHARE * float(towards(found, wanted, temperature))

    fit(new, loss, error, steps=steps, rate=_RATE, patience=_PATIENCE, ctx=ctx, in_proportion=True)
    return state_of(new, _PREFIX)


def recogniser_of(
    model: Model, channels: int, side: int, ctx: Context, sets: int = 1, reach: int = 1
) -> ChannelRecogniser:
    """Return a recogniser of channels with the network of a model as it is."""
    return ChannelRecogniser(channels, side, loaded(model, ctx), sets, reach).to(ctx.device)


def with_state(recogniser: ChannelRecogniser, ctx: Context) -> nn.Module:
    """Return a recogniser with the state of the context."""
    return restored(recogniser, ctx.state, _PREFIX)


def start(recogniser: ChannelRecogniser, sent: Sent, training: TrainingFaces) -> None:
    """Give a recogniser the linear maps that estimate pixels best (least squares).

    What differs between faces has the contrast of a face, and the mean colours stay as they are: few channels tell
    little of a pixel, so that the best estimate hardly differs from the mean. A set that is not drawn starts as grey.
    """
    numbers = recogniser.scale[0].numel() * (PICTURE // recogniser.pixels) ** 2
    most = max(1, min(_SAMPLE, _MOST_NUMBERS // numbers) // len(next(training.pictures())))
    parts = list(itertools.islice(training.pictures(), most))
    channels, sets = (
        torch.cat(found) for found in zip(*(sent(part, training.generator) for part in parts), strict=True)
    )
    pixels = F.pixel_unshuffle(torch.cat(parts), recogniser.pixels)
    for number, front in enumerate(recogniser.fronts):
        assert isinstance(front, nn.Conv2d)
        rows = sets == number
        if rows.any():
            recogniser.scale[number] = _fitted(front, channels[rows], pixels[rows])
        else:
            _set(front, torch.zeros_like(front.weight), front.weight.new_full((len(front.weight),), 0.5))


def _fitted(front: nn.Conv2d, channels: Tensor, pixels: Tensor) -> Tensor:
    """Give a layer the map from channels ``(n, c, s, s)`` to pixels ``(n, m, s, s)``; return by what it expects the
    channels to be multiplied, ``(c, 1, 1)``."""
    scale = 1 / channels.std(dim=(0, 2, 3), keepdim=True)[0].clamp(min=1e-6)
    wanted = pixels.movedim(1, -1).flatten(0, 2)
    mean = wanted.mean(dim=0)
    count = front.weight[0].numel()
    products, cross = (
        torch.zeros(count, n, dtype=torch.double, device=channels.device) for n in (count, len(front.weight))
    )
    sums, at = torch.zeros(count, dtype=torch.double, device=channels.device), 0
    for part in torch.split(channels * scale, 32):
        x = F.unfold(part, front.kernel_size, padding=front.padding).movedim(1, -1).flatten(0, 1)  # type: ignore[arg-type]
        products += (x.T @ x).double()
        cross += (x.T @ (wanted[at : at + len(x)] - mean)).double()
        sums += x.double().sum(dim=0)
        at += len(x)
    centre = sums / at
    products -= at * torch.outer(centre, centre)
    products += _RIDGE * products.diagonal().mean().clamp(min=1e-12) * torch.eye(count).to(products)
    found = torch.linalg.solve(products, cross)
    spread = (found * (products @ found)).sum(dim=0).mean().div(at).sqrt()
    found *= _CONTRAST / spread.clamp(min=1e-6)
    _set(front, found.T.reshape(front.weight.shape), mean - centre @ found)
    return scale


def _set(front: nn.Conv2d, weights: Tensor, bias: Tensor) -> None:
    assert front.bias is not None
    with torch.no_grad():
        front.weight.copy_(weights)
        front.bias.copy_(bias)
