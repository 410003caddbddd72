"""Random degradations of faces, from which a decoder learns to restore pictures without knowing the defense."""

from __future__ import annotations

import torch
from bench_blocks import pixelated
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

# The ranges, in pixels of a picture of 112 pixels and in units of [0, 1].
_SIGMA = (0.5, 4.0)
_BLOCK = (3, 17)
_NOISE = (0.02, 0.35)
_USUAL = 112


def degraded(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Return faces ``(n, 3, h, w)`` in [0, 1], each with one or two random degradations, as 8-bit pictures.

    Each is blurred or pixelated or neither, and then half of the blurred or pixelated ones and all others get noise.
    """
    scale = min(faces.shape[2:]) / _USUAL
    made = [_degraded(face[None], scale, generator) for face in faces]
    return (torch.cat(made).clamp(0, 1) * 255).round() / 255


def _degraded(face: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    kind, size, strength, noisy = torch.rand(4, generator=generator).tolist()
    if kind < 0.4:
        sigma = scale * _between(_SIGMA, size)
        radius = min(int(3 * sigma) + 1, min(face.shape[2:]) - 1)
        face = gaussian_blur(face, [2 * radius + 1] * 2, [sigma] * 2)
    elif kind < 0.8:
        face = pixelated(face, max(1, round(scale * _between(_BLOCK, size))))
    if kind < 0.8 and noisy < 0.5:
        return face
    noise = torch.randn(face.shape, generator=generator).to(face.device)
    return face + _between(_NOISE, strength) * (0.2 if kind < 0.8 else 1.0) * noise


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])
