"""Classification losses for face recognition: from embeddings and a class matrix to logits.

Each loss gives logits `(n, classes)` for a cross-entropy. The margin losses share one form: with theta_j
the angle between an embedding and class vector j, the target's logit is `scale * f(theta_y)` and the others are
`scale * cos(theta_j)`; they differ in f, which is never above the cosine.

| loss | f(theta) | no margin at |
|---|---|---|
| `softmax` | plain linear classifier, nothing is normalised | - |
| `normface` | cos(theta) | - |
| `arcface` | cos(theta + m) | m = 0 |
| `cosface` | cos(theta) - m | m = 0 |
| `sphereface` | psi(theta), a monotonous cos(m theta) | m = 1 |
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["softmax", "normface", "arcface", "cosface", "sphereface"]
LOSSES: tuple[str, ...] = get_args(Loss)

_EDGE = 1e-6  # It keeps arccos and sqrt differentiable at +-1.


def neutral_margin(loss: Loss) -> float:
    """Return the margin that has no effect: 1 for SphereFace, whose margin is a factor, else 0."""
    return 1.0 if loss == "sphereface" else 0.0


def cosines(embeddings: Tensor, classes: Tensor) -> Tensor:
    """Return the cosine of every embedding `(n, d)` with every class vector `(classes, d)`: `(n, classes)`."""
    return F.linear(F.normalize(embeddings), F.normalize(classes))


def arcface(cosine: Tensor, margin: float) -> Tensor:
    """Return the logits with an additive angular margin, f(theta) = cos(theta + m), for cosines `(n,)` of the true
    class.

    Beyond theta = pi - m, where cos(theta + m) would rise again, the reference implementation's linear continuation
    cos(theta) - m sin(m) is used. Deng et al. 2019, "ArcFace", equation 3.
    """
    sine = (1 - cosine.square()).clamp(min=_EDGE).sqrt()
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), shifted, cosine - margin * math.sin(margin))


def cosface(cosine: Tensor, margin: float) -> Tensor:
    """Return the logits with an additive cosine margin, f(theta) = cos(theta) - m, for cosines `(n,)`. Wang et al.
    2018, equation 4."""
    return cosine - margin


def sphereface(cosine: Tensor, margin: float) -> Tensor:
    """Return the logits with a multiplicative angular margin, f(theta) = (-1)^k cos(m theta) - 2k for theta in
    [k pi/m, (k+1) pi/m].

    For cosines `(n,)` and any real m >= 1; f falls monotonically from 1. Liu et al. 2017, "SphereFace", equation 7. The
    original multiplies by the embedding's norm; here a fixed scale replaces it, as in Liu et al. 2022 ("SphereFace
    Revived", hard feature normalisation). The original anneals by mixing with the plain cosine; raising the real-valued
    m from 1 has the same effect.
    """
    theta = torch.arccos(cosine.clamp(-1 + _EDGE, 1 - _EDGE))
    k = torch.floor(theta.detach() * margin / math.pi)
    sign = 1 - 2 * torch.remainder(k, 2)
    return sign * torch.cos(margin * theta) - 2 * k


def logits(loss: Loss, embeddings: Tensor, classes: Tensor, labels: Tensor, *, scale: float, margin: float) -> Tensor:
    """Return the logits `(n, classes)` of embeddings `(n, d)` for class vectors `(classes, d)` and labels `(n,)` int64.

    `softmax` ignores `scale` and `margin`; `normface` ignores `margin`. Raises ValueError for an unknown loss or
    a margin on the wrong side of the neutral one.
    """
    if loss not in LOSSES:
        raise ValueError(f"Expected one of {sorted(LOSSES)}, got {loss!r}")
    if margin < neutral_margin(loss):
        raise ValueError(f"Expected a margin of at least {neutral_margin(loss)} for {loss}, got {margin}")
    if loss == "softmax":
        return F.linear(embeddings, classes)
    cosine = cosines(embeddings, classes)
    if loss == "normface" or margin == neutral_margin(loss):
        return scale * cosine
    rows = labels[:, None]
    target = cosine.gather(1, rows)[:, 0]
    function = {"arcface": arcface, "cosface": cosface, "sphereface": sphereface}[loss]
    return scale * cosine.scatter(1, rows, function(target, margin)[:, None])


def spread(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the spread-out regulariser of a batch: how far pairs of different people are from random directions, a
    scalar of at least 0.

    It is M1^2 + max(0, M2 - 1/d), with M1 and M2 the mean cosine and the mean squared cosine over all pairs of
    different labels, for embeddings `(n, d)` and labels `(n,)`. Both terms are 0 for uniformly random directions; the
    result is 0 if no labels differ. Added to a classification loss, it keeps the cosines of impostor pairs close
    together, so that one threshold suits all people. Zhang et al. 2017, "Learning Spread-out Local Feature
    Descriptors", equation 6.
    """
    unit = F.normalize(embeddings)
    different = (labels[:, None] != labels[None, :]).to(unit.dtype)
    count = different.sum().clamp(min=1)
    cosine = (unit @ unit.T) * different
    first, second = cosine.sum() / count, cosine.square().sum() / count
    return first.square() + (second - 1 / embeddings.shape[1]).clamp(min=0)
