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
| `triplet` | a genuine pair with an impostor pair of the same picture | weight of hard triplets | of cosines |
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["softmax", "normface", "arcface", "cosface", "sphereface", "supcon", "triplet"]
LOSSES: tuple[str, ...] = get_args(Loss)
PAIR_LOSSES = frozenset({"supcon", "triplet"})  #: The losses without a class matrix.

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
    return triplet(cosine, same, scale, margin)


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


def triplet(cosine: Tensor, same: Tensor, scale: float, margin: float) -> Tensor:
    """Return the smooth triplet loss, a scalar, for the cosines `(n, n)` of a batch; `same (n, n)` is True where two
    pictures show one person.

    It is the mean over pictures i of log(1 + sum_{p, n} exp(s (cos_in - cos_ip + m))), over all triplets of i, another
    picture p of the same person, and a picture n of another one, with s = `scale` and m = `margin`. For a large scale
    it is s times the hinge loss of the hardest triplet. Pictures without another one of their person, or of another
    person, have no term of their own. Schroff et al. 2015, "FaceNet", equation 2, in the smooth form of Sun et al.
    2020, "Circle Loss", equation 1.
    """
    positive = same & ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    used = positive.any(1) & ~same.all(1)
    nearest = torch.logsumexp((scale * (cosine + margin)).masked_fill(same, -torch.inf)[used], 1)
    farthest = torch.logsumexp((-scale * cosine).masked_fill(~positive, -torch.inf)[used], 1)
    return F.softplus(nearest + farthest).sum() / used.sum().clamp(min=1)


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
