"""One mask per person: made once from other pictures of the person, then added to every picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from bench import Context, Defense, Need, Protected
from bench_families.surrogate_steps import unit


@dataclass(frozen=True, kw_only=True)
class MaskPerPerson(Defense):
    """Adds to each picture the mask of its person, which lowers the similarity of further pictures to themselves."""

    goal = "appearance"
    protects = frozenset({"probe", "both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates", "subjects", "enrolment"})
    promise = "no model recognises any picture of the person that carries the mask"

    radius: Annotated[float, Gt(0), Le(1)] = 8 / 255
    steps: Annotated[int, Ge(1)] = 12

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the masked pictures."""
        known, people = ctx.enrolment(), ctx.subjects.tolist()
        masks = {person: self._mask(known.images[known.subjects == person], ctx) for person in dict.fromkeys(people)}
        mask = torch.stack([masks[person] for person in people])
        return Protected(images=(images + mask).clamp(0, 1))

    def _mask(self, pictures: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return a mask ``(3, h, w)`` that lowers the similarity of the masked pictures to all pictures."""
        networks = [ctx.surrogate(label) for label in ctx.surrogates]
        with torch.no_grad():
            own = [unit(network(pictures)).mean(dim=0) for network in networks]
        mask = torch.zeros_like(pictures[0])
        for _ in range(self.steps):
            mask.requires_grad_(True)
            masked = (pictures + mask).clamp(0, 1)
            total = sum((unit(n(masked)) @ mean).sum() for n, mean in zip(networks, own, strict=True))
            (gradient,) = torch.autograd.grad(total, [mask])
            mask = (mask - 2.5 * self.radius / self.steps * gradient.sign()).clamp(-self.radius, self.radius).detach()
        return mask
