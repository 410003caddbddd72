"""Losses for face recognition: classification losses, and losses of pairs.

A classification loss turns embeddings and a class matrix into logits `(n, classes)` for a cross-entropy. The margin
losses share one form: with theta_j
the angle between an embedding and class vector j, the target's logit is `scale * f(theta_y)` and the others are
`scale * cos(theta_j)`; they differ in f, which is never above the cosine.

| loss | f(theta) | no margin at |
|---|---|---|
| `softmax` | plain linear classifier, nothing is normalised | - |
| `normface` | cos(theta) | - |
| `arcface` | cos(theta + m) | m = 0 |
| `cosface` | cos(theta) - m | m = 0 |
| `sphereface` | psi(theta), a monotonous cos(m theta) | m = 1 |

A loss of pairs has no class matrix: it compares the embeddings of a batch with each other, so a batch must contain
several pictures of each person.

| loss | compares | `scale` | `margin` |
|---|---|---|---|
| `supcon` | the cosine of two pictures of a person with all cosines of the batch | 1 / temperature | unused |
| `multi-similarity` | every cosine with a fixed cosine | weight of hard impostors | the fixed cosine |
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["softmax", "normface", "arcface", "cosface", "sphereface", "supcon", "multi-similarity"]
LOSSES: tuple[str, ...] = get_args(Loss)
PAIR_LOSSES = frozenset({"supcon", "multi-similarity"})  #: The losses without a class matrix.

_EDGE = 1e-6  # It keeps arccos and sqrt differentiable at +-1.
_ALPHA, _SLACK = 2.0, 0.1  # Of the multi-similarity loss: alpha and epsilon of Wang et al. 2019, section 4.


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

    `softmax` ignores `scale` and `margin`; `normface` ignores `margin`. Raises ValueError for a loss that is unknown
    or one of pairs, and for a margin on the wrong side of the neutral one.
    """
    known = sorted(set(LOSSES) - PAIR_LOSSES)
    if loss not in known:
        raise ValueError(f"Expected one of {known}, got {loss!r}")
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


def pair_loss(loss: Loss, embeddings: Tensor, labels: Tensor, *, scale: float, margin: float) -> Tensor:
    """Return the mean loss, a scalar, of the pairs of a batch of embeddings `(n, d)` with labels `(n,)` int64.

    Raises ValueError for a loss that is not one of pairs.
    """
    if loss not in PAIR_LOSSES:
        raise ValueError(f"Expected one of {sorted(PAIR_LOSSES)}, got {loss!r}")
    unit = F.normalize(embeddings)
    cosine, same = unit @ unit.T, labels[:, None] == labels[None, :]
    if loss == "supcon":
        return supcon(cosine, same, scale)
    return multi_similarity(cosine, same, scale, margin)


def supcon(cosine: Tensor, same: Tensor, scale: float) -> Tensor:
    """Return the supervised contrastive loss, a scalar, for the cosines `(n, n)` of a batch; `same (n, n)` is True
    where two pictures show one person.

    It is the mean over pictures i of -1/|P(i)| sum_{p in P(i)} log(exp(s cos_ip) / sum_{a != i} exp(s cos_ia)), with
    P(i) the other pictures of the same person and s = `scale` the inverse of the temperature. Pictures without another
    one of their person have no term of their own; the loss is 0 if there are no others. Khosla et al. 2020, "Supervised
    Contrastive Learning", equation 2.
    """
    itself = torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    scores = (scale * cosine).masked_fill(itself, -torch.inf)
    positive = same & ~itself
    count = positive.sum(1)
    log_share = (scores - torch.logsumexp(scores, 1, keepdim=True)).masked_fill(~positive, 0.0)
    per_picture = -log_share.sum(1) / count.clamp(min=1)
    return per_picture.sum() / (count > 0).sum().clamp(min=1)


def multi_similarity(cosine: Tensor, same: Tensor, beta: float, threshold: float) -> Tensor:
    """Return the multi-similarity loss, a scalar, for the cosines `(n, n)` of a batch; `same (n, n)` is True where two
    pictures show one person.

    It is beta times the mean over pictures i of log(1 + sum_p exp(-2 (cos_ip - t))) / 2 + log(1 + sum_n exp(beta
    (cos_in - t))) / beta, with t the `threshold`. The sums are over informative pairs only: genuine pairs p that are
    less similar than the most similar impostor pair of i plus .1, and impostor pairs n that are more similar than the
    least similar genuine pair of i minus .1. Wang et al. 2019, "Multi-Similarity Loss with General Pair Weighting for
    Deep Metric Learning", equations 9, 10 and 15. The factor beta, which is ours, gives its gradients the size of those
    of the other losses at the same scale.
    """
    positive = same & ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    fixed = cosine.detach()
    weakest = fixed.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    hardest = fixed.masked_fill(same, -torch.inf).amax(1, keepdim=True)
    positive = positive & (fixed < hardest + _SLACK)
    negative = ~same & (fixed > weakest - _SLACK)
    pull = _log_one_plus_sum(-_ALPHA * (cosine - threshold), positive) / _ALPHA
    push = _log_one_plus_sum(beta * (cosine - threshold), negative) / beta
    return beta * (pull + push).mean()


def _log_one_plus_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """Return log(1 + sum exp(x)) over the chosen exponents of each row, `(n,)`."""
    return F.softplus(torch.logsumexp(exponents.masked_fill(~chosen, -1e4), 1))


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
