"""Pixelation: every block of pixels is replaced by its average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from bench import Defense, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context


@dataclass(frozen=True, kw_only=True)
class Pixelate(Defense):
    """Averages square blocks of ``block`` pixels; blocks at the right and lower edges may be smaller."""

    promise = "that the person is not recognised from coarse blocks"
    trusts = "nobody"
    not_promised = "that a service still recognises the face; a formal bound"

    block: Annotated[int, Interval(ge=1, le=1024)] = 8

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Pixelate a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same."""
        from torch.nn.functional import avg_pool2d

        h, w = images.shape[-2:]
        small = avg_pool2d(images, self.block, ceil_mode=True)
        large = small.repeat_interleave(self.block, dim=-2).repeat_interleave(self.block, dim=-1)
        return Protected(images=large[..., :h, :w])


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``pixelate``."""
    return {"pixelate": Pixelate}
