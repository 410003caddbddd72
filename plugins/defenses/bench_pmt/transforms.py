"""The parts of PMT that work on images and gradients: starts, augmentations, pooling, kernels, step sizes.

Images are float ``(n, c, h, w)`` in [0, 1]. Random numbers come from the context, one stream per image, so that no
result depends on the other images of the batch. Blur and pooling are products with small matrices: unlike torch's
adaptive pooling they are deterministic on every device, and each image can have its own blur.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from bench import Context
    from bench_pmt.parameters import PmtParameters

Transform = Callable[[Tensor], Tensor]


def start(images: Tensor, params: PmtParameters, ctx: Context) -> Tensor:
    """Return the images ``(n, c, h, w)`` in [0, 1] that the descent starts from (section 5.3, "Initialization for
    PMT"; Table III)."""
    if params.init == "noise":
        return (0.5 + params.init_std * ctx.randn(images).to(images)).clamp(0, 1)
    if params.init == "blur":
        width = params.init_blur * (0.5 + ctx.rand(images.new_empty(len(images), 1)).to(images))
        return gaussian_blur(images, width[:, 0]).clamp(0, 1)
    return shuffle_blocks(images, params.init_block, ctx)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur image i with a Gaussian of ``sigma[i]`` pixels: ``(n, c, h, w)`` and ``(n,)`` to ``(n, c, h, w)``.

    At the border the weights inside the image are scaled to sum to 1, so a constant image stays constant.
    """

    def weights(size: int) -> Tensor:
        at = torch.arange(size, device=images.device, dtype=images.dtype)
        w = torch.exp(-((at[:, None] - at[None, :]) ** 2) / (2 * sigma[:, None, None] ** 2))
        return w / w.sum(dim=2, keepdim=True)

    rows, columns = weights(images.shape[2]), weights(images.shape[3])
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def shuffle_blocks(images: Tensor, block: int, ctx: Context) -> Tensor:
    """Shuffle the square blocks of each image: ``(n, c, h, w)`` to the same, all channels of a block together.

    Raises ValueError if the blocks do not tile the image.
    """
    n, _, h, w = images.shape
    if h % block or w % block:
        raise ValueError(f"init_block: expected a divisor of the image size {h}x{w}, got {block}")
    flat = F.unfold(images, block, stride=block)  # (n, c * block * block, blocks)
    order = ctx.rand(images.new_empty(n, flat.shape[2])).argsort(dim=1)
    mixed = flat.gather(2, order[:, None, :].expand_as(flat))
    return F.fold(mixed, (h, w), block, stride=block)


def draw_augmentation(images: Tensor, params: PmtParameters, ctx: Context) -> Transform | None:
    """Draw T(.) once for each image, to be applied to faces and obfuscated images alike; None if T is switched off.

    Noise is added after the affine transform. The result is not clamped: a clamp would set the gradient of pixels
    outside [0, 1] to zero.
    """
    grid = affine_grid(images, params, ctx) if params.moves else None
    noise = params.augment_sigma * ctx.randn(images).to(images) if params.adds_noise else None
    if grid is None and noise is None:
        return None

    def transform(x: Tensor) -> Tensor:
        if grid is not None:
            x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return x if noise is None else x + noise

    return transform


def affine_grid(images: Tensor, params: PmtParameters, ctx: Context) -> Tensor:
    """Draw the sampling grid ``(n, h, w, 2)`` of a random rotation, scale and shift about the centre, uniform in
    their limits.

    The shift is a share of the side. On CUDA the gradient of grid sampling is summed in no fixed order, so results
    there are only nearly reproducible.
    """
    draws = ctx.rand(images.new_empty(len(images), 4)).to(images)
    turn, zoom, right, down = (2 * draws - 1).unbind(dim=1)
    angle = turn * math.radians(params.augment_degrees)
    scale = 1 + zoom * params.augment_scale
    h, w = images.shape[2:]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Grid coordinates run from -1 to 1 over each side, so the rotation of a non-square image corrects for h / w.
    theta = torch.stack(
        [
            torch.stack([cos, -sin * h / w, 2 * params.augment_shift * right], dim=1),
            torch.stack([sin * w / h, cos, 2 * params.augment_shift * down], dim=1),
        ],
        dim=1,
    )
    return F.affine_grid(theta, list(images.shape), align_corners=False)


def pool(maps: Tensor, cells: int, window: int) -> Tensor:
    """Average a feature map ``(n, c, h, w)`` (Algorithm 2, AvgPool2d) to ``cells`` per side, or over windows of
    ``window`` positions per side.

    Sides that are not longer than ``cells`` or ``window`` stay as they are; 0 switches either off. ``cells`` divides
    like ``adaptive_avg_pool2d``, with windows that may overlap by one position.
    """
    if maps.ndim != 4:
        return maps
    h, w = maps.shape[2:]
    if window > 1:
        size = (window if h > window else 1, window if w > window else 1)
        return maps if size == (1, 1) else F.avg_pool2d(maps, size)
    if not cells or (h <= cells and w <= cells):
        return maps
    return _cell_means(h, cells, maps) @ maps @ _cell_means(w, cells, maps).T


def _cell_means(size: int, cells: int, like: Tensor) -> Tensor:
    """Return the matrix ``(min(cells, size), size)`` whose row i averages positions floor(i s/c) to ceil((i+1) s/c)."""
    cells = min(cells, size)
    index = torch.arange(cells, device=like.device)
    first = index * size // cells
    last = -((index + 1) * size // -cells)
    at = torch.arange(size, device=like.device)
    inside = ((at >= first[:, None]) & (at < last[:, None])).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def kernel_profile(kind: str, length: int) -> Tensor | None:
    """Return the profile of the separable kernel W with reach k = ``length``, float64 ``(2 k + 1,)`` with sum 1; W is
    its outer product with itself. None for the kind ``none``.

    Section 5.3: linear, w_i = 1 - |i| / (k + 1); Gaussian, w_i = exp(-i^2 / (2 s^2)) with s = k / sqrt(3). (The
    kernel's reach k is sqrt(3) standard deviations; the text's "3 s" does not follow from its own formula.)
    """
    if kind == "none":
        return None
    at = torch.arange(-length, length + 1, dtype=torch.float64)
    profile = 1 - at.abs() / (length + 1) if kind == "linear" else torch.exp(-(at**2) / (2 * length**2 / 3))
    return profile / profile.sum()


def smooth(gradient: Tensor, profile: Tensor | None) -> Tensor:
    """Convolve each channel of ``(n, c, h, w)`` with W, "same" size with zero padding (Algorithm 2, line 10)."""
    if profile is None:
        return gradient
    c, side = gradient.shape[1], len(profile)
    line = profile.to(gradient).expand(c, 1, side)
    gradient = F.conv2d(gradient, line.reshape(c, 1, side, 1), padding=(side // 2, 0), groups=c)
    return F.conv2d(gradient, line.reshape(c, 1, 1, side), padding=(0, side // 2), groups=c)


def decayed(step_size: float, decay: str, iteration: int, steps: int) -> float:
    """Return the step size of iteration 0 .. ``steps`` - 1, in pixel units of [0, 1]; always positive."""
    done = iteration / steps
    if decay == "linear":
        return step_size * (1 - done)
    if decay == "cosine":
        return step_size * 0.5 * (1 + math.cos(math.pi * done))
    if decay == "step":
        return step_size * (1.0 if done < 0.5 else 0.3 if done < 0.75 else 0.1)
    return step_size
