"""A template under a secret per person: matched under one key, worth nothing under another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Context, Defense, Faces, Need, Protected, Received
from bench_families.discriminant import learnt

SIZE = 48


@dataclass(frozen=True, kw_only=True)
class KeyedTemplate(Defense):
    """Sends a linear template of the face, turned by a random rotation that follows from the key of the person."""

    goal = "template"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"training", "labels", "key"})
    sends = frozenset({"representation"})
    own_recogniser = True
    recogniser_size = SIZE
    promise = "templates under different keys cannot be linked"
    trusts = "the person keeps the key"

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the template."""
        return {"template": (SIZE,)}

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the projection to templates."""
        images = torch.from_numpy(faces.images[:]).float().div(255)
        return learnt(torch.nn.functional.adaptive_avg_pool2d(images, 28).flatten(1), faces.subjects, SIZE)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the turned templates."""
        small = torch.nn.functional.adaptive_avg_pool2d(images, 28).flatten(1)
        plain = torch.nn.functional.normalize((small - ctx.state["mean"]) @ ctx.state["projection"], dim=1)
        turned = [rotation(key).to(plain) @ one for key, one in zip(ctx.keys.tolist(), plain, strict=True)]
        return Protected(representation={"template": torch.stack(turned)})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the template as it is: it is compared under the key of the person."""
        return lambda received: received.representation["template"]


def rotation(key: int) -> torch.Tensor:
    """Return the orthogonal matrix ``(SIZE, SIZE)`` that follows from a key."""
    drawn = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(key))
    q, r = torch.linalg.qr(drawn)
    return q * r.diagonal().sign()
