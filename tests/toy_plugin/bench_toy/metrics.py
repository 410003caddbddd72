"""A toy image metric: the mean difference of pixels, of a picture and of a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Metric

if TYPE_CHECKING:
    import torch

    from bench import Context


@dataclass(frozen=True, kw_only=True)
class ToyDifference(Metric):
    """The mean absolute difference of the pixels of two images, and of the mean images of two sets."""

    formula = "mean of |a - b|"
    range = (0.0, 1.0)
    better = {"recognition": "higher", "appearance": "lower"}

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> torch.Tensor:
        return (original - other).abs().mean(dim=(1, 2, 3))

    def compute_set(self, originals: torch.Tensor, others: torch.Tensor, ctx: Context) -> float:
        return float((originals.mean(dim=0) - others.mean(dim=0)).abs().mean())
