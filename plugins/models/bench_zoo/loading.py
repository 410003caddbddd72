"""Loading of a zoo network from its weights file, with named split points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench import DataError
from bench_zoo.networks import FaceNetwork, build


class SplitNetwork(nn.Module):
    """A `FaceNetwork` with names for its stages: an implementation of `bench.Network`."""

    def __init__(self, network: FaceNetwork, splits: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.splits = tuple(splits)

    def forward(self, images: Tensor) -> Tensor:
        """Images float ``(n, 3, 112, 112)`` RGB in [0, 1] to embeddings ``(n, 128)``, not normalised."""
        embeddings: Tensor = self.network(images)
        return embeddings

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        """Return the feature maps at the named splits; no stage after the deepest split is run."""
        wanted = [self.splits.index(split) for split in splits]
        maps = self.network.features(images, max(wanted) + 1)
        return [maps[i] for i in wanted]

    def from_features(self, features: Tensor, split: str) -> Tensor:
        """Return embeddings ``(n, 128)``, not normalised, computed from the map at a split."""
        maps = features.contiguous(memory_format=torch.channels_last)
        for stage in self.network.stages[self.splits.index(split) + 1 :]:
            maps = stage(maps)
        return self.network.embed_features(maps)


def from_half(architecture: str, weights: Mapping[str, Tensor]) -> FaceNetwork:
    """Return a float32 network in evaluation mode with the values of half-precision ``weights``."""
    net = build(architecture)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return net.eval()


def load(architecture: str, path: Path, splits: Sequence[str]) -> SplitNetwork:
    """Return a float32 network with the weights of a safetensors file. Raises DataError if they do not fit."""
    try:
        network = from_half(architecture, load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path}: expected the weights of a {architecture!r} network: {error}") from None
    return SplitNetwork(network.to(memory_format=torch.channels_last), splits)
