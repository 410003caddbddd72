"""A cloak that moves a picture towards another person, who is in no pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from bench import Context, Defense, Need, Network, Protected
from bench_families.surrogate_steps import perturbed, unit

CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class TargetCloak(Defense):
    """Moves the embedding of a picture to that of the least similar of the first target faces."""

    goal = "appearance"
    protects = frozenset({"probe", "gallery", "both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates", "targets"})
    promise = "models take the person for somebody else"

    radius: Annotated[float, Gt(0), Le(1)] = 8 / 255
    steps: Annotated[int, Ge(1)] = 12

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the cloaked pictures."""
        candidates = ctx.targets.images[:CANDIDATES]

        def distance(network: Network) -> Callable[[torch.Tensor], torch.Tensor]:
            with torch.no_grad():
                others, own = unit(network(candidates)), unit(network(images))
                goal = others[(own @ others.T).argmin(dim=1)]
            return lambda x: -(unit(network(x)) * goal).sum(dim=1)

        return Protected(images=perturbed(images, ctx, distance, self.radius, self.steps))
