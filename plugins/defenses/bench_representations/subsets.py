"""The subsets of the higher frequencies, one of which an upload holds."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from bench_representations.cosines import channels_of
from bench_representations.shapes import FREQUENCIES, LOW, SUBSETS


@functools.lru_cache(maxsize=8)
def division(key: int) -> Tensor:
    """Return the six subsets ``(6, 9)`` that a key makes of the 54 higher frequencies, as places among these."""
    order = torch.randperm(FREQUENCIES - len(LOW), generator=torch.Generator().manual_seed(key))
    return order.view(SUBSETS, -1).sort(dim=1).values


def drawn(uniform: Tensor) -> Tensor:
    """Return the numbers of subsets that uniform numbers in [0, 1) choose."""
    return (uniform * SUBSETS).floor().clamp(max=SUBSETS - 1)


def chosen(images: Tensor, subset: Tensor, upsampling: int, key: int, who: str) -> Tensor:
    """Return the channels ``(n, 27, s, s)`` of images ``(n, 3, 112, 112)`` that are in the subsets of the numbers
    ``subset (n, 1)``. ``who`` is named in errors."""
    higher = [frequency for frequency in range(FREQUENCIES) if frequency not in LOW]
    found = channels_of(images, upsampling, who)[:, :, higher]
    places = division(key).to(images.device)[subset[:, 0].long()]
    return torch.stack([face[:, place] for face, place in zip(found, places, strict=True)]).flatten(1, 2)
