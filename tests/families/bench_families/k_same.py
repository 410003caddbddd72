"""The average of k people in place of each face, chosen among all faces that are released together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge

from bench import Bound, Context, Defense, Need, Protected


@dataclass(frozen=True, kw_only=True)
class KSame(Defense):
    """Divides the released faces into groups of at least ``k``, and sends the average of its group for each face."""

    goal = "anonymity"
    protects = frozenset({"probe", "both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"whole_set"})

    k: Annotated[int, Ge(2)] = 4

    def bound(self) -> Bound:
        """Return k."""
        return Bound(words=f"every released picture belongs to at least {self.k} of the released faces", k=self.k)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the averages. Groups are made from the first face that has none and its nearest neighbours."""
        flat = torch.nn.functional.adaptive_avg_pool2d(images, 16).flatten(1)
        distance = torch.cdist(flat, flat)
        made, left = torch.empty_like(images), list(range(len(images)))
        while left:
            near = sorted(left, key=lambda row: float(distance[left[0], row]))
            group = left if len(left) < 2 * self.k else near[: self.k]
            made[group] = images[group].mean(dim=0)
            left = [row for row in left if row not in set(group)]
        return Protected(images=made)
