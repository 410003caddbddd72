"""Building blocks of the full-size networks. Every module is called once per forward pass, so it can be a split
point."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def chain(**modules: nn.Module) -> nn.Sequential:
    """Return a sequence of named modules, which run in the given order."""
    return nn.Sequential(OrderedDict(modules))


def conv(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias: ``(n, c_in, h, w)`` to ``(n, c_out, ...)``; stride 1 keeps h and w."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """The sum of a branch and a shortcut (by default the identity), followed by the modules ``after`` the sum.

    Each part maps names to modules that run in order; the names are those in the state dict.
    """

    def __init__(
        self,
        branch: Mapping[str, nn.Module],
        shortcut: Mapping[str, nn.Module] | None = None,
        after: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        parts = (dict(branch), dict(shortcut or {}), dict(after or {}))
        for part in parts:
            for name, module in part.items():
                self.add_module(name, module)
        self._branch, self._shortcut, self._after = (tuple(part) for part in parts)

    def _run(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Run branch and shortcut, add them, and run the modules after the sum."""
        return self._run(self._after, self._run(self._branch, x) + self._run(self._shortcut, x))


class SqueezeExcite(nn.Module):
    """Weights each channel by a function of all channel means (Hu et al. 2018): ``(n, c, h, w)`` to the same."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = conv(channels, channels // reduction)
        self.fc2 = conv(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))
