"""Embeddings, turned by a random orthogonal matrix."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from bench import Context, Network

_KEY_BITS = 16  # of each of the two uniform numbers that make a key; in float32 they have 24


def embeddings(network: Network, images: torch.Tensor) -> torch.Tensor:
    """Return the embeddings ``(n, d)`` of length 1 of images ``(n, 3, h, w)``, without gradients."""
    with torch.no_grad():
        return normalize(network(images).float(), dim=1)


def turned(vectors: torch.Tensor, key: int) -> torch.Tensor:
    """Return vectors ``(n, d)`` after the rotation or reflection that follows from a key."""
    return vectors @ orthogonal(vectors.shape[1], key).to(vectors).T


def under_own_keys(
    vectors: torch.Tensor, transform: Callable[[torch.Tensor, int], torch.Tensor], ctx: Context
) -> torch.Tensor:
    """Return what ``transform`` makes of each of the vectors ``(n, d)`` under a key of its own, drawn from the random
    stream of the sample."""
    drawn = (ctx.rand(vectors.new_empty(len(vectors), 2)).double() * 2**_KEY_BITS).long().tolist()
    keys = [(a << _KEY_BITS) + b for a, b in drawn]
    return torch.cat([transform(vectors[row : row + 1], key) for row, key in enumerate(keys)])


@functools.lru_cache(maxsize=8)
def orthogonal(size: int, key: int) -> torch.Tensor:
    """Return the orthogonal matrix ``(size, size)``, uniformly distributed, that follows from a key.

    It is computed in float64, so that rounding does not differ between machines by more than a bit of float32. The
    signs of the diagonal make the decomposition unique, and the distribution uniform (Mezzadri 2007).
    """
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(key), dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    matrix: torch.Tensor = q * r.diagonal().sign()
    return matrix.float()
