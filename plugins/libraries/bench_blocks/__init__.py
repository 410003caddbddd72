"""Divides images into square blocks: puts them in another order, which a key decides, or averages each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["permute_blocks", "pixelated"]


def permute_blocks(images: torch.Tensor, block: int, key: int) -> torch.Tensor:
    """Return images ``(n, c, h, w)`` whose blocks of ``block`` x ``block`` pixels are in another order.

    The order follows from the key alone and is the same for all images of one size. If ``block`` does not divide the
    size, the narrower blocks at the right and at the bottom change places among themselves, and the corner stays.
    """
    import torch

    generator = torch.Generator().manual_seed(key)
    result = images.clone()
    for rows, columns in itertools.product(*(_strips(size, block) for size in images.shape[-2:])):
        places = list(itertools.product(rows, columns))
        for place, source in zip(places, torch.randperm(len(places), generator=generator).tolist(), strict=True):
            result[..., place[0], place[1]] = images[..., places[source][0], places[source][1]]
    return result


def pixelated(images: torch.Tensor, block: int) -> torch.Tensor:
    """Return images ``(n, c, h, w)`` whose blocks of ``block`` x ``block`` pixels have their mean colour.

    Blocks at the right and at the bottom are narrower if ``block`` does not divide the size.
    """
    from torch.nn.functional import avg_pool2d

    height, width = images.shape[-2:]
    rows, columns = min(block, height), min(block, width)
    means = avg_pool2d(images, (rows, columns), ceil_mode=True)
    large = means.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1)
    return large[..., :height, :width].contiguous()


def _strips(size: int, block: int) -> Iterator[list[slice]]:
    """Yield the places of the whole blocks along an axis of ``size`` pixels, then that of the remainder, if any."""
    whole = size - size % block
    yield [slice(start, start + block) for start in range(0, whole, block)]
    if whole < size:
        yield [slice(whole, size)]
