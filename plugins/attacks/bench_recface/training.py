"""Training of the decoder on pairs of features and faces (paper, Equation 1), and reconstruction with it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import ContractError, Received, Reconstructed
from bench_recface.network import Decoder, load_decoder, new_decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples
    from bench_recface.parameters import RecFaceParameters

_CACHE = 1_500_000_000  # Features of at most so many bytes are kept; those of larger sets are computed for each batch.
_SAMPLE = 256  # The number of faces from which the statistics of the features are computed.
_WARM_UP = 0.1  # The share of the budget in which the learning rate rises.
_BETAS = (0.9, 0.99)  # Of Adam. The second is smaller than usual because the budget is only a thousand steps.
# The least standard deviation of a channel, as a share of the mean over channels: dividing by a smaller one would
# amplify a channel that hardly varies.
_LEAST_STD = 0.01


class Budget:
    """The budget of a training: steps or seconds, whichever are used up first."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds, self.made = steps, seconds, 0
        self._start = time.monotonic()

    def share(self) -> float:
        """Return the share of the budget that is used up, in [0, 1]."""
        elapsed = (time.monotonic() - self._start) / self.seconds if self.seconds else 0.0
        return min(1.0, max(self.made / self.steps, elapsed))


class Pairs:
    """The training pairs: normalised features of faces, and the faces.

    If all features fit into 1.5 GB, they are kept in half precision, so that each is computed once. They are rounded
    to half precision in any case, so the result does not depend on whether they are kept.
    """

    def __init__(self, examples: Examples, decoder: Decoder, shapes: Sequence[torch.Size], ctx: Context) -> None:
        self._examples, self._decoder, self._ctx = examples, decoder, ctx
        n = len(examples.images)
        self._known = np.zeros(n, dtype=bool)
        self._kept: list[Tensor] | None = None
        if 2 * n * sum(shape.numel() for shape in shapes) <= _CACHE:
            layout = torch.channels_last
            self._kept = [
                torch.empty((n, *shape), dtype=torch.half, device=ctx.device, memory_format=layout) for shape in shapes
            ]

    def batch(self, rows: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Return the features ``(len(rows), c, h, w)`` of some faces, in the order of `ordered_maps`, and the faces in
        [0, 1]."""
        images = image_tensor(self._examples, rows).to(self._ctx.device)
        if self._kept is None:
            return [x.float() for x in self._computed(rows)], images
        new = np.unique(rows[~self._known[rows]])
        if len(new):
            for kept, x in zip(self._kept, self._computed(new), strict=True):
                kept[torch.from_numpy(new).to(kept.device)] = x
            self._known[new] = True
        index = torch.from_numpy(rows).to(self._ctx.device)
        return [kept[index].float() for kept in self._kept], images

    def _computed(self, rows: NDArray[np.int64]) -> list[Tensor]:
        with torch.no_grad():
            maps = ordered_maps(self._examples.received(rows), self._ctx.plugin)
            return [x.half() for x in self._decoder.normalised(maps)]


def ordered_maps(received: Received, who: str) -> list[Tensor]:
    """Return the received features in the order of their splits' names. Raises ContractError if they cannot be
    decoded."""
    if not received.features:
        raise ContractError(f"{who}: received no features to decode")
    for split, x in received.features.items():
        if x.ndim != 4:
            raise ContractError(f"{who}: expected features (n, c, h, w) at {split!r}, got shape {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ContractError(f"{who}: the features at {split!r} hold NaN or infinity")
    return [received.features[split] for split in sorted(received.features)]


def image_tensor(examples: Examples, rows: NDArray[np.int64]) -> Tensor:
    """Return some of the faces as float ``(len(rows), 3, h, w)`` in [0, 1], on the CPU."""
    return torch.from_numpy(examples.images[rows]).float() / 255


def batches(n: int, size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield random rows of [0, n), ``size`` at a time, without end: every row once before any is repeated."""
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, torch.randperm(n, generator=generator).numpy()])
        yield queue[:size]
        queue = queue[size:]


def learning_rate(peak: float, share: float) -> float:
    """Return the learning rate after a share of the budget: linear to ``peak`` in the first tenth, then a cosine to
    0."""
    if share < _WARM_UP:
        return peak * max(share / _WARM_UP, 0.01)
    return peak * 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))


def train(params: RecFaceParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Minimise the mean squared error between R(features) and faces; return the decoder's state and ``steps``.

    Raises ContractError if there are no faces, if a feature is not finite, and if the training diverges.
    """
    n = len(examples.images)
    if not n:
        raise ContractError(f"{ctx.plugin}: there are no faces to learn from")
    generator = ctx.generator()
    sample = torch.randperm(n, generator=generator)[:_SAMPLE].numpy()
    with torch.no_grad():
        maps = ordered_maps(examples.received(sample), ctx.plugin)
    shapes = [x.shape[1:] for x in maps]
    h, w = examples.images.shape[2:]
    decoder = new_decoder([(s[0], s[1], s[2]) for s in shapes], (h, w), params.channels, params.blocks, generator)
    note_statistics(decoder, maps, image_tensor(examples, sample))
    decoder.to(ctx.device).train()
    budget = Budget(params.steps, params.seconds)
    pairs = Pairs(examples, decoder, shapes, ctx)
    rows = batches(n, params.batch_size, generator)
    with torch.enable_grad():
        descend(decoder, pairs, rows, budget, params, ctx)
    state = {name: value.detach().cpu().contiguous() for name, value in decoder.state_dict().items()}
    return {**state, "steps": torch.tensor(float(budget.made))}


def note_statistics(decoder: Decoder, maps: Sequence[Tensor], faces: Tensor) -> None:
    """Set the buffers of the decoder: the mean face and, per channel, mean and standard deviation of the features."""
    decoder.mean_face.copy_(faces.mean(dim=0))
    for i, x in enumerate(maps):
        std, mean = torch.std_mean(x.float(), dim=(0, 2, 3), keepdim=True, correction=0)
        least = _LEAST_STD * std.mean()
        std = std.maximum(least) if least > 0 else torch.ones_like(std)
        decoder.get_buffer(f"mean{i}").copy_(mean[0])
        decoder.get_buffer(f"std{i}").copy_(std[0])


def descend(
    decoder: Decoder,
    pairs: Pairs,
    rows: Iterator[NDArray[np.int64]],
    budget: Budget,
    params: RecFaceParameters,
    ctx: Context,
) -> None:
    """Train the decoder with Adam until the budget is used up. Raises ContractError if the loss is not finite."""
    optimizer = torch.optim.Adam(decoder.parameters(), lr=params.learning_rate, betas=_BETAS)
    while (share := budget.share()) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(params.learning_rate, share)
        maps, faces = pairs.batch(next(rows))
        loss = F.mse_loss(decoder(maps), faces)
        if not math.isfinite(value := loss.item()):
            raise ContractError(
                f"{ctx.plugin}: the loss became {value} in step {budget.made + 1}; "
                f"lower learning_rate (it is {params.learning_rate:g})"
            )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        budget.made += 1
        ctx.progress(budget.share(), 1.0)


def reconstruct(params: RecFaceParameters, received: Received, ctx: Context) -> Reconstructed:
    """Decode a batch of uploads to images float ``(n, 3, h, w)`` in [0, 1]. ``extra``: ``training_steps``.

    Raises ContractError for features that cannot be decoded or do not fit the trained decoder.
    """
    maps = ordered_maps(received, ctx.plugin)
    state: Mapping[str, Tensor] = {name: value for name, value in ctx.state.items() if name != "steps"}
    shapes = [(x.shape[1], x.shape[2], x.shape[3]) for x in maps]
    try:
        decoder = load_decoder(shapes, params.channels, params.blocks, state).to(ctx.device)
    except ValueError as error:
        raise ContractError(f"{ctx.plugin}: {error}") from None
    with torch.no_grad():
        images = decoder(decoder.normalised(maps)).clamp(0, 1)
    steps = ctx.state["steps"].to(ctx.device).expand(len(images))
    return Reconstructed(images=images.contiguous(), extra={"training_steps": steps})
