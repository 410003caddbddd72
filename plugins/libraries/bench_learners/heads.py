"""A new head on a frozen network: what the last layer gets is computed once, and only a small map of it is trained."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bench import ContractError

_MOST_VALUES = 32_768  # of the input of the last layer; a larger map is averaged over its positions


class Trunk:
    """A frozen network, and the input of its last layer that has a matrix of weights."""

    def __init__(self, network: Any, images: Tensor) -> None:
        """Find the last such layer by running the network on ``images``. Raise `ContractError` if it has none."""
        self.network = network
        order: list[nn.Module] = []
        layers = [m for m in network.modules() if isinstance(getattr(m, "weight", None), Tensor) and m.weight.ndim > 1]
        hooks = [layer.register_forward_hook(lambda module, *_: order.append(module)) for layer in layers]
        with torch.no_grad():
            network(images)
        for hook in hooks:
            hook.remove()
        if not order:
            raise ContractError("the evaluated network has no layer with weights whose input a new head could get")
        self.last = order[-1]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return for images ``(n, 3, h, w)`` the embeddings ``(n, d)`` and the inputs ``(n, m)`` of the last layer."""
        seen: list[Tensor] = []
        hook = self.last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            with torch.no_grad():
                embeddings = self.network(images)
        finally:
            hook.remove()
        found = seen[-1]
        if found[0].numel() > _MOST_VALUES:
            found = found.flatten(2).mean(2)
        return embeddings, found.flatten(1)


class Head(nn.Module):
    """Adds a trained correction, a linear map of the standardised trunk features, to the embeddings of the network."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.correction = nn.Linear(features, size)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def note_statistics(self, features: Tensor) -> None:
        """Standardise features as these ``(n, m)`` are distributed."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        cast(Tensor, self.mean).copy_(mean)
        cast(Tensor, self.scale).copy_(1 / std.clamp(min=1e-6 + 0.01 * float(std.mean())))

    def forward(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Return the corrected embeddings ``(n, d)``; those that come in are scaled to length 1 first."""
        standard = (features - cast(Tensor, self.mean)) * cast(Tensor, self.scale)
        corrected: Tensor = nn.functional.normalize(embeddings, dim=1) + self.correction(standard)
        return corrected
