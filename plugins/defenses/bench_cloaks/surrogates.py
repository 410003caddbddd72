"""The features of pictures for the surrogate models: unit embeddings, one tensor per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench import ContractError, Protected
from bench_cloaks.perception import dssim

if TYPE_CHECKING:
    from bench import Context, Pictures


class Surrogates:
    """All surrogate models of the client, as one function from pictures to features."""

    def __init__(self, ctx: Context) -> None:
        self.networks = [ctx.surrogate(label) for label in ctx.surrogates]
        if not self.networks:
            raise ContractError(f"{ctx.plugin}: expected at least one surrogate model, found none; name surrogates")

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the features of pictures ``(n, 3, h, w)``: for each model ``(n, d)`` of length 1, with gradients."""
        return [normalize(network(images), dim=1) for network in self.networks]

    def fixed(self, images: Tensor, part: int = 64) -> list[Tensor]:
        """Return the features of pictures without gradients, computed ``part`` pictures at a time."""
        with torch.no_grad():
            parts = [self(images[first : first + part]) for first in range(0, len(images), part)]
        return [torch.cat(of_model) for of_model in zip(*parts, strict=True)]


def squared_distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the squared Euclidean distances ``(n,)`` of features, from 0 to 4, as the mean over models."""
    return torch.stack([(f - w).square().sum(dim=1) for f, w in zip(found, wanted, strict=True)]).mean(dim=0)


def gradient_of(losses: Tensor, images: Tensor, *, keep: bool = False) -> Tensor:
    """Return the gradient of losses ``(n,)`` with respect to images; ``keep`` the graph for a further gradient."""
    (found,) = torch.autograd.grad(losses.sum(), images, retain_graph=keep)
    return found


def with_measures(images: Tensor, cloaked: Tensor, own: list[Tensor], surrogates: Surrogates) -> Protected:
    """Return cloaked pictures with what was reached: the cosine to the original (mean over surrogates), and DSSIM."""
    cloaked = cloaked.detach()
    with torch.no_grad():
        moved = squared_distance(surrogates.fixed(cloaked), own)
        return Protected(images=cloaked, extra={"cosine": 1 - moved / 2, "dssim": dssim(images, cloaked)})


def one_of_each(pictures: Pictures, people: int, ctx: Context) -> Tensor:
    """Return the first picture ``(at most people, 3, h, w)`` of each of the first ``people``, by their numbers."""
    shown = pictures.subjects.tolist()
    first = {person: row for row, person in reversed(list(enumerate(shown)))}
    if not first:
        raise ContractError(f"{ctx.plugin}: expected pictures of other people as targets, found none")
    return pictures.images[[first[person] for person in sorted(first)[:people]]]
