"""Logistic and linear regression from representations to an attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import parts, split
from bench_learners.weights import restored, state_of
from bench_probes.labels import targets
from torch import Tensor, nn

from bench_readers.reading import Reading, features, packed, shapes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples, Received
    from bench_readers.parameters import AttributeParameters

_SAMPLE = 256  # At most so many faces decide how representations are standardised.
_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of squared weights; held-out people decide between them.
_DECADE = 10.0  # years, the unit in which ages are learnt
_ITERATIONS = 200


def learn(params: AttributeParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: how it reads representations, and the weights of the regression.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    names = params.classes().get(params.attribute, ())
    labels = targets(examples, params.attribute, names, ctx)
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, ctx.generator())
    sample = examples.received(learning[:_SAMPLE])
    reading = Reading.of_sample(shapes_of(sample, ctx.plugin), packed(sample, ctx.plugin))
    every = parts(np.arange(len(labels)))
    found = torch.cat([features(reading, packed(examples.received(rows), ctx.plugin)).cpu() for rows in every])
    known = labels >= 0 if names else ~labels.isnan()
    learning, held_out = (rows[known[rows].numpy()] for rows in (learning, held_out))
    wanted = labels if names else labels[:, None] / _DECADE
    layer = regression(found, wanted, learning, held_out, len(names))
    return {**state_of(reading, "reading."), **state_of(layer, "probe.")}


def read(params: AttributeParameters, received: Received, ctx: Context) -> Tensor:
    """Return what the probe reads from uploads: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    reading = Reading.of_state(shapes_of(received, ctx.plugin), ctx.state, "reading.", ctx.plugin)
    restored(reading, ctx.state, "reading.").to(ctx.device)
    weight, bias = (ctx.state[f"probe.{name}"].to(ctx.device) for name in ("weight", "bias"))
    found = F.linear(features(reading, packed(received, ctx.plugin)), weight, bias)
    return found.softmax(1) if params.classes() else (found[:, 0] * _DECADE).clamp(min=0)


def regression(
    x: Tensor, wanted: Tensor, learning: NDArray[np.int64], held_out: NDArray[np.int64], classes: int
) -> nn.Linear:
    """Return the linear layer from ``x (n, d)`` to the logits of so many classes, whose numbers ``wanted (n,)`` are; or
    without classes to the numbers ``wanted (n, 1)``.

    It is fitted to both sides, with the penalty with which the layer of the rows ``learning`` is best on ``held_out``,
    or with the largest if one side is empty.
    """
    every = np.concatenate([learning, held_out])
    length = x[every].square().sum(dim=1).mean().sqrt().clamp(min=1e-6)
    inputs, labels = (x / length).double(), wanted if classes else wanted.double()
    loss = F.cross_entropy if classes else F.mse_loss

    def fitted(rows: NDArray[np.int64], penalty: float) -> nn.Linear:
        return _fitted(inputs[rows], labels[rows], max(classes, 1), loss, penalty)

    def error(penalty: float) -> float:
        return float(loss(fitted(learning, penalty)(inputs[held_out]), labels[held_out]))

    penalty = min(_PENALTIES, key=error) if len(learning) and len(held_out) else max(_PENALTIES)
    layer = fitted(every, penalty)
    layer.weight.div_(length)
    return layer.float()


def _fitted(
    x: Tensor, wanted: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], penalty: float
) -> nn.Linear:
    """Return the layer that minimises the loss plus half the penalty times the sum of squared weights."""
    with torch.random.fork_rng(devices=[]):  # The first weights are replaced by 0.
        layer = nn.Linear(x.shape[1], outputs, dtype=x.dtype)
    for tensor in layer.parameters():
        nn.init.zeros_(tensor)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(layer(x), wanted) + 0.5 * penalty * layer.weight.square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return layer.requires_grad_(False)
