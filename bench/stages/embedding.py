"""Embeddings of a network, checked and of length 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.stages.contracts import check_embeddings


def embedded(network: Callable[[torch.Tensor], Any], images: torch.Tensor, size: int, plugin: str) -> torch.Tensor:
    """Return the unit embeddings ``(n, size)``, float32, that a network makes of images, floats in [0, 1].

    Raise `ContractError`, which begins with ``plugin``, for what is no embedding; see `check_embeddings`.
    """
    return unit_embeddings(network(images), len(images), size, plugin)


def unit_embeddings(made: Any, n: int, size: int, plugin: str) -> torch.Tensor:
    """Return what a network has made of ``n`` faces, in length 1 and float32, after checking it as `embedded` does."""
    check_embeddings(made, n, size, plugin)
    return torch.nn.functional.normalize(made.float(), dim=1)
