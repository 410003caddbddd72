"""MobileFaceNet (Chen et al. 2018), with the key names of two public families of checkpoints.

`mobileface` is the network of Xiaoccer/MobileFaceNet_Pytorch (PReLU), which RobFR adopted with a square head;
`mobileface_relu` is that of foamliu/MobileFaceNet (ReLU6, a separable second layer, a last layer with bias).
"""

from __future__ import annotations

from torch import nn

from bench_facenets.networks.parts import Residual, chain, conv

_SETTING = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, units and stride of the first unit of each stage: table 1 of the paper."""


def _units() -> list[tuple[int, int, int, int]]:
    """Return input channels, expanded channels, output channels and stride of every inverted bottleneck."""
    units, c_in = [], 64
    for expansion, c_out, count, first in _SETTING:
        for stride in (first, *[1] * (count - 1)):
            units.append((c_in, c_in * expansion, c_out, stride))
            c_in = c_out
    return units


def _unit(branch: nn.Sequential, c_in: int, c_out: int, stride: int) -> nn.Module:
    """Return an inverted bottleneck, with a shortcut if the shape is kept."""
    return Residual({"conv": branch}) if stride == 1 and c_in == c_out else chain(conv=branch)


def _block(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    return chain(conv=conv(c_in, c_out, kernel, stride, groups=groups), bn=nn.BatchNorm2d(c_out), prelu=nn.PReLU(c_out))


def _bottleneck(c_in: int, wide: int, c_out: int, stride: int) -> nn.Module:
    branch = nn.Sequential(
        *(conv(c_in, wide), nn.BatchNorm2d(wide), nn.PReLU(wide)),
        *(conv(wide, wide, 3, stride, groups=wide), nn.BatchNorm2d(wide), nn.PReLU(wide)),
        *(conv(wide, c_out), nn.BatchNorm2d(c_out)),
    )
    return _unit(branch, c_in, c_out, stride)


def mobileface(embedding_size: int, *, last_map: tuple[int, int] = (7, 7)) -> nn.Sequential:
    """Return a network: ``(n, 3, h, w)`` to ``(n, embedding_size)``. ``last_map``: height and width of the last map,
    h / 16 by w / 16."""
    return chain(
        conv1=_block(3, 64, 3, 2),
        dw_conv1=_block(64, 64, 3, groups=64),
        blocks=nn.Sequential(*(_bottleneck(*unit) for unit in _units())),
        conv2=_block(128, 512),
        linear7=chain(conv=nn.Conv2d(512, 512, last_map, groups=512, bias=False), bn=nn.BatchNorm2d(512)),
        linear1=chain(conv=conv(512, embedding_size), bn=nn.BatchNorm2d(embedding_size)),
        flatten=nn.Flatten(),
    )


def _relu_block(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(c_in, c_out, kernel, stride, groups=groups), nn.BatchNorm2d(c_out), nn.ReLU6())


def _relu_bottleneck(c_in: int, wide: int, c_out: int, stride: int) -> nn.Module:
    branch = nn.Sequential(
        _relu_block(c_in, wide),
        _relu_block(wide, wide, 3, stride, groups=wide),
        *(conv(wide, c_out), nn.BatchNorm2d(c_out)),
    )
    return _unit(branch, c_in, c_out, stride)


def mobileface_relu(embedding_size: int) -> nn.Sequential:
    """Return a network: ``(n, 3, 112, 112)`` to ``(n, embedding_size)``."""
    return chain(
        conv1=_relu_block(3, 64, 3, 2),
        dw_conv=chain(
            depthwise=conv(64, 64, 3, groups=64),
            bn1=nn.BatchNorm2d(64),
            relu1=nn.ReLU(),
            pointwise=conv(64, 64),
            bn2=nn.BatchNorm2d(64),
            relu2=nn.ReLU(),
        ),
        features=nn.Sequential(*(_relu_bottleneck(*unit) for unit in _units())),
        conv2=_relu_block(128, 512),
        gdconv=chain(depthwise=nn.Conv2d(512, 512, 7, groups=512, bias=False), bn=nn.BatchNorm2d(512)),
        conv3=nn.Conv2d(512, embedding_size, 1),
        bn=nn.BatchNorm2d(embedding_size),
        flatten=nn.Flatten(),
    )
