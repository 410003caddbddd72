"""Logistic and ridge regression from vectors to an attribute: the probe of every attack that reads one linearly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench_probes.labels import UNKNOWN

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # Weights of the squared norm; held-out people decide between them.
Rows = NDArray[np.int64]


def fit_probe(x: Tensor, labels: Tensor, classes: int, learning: Rows, held_out: Rows) -> dict[str, Tensor]:
    """Return the state of the regression from ``x (n, d)`` to one of so many classes, or without classes to a number.

    ``labels (n,)`` are those of `targets`; rows without a label are left out. A class that nobody has is nevertheless
    one of the classes. The regularisation with which the rows ``learning`` suit those ``held_out`` best holds for a fit
    to both, and the strongest one if either side is empty.
    """
    known = labels != UNKNOWN if classes else ~labels.isnan()
    learning, held_out = (rows[known[rows].numpy()] for rows in (learning, held_out))
    every = np.concatenate([learning, held_out])
    mean = x[every].mean(0)
    scale = (x[every] - mean).square().sum(1).mean().sqrt().clamp(min=1e-6)
    inputs = torch.cat([(x - mean) / scale, torch.ones(len(x), 1)], dim=1).double()
    wanted = labels if classes else labels.double()[:, None]

    def solved(rows: Rows, ridge: float) -> Tensor:
        if classes:
            return _logistic(inputs[rows], wanted[rows], classes, ridge)
        return _linear(inputs[rows], wanted[rows], ridge)

    def held_out_loss(ridge: float) -> float:
        found = inputs[held_out] @ solved(learning, ridge)
        return float((F.cross_entropy if classes else F.mse_loss)(found, wanted[held_out]))

    enough = len(held_out) and len(learning)
    weights = solved(every, min(_RIDGES, key=held_out_loss) if enough else max(_RIDGES)).float()
    found = {"mean": mean, "scale": scale, "weight": weights[:-1], "bias": weights[-1]}
    return {f"probe.{name}": tensor for name, tensor in found.items()}


def read_probe(x: Tensor, state: Mapping[str, Tensor], classes: int) -> Tensor:
    """Return what the regression of `fit_probe` reads from ``x (n, d)``: class probabilities ``(n, classes)``, or
    without classes numbers ``(n,)``, which are not negative."""
    mean, scale, weight, bias = (state[f"probe.{name}"].to(x.device) for name in ("mean", "scale", "weight", "bias"))
    found = (x - mean) / scale @ weight + bias
    return found.softmax(1) if classes else found[:, 0].clamp(min=0)


def _linear(x: Tensor, y: Tensor, ridge: float) -> Tensor:
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
