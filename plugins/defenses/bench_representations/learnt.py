"""What the defenses have in common whose recogniser is trained on auxiliary faces. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval
from bench_translation.public_networks import fingerprint_of, packages_of, public_network

from bench import Defense, Model, Need

# Measured with the bundled networks; the second holds for a step of 64 faces.
_START_SECONDS, _SECONDS_PER_MFLOP = 5.0, 0.006


@dataclass(frozen=True, kw_only=True)
class Learnt(Defense):
    """A defense whose recogniser starts from an installed network, and is trained in the run to read what is sent.

    It learns from auxiliary people to embed an upload as the network embeds the clean picture. ``network`` is the
    registered name of a model, which is taken with its default parameters; ``steps`` of AdamW with 64 faces each.
    """

    goal = "recognition"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"training"})
    sends = frozenset({"representation"})
    own_recogniser = True
    license = "none needed: its weights are trained in the run"

    network: str = "zoo-mobilenet"
    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 300

    def __post_init__(self) -> None:
        """Raise ValueError if no model of the name ``network`` is installed."""
        self.started_from()

    def started_from(self) -> Model:
        """Return the model that the recogniser starts from. Raise ValueError if it is not installed."""
        found = public_network(self.network)
        if found is None:
            raise ValueError(f"network: expected the name of an installed model, found {self.network!r}")
        return found

    @property
    def recogniser_size(self) -> int:  # type: ignore[override]  # It depends on a parameter.
        """The length of the network's embeddings."""
        return self.started_from().embedding_size

    @property
    def libraries(self) -> Sequence[str]:  # type: ignore[override]
        """The package of the network."""
        return packages_of(self.started_from())

    def fit_seconds(self) -> float:
        """Return the seconds of the training on one core, for time estimates: of the network for 64 faces in each step,
        and of what else a step computes."""
        return _START_SECONDS + self.steps * (_SECONDS_PER_MFLOP * self.started_from().mflops + self.beside_network())

    def beside_network(self) -> float:
        """Return the seconds that a step takes beside the network."""
        return 0.0

    def fingerprint(self) -> str | None:
        """Return the digest of the network's weights."""
        return fingerprint_of(self.started_from())
