"""The sizes of pictures, blocks and channels, and which frequencies are low. No torch."""

from __future__ import annotations

PICTURE = 112  # pixels: the side of the pictures that are taken
BLOCK = 8  # pixels: the side of a block
COLOURS = 3
FREQUENCIES = BLOCK * BLOCK  # numbered 8 x vertical + horizontal; 0 is DC
# The frequencies that PartialFace calls low and drops: the first ten in zigzag order.
LOW = (0, 1, 2, 3, 8, 9, 10, 16, 17, 24)
SUBSETS = 6  # into which PartialFace divides the others


def side_of(upsampling: int) -> int:
    """Return the number of blocks along a side of a picture that is enlarged so many times."""
    return PICTURE * upsampling // BLOCK
