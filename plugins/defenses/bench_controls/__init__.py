"""Defenses whose answer is known, with which the attacks of a suite are tested themselves.

The third such control is ``identity`` of the plugin ``noise``, which protects nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval
from bench_blocks import permute_blocks

from bench import Defense, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["KnownBreak", "Oblivion", "bench_defenses"]

_KEY = 20_260  # The order of the blocks of `KnownBreak`; any other number would do.


@dataclass(frozen=True, kw_only=True)
class Oblivion(Defense):
    """Sends a random picture that does not depend on the face: coloured patches with soft edges.

    Every upload has patches of its own, so that networks give different embeddings for different uploads; those of a
    constant picture would all be equal. ``patches`` is their number along each edge. No attack can succeed: one that
    does is wrong, or was lucky, and how often that happens is the false-alarm rate of a suite.
    """

    goal = "anonymity"
    control = "safe"
    protects = frozenset({"probe", "gallery", "both"})
    promise = "that nothing about the face can be learnt, because nothing of it is sent"
    trusts = "nobody"
    not_promised = "any use of the picture"

    patches: Annotated[int, Interval(ge=1, le=1000)] = 8

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return random pictures in the shape ``(n, 3, h, w)`` of the images; each image draws from its own stream."""
        from torch.nn.functional import interpolate

        colours = ctx.rand(images.new_empty(len(images), 3, self.patches, self.patches))
        patches = interpolate(colours, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return Protected(images=patches.to(images.dtype))


@dataclass(frozen=True, kw_only=True)
class KnownBreak(Defense):
    """Puts the blocks of every picture in one fixed order.

    Attacks that learn from its own pictures must undo it; to any other it must look like a strong protection. ``block``
    is the edge of the blocks in pixels.
    """

    goal = "anonymity"
    control = "learnable"
    protects = frozenset({"probe", "gallery", "both"})
    promise = "nothing: attacks that learn must break it"
    trusts = "nobody"
    not_promised = "any protection against those who learn from its pictures"

    block: Annotated[int, Interval(ge=1, le=1000)] = 16

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Permute the blocks of images ``(n, 3, h, w)``; each image in the same order."""
        return Protected(images=permute_blocks(images, self.block, _KEY))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``oblivion`` and ``known-break``."""
    return {"oblivion": Oblivion, "known-break": KnownBreak}
