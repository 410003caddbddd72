"""The pictures from which the landmark network learns: degraded faces, and pictures that show no face.

They have half the size of a face, as the network sees it, which takes a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from bench_blocks import pixelated
from torch import Tensor

from bench_facepoints.network import INPUT_SIZE

# The strongest degradations in which a face still counts as one: in a face of 112 pixels, a blur of 4 pixels, pixels of
# 8 and noise of .3, which are these at half the size.
_BLUR, _BLOCK, _NOISE = 2.0, 4, 0.15
_MIRRORED = [1, 0, 2, 4, 3]  # the order of landmarks in the mirror image


def moved(images: Tensor, points: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return images ``(n, 3, h, h)`` and landmarks ``(n, 5, 2)`` after a random similarity; half of them mirrored.

    Landmarks are in pixels of a face of `INPUT_SIZE`, whatever the size of the images.
    """
    n, size = len(images), images.shape[-1]
    angle, scale = _uniform(n, -0.2, 0.2, draws), torch.exp(_uniform(n, -0.12, 0.12, draws))
    shift = torch.stack([_uniform(n, -0.12, 0.12, draws) for _ in range(2)], dim=1)
    side = torch.where(torch.rand(n, generator=draws) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([torch.stack([cos * side, -sin], 1), torch.stack([sin * side, cos], 1)], 1)
    inverse = torch.linalg.inv(matrix)  # from the new picture to the old one
    theta = torch.cat([inverse, -(inverse @ shift[:, :, None])], dim=2)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    made = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    unit = (points + 0.5) * 2 / INPUT_SIZE - 1
    unit = unit @ matrix.transpose(1, 2) + shift[:, None]
    found = (unit + 1) * INPUT_SIZE / 2 - 0.5
    return made, torch.where(side[:, None, None] < 0, found[:, _MIRRORED], found)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images after a Gaussian blur with a standard deviation in pixels."""
    reach = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    taps = (taps / taps.sum()).to(images)
    weight = taps.expand(3, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, weight[:, :, None, :], groups=3)
    return F.conv2d(rows, weight[:, :, :, None], groups=3)


def degraded(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return faces with a random degradation for each quarter of the batch: blur, pixelation, noise, none."""
    out, n = images.clone(), len(images)
    kinds = torch.randint(0, 4, (n,), generator=draws)
    out[kinds == 0] = blurred(out[kinds == 0], float(_uniform(1, 0.3, _BLUR, draws)))
    out[kinds == 1] = pixelated(out[kinds == 1], int(torch.randint(2, _BLOCK + 1, (1,), generator=draws)))
    sigma = _uniform(n, 0, _NOISE, draws)[:, None, None, None] * (kinds == 2)[:, None, None, None]
    out = out + sigma * torch.randn(out.shape, generator=draws)
    light = _uniform(n, 0.7, 1.3, draws)[:, None, None, None]
    return (out * light + _uniform(n, -0.1, 0.1, draws)[:, None, None, None]).clamp(0, 1)


def permuted(images: Tensor, block: int, draws: torch.Generator) -> Tensor:
    """Return images ``(n, 3, h, h)`` whose blocks are in a random order; ``block`` divides ``h``."""
    n, _, size, _ = images.shape
    parts = F.unfold(images, block, stride=block)
    order = torch.rand(n, 1, parts.shape[2], generator=draws).argsort(dim=2)
    return F.fold(parts.gather(2, order.expand_as(parts)), size, block, stride=block)


def scrambled(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return images with the amplitudes of the Fourier transforms of faces, and random phases."""
    spectrum = torch.fft.rfft2(images)
    phases = torch.rand((len(images), 1, *spectrum.shape[2:]), generator=draws) * 2 * torch.pi
    turned = spectrum * torch.polar(torch.ones_like(phases), phases)
    turned[..., 0, 0] = spectrum[..., 0, 0]
    made: Tensor = torch.fft.irfft2(turned, s=images.shape[-2:])
    return made.clamp(0, 1)


def _noise(images: Tensor, draws: torch.Generator) -> Tensor:
    sigma = _uniform(len(images), 0.01, 0.25, draws)[:, None, None, None]
    middle = torch.rand((len(images), 3, 1, 1), generator=draws)
    return (middle + sigma * torch.randn(images.shape, generator=draws)).clamp(0, 1)


def _turned(images: Tensor, draws: torch.Generator) -> Tensor:
    return torch.rot90(images, int(torch.randint(1, 4, (1,), generator=draws)), (2, 3))


def _blocks(images: Tensor, draws: torch.Generator) -> Tensor:
    across = (4, 7, 8, 14)[int(torch.randint(0, 4, (1,), generator=draws))]
    return permuted(images, images.shape[-1] // across, draws)


NO_FACE: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "blocks of a face in another order": _blocks,
    "the spectrum of a face with other phases": scrambled,
    "a turned face": _turned,
    "noise": _noise,
}


def without_face(images: Tensor, draws: torch.Generator) -> Tensor:
    """Return pictures of the kinds `NO_FACE`, made of faces, in equal parts; some of them are degraded as faces are."""
    parts = [make(part, draws) for make, part in zip(NO_FACE.values(), images.tensor_split(len(NO_FACE)), strict=True)]
    return degraded(torch.cat(parts), draws)


def _uniform(n: int, low: float, high: float, draws: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=draws)
