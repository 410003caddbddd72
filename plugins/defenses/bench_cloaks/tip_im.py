"""The iteration of TIP-IM: momentum towards the best of several targets, within a distance of each pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import Protected
from bench_cloaks.surrogates import Surrogates, gradient_of, one_of_each, squared_distance, with_measures

if TYPE_CHECKING:
    from bench import Context
    from bench_cloaks.parameters import TipImParameters

# The widths (variances) of the kernels in the authors' code, for pixels from 0 to 255.
_VARIANCES = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    0.1,
    1.0,
    5.0,
    10.0,
    15.0,
    20.0,
    25.0,
    30.0,
    35.0,
    100.0,
    1e3,
    1e4,
    1e5,
    1e6,
)
_LEAST_SPREAD = 0.1  # The least standard deviation of the random maps, as a share of the largest.
_TINY = 1e-30

Transform = Callable[[Tensor], Tensor]


def cloaked(images: Tensor, params: TipImParameters, ctx: Context) -> Protected:
    """Cloak pictures ``(n, 3, h, w)`` in [0, 1], each pixel within ``epsilon``."""
    surrogates = Surrogates(ctx)
    own = surrogates.fixed(images)
    people = surrogates.fixed(one_of_each(ctx.targets, params.targets, ctx))
    low, high = (images - params.epsilon).clamp(min=0), (images + params.epsilon).clamp(max=1)
    moving, total = images, torch.zeros_like(images)
    for step in range(params.steps):
        transform = random_map(images, params.diversity, ctx)
        best = torch.full((len(images),), -torch.inf, device=images.device)
        kept, sums = moving, total
        for gradient in gradients(images, moving, own, people, surrogates, transform, params.gamma):
            tried = params.momentum * total + gradient
            candidate = moving - 1.5 * params.epsilon / params.steps * tried.sign()
            candidate = torch.minimum(torch.maximum(candidate, low), high)
            gain = gains(surrogates.fixed(candidate), own, people)
            better = gain > best
            best = torch.where(better, gain, best)
            chosen = better[:, None, None, None]
            kept, sums = torch.where(chosen, candidate, kept), torch.where(chosen, tried, sums)
        moving, total = kept, sums
        ctx.progress(step + 1, params.steps)
    return with_measures(images, moving, own, surrogates)


def gradients(
    images: Tensor,
    moving: Tensor,
    own: list[Tensor],
    people: list[Tensor],
    surrogates: Surrogates,
    transform: Transform,
    gamma: float,
) -> list[Tensor]:
    """Return for each target the gradient of the loss at ``moving``, divided by its mean absolute value per picture."""
    found = []
    with torch.enable_grad():
        moving = moving.detach().requires_grad_()
        seen = surrogates(transform(moving))
        common = gamma * discrepancy(moving, images) - squared_distance(seen, own)
        for target in range(len(people[0])):
            wanted = [of_model[target].expand_as(o) for of_model, o in zip(people, own, strict=True)]
            gradient = gradient_of(common + squared_distance(seen, wanted), moving, keep=True)
            found.append(gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=_TINY))
    return found


def gains(found: list[Tensor], own: list[Tensor], people: list[Tensor]) -> Tensor:
    """Return how much farther ``(n,)`` features are from the own ones than from the nearest target, as the mean over
    models. The code has log(1 + max exp(...)) of it, which grows with it and chooses the same."""
    of_models = zip(found, own, people, strict=True)
    farther = [(f - o).norm(dim=1) - torch.cdist(f, others).amin(dim=1) for f, o, others in of_models]
    return torch.stack(farther).mean(dim=0)


def discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy ``(n,)`` of two pictures in [0, 1], each as a set of one point.

    For one point each it is 2 * sum over kernels of 1 - exp(-|a - b|^2 / (2 variance)), from 0 to 38.
    """
    square = (255 * (a - b)).square().sum(dim=(1, 2, 3))
    variances = torch.tensor(_VARIANCES, device=a.device, dtype=a.dtype)
    return 2 * (1 - torch.exp(-square[:, None] / (2 * variances))).sum(dim=1)


def random_map(images: Tensor, largest: float, ctx: Context) -> Transform:
    """Draw for each picture an affine map near to none, of which both standard deviations are drawn up to ``largest``:
    that of the six numbers of the map, and that of a further turn in radians. Outside of the picture is black."""
    if not largest:
        return lambda x: x
    n = len(images)
    spread = largest * (_LEAST_SPREAD + (1 - _LEAST_SPREAD) * ctx.rand(images.new_empty(n, 2)).to(images))
    draws = ctx.randn(images.new_empty(n, 7)).to(images)
    affine = torch.eye(2, 3, device=images.device) + spread[:, :1, None] * draws[:, :6].view(n, 2, 3)
    angle = spread[:, 1] * draws[:, 6]
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    grid = F.affine_grid(turn @ affine, list(images.shape), align_corners=False)
    return lambda x: F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
