"""The ascent of LowKey: away from the own features, sharp and blurred, as far as the look allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench import Protected
from bench_cloaks.perception import blurred, dssim
from bench_cloaks.surrogates import Surrogates, gradient_of, squared_distance, with_measures

if TYPE_CHECKING:
    from bench import Context
    from bench_cloaks.parameters import LowKeyParameters

KERNEL = 7  #: The side of the blur's kernel in pixels.


def cloaked(images: Tensor, params: LowKeyParameters, ctx: Context) -> Protected:
    """Cloak pictures ``(n, 3, h, w)`` in [0, 1]."""
    surrogates = Surrogates(ctx)
    own = surrogates.fixed(images)
    moving = (images + params.noise * (2 * ctx.rand(images).to(images) - 1)).clamp(0, 1)
    with torch.enable_grad():
        for step in range(params.steps):
            moving = moving.detach().requires_grad_()
            softened = blurred(moving, KERNEL, params.blur)
            away = (squared_distance(surrogates(moving), own) + squared_distance(surrogates(softened), own)) / 2
            gradient = gradient_of(away - params.alpha * dssim(images, moving), moving)
            moving = (moving + params.rate * gradient.sign()).clamp(0, 1)
            ctx.progress(step + 1, params.steps)
    return with_measures(images, moving, own, surrogates)
