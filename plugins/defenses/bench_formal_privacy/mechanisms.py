"""The noise, the squares and the samples of the mechanisms."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator

GREY = 127 / 255  # What a pixel is that is not sent.


def laplace(uniform: torch.Tensor) -> torch.Tensor:
    """Return Laplace noise of scale 1 (standard deviation sqrt 2) from uniform numbers in [0, 1), by the inverse of its
    distribution function."""
    centred = uniform.double() - 0.5 + 2.0**-25  # Half a step of float32: no number is 0, whose noise is infinite.
    return (-centred.sign() * torch.log1p(-2 * centred.abs())).to(uniform.dtype)


def square_areas(images: torch.Tensor, block: int) -> torch.Tensor:
    """Return the number of pixels of each square ``(rows, columns)``; those at the right and at the bottom are narrower
    if ``block`` does not divide the size."""
    heights, widths = ([min(block, size - at) for at in range(0, size, block)] for size in images.shape[-2:])
    return torch.tensor(heights).to(images)[:, None] * torch.tensor(widths).to(images)


def squares(values: torch.Tensor, images: torch.Tensor, block: int) -> torch.Tensor:
    """Return values of squares ``(n, c, rows, columns)`` as pictures of the size of ``images (n, c, h, w)``."""
    height, width = images.shape[-2:]
    return values.repeat_interleave(block, dim=-2).repeat_interleave(block, dim=-1)[..., :height, :width]


def samples_allowed(n: int, m: int, epsilon: float) -> int:
    """Return the largest x with C(n, x) / C(n - m, x) <= exp(epsilon): how many of n pixels may be sent if pictures
    differ in m of them. It is 0 if m is n or more."""
    lost, x = 0.0, 0  # ``lost`` is the logarithm of the ratio for x pixels.
    while x < n - m:
        lost += math.log(n - x) - math.log(n - m - x)
        if lost > epsilon:
            break
        x += 1
    return x


def chosen_pixels(uniform: torch.Tensor, count: int) -> torch.Tensor:
    """Return bool ``(n, h, w)``: ``count`` pixels of each picture, those with the smallest uniform numbers."""
    flat = uniform.flatten(1)
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept.scatter_(1, flat.argsort(dim=1, stable=True)[:, :count], True)
    return kept.view_as(uniform)


def interpolated(images: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return images ``(n, c, h, w)`` in which only the pixels ``kept (n, h, w)`` are known; the others are interpolated
    linearly. The corners of the picture are as the nearest known pixel; without any, all is grey."""
    made = [_interpolated(image, at) for image, at in zip(images.cpu().numpy(), kept.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack(made)).to(images).clamp(0, 1)


def _interpolated(image: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return one image ``(c, h, w)``, whose pixels ``kept (h, w)`` are known."""
    if not kept.any():
        return np.full_like(image, GREY)
    h, w = kept.shape
    points = np.argwhere(kept)
    colours = image[:, kept].T
    corners = np.array([(-1, -1), (-1, w), (h, -1), (h, w)])  # Outside, so that they are no known pixels.
    nearest = ((corners[:, None] - points) ** 2).sum(axis=2).argmin(axis=1)
    known = LinearNDInterpolator(np.concatenate([points, corners]), np.concatenate([colours, colours[nearest]]))
    rows, columns = np.mgrid[:h, :w]
    made = known(rows, columns).transpose(2, 0, 1)
    return np.where(kept, image, made).astype(image.dtype)
