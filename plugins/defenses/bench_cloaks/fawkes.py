"""The descent of Fawkes: a target far away, Adam, and a budget of DSSIM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench import ContractError, Protected
from bench_cloaks.perception import dssim, within
from bench_cloaks.surrogates import Surrogates, with_measures

if TYPE_CHECKING:
    from bench import Context, Pictures
    from bench_cloaks.parameters import FawkesParameters

_TINY = 1e-12


def cloaked(images: Tensor, params: FawkesParameters, ctx: Context) -> Protected:
    """Cloak pictures ``(n, 3, h, w)`` in [0, 1]; those that are returned have 8-bit values and keep the budget."""
    surrogates = Surrogates(ctx)
    own = surrogates.fixed(images)
    wanted = farthest(own, surrogates, ctx.targets, params.candidates, ctx)
    with torch.enable_grad():
        change = torch.zeros_like(images, requires_grad=True)
        adam = torch.optim.Adam([change], lr=params.rate)
        for step in range(params.steps):
            moving = (images + change).clamp(0, 1)
            excess = (dssim(images, moving) - params.rho).clamp(min=0)
            losses = distance(surrogates(moving), wanted) + params.penalty * excess.square()
            (change.grad,) = torch.autograd.grad(losses.sum(), change)
            adam.step()
            ctx.progress(step + 1, params.steps)
    last = (images + change.detach()).clamp(0, 1)
    return with_measures(images, within(images, last, params.rho), own, surrogates)


def distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the Euclidean distances ``(n,)`` of features, summed over models; wanted ones have length 1."""
    squares = [(f - w).square().sum(dim=1) for f, w in zip(found, wanted, strict=True)]
    return torch.stack([square.clamp(min=_TINY).sqrt() for square in squares]).sum(dim=0)


def farthest(
    own: list[Tensor], surrogates: Surrogates, pictures: Pictures, candidates: int, ctx: Context
) -> list[Tensor]:
    """Return for each picture the features, ``(n, d)`` per model, of the first picture of its target: of the first
    ``candidates`` people, the one whose mean features are farthest from those of the picture, ``own``."""
    people = sorted(set(pictures.subjects.tolist()))[:candidates]
    if not people:
        raise ContractError(f"{ctx.plugin}: expected pictures of other people as targets, found none")
    rows = [torch.nonzero(pictures.subjects == person)[:, 0].to(pictures.images.device) for person in people]
    seen = [surrogates.fixed(pictures.images[of_person]) for of_person in rows]  # person, model, (pictures, d)
    models = range(len(own))
    centers = [torch.stack([of_person[model].mean(dim=0) for of_person in seen]) for model in models]
    chosen = torch.stack([torch.cdist(own[model], centers[model]) for model in models]).sum(dim=0).argmax(dim=1)
    return [torch.stack([of_person[model][0] for of_person in seen])[chosen] for model in models]
