"""Brightness, colours, and the cosine transform of JPEG."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import pad

BLOCK = 8
# ITU-R BT.601 as in JPEG: brightness, blueness and redness of R, G and B.
_RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# The quantisation tables of ITU-T T.81, Annex K.1, for brightness and for colour.
_BRIGHTNESS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_COLOUR = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *[(99,) * 8] * 4,
)  # fmt: skip


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Return the brightness ``(n, 1, h, w)`` of images ``(n, 3, h, w)`` RGB."""
    weights = torch.tensor(_RGB_TO_YCC[0]).to(images).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def cosines() -> torch.Tensor:
    """Return the matrix ``(8, 8)`` of the orthonormal cosine transform (DCT-II), one frequency per row."""
    frequency, place = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None, :]
    rows = torch.cos(math.pi * (2 * place + 1) * frequency / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def steps_of(quality: int) -> torch.Tensor:
    """Return the quantisation steps ``(3, 8, 8)`` of a JPEG quality from 1 to 100, as libjpeg scales the tables."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = torch.tensor((_BRIGHTNESS, _COLOUR, _COLOUR), dtype=torch.int64)
    return ((tables * scale + 50) // 100).clamp(1, 255).float()


def public_part(images: torch.Tensor, threshold: int, quality: int) -> torch.Tensor:
    """Return what P3 makes public of images ``(n, 3, h, w)`` RGB in [0, 1]: no means, and no coefficient above the
    threshold, whose sign is hidden. At the right and at the bottom, pictures are continued to whole blocks."""
    height, width = images.shape[-2:]
    whole = pad(images, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    to_ycc = torch.tensor(_RGB_TO_YCC).to(images)
    colours = torch.einsum("kc,nchw->nkhw", to_ycc, whole) * 255
    base, steps = cosines().to(images), steps_of(quality).to(images)[:, None, None]
    blocks = colours.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)  # (n, 3, rows, columns, 8, 8)
    found = (base @ blocks @ base.T / steps).round()
    found = torch.where(found.abs() > threshold, float(threshold), found)
    found[..., 0, 0] = 0
    made = (base.T @ (found * steps) @ base).transpose(3, 4).reshape(whole.shape)
    # Without means, brightness and colours are centred at zero, which is medium grey.
    public = torch.einsum("kc,nchw->nkhw", to_ycc.inverse(), made) / 255 + 128 / 255
    return public[..., :height, :width].clamp(0, 1)
