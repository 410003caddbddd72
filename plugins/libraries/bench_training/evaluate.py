"""Verification accuracy of a network on the protocols, for validation and model cards.

This is a second implementation of the 10-fold protocol of `bench.metrics`: the cards report the standard deviation over
folds, which the host does not need. A test checks that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import Context, Dataset, LazyImages, MissingDataError
from bench.metrics import wilson_interval

FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class PairList:
    """A verification protocol: images and pairs."""

    name: str
    images: NDArray[np.uint8] | LazyImages  # (n, 3, 112, 112), RGB
    left: NDArray[np.int64]  # (m,) rows of images
    right: NDArray[np.int64]  # (m,)
    same: NDArray[np.bool_]  # (m,)
    fold: NDArray[np.int64]  # (m,) 0-9


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of one protocol."""

    name: str
    pairs: int
    accuracy: float
    """Mean of the ten held-out folds' accuracies, 0-1."""
    interval: tuple[float, float]
    """95 % Wilson interval of the share of right decisions, as if pairs were independent."""
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
        """Return the result as plain data."""
        return asdict(self)


def pair_lists(datasets: Mapping[str, Dataset], pairs: int) -> tuple[list[PairList], dict[str, str]]:
    """Return the protocols for the evaluation of a network, with up to ``pairs`` pairs each, and the error messages of
    the data sets whose files are missing, which do not stop a training."""
    lists, missing = [], {}
    for name, dataset in datasets.items():
        try:
            most = dataset.max_pairs()
            context = Context(device=torch.device("cpu"), seed=0, plugin=name)
            faces, chosen = dataset.evaluation(pairs if most is None else min(pairs, most), context)
        except MissingDataError as error:
            missing[name] = str(error)
            continue
        lists.append(
            PairList(
                name=name,
                images=faces.images,
                left=chosen.left,
                right=chosen.right,
                same=chosen.same,
                fold=chosen.fold,
            )
        )
    return lists, missing


def embed(net: nn.Module, images: NDArray[np.uint8] | LazyImages, *, batch: int = 64) -> Tensor:
    """Return the normalised sum of the embeddings of each image and its mirror image: uint8 `(n, 3, h, w)` to `(n, d)`.

    This is the usual evaluation of insightface (`arcface_torch/eval/verification.py`). It is computed on the network's
    device in float32; the result is on the CPU.
    """
    device = next(net.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            x = torch.as_tensor(images[start : start + batch]).to(device).float() / 255
            parts.append(F.normalize(net(x) + net(x.flip(3))).cpu())
    return torch.cat(parts)


def _best_threshold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Return the threshold t that maximises the accuracy of `score >= t`: the middle of the best gap between scores."""
    order = np.argsort(scores, kind="stable")
    ranked, truth = scores[order], same[order]
    # right[k] is the number of correct decisions with k scores below the threshold: the impostors among them, and the
    # genuine pairs above.
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum() - np.concatenate([[0], np.cumsum(truth)])
    edges = np.concatenate([[ranked[0] - 1e-3], ranked, [ranked[-1] + 1e-3]])
    gaps = edges[1:] > edges[:-1]  # No threshold can separate equal scores.
    best = int(np.argmax(np.where(gaps, right, -1)))
    return float((edges[best] + edges[best + 1]) / 2)


def ten_fold(
    scores: NDArray[np.float64], same: NDArray[np.bool_], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracies and thresholds of each fold, `(folds,)` each: the threshold is chosen on the other folds.

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
    """Run the ten-fold verification of one protocol. The network is set to evaluation mode and stays in it."""
    net.eval()
    embeddings = embed(net, pairs.images)
    scores = (embeddings[pairs.left] * embeddings[pairs.right]).sum(1).double().numpy()
    accuracies, thresholds = ten_fold(scores, pairs.same, pairs.fold)
    sizes = np.array([np.sum(pairs.fold == fold) for fold in np.unique(pairs.fold)])
    impostors = scores[~pairs.same]
    return Verification(
        name=pairs.name,
        pairs=len(scores),
        accuracy=float(accuracies.mean()),
        interval=wilson_interval(round(float((accuracies * sizes).sum())), len(scores)),
        accuracy_std=float(accuracies.std()),
        threshold=float(thresholds.mean()),
        impostor_mean=float(impostors.mean()),
        impostor_std=float(impostors.std()),
        genuine_mean=float(scores[pairs.same].mean()),
    )


def summary(name: str, result: Verification) -> str:
    """Return a line that summarises a result."""
    low, high = result.interval
    return (
        f"{name} {result.name}: {100 * result.accuracy:.2f} % of {result.pairs} pairs "
        f"({100 * low:.2f} to {100 * high:.2f}), threshold {result.threshold:.3f}, "
        f"impostors {result.impostor_mean:.3f} +- {result.impostor_std:.3f}, genuine {result.genuine_mean:.3f}"
    )


def stratified_folds(same: NDArray[np.bool_], folds: int = FOLDS) -> NDArray[np.int64]:
    """Return fold numbers `(m,)` that distribute genuine and impostor pairs evenly, in their order."""
    fold = np.empty(len(same), np.int64)
    for truth in (True, False):
        rows = np.flatnonzero(same == truth)
        fold[rows] = np.arange(len(rows)) % folds
    return fold
