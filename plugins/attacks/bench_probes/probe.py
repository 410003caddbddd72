"""Logistic and ridge regression on embeddings, and a recogniser that is adapted to protected pictures first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import batches, coin, faces_of, mirrored, split
from bench_learners.fitting import fit
from bench_learners.losses import rank_error, towards
from bench_learners.weights import restored, state_of
from numpy.typing import NDArray
from torch import Tensor

from bench import ContractError
from bench_probes.labels import HELD_OUT, targets

if TYPE_CHECKING:
    from bench import Context, Examples, Network
    from bench_probes import AttributeProbe

_BATCH = 64
_PATIENCE = 3
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # weights of the squared norm, from which one is chosen on held-out people
_NETWORK = "network."  # Names of the weights of the adapted network begin so.
_YEARS = 100.0  # Ages are divided by it.
Rows = NDArray[np.int64]


def learn(params: AttributeProbe, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: what embeddings are reduced by, its weights, and an adapted network if there is one.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    labels = targets(examples, params.attribute, params.classes().get(params.attribute, ()), ctx)
    learning, held_out = split(np.asarray(examples.subjects), HELD_OUT, ctx.generator())
    network, state = _network(params, ctx), dict[str, Tensor]()
    if params.of == "adapted":
        network = _adapted(params, examples, learning, held_out, ctx)
        state = state_of(network, _NETWORK)
    if params.learns == "clean":
        # An adapted network gives protected pictures the embeddings that the original one gives to clean pictures.
        network = _network(params, ctx)
        embeddings = _embeddings(network, lambda rows: faces_of(examples, rows, ctx), len(labels))
    else:
        embeddings = _embeddings(network, lambda rows: _received(examples, rows, ctx), len(labels))
    known = labels >= 0 if params.classes() else ~labels.isnan()
    probe = _probe(embeddings, labels, *(rows[known[rows].numpy()] for rows in (learning, held_out)))
    return state | probe


def read(params: AttributeProbe, images: Tensor, ctx: Context) -> Tensor:
    """Return what a probe reads from images: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    network = _network(params, ctx)
    if params.of == "adapted":
        network = restored(network, ctx.state, _NETWORK)
    with torch.no_grad():
        unit = F.normalize(network(images), dim=1)
        found = (unit - ctx.state["mean"]) / ctx.state["scale"] @ ctx.state["weight"] + ctx.state["bias"]
    return found.softmax(1) if params.classes() else (found[:, 0] * _YEARS).clamp(min=0)


def _network(params: AttributeProbe, ctx: Context) -> Any:
    """Return the network whose embeddings are probed, as it is."""
    return ctx.network(ctx.authorised[0]) if params.of == "insider" else ctx.evaluated()


def _received(examples: Examples, rows: Rows, ctx: Context) -> Tensor:
    images = examples.received(rows).images
    if images is None:
        raise ContractError(f"{ctx.plugin} works on images, and none are uploaded")
    return images


def _parts(rows: Rows) -> Iterable[Rows]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _embeddings(network: Network, images: Callable[[Rows], Tensor], n: int) -> Tensor:
    """Return unit embeddings ``(n, d)`` of faces, on the CPU."""
    with torch.no_grad():
        found = torch.cat([network(images(part)).float().cpu() for part in _parts(np.arange(n))])
    return F.normalize(found, dim=1)


# ---- adapting --------------------------------------------------------------------------------------------------------


def _adapted(params: AttributeProbe, examples: Examples, learning: Rows, held_out: Rows, ctx: Context) -> Any:
    """Return a copy of the network that gives protected pictures the embeddings of their originals."""
    network = _network(params, ctx)
    wanted = _embeddings(network, lambda rows: faces_of(examples, rows, ctx), len(examples.images)).to(ctx.device)
    generator = ctx.generator()
    order = batches(learning, _BATCH, generator)

    def loss(step: int) -> Tensor:
        rows = next(order)
        images = mirrored(_received(examples, rows, ctx), coin(len(rows), generator))
        return towards(network(images), wanted[torch.from_numpy(rows).to(ctx.device)])

    def error() -> float:
        found = torch.cat([network(_received(examples, part, ctx)) for part in _parts(held_out)])
        return rank_error(found, wanted[torch.from_numpy(held_out).to(ctx.device)])

    fit(network, loss, error, steps=params.steps, rate=params.rate, patience=_PATIENCE, ctx=ctx)
    return network


# ---- regression ------------------------------------------------------------------------------------------------------


def _probe(embeddings: Tensor, labels: Tensor, learning: Rows, held_out: Rows) -> dict[str, Tensor]:
    """Return mean, scale, weights and bias of the regression that is best for held-out people, refitted to all."""
    every = np.concatenate([learning, held_out])
    solve, loss = (_ridge, F.mse_loss) if labels.is_floating_point() else (_logistic, F.cross_entropy)
    answers = labels[:, None] / _YEARS if labels.is_floating_point() else labels
    centre = embeddings[every].mean(0)
    scale = (embeddings[every] - centre).square().sum(1).mean().sqrt().clamp(min=1e-6)
    x = torch.cat([(embeddings - centre) / scale, torch.ones(len(embeddings), 1)], dim=1).double()
    answers = answers.double() if labels.is_floating_point() else answers
    classes = 1 if labels.is_floating_point() else int(labels.max()) + 1

    def held_out_loss(ridge: float) -> float:
        return float(loss(x[held_out] @ solve(x[learning], answers[learning], classes, ridge), answers[held_out]))

    best = min(_RIDGES, key=held_out_loss) if len(held_out) else _RIDGES[2]
    weights = solve(x[every], answers[every], classes, best).float()
    return {"mean": centre, "scale": scale, "weight": weights[:-1], "bias": weights[-1]}


def _ridge(x: Tensor, y: Tensor, columns: int, ridge: float) -> Tensor:
    """Return the weights ``(d + 1, 1)`` of linear regression; the last one belongs to the constant."""
    weights: Tensor = torch.linalg.solve(x.T @ x / len(x) + ridge * _without_constant(x), x.T @ y / len(x))
    return weights


def _logistic(x: Tensor, y: Tensor, columns: int, ridge: float) -> Tensor:
    """Return the weights ``(d + 1, k)`` of multinomial logistic regression; the last row belongs to the constant."""
    weights = torch.zeros(x.shape[1], columns, dtype=x.dtype, requires_grad=True)
    squared = _without_constant(x).diagonal()[:, None]
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weights, y) + 0.5 * ridge * (squared * weights.square()).sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _without_constant(x: Tensor) -> Tensor:
    """Return a diagonal matrix that leaves the weight of the constant, the last column, unpunished."""
    return torch.diag(torch.cat([torch.ones(x.shape[1] - 1), torch.tensor([1e-6])]).to(x))
