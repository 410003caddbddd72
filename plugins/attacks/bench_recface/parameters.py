"""The parameters of RecFace. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MultipleOf


@dataclass(frozen=True, kw_only=True)
class RecFaceParameters:
    """Parameters.

    Stages decoded (of all stages of the model if the client uploads images, else of those that it uploads)
        ``stages``: ``all``, the ``first``, the ``last``, or those ``uploaded``.
    Training pairs
        ``pairs``: ``clean`` features of auxiliary faces (the paper's attacker); what the ``defense`` makes of auxiliary
        faces (an adaptive attack); ``paper-leaky``: clean features of the evaluated faces themselves, because the
        paper trains and tests on LFW.
    Budget
        ``steps`` of Adam with ``batch_size`` faces each, or ``seconds`` of wall-clock time if they are over first
        (0: no limit; with a limit the result depends on the machine). The learning rate rises to ``learning_rate``
        in the first tenth of the budget and falls to 0 along a cosine.
    Decoder
        ``channels`` at half the image size, doubled at each coarser scale up to 8 times; ``blocks`` residual blocks
        at each scale from a quarter of the image size on.
    """

    stages: Literal["all", "first", "last", "uploaded"] = "all"
    pairs: Literal["clean", "defense", "paper-leaky"] = "clean"
    steps: Annotated[int, Interval(ge=1, le=10_000_000)] = 1000
    seconds: Annotated[float, Ge(0)] = 0.0
    batch_size: Annotated[int, Interval(ge=1, le=4096)] = 8
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 16
    blocks: Annotated[int, Interval(ge=0, le=16)] = 1
