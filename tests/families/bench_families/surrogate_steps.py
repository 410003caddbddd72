"""Projected gradient steps on the embeddings of surrogate models, which several cloaks share."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench import Context, Network

Loss = Callable[[Network], Callable[[torch.Tensor], torch.Tensor]]


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    """Return embeddings ``(n, d)`` of length 1."""
    return torch.nn.functional.normalize(embeddings, dim=1)


def perturbed(images: torch.Tensor, ctx: Context, loss_of: Loss, radius: float, steps: int) -> torch.Tensor:
    """Return images within ``radius`` of each pixel that lower the sum of a loss over all surrogates.

    ``loss_of(network)`` returns a function from images ``(n, 3, h, w)`` to losses ``(n,)``. Pixels are in [0, 1].
    """
    losses = [loss_of(ctx.surrogate(label)) for label in ctx.surrogates]
    delta = ((ctx.rand(images) * 2 - 1) * radius / 4).requires_grad_(True)
    for step in range(steps):
        total = torch.stack([loss((images + delta).clamp(0, 1)) for loss in losses]).sum()
        (gradient,) = torch.autograd.grad(total, [delta])
        moved = delta - 2.5 * radius / steps * gradient.sign()
        delta = moved.clamp(-radius, radius).detach().requires_grad_(True)
        ctx.progress(step + 1, steps)
    return (images + delta).clamp(0, 1).detach()
