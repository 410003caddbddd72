"""The parameters of PMT against adapted judges; the docstring of the defense says what they are. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval
from bench_learners.parameters import AdaptationParameters
from bench_pmt.parameters import PmtParameters


@dataclass(frozen=True, kw_only=True)
class AdaptedParameters(PmtParameters):
    """Those of `bench_pmt_adapted.PmtAdapted`."""

    balance: Literal["mean", "concat", "relative"] = "relative"
    push: Annotated[float, Interval(ge=0, le=1000)] = 2.0
    rounds: Annotated[int, Interval(ge=1, le=10)] = 2
    faces: Annotated[int, Interval(ge=4, le=1_000_000)] = 256
    judge_steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 80
    batch: Annotated[int, Interval(ge=2, le=4096)] = 32
    judge_rate: Annotated[float, Interval(gt=0, le=1)] = 1e-3

    def adaptation(self) -> AdaptationParameters:
        """Return how a judge adapts: as `adapted-recogniser`, with layers of batch normalisation that keep their
        statistics, and with this rate however few faces there are."""
        return AdaptationParameters(
            steps=self.judge_steps, batch=self.batch, rate=self.judge_rate, statistics="keep", few=0
        )
