"""The parameters of the attacks. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt, Interval
from bench_attributes import CLASSES, WEIGHTS
from bench_learners.parameters import AdaptationParameters

Of = Literal["insider", "outsider", "adapted"]
Learns = Literal["clean", "defense"]


@dataclass(frozen=True, kw_only=True)
class AttributeParameters:
    """What a probe reads.

    ``attribute``: the attribute, as the data set names it; ``names``: its classes, which are known for ``gender``,
    ``emotion`` and ``group`` of the built-in data sets; an ``age`` has none.
    """

    attribute: str = "gender"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the classes of the attribute are known. Raises ValueError."""
        if self.attribute != "age" and len(self._names()) < 2:
            raise ValueError(
                f"names: expected at least two classes of the attribute {self.attribute!r}, found "
                f"{list(self.names)}; name them as the data set does"
            )
        if self.attribute == "age" and self.names:
            raise ValueError(f"names: expected none, because an age is a number, found {list(self.names)}")

    def _names(self) -> tuple[str, ...]:
        return self.names or CLASSES.get(self.attribute, ())

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the classes of the attribute; none for an age."""
        return {} if self.attribute == "age" else {self.attribute: self._names()}


@dataclass(frozen=True, kw_only=True)
class ProbeParameters(AttributeParameters, AdaptationParameters):
    """Parameters of a probe; see `bench_probes.AttributeProbe`."""

    of: Of = "outsider"
    learns: Learns = "clean"


@dataclass(frozen=True, kw_only=True)
class EstimatorParameters(AdaptationParameters):
    """Parameters of the adapted estimator; see `bench_probes.AttributesAdapted`."""

    attributes: tuple[Literal["age", "gender", "emotion", "group"], ...] = ()
    rate: Annotated[float, Gt(0), Interval(le=1)] = 5e-4
    statistics: Literal["learn", "keep"] = "keep"

    def __post_init__(self) -> None:
        """Check that no attribute is named twice. Raises ValueError."""
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes: expected each one once, found {list(self.attributes)}")

    @property
    def estimated(self) -> tuple[str, ...]:
        """The attributes that are estimated, in a fixed order."""
        return tuple(name for name in ("age", *CLASSES) if not self.attributes or name in self.attributes)

    def weights(self) -> Path:
        """Return the file of the weights that the training begins with."""
        return WEIGHTS / "attributes.safetensors"

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the classes of each attribute; age is a number and has none."""
        return {name: CLASSES[name] for name in self.estimated if name in CLASSES}
