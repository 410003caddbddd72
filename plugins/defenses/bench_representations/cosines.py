"""Pictures as channels of frequencies: the cosine transform of blocks, as JPEG has it."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import ContractError
from bench_representations.shapes import BLOCK, COLOURS, FREQUENCIES, PICTURE

# Luma Y and the two differences of colour of JPEG (ITU-T T.871), from RGB in [0, 1]; all are 0 for medium grey.
_COLOURS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_OFFSET = (-0.5, 0.0, 0.0)


def channels_of(images: Tensor, upsampling: int, who: str) -> Tensor:
    """Return the channels ``(n, 3, 64, s, s)`` of pictures ``(n, 3, 112, 112)`` RGB in [0, 1]; s is 14 ``upsampling``.

    The picture is enlarged ``upsampling`` times (bilinear), cut into blocks of 8 x 8 pixels, and each colour of each
    block is described by its 64 coefficients of the orthonormal cosine transform, whose unit is that of pixels. Axis 1
    is the colour (Y, Cb, Cr) and axis 2 the frequency, 8 x vertical + horizontal; frequency 0 is DC, 8 times the mean
    of the block. Raise `ContractError`, which names ``who``, for pictures of another size.
    """
    if tuple(images.shape[1:]) != (3, PICTURE, PICTURE):
        raise ContractError(f"{who}: expected pictures of {PICTURE} x {PICTURE} pixels, got {tuple(images.shape[1:])}")
    if upsampling > 1:
        images = F.interpolate(images, scale_factor=upsampling, mode="bilinear", align_corners=True)
    mixed = torch.einsum("cd,ndhw->nchw", images.new_tensor(_COLOURS), images)
    mixed = mixed + images.new_tensor(_OFFSET)[:, None, None]
    n, side = len(images), images.shape[-1]
    found = F.conv2d(mixed.reshape(n * COLOURS, 1, side, side), waves().to(images)[:, None], stride=BLOCK)
    return found.view(n, COLOURS, FREQUENCIES, side // BLOCK, side // BLOCK)


@functools.cache
def waves() -> Tensor:
    """Return the 64 orthonormal waves ``(64, 8, 8)`` of the cosine transform (type II) of a block."""
    at = torch.arange(BLOCK, dtype=torch.float64)
    wave = torch.cos(math.pi / BLOCK * at[:, None] * (at + 0.5)) * math.sqrt(2 / BLOCK)
    wave[0] /= math.sqrt(2)
    return torch.einsum("ui,vj->uvij", wave, wave).reshape(FREQUENCIES, BLOCK, BLOCK).float()


def without_dc(images: Tensor, upsampling: int, who: str) -> Tensor:
    """Return the channels ``(n, 189, s, s)`` of pictures but for DC, the three colours one after the other."""
    return channels_of(images, upsampling, who)[:, :, 1:].flatten(1, 2)
