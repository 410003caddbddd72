"""Pixels that move along a spiral."""

from __future__ import annotations

import functools

import numpy as np
import torch


@functools.lru_cache(maxsize=16)
def spiral(height: int, width: int) -> torch.Tensor:
    """Return the pixels of a picture, numbered row by row, int64 ``(height * width,)``, in the order of a clockwise
    spiral that starts at the top left and ends in the centre."""
    left, turns = np.arange(height * width).reshape(height, width), []
    while left.size:
        turns.append(left[0])
        left = np.rot90(left[1:])
    return torch.from_numpy(np.concatenate(turns))


def relocated(images: torch.Tensor, steps: int) -> torch.Tensor:
    """Return images ``(n, c, h, w)`` in which each pixel has moved ``steps`` places along the spiral."""
    order = spiral(*images.shape[-2:]).to(images.device)
    result = torch.empty_like(images.flatten(2))
    result[..., order.roll(-steps)] = images.flatten(2)[..., order]
    return result.view_as(images)
