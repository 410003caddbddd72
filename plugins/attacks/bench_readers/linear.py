"""Linear readings of a representation: the picture, or the embedding, that ridge regression makes of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from bench_linear.pixels import fit_pixels, give_contrast
from bench_linear.regression import Pairs, ridge
from torch import Tensor, nn

from bench_readers.reading import Reading

_MANY = 64  # Positions of which a client sends fewer channels are read together with their neighbours.
_LEAST_READ = 0.1  # the correlation with unseen faces from which something is read of them
_COARSE = 28  # The side of the picture that a vector is turned into.


class MapPicture(nn.Module):
    """A picture from maps: a position becomes a block of pixels. With few channels its eight neighbours count too."""

    def __init__(self, reading: Reading, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.times = max(1, *(math.ceil(wanted / there) for wanted, there in zip(size, reading.side, strict=True)))
        self.kernel = 1 if reading.sent >= _MANY else 3
        self.layer: nn.Conv2d = self._layer(reading.channels)

    def forward(self, vectors: Tensor, maps: Tensor) -> Tensor:
        """Return pictures ``(n, 3, *size)``; they are not clamped."""
        return _sized(F.pixel_shuffle(self.layer(maps), self.times), self.size)

    def learn(self, reading: Reading, known: Pairs, others: Pairs, *, contrast: bool = False) -> None:
        """Take the weights that suit pairs of packed representations and faces ``(n, 3, *size)`` best: for each choice
        of the client those that suit the faces of which this was sent. With ``contrast``, pictures have that of faces,
        unless nothing is read."""
        layers, read = [], []
        choices = range(reading.channels // reading.sent)
        for choice in choices:
            layers.append(self._layer(reading.sent).to(known[0]))
            read.append(fit_pixels(layers[-1], *(_sent(reading, choice, *pairs) for pairs in (known, others))))
        if contrast and max(read) > _LEAST_READ:
            for choice in choices:
                give_contrast(layers[choice], _sent(reading, choice, *known))
        weights = torch.cat([layer.weight for layer in layers], dim=1)
        _set(self.layer, weights, torch.stack([layer.bias for layer in layers if layer.bias is not None]).mean(0))

    def _layer(self, channels: int) -> nn.Conv2d:
        with torch.random.fork_rng(devices=[]):  # `learn` or a state gives it its weights.
            return nn.Conv2d(channels, 3 * self.times**2, self.kernel, padding=self.kernel // 2)


def _sent(reading: Reading, choice: int, x: Tensor, faces: Tensor) -> Pairs:
    """Return the maps of one choice of the client, and the faces of which these were sent."""
    rows = reading.placed(x)[:, choice].bool()
    return reading(x[rows])[1][:, choice * reading.sent : (choice + 1) * reading.sent], faces[rows]


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
