"""The parameters of the attacks on representations. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Interval, MultipleOf
from bench_probes.parameters import AttributeParameters


@dataclass(frozen=True, kw_only=True)
class DecoderParameters:
    """Parameters of `representation-decoder`.

    Budget
        ``faces``: the largest number of auxiliary faces to learn from; ``steps`` of AdamW with ``batch_size`` faces
        each, whose learning rate rises to ``learning_rate`` and falls again. The weights that suit held-out people best
        are kept.
    Network
        ``channels`` at the finest scale; coarser ones have up to four times as many.
    Loss
        ``network``: an installed recognition model of the attacker's choice, whose features and embeddings are compared
        beside pixels; with ``none``, pixels only.
    """

    faces: Annotated[int, Ge(2)] = 800
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 300
    batch_size: Annotated[int, Interval(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 16
    network: str = "zoo-resnet"


@dataclass(frozen=True, kw_only=True)
class ReadAttributeParameters(AttributeParameters):
    """Parameters of `representation-probe`, beside the attribute.

    ``faces``, ``held_out``: the largest number of auxiliary faces, and the share of their people on whom the strength
    of the regularisation is chosen.
    """

    faces: Annotated[int, Ge(4)] = 1600
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.15
