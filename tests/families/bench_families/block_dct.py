"""Frequencies instead of a picture: the coefficients of blocks without their mean, with a recogniser of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from bench import Context, Defense, Faces, Need, Protected, Received
from bench_families.discriminant import learnt

BLOCK = 8
KEPT = 15  # coefficients of each block after the first, in zigzag order


def cosines() -> torch.Tensor:
    """Return the matrix ``(8, 8)`` of the orthonormal cosine transform."""
    k, n = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None, :]
    found = torch.cos(torch.pi * (2 * n + 1) * k / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    found[0] /= 2**0.5
    return found


ZIGZAG = sorted(((i, j) for i in range(BLOCK) for j in range(BLOCK)), key=lambda at: (sum(at), at))[1 : KEPT + 1]


@dataclass(frozen=True, kw_only=True)
class BlockDct(Defense):
    """Sends the low frequencies of 8x8 blocks of the brightness without their means, with Gaussian noise."""

    goal = "template"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"training", "labels"})
    sends = frozenset({"representation"})
    own_recogniser = True
    recogniser_size = 64
    promise = "what is sent shows no face"

    sigma: Annotated[float, Gt(0)] = 0.05

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the coefficients of 14 x 14 blocks."""
        return {"coefficients": (KEPT, 14, 14)}

    def coefficients(self, images: torch.Tensor) -> torch.Tensor:
        """Return the kept coefficients ``(n, 15, h / 8, w / 8)`` of images ``(n, 3, h, w)``."""
        grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1).to(images)).sum(dim=1)
        blocks = grey.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK)
        base = cosines().to(images)
        found = base @ blocks @ base.T
        return torch.stack([found[..., i, j] for i, j in ZIGZAG], dim=1)

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the projection that recognises auxiliary people by their coefficients."""
        images = torch.from_numpy(faces.images[:]).float().div(255)
        return learnt(self.coefficients(images).flatten(1), faces.subjects, self.recogniser_size)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the noisy coefficients."""
        found = self.coefficients(images)
        return Protected(representation={"coefficients": found + self.sigma * ctx.randn(found)})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the projection of what is sent."""
        mean, projection = ctx.state["mean"], ctx.state["projection"]
        return lambda received: (received.representation["coefficients"].flatten(1) - mean) @ projection
