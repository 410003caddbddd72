"""AdamW with a one-cycle rate; of all weights that were tried, those are kept that suit held-out people best."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench import ContractError

if TYPE_CHECKING:
    from bench import Context

_USUAL = 0.03  # the root mean square of the weights of a usual convolution of 256 channels (He et al. 2015)
CHECKS = 8  # How often the held-out people are looked at, unless the caller says otherwise.
Statistics = Literal["learn", "keep"]


def fit(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    held_out: Callable[[], float],
    *,
    steps: int,
    rate: float,
    patience: int,
    ctx: Context,
    every: int | None = None,
    statistics: Statistics = "learn",
    in_proportion: bool = False,
) -> int:
    """Train ``network`` in place and return the number of steps after which it was best.

    - ``loss(step)``: the loss of a step, a scalar with gradients; the network is then in training mode
    - ``held_out()``: how badly the network does on people whom it does not learn from, lower is better; it is called
      before the first step, after every ``every`` steps (an eighth of ``steps`` by default) and after the last one,
      without gradients and in evaluation mode
    - ``steps``, ``rate``: the number of steps, and the largest learning rate of the cycle
    - ``patience``: the training ends early after so many calls of ``held_out`` in a row without a new best value
    - ``statistics``: whether layers with batch normalisation ``learn`` the mean and variance of their inputs, or
      ``keep`` those that they have, which is better for small sets of faces
    - ``in_proportion``: small weights get a smaller rate, for networks that are already trained. A step of AdamW
      changes each weight by about the rate, however small it is, and so overwrites networks that keep the scale of
      their layers elsewhere. Each tensor has its own rate, in proportion to the root mean square of its weights
      (Shazeer and Stern 2018, "Adafactor", section 8) up to that of a usual convolution

    The network ends in evaluation mode, with the weights that it had at the best value; 0 is returned if no training
    has helped. Only parameters that require gradients are trained. Raise `ContractError` if a loss or a value is not
    finite.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rates = [rate * (_share(parameter) if in_proportion else 1.0) for parameter in trained]
    optimizer = torch.optim.AdamW([{"params": [p], "lr": r} for p, r in zip(trained, rates, strict=True)])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=steps)
    every = every or math.ceil(steps / CHECKS)
    best = _Best(network, held_out, ctx, rate)
    for step in range(1, steps + 1):
        _training_mode(network, statistics)
        with torch.enable_grad():
            value = loss(step - 1)
            _finite(value.item(), f"the loss of step {step}", ctx, rate)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
        schedule.step()
        ctx.progress(step, steps)
        if (step % every == 0 or step == steps) and best.look(step) >= patience:
            break
    ctx.progress(steps, steps)
    return best.restore()


def _share(weights: Tensor) -> float:
    """Return which part of the rate a tensor of weights gets; all of it if they are 0, which tells nothing."""
    size = float(weights.detach().square().mean().sqrt())
    return min(1.0, size / _USUAL) if size else 1.0


class _Best:
    """The best weights so far, by the value on held-out people."""

    def __init__(self, network: nn.Module, held_out: Callable[[], float], ctx: Context, rate: float) -> None:
        self.network, self.held_out, self.ctx, self.rate = network, held_out, ctx, rate
        self.value, self.step, self.since = math.inf, 0, 0
        self.state = dict[str, Tensor]()
        self.look(0)

    def look(self, step: int) -> int:
        """Compare the network as it is after a step with the best one; return how many looks ago that was found."""
        self.network.eval()
        with torch.no_grad():
            value = _finite(self.held_out(), f"the value on held-out people after {step} steps", self.ctx, self.rate)
        self.since += 1
        if value < self.value:
            self.value, self.step, self.since = value, step, 0
            self.state = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        return self.since

    def restore(self) -> int:
        """Give the network its best weights, and return the step after which it had them."""
        self.network.load_state_dict(self.state)
        self.network.eval()
        return self.step


def _training_mode(network: nn.Module, statistics: Statistics) -> None:
    network.train()
    if statistics == "keep":
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _finite(value: float, what: str, ctx: Context, rate: float) -> float:
    if not math.isfinite(value):
        raise ContractError(f"{ctx.plugin}: {what} became {value}; lower its learning rate (it is {rate:g})")
    return value
