"""Laplace noise in proportion to the range of each coefficient."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from bench_formal_privacy.mechanisms import laplace
from torch import Tensor


def ranges_of(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value ``(c, s, s)`` of each coefficient in parts ``(n, c, s, s)``."""
    ends = [(part.amin(dim=0), part.amax(dim=0)) for part in parts]
    return torch.stack([low for low, _ in ends]).amin(dim=0), torch.stack([high for _, high in ends]).amax(dim=0)


def noisy(channels: Tensor, low: Tensor, high: Tensor, epsilon: float, uniform: Tensor) -> Tensor:
    """Return channels ``(n, c, s, s)``, clipped to their ranges, with Laplace noise of the scale (high - low) / epsilon
    that is made of ``uniform`` numbers in [0, 1) of the same shape."""
    return channels.clamp(low, high) + (high - low) / epsilon * laplace(uniform)
