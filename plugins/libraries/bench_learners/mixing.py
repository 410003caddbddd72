"""A layer that mixes positions of a picture: it undoes a fixed permutation of blocks, which no convolution can.

The picture is cut into blocks, and every block of the result is a weighted sum of all blocks of the input. The weights
are those with the least squared error between pictures and their originals, and are computed in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bench_learners.blocks import to_blocks, with_blocks

_RIDGE = 1e-3  # of the mean variance of the pixels, added to the diagonal of the normal equations
_MOST_BLOCKS = 1024
MIXING = ("weights", "constant", "block")  # the buffers of the layer


class Mixing(nn.Module):
    """Returns images ``(n, c, h, w)`` whose blocks are weighted sums of the blocks of its input, plus a constant image.

    What is left over beside whole blocks remains as it is. The weights are buffers: they are found by `least_squares`
    and are not trained.
    """

    def __init__(self, shape: Sequence[int], block: int) -> None:
        """Create the layer for images of the shape ``(c, h, w)`` and blocks of ``block`` x ``block`` pixels. At first
        it returns what it gets."""
        super().__init__()
        _, h, w = shape
        self.register_buffer("weights", torch.eye((h // block) * (w // block)))
        self.register_buffer("constant", torch.zeros(*shape))
        self.register_buffer("block", torch.tensor(block))
        self.size = block

    @classmethod
    def like(cls, *, weights: Tensor, constant: Tensor, block: Tensor) -> Mixing:
        """Return a layer with these buffers, on the device of the weights."""
        layer = cls(tuple(constant.shape), int(block)).to(weights.device)
        layer.load_state_dict({"weights": weights, "constant": constant, "block": block})
        return layer

    def forward(self, images: Tensor) -> Tensor:
        """Return the mixed images, in [0, 1]."""
        weights, constant = cast(Tensor, self.weights), cast(Tensor, self.constant)
        mixed = torch.einsum("ij,njp->nip", weights, to_blocks(images, self.size))
        return (with_blocks(images, mixed, self.size) + constant).clamp(0, 1)


def block_sizes(h: int, w: int) -> range:
    """Return the sides of blocks of which images of ``h`` x ``w`` hold 4 to 1024."""
    least = next((side for side in range(1, min(h, w) + 1) if (h // side) * (w // side) <= _MOST_BLOCKS), 1)
    return range(least, min(h, w) // 2 + 1)


def least_squares(uploads: Tensor, originals: Tensor, block: int) -> Mixing:
    """Return the layer with the least squared error from uploads ``(n, c, h, w)`` to their originals, with ridge
    regularisation."""
    mean_sent, mean_clean = uploads.mean(0), originals.mean(0)
    # One row for each block, with the values of all its pixels in all images.
    sent = to_blocks(uploads - mean_sent, block).transpose(0, 1).flatten(1)
    clean = to_blocks(originals - mean_clean, block).transpose(0, 1).flatten(1)
    gram, cross = (sent @ sent.T).double(), (clean @ sent.T).double()
    gram += torch.eye(len(gram), device=gram.device) * (_RIDGE * gram.diagonal().mean()).clamp(min=1e-9)
    weights = torch.linalg.solve(gram, cross.T).T.float()
    moved = weights @ to_blocks(mean_sent[None], block)[0]
    constant = mean_clean - with_blocks(mean_clean[None], moved[None], block)[0]
    return Mixing.like(weights=weights, constant=constant, block=torch.tensor(block))
