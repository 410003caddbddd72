"""A representation of two tensors of different shapes: a tiny picture, and the strength of edges in each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Context, Defense, Faces, Need, Protected, Received
from bench_families.discriminant import learnt

Parts = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class TwoTensors(Defense):
    """Sends colours of 8x8 cells, and the edges of 16x16 cells in two directions."""

    goal = "template"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"training", "labels"})
    sends = frozenset({"representation"})
    own_recogniser = True
    recogniser_size = 48

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of both tensors."""
        return {"colours": (3, 8, 8), "edges": (2, 16, 16)}

    def parts(self, images: torch.Tensor) -> Parts:
        """Return both tensors of images ``(n, 3, h, w)``."""
        pool = torch.nn.functional.adaptive_avg_pool2d
        grey = images.mean(dim=1, keepdim=True)
        across, down = grey.diff(dim=3).abs(), grey.diff(dim=2).abs()
        edges = torch.cat([pool(across, 16), pool(down, 16)], dim=1)
        return {"colours": pool(images, 8), "edges": edges}

    @staticmethod
    def vector(parts: Parts) -> torch.Tensor:
        """Return both tensors as one vector, the edges on the scale of colours."""
        return torch.cat([parts["colours"].flatten(1), 4 * parts["edges"].flatten(1)], dim=1)

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the projection that recognises auxiliary people by both tensors."""
        images = torch.from_numpy(faces.images[:]).float().div(255)
        return learnt(self.vector(self.parts(images)), faces.subjects, self.recogniser_size)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return both tensors."""
        return Protected(representation=self.parts(images))

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the projection of both tensors."""
        mean, projection = ctx.state["mean"], ctx.state["projection"]
        return lambda received: (self.vector(received.representation) - mean) @ projection
