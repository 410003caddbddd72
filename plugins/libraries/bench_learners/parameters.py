"""The parameters of a recogniser that adapts to protected pictures. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval


@dataclass(frozen=True, kw_only=True)
class AdaptationParameters:
    """Parameters.

    Budget
        ``faces``: the largest number of auxiliary faces to learn from. ``steps`` of AdamW with ``batch`` faces each.
    Training
        ``rate``: the largest learning rate of the one-cycle schedule. ``statistics``: whether batch normalisation
        layers ``learn`` new statistics or ``keep`` theirs. With fewer than ``few`` faces to learn from, a recogniser
        keeps its statistics, and its rate is at most 3e-4: it would forget more than it learns.
    Early stopping
        ``held_out``: the share of the auxiliary people whom it does not learn from. The network is tried on them nine
        times, and the best weights are kept; the training ends after ``patience`` trials without a better value.
    """

    faces: Annotated[int, Ge(4)] = 1600
    steps: Annotated[int, Interval(ge=1, le=10_000_000)] = 200
    batch: Annotated[int, Interval(ge=2, le=4096)] = 64
    rate: Annotated[float, Gt(0), Interval(le=1)] = 2e-3
    statistics: Literal["learn", "keep"] = "learn"
    few: Annotated[int, Ge(0)] = 400
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    patience: Annotated[int, Ge(1)] = 4

    def adapting_seconds(self) -> float:
        """Return the seconds in which a recogniser adapts, about 13 ms for each face of a batch."""
        return 0.013 * self.steps * self.batch
