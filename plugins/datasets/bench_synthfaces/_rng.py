"""Counter-based random numbers: a number depends on (key, name, column) only, never on the batch.

The SplitMix64 finaliser (Steele, Lea and Flood, 2014) is applied to a per-sample 64-bit key plus a counter.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers (any shape); a bijection with full avalanche."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def combine(seed: int, *parts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one key per sample from a seed and any number of int64 vectors of shape (n,)."""
    key = np.full(parts[0].shape, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for part in parts:
        key = mix(key ^ mix(part.astype(np.int64).view(np.uint64)))
    return key


class Stream:
    """Random columns for n samples, one key per sample. ``name`` identifies what is drawn: the same (key, name, column)
    always gives the same number."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys = keys

    def uniform64(self, name: str, columns: int) -> NDArray[np.float64]:
        """Return float64 (n, columns), uniform in the open interval (0, 1)."""
        offset = np.uint64(zlib.crc32(name.encode()))
        counter = mix(np.arange(columns, dtype=np.uint64) + (offset << np.uint64(24)))
        bits = mix(self._keys[:, None] ^ counter[None, :]) >> np.uint64(11)
        return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-53)

    def normal64(self, name: str, columns: int, limit: float = 2.2) -> NDArray[np.float64]:
        """Return float64 (n, columns), standard normal (Box-Muller), clipped to +-limit."""
        u = self.uniform64(name, 2 * columns)
        radius = np.sqrt(-2.0 * np.log(u[:, :columns]))
        return np.asarray(np.clip(radius * np.cos(2.0 * np.pi * u[:, columns:]), -limit, limit))

    def uniform(self, name: str, columns: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 (n, columns), uniform between low and high."""
        return torch.from_numpy(low + (high - low) * self.uniform64(name, columns)).float()

    def normal(self, name: str, columns: int, limit: float = 2.2) -> Tensor:
        """Return float32 (n, columns), standard normal clipped to +-limit."""
        return torch.from_numpy(self.normal64(name, columns, limit)).float()

    def one(self, name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 (n,), uniform between low and high."""
        return self.uniform(name, 1, low, high)[:, 0]

    def chance(self, name: str, probability: Tensor | float) -> Tensor:
        """Return float32 (n,) of 0 and 1; 1 with the given probability."""
        return (self.one(name) < probability).float()


@lru_cache(maxsize=4)
def noise_tile(size: int = 256) -> Tensor:
    """Return fixed standard normal noise (3, size, size), from which images use crops at hashed offsets."""
    keys = combine(20240229, np.arange(3 * size, dtype=np.int64))
    return Stream(keys).normal("tile", size, limit=3.5).reshape(3, size, size)


def crops(tile: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Return windows (n, c, size, size) of a tile (c, s, s) at `offsets` (n, 2), uniform in [0, 1)."""
    top_left = (offsets * (tile.shape[-1] - size)).long().tolist()
    return torch.stack([tile[:, y : y + size, x : x + size] for y, x in top_left])
