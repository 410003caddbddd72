"""A layer that mixes positions of a picture: it undoes a fixed permutation of blocks, which no convolution can.

The picture is cut into blocks, and every block of the result is a weighted sum of all blocks of the input. The weights
are those with the least squared error between pictures and their originals, and are computed in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

_RIDGE = 1e-3  # of the mean square of a block's pixels, added to the diagonal of the normal equations
_MOST_BLOCKS = 1024
MIXING = ("weights", "constant")  # the buffers of the layer


class Mixing(nn.Module):
    """Returns images ``(n, c, h, w)`` whose blocks are weighted sums of the blocks of its input, plus a constant image.

    The weights are buffers: they are found by `least_squares` and are not trained.
    """

    def __init__(self, shape: Sequence[int], block: int) -> None:
        """Create the layer for images of the shape ``(c, h, w)`` and blocks of ``block`` x ``block`` pixels, which must
        divide ``h`` and ``w``. At first it returns what it gets."""
        super().__init__()
        _, h, w = shape
        self.register_buffer("weights", torch.eye((h // block) * (w // block)))
        self.register_buffer("constant", torch.zeros(*shape))
        self.block = block

    @classmethod
    def like(cls, *, weights: Tensor, constant: Tensor) -> Mixing:
        """Return a new layer for the shapes of these buffers."""
        _, h, w = constant.shape
        return cls(tuple(constant.shape), math.isqrt(h * w // len(weights)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the mixed images, in [0, 1]."""
        weights, constant = cast(Tensor, self.weights), cast(Tensor, self.constant)
        mixed = torch.einsum("ij,njp->nip", weights, to_blocks(images, self.block))
        return (from_blocks(mixed, images.shape, self.block) + constant).clamp(0, 1)


def block_sizes(h: int, w: int) -> list[int]:
    """Return the sides of blocks that divide images of ``h`` x ``w``, from large to small, that give 4 to 1024
    blocks."""
    sides = (side for side in range(min(h, w) // 2, 1, -1) if h % side == 0 and w % side == 0)
    return [side for side in sides if (h // side) * (w // side) <= _MOST_BLOCKS]


def least_squares(pairs: Iterator[tuple[Tensor, Tensor]], shape: Sequence[int], block: int) -> Mixing:
    """Return the layer with the least squared error from uploads to their originals, from batches of both
    ``(n, c, h, w)``, with ridge regularisation."""
    layer = Mixing(shape, block)
    size = len(cast(Tensor, layer.weights))
    gram, cross = (torch.zeros(size, size, dtype=torch.float64) for _ in range(2))
    means, count = [torch.zeros(shape, dtype=torch.float64) for _ in range(2)], 0
    for uploads, originals in pairs:
        sent, clean = (to_blocks(images.cpu(), block).transpose(0, 1).flatten(1) for images in (uploads, originals))
        gram += (sent @ sent.T).double()
        cross += (clean @ sent.T).double()
        for mean, images in zip(means, (uploads, originals), strict=True):
            mean += images.cpu().double().sum(0)
        count += len(uploads)
    sent, clean = (to_blocks(mean[None] / count, block)[0] for mean in means)
    gram, cross = gram / count - sent @ sent.T, cross / count - clean @ sent.T
    gram += torch.eye(size, dtype=torch.float64) * _RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    weights = torch.linalg.solve(gram, cross.T).T
    constant = from_blocks((clean - weights @ sent)[None], (1, *shape), block)[0]
    layer.load_state_dict({"weights": weights.float(), "constant": constant.float()})
    return layer


def to_blocks(images: Tensor, block: int) -> Tensor:
    """Return the blocks of images ``(n, c, h, w)``, row by row, as ``(n, number of blocks, values of a block)``."""
    n, c, h, w = images.shape
    cut = images.reshape(n, c, h // block, block, w // block, block).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(n, (h // block) * (w // block), c * block * block)


def from_blocks(blocks: Tensor, shape: Sequence[int], block: int) -> Tensor:
    """Return the images of the shape ``(n, c, h, w)`` whose blocks `to_blocks` returns."""
    n, c, h, w = shape
    cut = blocks.reshape(n, h // block, w // block, c, block, block).permute(0, 3, 1, 4, 2, 5)
    return cut.reshape(n, c, h, w)
