"""What the record of a run keeps of the declarations of image metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class MetricDeclaration:
    """What the class of an image metric declares (see `bench.Metric`). ``low`` and ``high`` are the ends of its range,
    None where it has no bound. ``digits`` is None if the class leaves the default. ``share``: its values are decisions,
    0 or 1. ``per_sample``: it has a value for each image; ``of_set``: it has one for all."""

    formula: str = ""
    source: str = ""
    heading: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    share: bool = False
    infinite: bool = False
    better: Mapping[str, str] = field(default_factory=dict)
    digits: int | None = None
    per_sample: bool = True
    of_set: bool = False
