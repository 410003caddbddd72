"""Verification accuracy of a network on lists of pairs, for validation and model cards.

A second implementation of the 10-fold protocol beside `bench.metrics`: the cards report the spread over folds, which
the host does not need. A test holds the two together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class PairList:
    """Pictures and the pairs to decide: one verification protocol."""

    name: str
    images: Tensor  # uint8 (n, 3, 112, 112), RGB
    left: NDArray[np.int64]  # (m,) rows of images
    right: NDArray[np.int64]  # (m,)
    same: NDArray[np.bool_]  # (m,)
    fold: NDArray[np.int64]  # (m,) 0-9


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of one protocol."""

    name: str
    pairs: int
    accuracy: float
    """Mean of the ten held-out folds' accuracies, 0-1."""
    accuracy_std: float
    """Standard deviation of the folds' accuracies."""
    threshold: float
    """Mean of the ten chosen cosine thresholds."""
    impostor_mean: float
    """Mean cosine of pairs of different people."""
    impostor_std: float
    """Standard deviation of the cosine of pairs of different people."""
    genuine_mean: float
    """Mean cosine of pairs of the same person."""

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return asdict(self)


def embed(net: nn.Module, images: Tensor, *, batch: int = 64) -> Tensor:
    """Normalised sum of the embeddings of each picture and its mirror image: uint8 `(n, 3, h, w)` to `(n, d)`.

    The usual evaluation of insightface (`arcface_torch/eval/verification.py`).
    """
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            x = images[start : start + batch].float() / 255
            parts.append(F.normalize(net(x) + net(x.flip(3))))
    return torch.cat(parts)


def _best_threshold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The threshold t that maximises the accuracy of `score >= t`: the middle of the best gap between scores."""
    order = np.argsort(scores, kind="stable")
    ranked, truth = scores[order], same[order]
    # With k scores below the threshold: impostors among them and genuine pairs above are right.
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum() - np.concatenate([[0], np.cumsum(truth)])
    edges = np.concatenate([[ranked[0] - 1e-3], ranked, [ranked[-1] + 1e-3]])
    gaps = edges[1:] > edges[:-1]  # a threshold cannot part equal scores
    best = int(np.argmax(np.where(gaps, right, -1)))
    return float((edges[best] + edges[best + 1]) / 2)


def ten_fold(
    scores: NDArray[np.float64], same: NDArray[np.bool_], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracies and thresholds of each fold, `(folds,)` each: the threshold is chosen on the other folds.

    Protocol of LFW (Huang et al. 2007, section III, "image-restricted"). `scores`, `same`, `fold`: `(m,)`.
    """
    accuracies, thresholds = [], []
    for held in np.unique(fold):
        test = fold == held
        threshold = _best_threshold(scores[~test], same[~test])
        thresholds.append(threshold)
        accuracies.append(float(np.mean((scores[test] >= threshold) == same[test])))
    return np.array(accuracies), np.array(thresholds)


def verify(net: nn.Module, pairs: PairList) -> Verification:
    """Ten-fold verification of one protocol. The network is put into evaluation mode and stays there."""
    net.eval()
    embeddings = embed(net, pairs.images)
    scores = (embeddings[pairs.left] * embeddings[pairs.right]).sum(1).double().numpy()
    accuracies, thresholds = ten_fold(scores, pairs.same, pairs.fold)
    impostors = scores[~pairs.same]
    return Verification(
        name=pairs.name,
        pairs=len(scores),
        accuracy=float(accuracies.mean()),
        accuracy_std=float(accuracies.std()),
        threshold=float(thresholds.mean()),
        impostor_mean=float(impostors.mean()),
        impostor_std=float(impostors.std()),
        genuine_mean=float(scores[pairs.same].mean()),
    )


def stratified_folds(same: NDArray[np.bool_], folds: int = FOLDS) -> NDArray[np.int64]:
    """Fold numbers `(m,)` that deal genuine and impostor pairs out evenly, in their order."""
    fold = np.empty(len(same), np.int64)
    for truth in (True, False):
        rows = np.flatnonzero(same == truth)
        fold[rows] = np.arange(len(rows)) % folds
    return fold
