"""ResNet-50 (He et al. 2016) for faces, with the key names of RobFR's and face.evoLVe's ResNet."""

from __future__ import annotations

from torch import nn

from bench_facenets.networks.parts import Residual, chain, conv

UNITS = (3, 4, 6, 3)
"""The units of the four stages."""


def _bottleneck(c_in: int, middle: int, stride: int) -> Residual:
    """Return a unit: reduce (1x1), filter (3x3, with the stride), expand to four times the width (1x1), ReLU after the
    sum."""
    c_out = 4 * middle
    branch = {
        "conv1": conv(c_in, middle),
        "bn1": nn.BatchNorm2d(middle),
        "relu1": nn.ReLU(),
        "conv2": conv(middle, middle, 3, stride),
        "bn2": nn.BatchNorm2d(middle),
        "relu2": nn.ReLU(),
        "conv3": conv(middle, c_out),
        "bn3": nn.BatchNorm2d(c_out),
    }
    changes = stride != 1 or c_in != c_out
    shortcut = {"downsample": nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))} if changes else None
    return Residual(branch, shortcut, {"relu": nn.ReLU()})


def resnet(embedding_size: int) -> nn.Sequential:
    """Return a network: ``(n, 3, 112, 112)`` to ``(n, embedding_size)``. Its 4x4 map is normalised, flattened and
    mapped linearly."""
    layers: dict[str, nn.Module] = {}
    c_in = 64
    for i, count in enumerate(UNITS):
        middle = 64 * 2**i
        rest = (_bottleneck(4 * middle, middle, 1) for _ in range(count - 1))
        layers[f"layer{i + 1}"] = nn.Sequential(_bottleneck(c_in, middle, 1 if i == 0 else 2), *rest)
        c_in = 4 * middle
    return chain(
        conv1=conv(3, 64, 7, 2),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, 1),
        **layers,
        bn_o1=nn.BatchNorm2d(c_in),
        dropout=nn.Dropout(0.5),
        flatten=nn.Flatten(),
        fc=nn.Linear(c_in * 4 * 4, embedding_size),
        bn_o2=nn.BatchNorm1d(embedding_size),
    )
