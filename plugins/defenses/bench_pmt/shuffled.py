"""Noise on features as strong as the change that PMT makes (paper, section 6.3.2 and Table VI, "Random Noise")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench import Protected
from bench_pmt.optimise import obfuscate

if TYPE_CHECKING:
    from bench import Context
    from bench_pmt.parameters import PmtParameters

_TINY = 1e-12


def upload_noise(images: Tensor, params: PmtParameters, ctx: Context) -> Protected:
    """Return the clean features plus PMT's change of them in random order, at every split of ``ctx.uploaded``.

    The obfuscated image is quantised to 8 bits first, like every image that leaves a client. Raises ValueError if no
    features are uploaded.
    """
    if not ctx.uploaded:
        raise ValueError('pmt-noise sends features, but none are uploaded; set upload = "features" in the experiment')
    obfuscated = obfuscate(images, params, ctx)
    assert obfuscated.images is not None
    quantised = (obfuscated.images * 255).round() / 255
    (label,) = ctx.authorised
    model = ctx.shallow(label)
    with torch.no_grad():
        clean, moved = (model.features(x, ctx.uploaded) for x in (images, quantised))
        noise = [m - c for m, c in zip(moved, clean, strict=True)]
        features = {split: c + shuffle(d, ctx) for split, c, d in zip(ctx.uploaded, clean, noise, strict=True)}
        ratios = [
            d.flatten(1).norm(dim=1) / c.flatten(1).norm(dim=1).clamp_min(_TINY)
            for c, d in zip(clean, noise, strict=True)
        ]
    return Protected(features=features, extra={**obfuscated.extra, "noise_to_signal": torch.stack(ratios).mean(dim=0)})


def shuffle(maps: Tensor, ctx: Context) -> Tensor:
    """Shuffle the values of each map ``(c, h, w)`` of ``(n, c, h, w)`` with the random stream of its own sample."""
    flat = maps.flatten(1)
    order = ctx.rand(flat).argsort(dim=1, stable=True)
    return flat.gather(1, order).reshape(maps.shape)
