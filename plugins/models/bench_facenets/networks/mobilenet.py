"""MobileNet (Howard et al. 2017) for faces, with the key names of RobFR's Mobilenet."""

from __future__ import annotations

from torch import nn

from bench_facenets.networks.parts import chain, conv

_SETTING = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)
"""Output channels and stride of every separable unit."""


def _separable(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise convolution, each with normalisation and ReLU."""
    return nn.Sequential(
        *(conv(c_in, c_in, 3, stride, groups=c_in), nn.BatchNorm2d(c_in), nn.ReLU()),
        *(conv(c_in, c_out), nn.BatchNorm2d(c_out), nn.ReLU()),
    )


def mobilenet(embedding_size: int, *, stride: int = 2) -> nn.Sequential:
    """Return a network: ``(n, 3, 112, 112)`` to ``(n, embedding_size)``. ``stride``: that of the first convolution, 1
    or 2.

    The global depthwise convolution has neither padding nor normalisation; the last layer has a bias.
    """
    units, c_in = [nn.Sequential(conv(3, 32, 3, stride), nn.BatchNorm2d(32), nn.ReLU())], 32
    for c_out, unit_stride in _SETTING:
        units.append(_separable(c_in, c_out, unit_stride))
        c_in = c_out
    last_map = {1: 7, 2: 4}[stride]
    return chain(
        model=nn.Sequential(*units),
        linear7=nn.Conv2d(1024, 1024, last_map, groups=1024, bias=False),
        flatten=nn.Flatten(),
        fc=nn.Linear(1024, embedding_size),
    )
