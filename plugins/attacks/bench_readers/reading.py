"""Any representation as two tensors: a vector of each face, and maps of each face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import ContractError

if TYPE_CHECKING:
    from bench import Received

LONGEST = 1024  # Longer vectors are projected at random to this length.
_SMALLEST = 4  # Maps with fewer rows or columns are vectors.
_MOST_CHOICES = 16  # A number with at most so many whole values says which maps were sent.

_MOST_NUMBERS = 2**26  # that are held at once

Shapes = Mapping[str, tuple[int, ...]]


def directions(received: Received, who: str) -> Tensor:
    """Return a representation as one tensor ``(n, d)``, whose cosine is the mean of those of its tensors. Single
    numbers, which have no direction, are left out, and compared as they are where nothing else is sent."""
    tensors = [values.reshape(len(values), -1) for values in tensors_of(received, who).values()]
    several = [F.normalize(values, dim=1) for values in tensors if values.shape[1] > 1]
    return torch.cat(several or tensors, dim=1)


def tensors_of(received: Received, who: str) -> dict[str, Tensor]:
    """Return the tensors of a representation in the order of their names, as floats.

    Raise `ContractError`, which names ``who``, if there are none or if they are not finite.
    """
    if not received.representation:
        raise ContractError(f"{who}: works on a representation, and received none; use an attack on images or features")
    found = {}
    for name in sorted(received.representation):
        values = received.representation[name]
        values = torch.view_as_real(values).flatten(1) if values.is_complex() else values.float()
        if not torch.isfinite(values).all():
            raise ContractError(f"{who}: the received representation {name!r} holds values that are NaN or infinite")
        found[name] = values
    return found


def packed(received: Received, who: str) -> Tensor:
    """Return all numbers of a representation as one tensor ``(n, d)``, tensor by tensor in the order of their names."""
    return torch.cat([values.reshape(len(values), -1) for values in tensors_of(received, who).values()], dim=1)


def shapes_of(received: Received, who: str) -> Shapes:
    """Return the shapes of the tensors of one face."""
    return {name: tuple(values.shape[1:]) for name, values in tensors_of(received, who).items()}


def most_faces(shapes: Shapes) -> int:
    """Return of how many faces representations of these shapes are held at once."""
    return max(16, _MOST_NUMBERS // sum(math.prod(shape) for shape in shapes.values()))


class Reading(nn.Module):
    """Takes a packed representation apart: standardised vectors ``(n, length)``, and maps ``(n, channels, h, w)``.

    A tensor ``(n, c, h, w)`` is maps, enlarged to the largest ones if there are several; any other is a vector. If the
    client says with a number which maps it sends, such as one of a few subsets of channels, maps are put in the places
    of that number, and 0 in those of the others: that number is one of ``choices``, each of which has maps of its own
    scale. Without choices, or without maps,
    every number is part of the vector. A long vector is projected by feature hashing (Weinberger et al., "Feature
    hashing for large scale multitask learning", 2009), which keeps angles on average.
    """

    def __init__(self, shapes: Shapes, choices: Tensor) -> None:
        super().__init__()
        ends = torch.tensor([math.prod(shape) for shape in shapes.values()]).cumsum(0).tolist()
        self.places = {name: slice(a, b) for name, a, b in zip(shapes, [0, *ends], ends, strict=False)}
        self.maps = {name: shape for name, shape in shapes.items() if _are_maps(shape)}
        self.choice = _choice(shapes) if self.maps and len(choices) else None
        self.vectors = [name for name in shapes if name not in self.maps and name != self.choice]
        width = sum(math.prod(shapes[name]) for name in self.vectors)
        self.length = min(width, LONGEST)
        self.side = tuple(max((shape[k] for shape in self.maps.values()), default=0) for k in (1, 2))
        self.sent = sum(shape[0] for shape in self.maps.values())
        places = len(choices) if self.choice else 1
        self.channels = self.sent * places
        self.register_buffer("choices", choices.clone())
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("map_mean", torch.zeros(places, self.sent))
        self.register_buffer("map_scale", torch.ones(places, self.sent))

    @classmethod
    def of_sample(cls, shapes: Shapes, sample: Tensor) -> Reading:
        """Return what reads representations of these shapes, standardised as the packed ``sample (n, d)``."""
        name = _choice(shapes)
        first = cls(shapes, sample.new_empty(0))
        choices = sample.new_empty(0)
        if name is not None:
            values = sorted(set(sample[:, first.places[name]].flatten().tolist()))
            if 2 <= len(values) <= _MOST_CHOICES and all(value.is_integer() for value in values):
                choices = torch.tensor(values).to(sample)
        reading = cls(shapes, choices).to(sample.device)
        vectors, maps = reading._raw(sample)
        _standardise(reading.mean, reading.scale, vectors.T)
        for place, rows in enumerate(reading.placed(sample).T.bool()):
            chosen = maps[rows].transpose(0, 1).flatten(1)
            _standardise(cast(Tensor, reading.map_mean)[place], cast(Tensor, reading.map_scale)[place], chosen)
        return reading

    @classmethod
    def of_state(cls, shapes: Shapes, state: Mapping[str, Tensor], prefix: str, who: str) -> Reading:
        """Return a reading of these shapes whose buffers are loaded afterwards. Raise `ContractError` without state."""
        if f"{prefix}choices" not in state:
            raise ContractError(f"{who}: what was learnt holds no reading of a representation")
        return cls(shapes, state[f"{prefix}choices"])

    def _raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors and stacked maps as they were sent; either may have no columns or channels."""
        vectors = torch.cat([x[:, self.places[name]] for name in self.vectors] or [x[:, :0]], dim=1)
        found = [x[:, self.places[name]].reshape(len(x), *shape) for name, shape in self.maps.items()]
        sized = [m if m.shape[2:] == self.side else F.interpolate(m, size=self.side, mode="nearest") for m in found]
        return vectors, torch.cat(sized, dim=1) if sized else x.new_empty(len(x), 0, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors ``(n, length)`` and maps ``(n, channels, h, w)`` of packed representations ``(n, d)``."""
        expected = max(place.stop for place in self.places.values())
        if x.shape[1] != expected:
            raise ContractError(f"expected representations of {expected} numbers, found {x.shape[1]}")
        vectors, maps = self._raw(x)
        vectors = (vectors - cast(Tensor, self.mean)) / cast(Tensor, self.scale)
        mean, scale = (cast(Tensor, values)[:, :, None, None] for values in (self.map_mean, self.map_scale))
        chosen = self.placed(x)[:, :, None, None, None]
        maps = (chosen * (maps[:, None] - mean) / scale).flatten(1, 2)
        return _hashed(vectors), maps

    def placed(self, x: Tensor) -> Tensor:
        """Return for each face 1 at the place into which its maps are put, ``(n, places)``, and 0 elsewhere."""
        if self.choice is None:
            return x.new_ones(len(x), 1)
        return (x[:, self.places[self.choice]] == cast(Tensor, self.choices)).to(x)


def _standardise(mean: Tensor | nn.Module, scale: Tensor | nn.Module, values: Tensor) -> None:
    """Write the mean and the standard deviation of rows of ``values (m, n)`` into two tensors ``(m,)``; a deviation far
    below the others is raised."""
    if not values.numel():
        return
    deviation = values.std(dim=1, correction=0)
    cast(Tensor, mean).copy_(values.mean(dim=1))
    cast(Tensor, scale).copy_(deviation.clamp(min=1e-6 + 1e-3 * float(deviation.mean())))


def features(reading: Reading, x: Tensor) -> Tensor:
    """Return all that is read as one vector ``(n, m)`` with m <= `LONGEST`, for regressions."""
    vectors, maps = reading(x)
    return _hashed(torch.cat([vectors, maps.flatten(1)], dim=1))


def _are_maps(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= _SMALLEST


def _choice(shapes: Shapes) -> str | None:
    """Return the first tensor that is a single number; None if there is none."""
    return next((name for name, shape in shapes.items() if math.prod(shape) == 1), None)


def _hashed(vectors: Tensor) -> Tensor:
    n, d = vectors.shape
    if d <= LONGEST:
        return vectors
    generator = torch.Generator().manual_seed(d)
    place = torch.randint(LONGEST, (d,), generator=generator).to(vectors.device)
    sign = (2 * torch.randint(2, (d,), generator=generator) - 1).to(vectors)
    return vectors.new_zeros(n, LONGEST).index_add(1, place, vectors * sign) * math.sqrt(LONGEST / d)
