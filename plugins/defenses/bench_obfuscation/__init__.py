"""Obfuscations that are in everyday use: Gaussian blur, pixelation, and a secret order of blocks.

They need no network and are the first ones for which attacks were shown: McPherson, Shokri and Shmatikov, "Defeating
image obfuscation with deep learning" (2016, arXiv 1609.00408), recognise blurred and pixelated faces with networks that
learnt from such pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval
from bench_blocks import permute_blocks, pixelated

from bench import ContractError, Defense, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["BlockPermutation", "Blur", "Pixelation", "bench_defenses"]


class _Obfuscation(Defense):
    """What the obfuscations have in common: they hide who it is, and protect either side of a pair."""

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})


@dataclass(frozen=True, kw_only=True)
class Blur(_Obfuscation):
    """Convolves the picture with a Gaussian of standard deviation ``sigma`` in pixels.

    The kernel ends at four standard deviations, and the picture is mirrored at its edges. Source: the "blur" of video
    platforms; attacked by McPherson et al. (arXiv 1609.00408).
    """

    promise = "that nobody recognises the person in a picture without details"
    trusts = "nobody: it knows no model and has no secret"
    not_promised = "that the details cannot be computed again from what is left: the blur is linear and known"

    sigma: Annotated[float, Interval(gt=0, le=100)] = 8.0

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Blur float ``(n, 3, h, w)`` RGB in [0, 1]; each image by itself."""
        from torchvision.transforms.functional import gaussian_blur

        # Mirrored edges allow no wider kernel than this.
        radius = min(math.ceil(4 * self.sigma), *(size - 1 for size in images.shape[-2:]))
        return Protected(images=gaussian_blur(images, [2 * radius + 1] * 2, [self.sigma] * 2).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class Pixelation(_Obfuscation):
    """Replaces each square of ``block`` x ``block`` pixels by its mean colour.

    Squares at the right and at the bottom are narrower if ``block`` does not divide the size. Source: the "mosaic" of
    news pictures; attacked by McPherson et al. (arXiv 1609.00408).
    """

    promise = "that nobody recognises the person in a picture of a few large squares"
    trusts = "nobody: it knows no model and has no secret"
    not_promised = "that the mean colours, which are sent unchanged, tell nobody apart"

    block: Annotated[int, Interval(ge=1, le=1000)] = 16

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Pixelate float ``(n, 3, h, w)`` RGB in [0, 1]; each image by itself."""
        return Protected(images=pixelated(images, self.block))


@dataclass(frozen=True, kw_only=True)
class BlockPermutation(_Obfuscation):
    """Cuts the picture into blocks of ``block`` x ``block`` pixels and puts them in a secret order.

    The order follows from ``key`` and is the same for all pictures and people, as where one application encrypts all
    pictures for one network. Source: the block scrambling of Kurihara, Kikuchi, Imaizumi, Shiota and Kiya, "An
    encryption-then-compression system for JPEG/motion JPEG standard" (IEICE Transactions, 2015), which also turns and
    inverts blocks.
    """

    promise = "that nobody recognises the person in a picture whose parts are not where they belong"
    trusts = "everybody who knows the key: it is the same for all people"
    not_promised = "that the order cannot be learnt from many pictures; that parts of a face tell nobody apart"

    block: Annotated[int, Interval(ge=1, le=1000)] = 16
    key: Annotated[int, Interval(ge=0, lt=2**32)] = 0

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Permute the blocks of images ``(n, 3, h, w)``; each image in the same order.

        Raise `ContractError` for pictures with fewer than two whole blocks, which would be sent as they are.
        """
        height, width = images.shape[-2:]
        if (height // self.block) * (width // self.block) < 2:
            raise ContractError(
                f"{ctx.plugin}: expected pictures with at least two whole blocks of {self.block} x {self.block} "
                f"pixels, found {height} x {width}, which would be sent as they are; choose a smaller block"
            )
        return Protected(images=permute_blocks(images, self.block, self.key))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``blur``, ``pixelation`` and ``block-permutation``."""
    return {"blur": Blur, "pixelation": Pixelation, "block-permutation": BlockPermutation}
