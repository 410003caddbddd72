"""The parameters of cloaks; the docstrings of the defenses say what they are. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

Steps = Annotated[int, Interval(ge=1, le=100_000)]
People = Annotated[int, Interval(ge=1, le=10_000)]


@dataclass(frozen=True, kw_only=True)
class FawkesParameters:
    """Those of `bench_cloaks.Fawkes`."""

    rho: Annotated[float, Interval(gt=0, le=1)] = 0.007
    steps: Steps = 100
    rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    penalty: Annotated[float, Interval(ge=0, le=1e12)] = 1e5
    candidates: People = 20


@dataclass(frozen=True, kw_only=True)
class LowKeyParameters:
    """Those of `bench_cloaks.LowKey`."""

    alpha: Annotated[float, Interval(ge=0, le=1e6)] = 5.0
    steps: Steps = 50
    rate: Annotated[float, Interval(gt=0, le=1)] = 0.0025
    blur: Annotated[float, Interval(gt=0, le=100)] = 3.0
    noise: Annotated[float, Interval(ge=0, le=1)] = 0.005


@dataclass(frozen=True, kw_only=True)
class TipImParameters:
    """Those of `bench_cloaks.TipIm`."""

    epsilon: Annotated[float, Interval(gt=0, le=1)] = 12 / 255
    steps: Steps = 20
    momentum: Annotated[float, Interval(ge=0, le=1)] = 1.0
    targets: People = 10
    gamma: Annotated[float, Interval(ge=0, le=1e6)] = 0.5
    diversity: Annotated[float, Interval(ge=0, le=1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class OpomParameters:
    """Those of `bench_cloaks.Opom`."""

    epsilon: Annotated[float, Interval(gt=0, le=1)] = 8 / 255
    steps: Steps = 16
    step_size: Annotated[float, Interval(gt=0, le=1)] = 1 / 255
    hull: Literal["convex", "affine", "center"] = "convex"
    first: Annotated[int, Interval(ge=0, le=100_000)] = 5
    pictures: Literal["further", "released"] = "further"
