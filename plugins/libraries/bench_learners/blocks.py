"""Cuts images into square blocks, and puts blocks back in their places."""

from __future__ import annotations

from torch import Tensor


def to_blocks(images: Tensor, block: int) -> Tensor:
    """Return the whole blocks of images ``(n, c, h, w)`` from the top left, row by row, as ``(n, number of blocks,
    values of a block)``."""
    n, c, h, w = images.shape
    rows, columns = h // block, w // block
    cut = images[..., : rows * block, : columns * block].reshape(n, c, rows, block, columns, block)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, c * block * block)


def with_blocks(images: Tensor, blocks: Tensor, block: int) -> Tensor:
    """Return copies of images ``(n, c, h, w)`` with these blocks in place of those that `to_blocks` returns."""
    n, c, h, w = images.shape
    rows, columns = h // block, w // block
    whole = blocks.reshape(n, rows, columns, c, block, block).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[..., : rows * block, : columns * block] = whole.reshape(n, c, rows * block, columns * block)
    return result
