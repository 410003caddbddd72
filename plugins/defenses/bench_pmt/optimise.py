"""The descent of PMT and MR-PMT: the loss over features, the direction of a step, and the loop (Algorithms 1 and 2).

Losses, norms, early stops and random draws are all per image. Images share a batch only for speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench import Protected
from bench_pmt.transforms import Transform, decayed, draw_augmentation, kernel_profile, pool, smooth, start

if TYPE_CHECKING:
    from bench import Context, Shallow
    from bench_pmt.parameters import PmtParameters

_BETAS = (0.9, 0.999)  # Kingma and Ba 2015, "Adam", section 2
_ADAM_EPSILON = 1e-12  # The gradient of a mean over features is tiny: the usual 1e-8 would not be small beside it.
_TINY = 1e-30


class Objective:
    """The loss: the distance between the features of obfuscated images and faces, over layers and authorised models.

    Raises ValueError if there is no model.
    """

    def __init__(self, params: PmtParameters, models: list[Shallow]) -> None:
        if not models:
            raise ValueError("expected at least one authorised model, got none")
        self.params = params
        self.models = models
        self.splits = [params.splits(model.splits) for model in models]
        self.weights = params.model_weights(len(models))

    def features(self, images: Tensor) -> list[list[Tensor]]:
        """Return the pooled feature maps of images, a list of layers for each model: ``(n, c, h, w)`` each."""
        return [
            [pool(maps, self.params.pool, self.params.pool_kernel) for maps in model.features(images, splits)]
            for model, splits in zip(self.models, self.splits, strict=True)
        ]

    def loss(self, images: Tensor, targets: list[list[Tensor]]) -> Tensor:
        """Return the loss per image ``(n,)``: the weighted mean of the models' losses (Equation 8, with mean squared
        distances).

        Equation 8 sums distances over maps of different sizes; with means, a model with 16 times as many values does
        not dominate.
        """
        total = images.new_zeros(len(images))
        for found, target, weight in zip(self.features(images), targets, self.weights, strict=True):
            total = total + weight * model_loss(found, target, self.params.balance)
        return total


def model_loss(found: list[Tensor], target: list[Tensor], balance: str) -> Tensor:
    """Return the loss per image ``(n,)`` for one model: squared differences over its layers (Algorithm 2, lines 4-9).

    ``mean``: mean over layers of the layer's mean squared difference; ``concat``: mean over the values of all layers
    together; ``relative``: as ``mean``, each layer divided by the mean square of its target. For a single layer they
    are equal up to a factor, which does not change a sign or L1-normalised step.
    """
    squares = [(f - t).square().flatten(1) for f, t in zip(found, target, strict=True)]
    if balance == "concat":
        return torch.cat(squares, dim=1).mean(dim=1)
    layers = [s.mean(dim=1) for s in squares]
    if balance == "relative":
        layers = [d / t.square().flatten(1).mean(dim=1).clamp_min(1e-12) for d, t in zip(layers, target, strict=True)]
    return torch.stack(layers).mean(dim=0)


class Stepper:
    """Turns gradients into steps: normalises them per image, convolves with W, and applies the rule of ``update``."""

    def __init__(self, params: PmtParameters, images: Tensor) -> None:
        self.params = params
        self.profile = kernel_profile(params.kernel, params.kernel_length)
        self.mean = torch.zeros_like(images) if params.update in ("adam", "momentum") else None
        self.square = torch.zeros_like(images) if params.update == "adam" else None

    def step(self, gradient: Tensor, iteration: int) -> Tensor:
        """Return the step to *subtract* from the images ``(n, c, h, w)`` in iteration 0, 1, ..."""
        size = decayed(self.params.step_size, self.params.decay, iteration, self.params.steps)
        if self.params.update == "adam":
            return size * self._adam(smooth(gradient, self.profile), iteration)
        direction = smooth(l1_normalised(gradient), self.profile)
        if self.params.update == "l1":
            return size * direction
        if self.mean is not None:
            self.mean = direction = self.params.momentum * self.mean + direction
        return size * direction.sign()

    def _adam(self, gradient: Tensor, iteration: int) -> Tensor:
        assert self.mean is not None
        assert self.square is not None
        first, second = _BETAS
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient.square()
        mean = self.mean / (1 - first ** (iteration + 1))
        square = self.square / (1 - second ** (iteration + 1))
        return mean / (square.sqrt() + _ADAM_EPSILON)


def l1_normalised(gradient: Tensor) -> Tensor:
    """Divide a gradient by its mean absolute value, per image: ``(n, c, h, w)`` to the same; zero stays zero.

    Algorithm 2, line 10, divides by the *sum* of absolute values, which makes a step smaller by the number of values.
    """
    return gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)


class Progress:
    """Early stopping: which images still move, the best loss of each, the steps since then, and the steps made."""

    def __init__(self, params: PmtParameters, images: Tensor) -> None:
        self.tolerance, self.patience = params.early_stop, params.patience
        self.active = torch.ones(len(images), dtype=torch.bool, device=images.device)
        self.iterations = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.best = images.new_full((len(images),), torch.inf)
        self.stale = torch.zeros_like(self.iterations)

    def rows(self) -> Tensor | None:
        """Return the indices of the images that still move; None if early stopping is off, so that all do."""
        return self.active.nonzero()[:, 0] if self.tolerance else None

    def note(self, losses: Tensor, rows: Tensor | None) -> None:
        """Record the losses of ``rows`` before a step, and stop the images that have not improved for too long."""
        if rows is not None:
            better = losses < self.best[rows] * (1 - self.tolerance)
            self.best[rows] = torch.where(better, losses, self.best[rows])
            self.stale[rows] = torch.where(better, 0, self.stale[rows] + 1)
            self.active[rows] = self.stale[rows] < self.patience
        self.iterations += self.active


def descend(
    images: Tensor, moving: Tensor, objective: Objective, ctx: Context, targets: list[list[Tensor]] | None = None
) -> tuple[Tensor, Tensor]:
    """Change the images ``moving`` so that their features match those of ``images``; both ``(n, c, h, w)`` in [0, 1].

    ``targets`` are the features of ``images``, if they are known already. Return the changed images, clamped to [0, 1]
    in every iteration, and the number of iterations made ``(n,)``.
    """
    params = objective.params
    stepper, progress = Stepper(params, moving), Progress(params, moving)
    augmented = params.adds_noise or params.moves
    with torch.no_grad():
        fixed = None if augmented else targets or objective.features(images)
    for iteration in range(params.steps):
        rows = progress.rows()
        if rows is not None and len(rows) == 0:
            break
        # Every image has a random stream of its own, so the draw is made for the whole batch, stopped images included.
        transform = draw_augmentation(images, params, ctx)
        losses, gradient = _gradient(images, moving, objective, fixed, transform, rows)
        progress.note(losses, rows)
        step = stepper.step(gradient, iteration)
        stepped = (moving - step).clamp(0, 1)
        moving = stepped if rows is None else torch.where(progress.active[:, None, None, None], stepped, moving)
    return moving, progress.iterations


def _gradient(
    images: Tensor,
    moving: Tensor,
    objective: Objective,
    fixed: list[list[Tensor]] | None,
    transform: Transform | None,
    rows: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the losses of obfuscated images and their gradient with respect to the pixels of these images.

    ``images`` are the faces and ``moving`` the obfuscated images, ``(n, c, h, w)`` each; both pass through
    ``transform``. ``rows`` restricts the computation to some images (None: all): the losses are ``(len(rows),)``, and
    the gradient ``(n, c, h, w)`` is zero outside ``rows``. ``fixed`` holds the features of the faces if they are the
    same in each iteration, else None.
    """
    moving = moving.detach().requires_grad_()
    with torch.no_grad():
        if fixed is None:
            faces = images if transform is None else transform(images)
            targets = objective.features(faces if rows is None else faces[rows])
        else:
            targets = fixed if rows is None else [[maps[rows] for maps in model] for model in fixed]
    with torch.enable_grad():
        seen = moving if transform is None else transform(moving)
        losses = objective.loss(seen if rows is None else seen[rows], targets)
        (gradient,) = torch.autograd.grad(losses.sum(), moving)
    return losses.detach(), gradient


def obfuscate(images: Tensor, params: PmtParameters, ctx: Context) -> Protected:
    """Apply PMT to a batch: float ``(n, c, h, w)`` in [0, 1] to `Protected` images of the same shape and range."""
    objective = Objective(params, [ctx.shallow(label) for label in ctx.authorised])
    with torch.no_grad():
        first = start(images, params, ctx)
        targets = objective.features(images)
        before = objective.loss(first, targets)
    last, iterations = descend(images, first, objective, ctx, targets)
    with torch.no_grad():
        after = objective.loss(last, targets)
    return Protected(images=last, extra={"loss_start": before, "loss_end": after, "iterations": iterations})
