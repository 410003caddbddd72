"""Preprocessing of aligned faces to a network's input: crop or resize, channel order, mean and standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench_facenets.files.pixels import Pixels

ITU_R_601 = (0.299, 0.587, 0.114)  # The weights of red, green and blue in the grey images of Pillow and OpenCV.


class Preprocess(nn.Module):
    """Float ``(n, 3, h, w)`` RGB in [0, 1] to a network's input ``(n, 3, height, width)``, or ``(n, 1, height, width)``
    if it takes grey images; differentiable.

    If the input is not larger than the face in either direction, it is the centre of the face: 112x96 of 112x112 are
    columns 8 to 104, which is the alignment template of 96-wide networks. For any other size the face is resized
    bilinearly (corners not aligned), with antialiasing if it shrinks, as image libraries do when training faces are
    prepared.
    """

    mean: Tensor
    std: Tensor
    grey: Tensor

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels
        self.depth = n = 1 if pixels.channels == "grey" else 3  # The number of the network's channels.
        self.register_buffer("mean", torch.tensor(pixels.mean[:n]).view(n, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pixels.std[:n]).view(n, 1, 1), persistent=False)
        self.register_buffer("grey", torch.tensor(ITU_R_601).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's input."""
        x = resized(images, self.pixels.height, self.pixels.width)
        if self.pixels.channels == "bgr":
            x = x.flip(1)
        elif self.pixels.channels == "grey":
            x = (x * self.grey).sum(dim=1, keepdim=True)
        return (x * 255 - self.mean) / self.std


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Return the centre of images if they are at least ``(height, width)`` and this is at most 112 of each, else the
    whole images, resized."""
    h, w = images.shape[-2:]
    if (h, w) == (height, width):
        return images
    if height <= h <= 112 and width <= w <= 112:
        top, left = (h - height) // 2, (w - width) // 2
        return images[..., top : top + height, left : left + width]
    shrinks = height < h or width < w
    return functional.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=shrinks)
