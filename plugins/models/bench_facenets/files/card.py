"""The card of a network: its size, splits, cost and license as plain data, computed once. No torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SplitCard:
    """A split point: the ``module`` that ends the shallow model, the ``shape`` ``(c, h, w)`` of its map, and the
    client's share: parameters, and MFLOP per image (a multiply-add counts as two)."""

    module: str
    shape: Shape
    parameters: int
    mflops: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """The properties of a network.

    ``splits`` run from shallow to deep; ``mflops`` is per image, a multiply-add counts as two; ``layout`` describes the
    format that was recognised in the file; ``looped``: batches are run image by image.
    """

    embedding_size: int
    splits: Mapping[str, SplitCard]
    mflops: float
    parameters: int
    layout: str = ""
    pixels: str = ""
    license: str = "unknown"
    looped: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def shapes(self) -> dict[str, Shape]:
        """The split points as `bench.Model.splits` declares them."""
        return {name: split.shape for name, split in self.splits.items()}

    def to_json(self) -> str:
        """Return the card as JSON; the order of splits is kept."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def from_json(text: str) -> Card:
    """Return the card that `Card.to_json` wrote. Raises ValueError for any other text."""
    try:
        found = json.loads(text)
        splits = {name: _split(split) for name, split in found.pop("splits").items()}
        return Card(**found | {"splits": splits, "warnings": tuple(found.pop("warnings"))})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"expected the card of a network: {error}") from None


def _split(found: Mapping[str, Any]) -> SplitCard:
    c, h, w = found["shape"]
    return SplitCard(**{**found, "shape": (int(c), int(h), int(w))})
