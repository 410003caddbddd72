"""The built-in attribute network: one trunk, one head for all attributes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench_attributes.classes import CLASSES

INPUT_SIZE = 112
OLDEST = 100.0  #: The highest age that can be estimated, in years; the lowest is 0.
YEARS = 15.0  #: The unit of the age loss in years, about one standard deviation of the ages.
CHANNELS = (16, 32, 64, 96)  #: The channels of the stem and the stages, at 56, 28, 14 and 7 pixels.
_SQUEEZED, _HIDDEN, _MAP = 32, 128, 7


def _conv(c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution without bias ("same" padding) and batch normalisation."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out))


class Residual(nn.Module):
    """Two 3x3 convolutions with a pooled 1x1 shortcut (He et al. 2016, figure 5 left; He et al. 2019, figure 2c).

    ``(n, c_in, h, w)`` to ``(n, c_out, h / 2, w / 2)``.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(c_in, c_out, 3, 2), nn.ReLU(inplace=True), _conv(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), _conv(c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the convolutions and the shortcut."""
        return F.relu(self.body(x) + self.shortcut(x))


class AttributeNetwork(nn.Module):
    """Images float ``(n, 3, 112, 112)`` RGB in [0, 1] to ``age (n,)`` in years and logits ``(n, k)`` per attribute.

    Faces are aligned, so positions carry information: the last map is flattened, not averaged. Smaller images (the
    first phase of training) work too: their last map is resized.
    """

    def __init__(self, classes: Mapping[str, tuple[str, ...]] = CLASSES) -> None:
        super().__init__()
        self.sizes = {name: len(names) for name, names in classes.items()}
        stem = nn.Sequential(_conv(3, CHANNELS[0], 5, 2), nn.ReLU(inplace=True))
        self.trunk = nn.Sequential(stem, *(Residual(a, b) for a, b in itertools.pairwise(CHANNELS)))
        self.squeeze = nn.Sequential(_conv(CHANNELS[-1], _SQUEEZED), nn.ReLU(inplace=True))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(_SQUEEZED * _MAP * _MAP, _HIDDEN, bias=False),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, 1 + sum(self.sizes.values())),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the age in years and the logits of each attribute, by name."""
        maps = self.squeeze(self.trunk(((images - 0.5) * 2).contiguous(memory_format=torch.channels_last)))
        if maps.shape[-2:] != (_MAP, _MAP):
            maps = F.interpolate(maps, size=(_MAP, _MAP), mode="bilinear", align_corners=False)
        age, *logits = self.head(maps).split([1, *self.sizes.values()], dim=1)
        return {"age": OLDEST * torch.sigmoid(age[:, 0]), **dict(zip(self.sizes, logits, strict=True))}


def age_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean smooth L1 distance of ages ``(n,)`` in units of `YEARS`, quadratic below 0.3 units."""
    return F.smooth_l1_loss(found / YEARS, wanted / YEARS, beta=0.3)


def build(seed: int) -> AttributeNetwork:
    """Return a newly initialised network in channels-last layout; the same seed gives the same weights.

    Weights are drawn from N(0, 2 / fan_in) (He et al. 2015).
    """
    net = AttributeNetwork()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
    return net.to(memory_format=torch.channels_last)
