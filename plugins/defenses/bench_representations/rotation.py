"""Templates that are turned towards noise: spherical linear interpolation, group by group."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import normalize

_SMALLEST_SINE = 1e-6  # Of nearly equal or opposite directions, whose great circle is not known.


def rotated(embeddings: Tensor, alpha: float, groups: int, kept: int, key: int) -> Tensor:
    """Return the templates ``(n, d)`` of embeddings ``(n, d)``: each group of values is turned towards the noise of the
    key, loses all but ``kept`` of its values, and is scaled so that the whole template has length 1."""
    n, size = embeddings.shape
    noise, mask = (drawn.to(embeddings.device) for drawn in secret(groups, size // groups, kept, key))
    turned = slerp(embeddings.view(n, groups, -1), noise, alpha) * mask
    template: Tensor = normalize(turned, dim=2).flatten(1) / groups**0.5
    return template


def slerp(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """Return the directions (unit vectors along the last axis) that are the share ``alpha`` of the way along the great
    circle from the directions of ``start`` to those of ``end`` (Shoemake, "Animating rotation with quaternion curves",
    1985)."""
    a, b = normalize(start.double(), dim=-1), normalize(end.double(), dim=-1)
    angle = (a * b).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    far = (((1 - alpha) * angle).sin() * a + (alpha * angle).sin() * b) / sine.clamp(min=_SMALLEST_SINE)
    near = (1 - alpha) * a + alpha * b
    return torch.where(sine > _SMALLEST_SINE, far, near).to(start.dtype)


@functools.lru_cache(maxsize=8)
def secret(groups: int, width: int, kept: int, key: int) -> tuple[Tensor, Tensor]:
    """Return what follows from a key: normal noise ``(groups, width)``, and a mask of the same shape in which ``kept``
    values of each group are 1 and all others 0."""
    generator = torch.Generator().manual_seed(key)
    noise = torch.randn(groups, width, generator=generator)
    order = torch.rand(groups, width, generator=generator).argsort(dim=1)
    return noise, torch.zeros(groups, width).scatter_(1, order[:, :kept], 1.0)
