"""The built-in network: whether a picture shows a face, and where its landmarks are."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench import DataError, file_sha256, folded

INPUT_SIZE = 112
POINTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
MEAN_SHAPE = ((38.9, 56.5), (72.1, 56.3), (55.8, 72.0), (43.2, 86.6), (68.5, 86.4))  # of generated faces, in pixels
_UNIT = 10.0  # pixels of a network output of 1
_CHANNELS, _SQUEEZED, _HIDDEN, _MAP = (16, 32, 64), 24, 96, 7


class FacePoints(nn.Module):
    """Images float ``(n, 3, 112, 112)`` RGB in [0, 1] to landmarks ``(n, 5, 2)``, x and y in pixels, and the logit
    ``(n,)`` that the image shows a face. The network sees the image at half its size."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise((3, *_CHANNELS)):
            for c, stride in ((a, 2), (b, 1)):
                layers += [nn.Conv2d(c, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(_CHANNELS[-1], _SQUEEZED, 1, bias=False), nn.BatchNorm2d(_SQUEEZED), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(_SQUEEZED * _MAP * _MAP, _HIDDEN, bias=False),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, 2 * len(POINTS) + 1),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return landmarks and logits."""
        return self.of_half(F.avg_pool2d(images, 2))

    def of_half(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same for images of half the size."""
        found = self.head(self.trunk((images - 0.5) * 4))
        points = found[:, :-1].view(-1, len(POINTS), 2) * _UNIT + torch.tensor(MEAN_SHAPE).to(found)
        return points, found[:, -1]


def from_half(weights: dict[str, Tensor]) -> FacePoints:
    """Return a float32 network in evaluation mode with the values of half-precision weights."""
    network = FacePoints()
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return network.eval()


def loaded(path: Path, device: str) -> FacePoints:
    """Return the network with the weights of a file, which is read again if it changes. Raises DataError for another
    file."""
    return _loaded(path, file_sha256(path), device)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, sha256: str, device: str) -> FacePoints:
    try:
        network = from_half(load_file(path)).to(device)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path}: expected the weights of the landmark network: {error}") from None
    grey = torch.full((1, 3, INPUT_SIZE, INPUT_SIZE), 0.5, device=device)
    return folded(network, lambda network: list(network(grey)))
