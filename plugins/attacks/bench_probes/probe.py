"""Logistic and ridge regression on embeddings, of which a recogniser was adapted to protected pictures if need be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import faces_of, images_of, parts, split
from bench_learners.recognition import adapted_embeddings, adapted_weights
from numpy.typing import NDArray
from torch import Tensor

from bench import Received
from bench_probes.labels import targets

if TYPE_CHECKING:
    from bench import Context, Examples
    from bench_probes.parameters import ProbeParameters

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # Weights of the squared norm; held-out people decide between them.
_YEARS = 100.0  # Ages are divided by it.
Rows = NDArray[np.int64]
Embed = Callable[[Tensor], Tensor]


def learn(params: ProbeParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: what embeddings are reduced by, its weights, and an adapted network if there is one.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    labels = targets(examples, params.attribute, params.classes().get(params.attribute, ()), ctx)
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, ctx.generator())
    state = adapted_weights(params, examples, "originals", ctx) if params.of == "adapted" else {}
    as_it_is: Embed = _network(params, ctx)

    def embedded(rows: Rows) -> Tensor:
        if params.learns == "clean":
            # An adapted network gives uploads the embeddings that the original one gives to clean pictures.
            return as_it_is(faces_of(examples, rows, ctx))
        return _of_uploads(params, images_of(examples.received(rows), ctx.plugin), as_it_is, ctx)

    ctx.state = state
    with torch.no_grad():
        found = [embedded(rows).float().cpu() for rows in parts(np.arange(len(labels)))]
        embeddings = F.normalize(torch.cat(found), dim=1)
    known = labels >= 0 if params.classes() else ~labels.isnan()
    probe = _probe(embeddings, labels, *(rows[known[rows].numpy()] for rows in (learning, held_out)))
    return state | {f"probe.{name}": tensor for name, tensor in probe.items()}


def read(params: ProbeParameters, images: Tensor, ctx: Context) -> Tensor:
    """Return what a probe reads from images: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    names = ("mean", "scale", "weight", "bias")
    mean, scale, weight, bias = (ctx.state[f"probe.{name}"].to(ctx.device) for name in names)
    with torch.no_grad():
        unit = F.normalize(_of_uploads(params, images, _network(params, ctx), ctx), dim=1)
        found = (unit - mean) / scale @ weight + bias
    return found.softmax(1) if params.classes() else (found[:, 0] * _YEARS).clamp(min=0)


def _network(params: ProbeParameters, ctx: Context) -> Any:
    """Return the network whose embeddings are probed, as it is."""
    return ctx.network(ctx.authorised[0]) if params.of == "insider" else ctx.evaluated()


def _of_uploads(params: ProbeParameters, images: Tensor, as_it_is: Embed, ctx: Context) -> Tensor:
    """Return the embeddings of uploads, by the adapted network if there is one; its weights are in ``ctx.state``."""
    return adapted_embeddings(Received(images=images), ctx) if params.of == "adapted" else as_it_is(images)


# ---- regression ------------------------------------------------------------------------------------------------------


def _probe(embeddings: Tensor, labels: Tensor, learning: Rows, held_out: Rows) -> dict[str, Tensor]:
    """Return mean, scale, weight and bias of the regression that is best for held-out people, refitted to all people.

    ``labels (n,)`` are numbers of classes, or ages.
    """
    is_number = labels.is_floating_point()
    every = np.concatenate([learning, held_out])
    mean = embeddings[every].mean(0)
    scale = (embeddings[every] - mean).square().sum(1).mean().sqrt().clamp(min=1e-6)
    x = torch.cat([(embeddings - mean) / scale, torch.ones(len(embeddings), 1)], dim=1).double()
    y = labels.double()[:, None] / _YEARS if is_number else labels
    classes = 1 if is_number else int(labels.max()) + 1

    def solved(rows: Rows, ridge: float) -> Tensor:
        return _ridge(x[rows], y[rows], ridge) if is_number else _logistic(x[rows], y[rows], classes, ridge)

    def held_out_loss(ridge: float) -> float:
        found = x[held_out] @ solved(learning, ridge)
        return float((F.mse_loss if is_number else F.cross_entropy)(found, y[held_out]))

    enough = len(held_out) and len(learning)
    weights = solved(every, min(_RIDGES, key=held_out_loss) if enough else max(_RIDGES)).float()
    return {"mean": mean, "scale": scale, "weight": weights[:-1], "bias": weights[-1]}


def _ridge(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Return the weights ``(d + 1, 1)`` of linear regression; the last one belongs to the constant."""
    weights: Tensor = torch.linalg.solve(x.T @ x / len(x) + ridge * _but_for_constant(x), x.T @ y / len(x))
    return weights


def _logistic(x: Tensor, y: Tensor, classes: int, ridge: float) -> Tensor:
    """Return the weights ``(d + 1, k)`` of multinomial logistic regression; the last row belongs to the constant."""
    weights = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    penalty = _but_for_constant(x).diagonal()[:, None]
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weights, y) + 0.5 * ridge * (penalty * weights.square()).sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _but_for_constant(x: Tensor) -> Tensor:
    """Return a diagonal matrix that punishes all weights but that of the constant, the last column."""
    return torch.diag(torch.cat([torch.ones(x.shape[1] - 1), torch.tensor([1e-6])]).to(x))
