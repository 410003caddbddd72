"""The network of the toy models. It is the only module of the toy plugin that imports torch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ToyNetwork(nn.Module):
    """Two convolutions and a linear layer with tanh between them. All are odd functions, so that the embeddings of
    different patterns are 0 on average."""

    def __init__(self, seed: int, embedding_size: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.block = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.head = nn.Linear(16 * 8 * 8, embedding_size, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Return the maps at ``stem`` (8, 16, 16) and ``block`` (16, 8, 8)."""
        stem = torch.tanh(self.stem(images * 4 - 2))
        maps = {"stem": stem}
        if "block" in splits:
            maps["block"] = torch.tanh(self.block(stem))
        return [maps[split] for split in splits]

    def from_features(self, features: torch.Tensor, split: str) -> torch.Tensor:
        """Return embeddings ``(n, embedding_size)`` computed from the maps at a split."""
        deepest = torch.tanh(self.block(features)) if split == "stem" else features
        embedding: torch.Tensor = self.head(deepest.flatten(1))
        return embedding

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings ``(n, embedding_size)``."""
        (deepest,) = self.features(images, ["block"])
        return self.from_features(deepest, "block")
