"""The parameters of the decoders. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MultipleOf


@dataclass(frozen=True, kw_only=True)
class DecoderParameters:
    """Parameters.

    Training pairs
        ``pairs``: what the ``defense`` makes of auxiliary faces, or ``clean`` ones.
    Budget
        ``faces``: the largest number of auxiliary faces to learn from; ``steps`` of AdamW with ``batch_size`` faces
        each, whose learning rate rises to ``learning_rate`` and falls again. The weights that suit held-out people best
        are kept.
    Network
        ``channels`` at the finest scale; coarser ones have up to four times as many.
    Loss
        ``network``: an installed recognition model of the attacker's choice. Beside pixels, the training compares its
        features and its embeddings of made pictures and faces; with ``none``, pixels only.
    """

    pairs: Literal["clean", "defense"] = "defense"
    faces: Annotated[int, Ge(2)] = 800
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 300
    batch_size: Annotated[int, Interval(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 16
    network: str = "zoo-resnet"
