"""Linear readings of a representation: the picture, or the embedding, that ridge regression makes of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench_readers.reading import Reading

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # Shares of the mean variance; held-out people decide between them.
_MANY = 64  # Positions of which a client sends fewer channels are read together with their neighbours.
_MOST_NUMBERS = 2**25  # of the positions of maps that a regression is fitted to
_LEAST_READ = 0.01  # of the variance of pixels
_COARSE = 28  # The side of the picture that a vector is turned into.

Pairs = tuple[Tensor, Tensor]  # inputs and what is wanted of them


def ridge(known: Pairs, others: Pairs) -> tuple[Tensor, Tensor]:
    """Return the weights ``(m, d)`` and the bias ``(m,)`` of the regression from ``(n, d)`` to ``(n, m)``, fitted to
    ``known`` pairs, with the regularisation that suits ``others`` best."""
    x, y = known
    centre, mean = x.mean(0), y.mean(0)
    gram, cross = ((x - centre).T @ (side - side.mean(0)) / len(x) for side in (x, y))
    gram, cross = gram.double(), cross.double()
    strength = gram.diagonal().mean().clamp(min=1e-12) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)

    def solved(share: float) -> Tensor:
        found: Tensor = torch.linalg.solve(gram + share * strength, cross).float()
        return found

    def error(weights: Tensor) -> float:
        return float(F.mse_loss((others[0] - centre) @ weights + mean, others[1]))

    best = min((solved(share) for share in _RIDGES), key=error)
    return best.T.contiguous(), mean - centre @ best


class MapPicture(nn.Module):
    """A picture from maps: a position becomes a block of pixels. With few channels its eight neighbours count too."""

    def __init__(self, reading: Reading, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.times = max(1, *(math.ceil(wanted / there) for wanted, there in zip(size, reading.side, strict=True)))
        self.kernel = 1 if reading.sent >= _MANY else 3
        self.layer = nn.Conv2d(reading.channels, 3 * self.times**2, self.kernel, padding=self.kernel // 2)

    def forward(self, vectors: Tensor, maps: Tensor) -> Tensor:
        """Return pictures ``(n, 3, *size)``; they are not clamped."""
        return _sized(F.pixel_shuffle(self.layer(maps), self.times), self.size)

    def learn(self, reading: Reading, known: Pairs, others: Pairs) -> None:
        """Take the weights that suit pairs of packed representations and faces ``(n, 3, *size)`` best."""
        weights, bias = ridge(*(self._positions(reading, *pairs) for pairs in (known, others)))
        _set(self.layer, weights.view_as(self.layer.weight), bias)

    def stretch(self, reading: Reading, known: Pairs, others: Pairs) -> None:
        """Give what differs between pictures the contrast that it has in faces ``(n, 3, *size)``; the mean stays.

        The best estimate of what little is sent hardly differs from the mean, and a network sees it better with
        contrast. Nothing is done if of ``others`` nothing is read.
        """
        assert self.layer.bias is not None
        weights, bias = self.layer.weight.detach().flatten(1), self.layer.bias.detach()
        x, wanted = self._positions(reading, *others)
        error = (x @ weights.T + bias - wanted).square().mean() / wanted.var(dim=0).mean()
        if error > 1 - _LEAST_READ:
            return
        x, wanted = self._positions(reading, *known)
        made = x @ weights.T
        gain = (wanted.var(dim=0).mean() / made.var(dim=0).mean()).sqrt()
        _set(self.layer, gain * self.layer.weight, bias + (1 - gain) * made.mean(dim=0))

    def _positions(self, reading: Reading, x: Tensor, faces: Tensor) -> Pairs:
        """Return as many positions as fit with what belongs to them: ``(n, d)`` and the pixels ``(n, m)``."""
        h, w = reading.side
        numbers = reading.channels * self.kernel**2 + 3 * self.times**2
        count = max(8, _MOST_NUMBERS // (h * w * numbers))
        maps = reading(x[:count])[1]
        near = F.unfold(maps, self.kernel, padding=self.kernel // 2)
        wanted = F.pixel_unshuffle(_sized(faces[:count], (h * self.times, w * self.times)), self.times).flatten(2)
        return near.transpose(1, 2).flatten(0, 1), wanted.transpose(1, 2).flatten(0, 1)


class VectorPicture(nn.Module):
    """A coarse picture from vectors."""

    def __init__(self, reading: Reading, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.coarse = size, (min(size[0], _COARSE), min(size[1], _COARSE))
        self.layer = nn.Linear(reading.length, 3 * math.prod(self.coarse))

    def forward(self, vectors: Tensor, maps: Tensor) -> Tensor:
        """Return pictures ``(n, 3, *size)``; they are not clamped."""
        return _sized(self.layer(vectors).unflatten(1, (3, *self.coarse)), self.size)

    def learn(self, reading: Reading, known: Pairs, others: Pairs) -> None:
        """Take the weights that suit pairs of packed representations and faces ``(n, 3, *size)`` best."""
        pairs = ((reading(x)[0], _sized(faces, self.coarse).flatten(1)) for x, faces in (known, others))
        _set(self.layer, *ridge(*pairs))


class VectorEmbedding(nn.Module):
    """An embedding from vectors: a regression, to which a small network adds what it learns."""

    def __init__(self, length: int, size: int, width: int = 256) -> None:
        super().__init__()
        self.layer = nn.Linear(length, size)
        self.inner = nn.Linear(length, width)
        self.outer = nn.Linear(width, size)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return embeddings ``(n, size)`` of vectors ``(n, length)``."""
        found: Tensor = self.layer(vectors) + self.outer(F.silu(self.inner(vectors)))
        return found

    def learn(self, known: Pairs, others: Pairs) -> None:
        """Take the weights of the regression that suit pairs of vectors and embeddings best."""
        _set(self.layer, *ridge(known, others))


def picture_of(reading: Reading, size: tuple[int, int]) -> MapPicture | VectorPicture:
    """Return the linear reading of a picture: from maps if there are any, else from vectors."""
    return MapPicture(reading, size) if reading.channels else VectorPicture(reading, size)


def _set(layer: nn.Conv2d | nn.Linear, weights: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weights)
        assert layer.bias is not None
        layer.bias.copy_(bias)


def _sized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
