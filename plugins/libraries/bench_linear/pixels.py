"""The picture that a linear map makes of maps of numbers, such as the coefficients of blocks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench_linear.regression import Pairs, ridge

_MOST_NUMBERS = 2**25  # of the positions that a map is fitted to
_LEAST_FACES = 8


def fit_pixels(layer: nn.Conv2d, known: Pairs, others: Pairs) -> float:
    """Give a convolution the linear map from maps ``(n, c, h, w)`` to faces ``(n, 3, t h, t w)`` that suits ``known``
    pairs best, with the regularisation that suits ``others``, who are other people.

    The layer makes the 3 t^2 pixels of each position, in the order of `torch.pixel_unshuffle`. At most about 2^25
    numbers are used; without ``others``, ``known`` pairs take their place. Return what is read of what tells ``others``
    apart: the correlation of pictures with faces, each without its mean over all faces.
    """
    times = _times(layer)
    known, others = (_some(layer, *pairs) for pairs in (known, others if len(others[0]) else known))
    weights, bias = ridge(_positions(layer, *known), _positions(layer, *others))
    _set(layer, weights.view_as(layer.weight), bias)
    with torch.no_grad():
        made, wanted = layer(others[0]).double(), F.pixel_unshuffle(others[1], times).double()
    made, wanted = made - made.mean(0), wanted - wanted.mean(0)
    lengths = made.square().sum().sqrt() * wanted.square().sum().sqrt()
    return float((made * wanted).sum() / lengths.clamp(min=1e-12))


def give_contrast(layer: nn.Conv2d, known: Pairs) -> None:
    """Multiply the weights of a layer with a bias so that what differs from the mean colour varies as much as in faces.

    The best estimate of what little the maps say hardly differs from the mean colour, and a network sees it better with
    contrast. Contrast of noise is no help.
    """
    x, wanted = _positions(layer, *_some(layer, *known))
    weights, centre = layer.weight.detach().flatten(1), x.mean(0)
    made = (x - centre) @ weights.T
    gain = float((wanted - wanted.mean(0)).square().mean().sqrt() / made.square().mean().sqrt().clamp(min=1e-9))
    assert layer.bias is not None
    _set(layer, gain * layer.weight, layer.bias + (1 - gain) * (weights @ centre))


def _times(layer: nn.Conv2d) -> int:
    times: int = math.isqrt(layer.out_channels // 3)
    return times


def _some(layer: nn.Conv2d, maps: Tensor, faces: Tensor) -> Pairs:
    """Return as many pairs as fit, with faces of the size that the layer makes."""
    height, width = maps.shape[2:]
    times = _times(layer)
    most = max(_LEAST_FACES, _MOST_NUMBERS // (height * width * (layer.weight[0].numel() + layer.out_channels)))
    faces, size = faces[:most], (times * height, times * width)
    if tuple(faces.shape[2:]) != size:
        faces = F.interpolate(faces, size=size, mode="bilinear", align_corners=False, antialias=True)
    return maps[:most], faces


def _positions(layer: nn.Conv2d, maps: Tensor, faces: Tensor) -> Pairs:
    """Return for each position what the layer sees, ``(n h w, d)``, and its pixels, ``(n h w, m)``."""
    near = F.unfold(maps, layer.kernel_size, padding=layer.padding)  # type: ignore[arg-type]
    pixels = F.pixel_unshuffle(faces, _times(layer)).flatten(2)
    return near.transpose(1, 2).flatten(0, 1), pixels.transpose(1, 2).flatten(0, 1)


def _set(layer: nn.Conv2d, weights: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(bias)
