"""The descent of the white-box reconstruction: total variation, the objective, the steps, and the loop.

Losses, norms, early stops and random draws are all per image. Images share a batch only for speed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import ContractError, Received, Reconstructed

if TYPE_CHECKING:
    from bench import Context, Shallow
    from bench_inversion.parameters import InversionParameters

RANDOM_STD = 0.25  # Standard deviation of the random start: it covers [0, 1], and few values have to be clamped.
_BETAS = (0.9, 0.999)  # Kingma and Ba 2015, "Adam", section 2
_ADAM_EPSILON = 1e-12  # The gradient of a mean over pixels is tiny: the usual 1e-8 would not be small beside it.
_TINY = 1e-30


def total_variation(images: Tensor, beta: float, norm: str) -> Tensor:
    """Return the total variation (Equation 3), summed over channels: images ``(n, c, h, w)`` to ``(n,)``, at least 0.

    ``sum_ij ((x[i, j-1] - x[i, j])^2 + (x[i+1, j] - x[i, j])^2)^(beta / 2)`` over all pixels i, j; the difference to
    a neighbour outside the image counts as 0. ``norm``: ``sum``, or ``mean`` over the ``c h w`` values. Where an
    image is flat, the gradient is 0 for every ``beta`` >= 1 (for 1 it is a subgradient).
    """
    left = F.pad(images[..., :, :-1] - images[..., :, 1:], (1, 0))
    below = F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))
    terms = left.square() + below.square()
    if beta != 2:
        flat = terms == 0  # The derivative of a root is infinite there, so these terms are masked.
        terms = terms.masked_fill(flat, 1).pow(beta / 2).masked_fill(flat, 0)
    return terms.flatten(1).mean(dim=1) if norm == "mean" else terms.flatten(1).sum(dim=1)


def feature_distance(found: Tensor, target: Tensor, distance: str) -> Tensor:
    """Return the distance relative to the target, per image: two maps ``(n, ...)`` to ``(n,)``.

    ``l2``: ``||f - z||_2 / ||z||_2`` (Equation 2 has the numerator); ``mse``: ``mean((f - z)^2) / mean(z^2)``.
    """
    each = tuple(range(1, found.ndim))  # Flattening would copy maps in channels-last layout.
    if distance == "l2":
        size = torch.linalg.vector_norm(target, dim=each).clamp_min(_TINY)
        relative: Tensor = torch.linalg.vector_norm(found - target, dim=each) / size
        return relative
    return (found - target).square().mean(dim=each) / target.square().mean(dim=each).clamp_min(_TINY)


class Objective:
    """The loss: the mean over splits of the distance to the received features, plus lambda TV (Equation 2)."""

    def __init__(self, params: InversionParameters, shallow: Shallow, targets: Mapping[str, Tensor]) -> None:
        self.params = params
        self.shallow = shallow
        self.targets = targets

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
            losses = self.loss(images)
            (gradient,) = torch.autograd.grad(losses.sum(), images)
        return losses.detach(), gradient


class Stepper:
    """Turns gradients into steps by the rule of ``update``, and keeps the moments of Adam."""

    def __init__(self, params: InversionParameters, images: Tensor) -> None:
        self.params = params
        self.mean = torch.zeros_like(images)
        self.square = torch.zeros_like(images)

    def step(self, gradient: Tensor, iteration: int) -> Tensor:
        """Return the step to *subtract* from the images ``(n, c, h, w)`` in iteration 0, 1, ..."""
        size = decayed(self.params.step_size, self.params.decay, iteration, self.params.steps)
        if self.params.update == "sign":
            return size * gradient.sign()
        if self.params.update == "l1":
            return size * gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)
        return size * self._adam(gradient, iteration)

    def _adam(self, gradient: Tensor, iteration: int) -> Tensor:
        first, second = _BETAS
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient.square()
        mean = self.mean / (1 - first ** (iteration + 1))
        square = self.square / (1 - second ** (iteration + 1))
        return mean / (square.sqrt() + _ADAM_EPSILON)

    def keep(self, going: Tensor) -> None:
        """Keep the state of the images that ``going (n,)`` marks, and drop that of the others."""
        self.mean, self.square = self.mean[going], self.square[going]


def decayed(step_size: float, decay: str, iteration: int, steps: int) -> float:
    """Return the step size of iteration 0 .. ``steps`` - 1, in pixel units of [0, 1]; always positive."""
    done = iteration / steps
    if decay == "linear":
        return step_size * (1 - done)
    if decay == "cosine":
        return step_size * 0.5 * (1 + math.cos(math.pi * done))
    if decay == "step":
        return step_size * (1.0 if done < 0.5 else 0.3 if done < 0.75 else 0.1)
    return step_size


class Patience:
    """Early stopping: an image continues while its best loss falls by the share ``early_stop`` within ``patience``
    iterations."""

    def __init__(self, params: InversionParameters, images: Tensor) -> None:
        self.share, self.patience = params.early_stop, params.patience
        self.best = images.new_full((len(images),), torch.inf)
        self.stale = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def going(self, losses: Tensor) -> Tensor:
        """Record the losses ``(n,)`` of an iteration and return a mask ``(n,)`` of the images that go on; all of them
        if early stopping is off."""
        if not self.share:
            return torch.ones_like(losses, dtype=torch.bool)
        better = losses < self.best * (1 - self.share)
        self.best = torch.where(better, losses, self.best)
        self.stale = torch.where(better, 0, self.stale + 1)
        return self.stale < self.patience

    def keep(self, going: Tensor) -> None:
        """Keep the state of the images that ``going (n,)`` marks, and drop that of the others."""
        self.best, self.stale = self.best[going], self.stale[going]


def descend(start: Tensor, objective: Objective, ctx: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise the objective from the images ``start (n, 3, h, w)`` in [0, 1] (Equation 4 with the sign that
    minimises).

    Return the final images, clamped to [0, 1] in every iteration, their losses at the start and the numbers of
    iterations made, ``(n,)`` each.
    """
    params = objective.params
    images, before = start.clone(), start.new_zeros(len(start))
    iterations = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    rows, moving = torch.arange(len(start), device=start.device), start  # The images that still move.
    stepper, patience = Stepper(params, moving), Patience(params, moving)
    for iteration in range(params.steps):
        losses, gradient = objective.gradient(moving)
        if iteration == 0:
            before = losses
        moving = (moving - stepper.step(gradient, iteration)).clamp(0, 1)
        images[rows], iterations[rows] = moving, iteration + 1
        ctx.progress(iteration + 1, params.steps)
        going = patience.going(losses)
        if not going.any():
            break
        if not going.all():
            rows, moving, objective = rows[going], moving[going], objective.of(going)
            stepper.keep(going)
            patience.keep(going)
    return images, before, iterations


def first_images(received: Received, params: InversionParameters, like: Tensor, ctx: Context) -> Tensor:
    """Return the images ``(n, 3, h, w)`` in [0, 1] that the descent starts from, with the type and device of
    ``like (n, ...)``.

    They have the size of the received images, or ``ctx.image_size`` if no images were received. Raises ContractError
    if the descent should start from an uploaded image and there is none.
    """
    if params.start == "obfuscated":
        if received.images is None:
            raise ContractError(
                f"{ctx.plugin}: start = 'obfuscated' needs the uploaded image, and only features were received; "
                "use 'grey' or 'random', or upload images"
            )
        return received.images.to(like).clone()
    h, w = ctx.image_size if received.images is None else received.images.shape[2:]
    grey = like.new_full((len(like), 3, h, w), 0.5)
    if params.start == "grey":
        return grey
    return (grey + RANDOM_STD * ctx.randn(grey).to(grey)).clamp(0, 1)


def check_received(received: Received, who: str) -> None:
    """Raise ContractError, which names the split, unless features were received and all of them are finite."""
    if not received.features:
        raise ContractError(f"{who}: expected the features of at least one split, got none")
    for split, maps in received.features.items():
        if not torch.isfinite(maps).all():
            bad = int((~torch.isfinite(maps)).sum())
            raise ContractError(f"{who}: the received features at {split} hold {bad} values that are NaN or infinite")


def check_shapes(images: Tensor, objective: Objective, who: str) -> None:
    """Raise ContractError unless the features of the start have the shapes of the received ones: other shapes mean
    that E_c takes images of another size."""
    with torch.no_grad():
        found = objective.shallow.features(images[:1], tuple(objective.targets))
    for maps, (split, target) in zip(found, objective.targets.items(), strict=True):
        if maps.shape[1:] != target.shape[1:]:
            raise ContractError(
                f"{who}: images of {tuple(images.shape[2:])} have features {tuple(maps.shape[1:])} at {split}, but "
                f"{tuple(target.shape[1:])} were received; is ctx.image_size the input size of the model?"
            )


def invert(received: Received, params: InversionParameters, ctx: Context) -> Reconstructed:
    """Reconstruct the images behind features ``(n, c, h, w)`` at one or more splits (Equations 2-4).

    Raises ContractError as `bench_inversion.Inversion.reconstruct` states.
    """
    check_received(received, ctx.plugin)
    if len(ctx.authorised) != 1:
        raise ContractError(f"{ctx.plugin}: features are those of one authorised model; got {len(ctx.authorised)}")
    targets = {split: maps.detach() for split, maps in received.features.items()}
    objective = Objective(params, ctx.shallow(ctx.authorised[0]), targets)
    start = first_images(received, params, next(iter(targets.values())), ctx)
    check_shapes(start, objective, ctx.plugin)
    images, before, iterations = descend(start, objective, ctx)
    with torch.no_grad():
        after = objective.loss(images)
    return Reconstructed(images=images, extra={"loss_start": before, "loss_end": after, "iterations": iterations})
