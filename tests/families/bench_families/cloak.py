"""A cloak: people still see the same face, and models that it was not made for should not recognise it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from bench import Context, Defense, Need, Network, Protected
from bench_families.surrogate_steps import perturbed, unit


@dataclass(frozen=True, kw_only=True)
class Cloak(Defense):
    """Moves the embedding of a picture away from its own, in surrogate models, within ``radius`` of each pixel."""

    goal = "appearance"
    protects = frozenset({"probe", "both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates"})
    promise = "models that the client does not know do not recognise the person in the picture"

    radius: Annotated[float, Gt(0), Le(1)] = 8 / 255
    steps: Annotated[int, Ge(1)] = 12

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the cloaked pictures."""

        def similarity(network: Network) -> Callable[[torch.Tensor], torch.Tensor]:
            with torch.no_grad():
                own = unit(network(images))
            return lambda x: (unit(network(x)) * own).sum(dim=1)

        return Protected(images=perturbed(images, ctx, similarity, self.radius, self.steps))
