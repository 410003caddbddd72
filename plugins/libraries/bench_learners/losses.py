"""How far the embeddings of uploads are from those of their originals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

TEMPERATURE = 0.05  # of the softmax over the originals in a batch


def towards(found: Tensor, wanted: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the mean of 1 - cosine between embeddings and their targets, plus the contrastive loss among the targets.

    ``found`` and ``wanted`` are ``(n, d)`` of any length; the result is a scalar. The contrastive loss (InfoNCE, van
    den Oord et al. 2018, equation 4) asks which of the ``n`` targets is the own one.
    """
    cosine = normalize(found, dim=1) @ normalize(wanted, dim=1).T
    own = torch.arange(len(cosine), device=cosine.device)
    return (1 - cosine.diagonal()).mean() + cross_entropy(cosine / temperature, own)


def rank_error(found: Tensor, wanted: Tensor) -> float:
    """Return for embeddings ``(n, d)`` the mean share of the other targets that are nearer than the own one.

    It is 0 if every embedding is nearest to its own target, and 1/2 by chance. Equally near ones count as half.
    """
    cosine = normalize(found, dim=1) @ normalize(wanted, dim=1).T
    own = cosine.diagonal()[:, None]
    nearer = (cosine > own).float() + 0.5 * (cosine == own).float()
    return float((nearer.sum(1) - 0.5).mean() / max(len(cosine) - 1, 1))
