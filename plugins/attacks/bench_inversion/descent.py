"""The descent of the white-box reconstruction: the start, the steps, and the loop.

Losses, norms, early stops and random draws are all per image. Images share a batch only for speed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench import ContractError, Received, Reconstructed
from bench_inversion.learning import ThroughDefense, decoder_of_start
from bench_inversion.objective import Objective

if TYPE_CHECKING:
    from bench import Context
    from bench_inversion.parameters import InversionParameters

RANDOM_STD = 0.25  # Standard deviation of the random start: it covers [0, 1], and few values have to be clamped.
_BETAS = (0.9, 0.999)  # Kingma and Ba 2015, "Adam", section 2
_ADAM_EPSILON = 1e-12  # The gradient of a mean over pixels is tiny: the usual 1e-8 would not be small beside it.
_TINY = 1e-30


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
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (self.square / (1 - second ** (iteration + 1))).sqrt_().add_(_ADAM_EPSILON)
        return torch.div(self.mean, root, out=root).div_(1 - first ** (iteration + 1))

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

    def going(self, losses: Tensor) -> Tensor | None:
        """Record the losses ``(n,)`` of an iteration and return a mask ``(n,)`` of the images that go on; None if early
        stopping is off, so that all do."""
        if not self.share:
            return None
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
    images, before = torch.empty_like(start), start.new_zeros(len(start))
    iterations = torch.full((len(start),), params.steps, dtype=torch.int64, device=start.device)
    rows, moving = torch.arange(len(start), device=start.device), start  # The images that still move.
    stepper, patience = Stepper(params, moving), Patience(params, moving)
    for iteration in range(params.steps):
        losses, gradient = objective.gradient(moving)
        if iteration == 0:
            before = losses
        moving = (moving - stepper.step(gradient, iteration)).clamp_(0, 1)
        ctx.progress(iteration + 1, params.steps)
        going = patience.going(losses)
        if going is not None and not going.all():
            images[rows[~going]], iterations[rows[~going]] = moving[~going], iteration + 1
            rows, moving, objective = rows[going], moving[going], objective.of(going)
            stepper.keep(going)
            patience.keep(going)
        if not len(rows):
            break
    images[rows] = moving
    return images, before, iterations


def first_images(received: Received, params: InversionParameters, like: Tensor, ctx: Context) -> Tensor:
    """Return the images ``(n, 3, h, w)`` in [0, 1] that the descent starts from, with the type and device of
    ``like (n, ...)``.

    They have the size of the received images, or ``ctx.image_size`` if no images were received. Raises ContractError
    if the descent should start from an uploaded image and there is none.
    """
    if params.start in ("obfuscated", "decoder"):
        if received.images is None:
            raise ContractError(
                f"{ctx.plugin}: start = {params.start!r} needs the uploaded image, and only features were received; "
                "use 'grey' or 'random', or upload images"
            )
        if params.start == "obfuscated":
            return received.images.to(like).clone()
        with torch.no_grad():
            made: Tensor = decoder_of_start(params, ctx)(received.images.float())
        return made.clamp(0, 1).to(like)
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
    shallow = ctx.shallow(ctx.authorised[0])
    if params.through == "defense":
        shallow = ThroughDefense(shallow, params, ctx)
    objective = Objective(params, shallow, targets)
    start = first_images(received, params, next(iter(targets.values())), ctx)
    check_shapes(start, objective, ctx.plugin)
    images, before, iterations = descend(start, objective, ctx)
    with torch.no_grad():
        after = objective.loss(images)
    return Reconstructed(images=images, extra={"loss_start": before, "loss_end": after, "iterations": iterations})
