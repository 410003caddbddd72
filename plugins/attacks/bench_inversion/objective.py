"""The objective of the white-box reconstruction: the distance of features, total variation, and their gradients.

`Objective.loss` states the loss, and `Objective.gradient` differentiates it with respect to pixels. Only the network is
differentiated by autograd; the derivatives of distance and total variation are written out, which takes half of the
time. A test compares them with the derivatives that autograd finds for the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from bench import Shallow
    from bench_inversion.parameters import InversionParameters

_TINY = 1e-30


def total_variation(images: Tensor, beta: float, norm: str) -> Tensor:
    """Return the total variation (Equation 3), summed over channels: images ``(n, c, h, w)`` to ``(n,)``, at least 0.

    ``sum_ij ((x[i, j-1] - x[i, j])^2 + (x[i+1, j] - x[i, j])^2)^(beta / 2)`` over all pixels i, j; the difference to
    a neighbour outside the image counts as 0. ``norm``: ``sum``, or ``mean`` over the ``c h w`` values. Where an
    image is flat, the gradient is 0 for every ``beta`` >= 1 (for 1 it is a subgradient).
    """
    left, below = _differences(images)
    terms = _terms(left, below)
    if beta != 2:
        flat = terms == 0  # The derivative of a root is infinite there, so these terms are masked.
        terms = terms.masked_fill(flat, 1).pow(beta / 2).masked_fill(flat, 0)
    return terms.flatten(1).mean(dim=1) if norm == "mean" else terms.flatten(1).sum(dim=1)


def variation_and_gradient(images: Tensor, beta: float, norm: str) -> tuple[Tensor, Tensor]:
    """Return the total variation ``(n,)`` of images ``(n, c, h, w)`` and its gradient ``(n, c, h, w)``."""
    left, below = _differences(images)
    if beta == 2:
        value = size_of(left, "l2").square() + size_of(below, "l2").square()
    else:
        terms = _terms(left, below)
        flat = terms == 0
        root = terms.masked_fill_(flat, 1).pow(beta / 2 - 1).masked_fill_(flat, 0)
        value = (root * terms).sum(dim=(1, 2, 3))
        left *= root[..., :, 1:]
        below *= root[..., :-1, :]
    gradient = torch.zeros_like(images)
    gradient[..., :, :-1] += left
    gradient[..., :, 1:] -= left
    gradient[..., 1:, :] += below
    gradient[..., :-1, :] -= below
    share = 1 / images[0].numel() if norm == "mean" else 1.0
    return value * share, gradient.mul_(beta * share)


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x[i, j-1] - x[i, j]`` for all j but the first, and ``x[i+1, j] - x[i, j]`` for all i but the last."""
    return images[..., :, :-1] - images[..., :, 1:], images[..., 1:, :] - images[..., :-1, :]


def _terms(left: Tensor, below: Tensor) -> Tensor:
    """Return the sum of both squared differences at every pixel: ``(n, c, h, w)``."""
    return F.pad(left, (1, 0)).square() + F.pad(below, (0, 0, 0, 1)).square()


def feature_distance(found: Tensor, target: Tensor, distance: str) -> Tensor:
    """Return the distance relative to the target, per image: two maps ``(n, ...)`` to ``(n,)``.

    ``l2``: ``||f - z||_2 / ||z||_2`` (Equation 2 has the numerator); ``mse``: ``mean((f - z)^2) / mean(z^2)``.
    """
    return size_of(found - target, distance) / size_of(target, distance).clamp_min(_TINY)


def size_of(maps: Tensor, distance: str) -> Tensor:
    """Return the norm (``l2``) or the mean square (``mse``) of each of the maps: ``(n, ...)`` to ``(n,)``."""
    each = tuple(range(1, maps.ndim))  # Flattening would copy maps in channels-last layout.
    if distance == "l2":
        norm: Tensor = torch.linalg.vector_norm(maps, dim=each)
        return norm
    return maps.square().mean(dim=each)


def distance_and_gradient(found: Tensor, target: Tensor, size: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """Return the distance ``(n,)`` of maps ``(n, ...)`` from ``target``, and its gradient with respect to ``found``.

    ``size (n,)`` is that of ``target``, greater than 0. The gradient of a distance of 0 is 0.
    """
    difference = found - target
    apart = size_of(difference, distance)
    factor = torch.where(apart > 0, 1 / apart, 0.0) if distance == "l2" else 2 / found[0].numel()
    return apart / size, difference.mul_((factor / size).view(-1, *[1] * (found.ndim - 1)))


class Objective:
    """The loss: the mean over splits of the distance to the received features, plus lambda TV (Equation 2)."""

    def __init__(self, params: InversionParameters, shallow: Shallow, targets: Mapping[str, Tensor]) -> None:
        self.params = params
        self.shallow = shallow
        self.targets = targets
        self.sizes = [size_of(target, params.distance).clamp_min(_TINY) for target in targets.values()]

    def of(self, rows: Tensor) -> Objective:
        """Return the objective restricted to some images, given by indices or by a mask ``(n,)``."""
        return Objective(self.params, self.shallow, {split: maps[rows] for split, maps in self.targets.items()})

    def loss(self, images: Tensor) -> Tensor:
        """Return the loss ``(n,)`` of images ``(n, 3, h, w)``."""
        found = self.shallow.features(images, tuple(self.targets))
        distances = [
            feature_distance(maps, target, self.params.distance)
            for maps, target in zip(found, self.targets.values(), strict=True)
        ]
        loss = torch.stack(distances).mean(dim=0)
        if self.params.tv_weight:
            smoothness = total_variation(images, self.params.tv_beta, self.params.tv_norm)
            loss = loss + self.params.tv_weight * smoothness
        return loss

    def gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses ``(n,)`` and their gradient ``(n, 3, h, w)``."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            found = self.shallow.features(images, tuple(self.targets))
        with torch.no_grad():
            compared = [
                distance_and_gradient(maps, target, size, self.params.distance)
                for maps, target, size in zip(found, self.targets.values(), self.sizes, strict=True)
            ]
            loss = torch.stack([distance for distance, _ in compared]).mean(dim=0)
        (gradient,) = torch.autograd.grad(found, images, [slope for _, slope in compared])
        gradient = gradient / len(found)
        if self.params.tv_weight:
            with torch.no_grad():
                smoothness, slope = variation_and_gradient(images, self.params.tv_beta, self.params.tv_norm)
            loss = loss + self.params.tv_weight * smoothness
            gradient.add_(slope, alpha=self.params.tv_weight)
        return loss, gradient
