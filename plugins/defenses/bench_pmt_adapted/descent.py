"""The descent of PMT with judges: towards the features of the authorised model, away from what the judges recognise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from bench_pmt.optimise import Objective, descend, model_loss
from bench_pmt.transforms import start
from torch import Tensor
from torch.nn.functional import normalize

from bench import Protected

if TYPE_CHECKING:
    from bench import Context, Network
    from bench_pmt_adapted.parameters import AdaptedParameters


class Judge(NamedTuple):
    """A surrogate model as it is, for clean faces, and its copy that has ``adapted`` to protected ones."""

    clean: Network
    adapted: Network


class PushedObjective(Objective):
    """The loss of PMT plus ``push`` times what the judges recognise.

    The targets of a face are its feature maps, as for PMT, and after them its clean embeddings, one for each judge.
    """

    def __init__(self, params: AdaptedParameters, judges: Sequence[Judge], ctx: Context) -> None:
        super().__init__(params, [ctx.shallow(label) for label in ctx.authorised])
        self.push, self.judges = params.push, judges

    def features(self, images: Tensor) -> list[list[Tensor]]:
        """Return the targets of faces ``(n, c, h, w)``."""
        return [*super().features(images), [normalize(judge.clean(images), dim=1) for judge in self.judges]]

    def loss(self, images: Tensor, targets: list[list[Tensor]]) -> Tensor:
        """Return the loss per image ``(n,)``."""
        *maps, wanted = targets
        total = self.push * self.recognised(images, wanted, least=0.0)
        for found, target, weight in zip(super().features(images), maps, self.weights, strict=True):
            total = total + weight * model_loss(found, target, self.params.balance)
        return total

    def recognised(self, images: Tensor, wanted: list[Tensor], least: float = -1.0) -> Tensor:
        """Return the mean over judges ``(n,)`` of the cosine of an image to the face, of which each is at least
        ``least``; 0 without judges."""
        if not self.judges:
            return images.new_zeros(len(images))
        pairs = zip(self.judges, wanted, strict=True)
        cosines = [(normalize(judge.adapted(images), dim=1) * own).sum(dim=1) for judge, own in pairs]
        return torch.stack(cosines).clamp(min=least).mean(dim=0)


def protected(images: Tensor, params: AdaptedParameters, judges: Sequence[Judge], ctx: Context) -> Protected:
    """Protect a batch against these judges: float ``(n, c, h, w)`` in [0, 1] to images of the same shape and range."""
    objective = PushedObjective(params, judges, ctx)
    with torch.no_grad():
        first, targets = start(images, params, ctx), objective.features(images)
        before = objective.loss(first, targets)
    last, iterations = descend(images, first, objective, ctx, targets)
    with torch.no_grad():
        after, recognised = objective.loss(last, targets), objective.recognised(last, targets[-1])
    extra = {"loss_start": before, "loss_end": after, "iterations": iterations, "recognised": recognised}
    return Protected(images=last, extra=extra)
