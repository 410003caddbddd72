"""Residual networks with ArcFace's improved unit (Deng et al. 2019, section 3.2), with two families of key names.

`ir` has the key names of face.evoLVe, which RobFR and AdaFace adopted; `iresnet` those of InsightFace's
``arcface_torch``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bench_facenets.networks.parts import Residual, SqueezeExcite, chain, conv

UNITS = (3, 4, 14, 3)
"""The units of the four stages of a network of 50 layers; the first unit of each stage halves the map's sides."""
_CHANNELS = (64, 128, 256, 512)
_LAST = 512 * 7 * 7


def _ir_unit(c_in: int, c_out: int, stride: int, *, squeeze: bool, middle_norm: bool) -> Residual:
    """Return BN - conv - (BN) - PReLU - conv - BN - (squeeze and excite); the second convolution has the stride."""
    branch = nn.Sequential(
        nn.BatchNorm2d(c_in),
        conv(c_in, c_out, 3),
        *([nn.BatchNorm2d(c_out)] if middle_norm else []),
        nn.PReLU(c_out),
        conv(c_out, c_out, 3, stride),
        nn.BatchNorm2d(c_out),
        *([SqueezeExcite(c_out)] if squeeze else []),
    )
    if c_in != c_out:
        shortcut: nn.Module = nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))
    else:
        shortcut = nn.MaxPool2d(1, stride)
    return Residual({"res_layer": branch}, {"shortcut_layer": shortcut})


def ir(
    embedding_size: int,
    *,
    squeeze: bool = False,
    middle_norm: bool = False,
    affine: bool = True,
    dropout: float = 0.5,
    units: Sequence[int] = UNITS,
) -> nn.Sequential:
    """Return a network: ``(n, 3, 112, 112)`` to ``(n, embedding_size)``.

    ``squeeze``: IR-SE units; ``middle_norm``: a normalisation between the first convolution and PReLU (AdaFace);
    ``affine``: whether the last normalisation has a scale and a shift (AdaFace's has none).
    """
    body, c_in = [], 64
    for count, c_out in zip(units, _CHANNELS, strict=True):
        for stride in (2, *[1] * (count - 1)):
            body.append(_ir_unit(c_in, c_out, stride, squeeze=squeeze, middle_norm=middle_norm))
            c_in = c_out
    return chain(
        input_layer=nn.Sequential(conv(3, 64, 3), nn.BatchNorm2d(64), nn.PReLU(64)),
        body=nn.Sequential(*body),
        output_layer=nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(_LAST, embedding_size),
            nn.BatchNorm1d(embedding_size, affine=affine),
        ),
    )


def _iresnet_unit(c_in: int, c_out: int, stride: int) -> Residual:
    """Return BN - conv - BN - PReLU - conv - BN; the second convolution has the stride."""
    branch = {
        "bn1": nn.BatchNorm2d(c_in),
        "conv1": conv(c_in, c_out, 3),
        "bn2": nn.BatchNorm2d(c_out),
        "prelu": nn.PReLU(c_out),
        "conv2": conv(c_out, c_out, 3, stride),
        "bn3": nn.BatchNorm2d(c_out),
    }
    if stride == 1:
        return Residual(branch)
    return Residual(branch, {"downsample": nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))})


def iresnet(embedding_size: int, *, units: Sequence[int] = UNITS) -> nn.Sequential:
    """Return a network: ``(n, 3, 112, 112)`` to ``(n, embedding_size)``."""
    layers: dict[str, nn.Module] = {}
    for i, (count, c_in, c_out) in enumerate(zip(units, (64, *_CHANNELS), _CHANNELS, strict=False), start=1):
        rest = (_iresnet_unit(c_out, c_out, 1) for _ in range(count - 1))
        layers[f"layer{i}"] = nn.Sequential(_iresnet_unit(c_in, c_out, 2), *rest)
    return chain(
        conv1=conv(3, 64, 3),
        bn1=nn.BatchNorm2d(64),
        prelu=nn.PReLU(64),
        **layers,
        bn2=nn.BatchNorm2d(512),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.0),
        fc=nn.Linear(_LAST, embedding_size),
        features=nn.BatchNorm1d(embedding_size),
    )
