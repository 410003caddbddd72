"""How far the embeddings of uploads are from those of their originals."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

TEMPERATURE = 0.05  # of the softmax over the originals in a batch, if those of different people are at right angles
_LEAST_SPREAD = 0.01


def towards(found: Tensor, wanted: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the mean of 1 - cosine between embeddings and their targets, plus the contrastive loss among the targets.

    ``found`` and ``wanted`` are ``(n, d)`` of any length; the result is a scalar. The contrastive loss (InfoNCE, van
    den Oord et al. 2018, equation 4) asks which of the ``n`` targets is the own one.
    """
    cosine = normalize(found, dim=1) @ normalize(wanted, dim=1).T
    own = torch.arange(len(cosine), device=cosine.device)
    return (1 - cosine.diagonal()).mean() + cross_entropy(cosine / temperature, own)


def temperature_of(targets: Tensor, people: NDArray[np.int64]) -> float:
    """Return the temperature for these targets ``(n, d)`` of two or more ``people (n,)``: `TEMPERATURE` times 1 - the
    mean cosine between targets of different people.

    That mean is about 0 for networks that were trained with cosines. Where all embeddings lie close together, as those
    of networks that were trained with distances do, differences are smaller by this factor.
    """
    _, person, count = np.unique(people, return_inverse=True, return_counts=True)
    unit = normalize(targets.double(), dim=1)
    sums = unit.new_zeros(len(count), unit.shape[1]).index_add_(0, torch.from_numpy(person).to(unit.device), unit)
    # All cosines together are the square of the sum; those within one person are taken out.
    cosines = unit.sum(0).square().sum() - sums.square().sum()
    pairs = len(unit) ** 2 - int(np.square(count).sum())
    return TEMPERATURE * max(1 - float(cosines) / pairs, _LEAST_SPREAD)


def rank_error(found: Tensor, wanted: Tensor) -> float:
    """Return for embeddings ``(n, d)`` the mean share of the other targets that are nearer than the own one.

    It is 0 if every embedding is nearest to its own target, and 1/2 by chance. Equally near ones count as half.
    """
    cosine = normalize(found, dim=1) @ normalize(wanted, dim=1).T
    own = cosine.diagonal()[:, None]
    nearer = (cosine > own).float() + 0.5 * (cosine == own).float()
    return float((nearer.sum(1) - 0.5).mean() / max(len(cosine) - 1, 1))
