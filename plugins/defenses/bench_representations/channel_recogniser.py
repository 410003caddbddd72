"""The service's recogniser of channels: a linear map back to pixels, and a recognition network behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from bench_learners.fitting import fit
from bench_learners.losses import rank_error, temperature_of, towards
from bench_learners.weights import restored, state_of
from bench_linear.pixels import fit_pixels, give_contrast
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
_SAMPLE, _MOST_NUMBERS = 512, 2**26  # At most so many faces, and numbers that they send, decide the linear maps.
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
        with torch.random.fork_rng(devices=[]):  # The first weights are replaced by `start`.
            self.fronts = nn.ModuleList(
                nn.Conv2d(channels, 3 * self.pixels**2, reach, padding=reach // 2) for _ in range(sets)
            )
        self.network: nn.Module = network

    @property
    def numbers(self) -> int:
        """How many numbers a client sends."""
        return self.scale[0].numel() * (PICTURE // self.pixels) ** 2

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
    temperature = temperature_of(torch.cat([training.targets, wanted]), training.people)
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
    """Give a recogniser the linear map from each set of channels to pixels that suits held-out people best, with the
    contrast of faces (`bench_linear.pixels`). A set that is not drawn starts as grey."""
    faces = _some(training.pictures(), max(1, min(_SAMPLE, _MOST_NUMBERS // recogniser.numbers)))
    (channels, sets), (others, other_sets) = (sent(x, training.generator) for x in (faces, training.held_out))
    for number, front in enumerate(recogniser.fronts):
        assert isinstance(front, nn.Conv2d)
        own, unseen = sets == number, other_sets == number
        with torch.no_grad():
            if own.any():
                scale = 1 / channels[own].std(dim=(0, 2, 3))[:, None, None].clamp(min=1e-6)
                recogniser.scale[number] = scale
                known = channels[own] * scale, faces[own]
                fit_pixels(front, known, (others[unseen] * scale, training.held_out[unseen]))
                give_contrast(front, known)
            else:
                front.weight.zero_()
                assert front.bias is not None
                front.bias.fill_(0.5)


def _some(parts: Iterator[Tensor], most: int) -> Tensor:
    """Return at most so many of the faces that are yielded in parts."""
    found, count = [], 0
    while count < most and (part := next(parts, None)) is not None:
        found.append(part[: most - count])
        count += len(found[-1])
    return torch.cat(found)
