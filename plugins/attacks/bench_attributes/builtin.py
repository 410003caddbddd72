"""Estimation with the built-in network: it loads the bundled weights and returns probabilities."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench import DataError, file_sha256, folded
from bench_attributes.network import INPUT_SIZE, AttributeNetwork


def estimate_builtin(images: Tensor, weights: Path) -> dict[str, Tensor]:
    """Return ``age (n,)`` in years and class probabilities ``(n, k)`` of images float ``(n, 3, h, w)`` RGB in [0, 1].

    Raises DataError if the weights do not fit the network.
    """
    return probabilities(_network(weights, str(images.device)), images)


def probabilities(network: AttributeNetwork, images: Tensor) -> dict[str, Tensor]:
    """Return the ages and softmax probabilities of a network in evaluation mode; images of another size are resized."""
    with torch.no_grad():
        found = network(resized(images))
    return {name: values if values.ndim == 1 else values.softmax(1) for name, values in found.items()}


def resized(images: Tensor) -> Tensor:
    """Return images ``(n, 3, h, w)`` in the size that the network was trained with."""
    if images.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
        images = F.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True).clamp(0, 1)
    return images.float()


def from_half(weights: dict[str, Tensor]) -> AttributeNetwork:
    """Return a float32 network in evaluation mode with the values of half-precision weights."""
    network = AttributeNetwork()
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return network.to(memory_format=torch.channels_last).eval()


def _network(path: Path, device: str) -> AttributeNetwork:
    return _loaded(path, file_sha256(path), device)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, sha256: str, device: str) -> AttributeNetwork:
    """Return the network; ``sha256`` is that of its weights, so that other weights are another network."""
    try:
        network = from_half(load_file(path)).to(device)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{path}: expected the weights of the attribute network: {error}") from None
    grey = torch.full((1, 3, INPUT_SIZE, INPUT_SIZE), 0.5, device=device)
    return folded(network, lambda network: list(network(grey).values()))
