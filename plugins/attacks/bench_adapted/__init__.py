"""A recogniser that the adversary adapts to protected pictures: declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench_learners.parameters import AdaptationParameters

from bench import Attack, Examples, Received, Sees, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["AdaptedRecogniser", "bench_attacks"]

_THREATS = {
    "pairs": "has the defense protect pictures of other people and adapts the recogniser to them",
    "people": "has uploads of other people, whom it knows, and further pictures of them, but not the originals, and "
    "adapts the recogniser to these",
    "head": "has the defense protect pictures of other people and trains a new head of the recogniser on them",
}


@dataclass(frozen=True, kw_only=True)
class AdaptedRecogniser(AdaptationParameters, Attack):
    """A copy of the evaluated recogniser, fine-tuned until a protected picture gets the embedding of a clean one."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"images", "labels", "defense"})
    outputs: ClassVar[Literal["recognition"]] = "recognition"
    trains_on: ClassVar[Literal["defense"]] = "defense"
    license: ClassVar[str] = "none needed: its weights are trained in the run"

    learns: Literal["pairs", "people", "head"] = "pairs"

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        return _THREATS[self.learns]

    def budget(self) -> Mapping[str, float]:
        """Return the auxiliary faces and the steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training; for a new head, 20 ms for each face."""
        return 0.02 * self.faces if self.learns == "head" else self.adapting_seconds()

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Adapt the evaluated recogniser and return its weights."""
        if self.learns == "head":
            from bench_adapted.head import train_head

            return train_head(self, examples, ctx)
        from bench_learners.recognition import adapted_weights

        return adapted_weights(self, examples, "people" if self.learns == "people" else "originals", ctx)

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of uploads by the adapted recogniser."""
        if self.learns == "head":
            from bench_adapted.head import embed_by_head

            return embed_by_head(received, ctx)
        from bench_learners.recognition import adapted_embeddings

        return adapted_embeddings(received, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``adapted-recogniser``."""
    return {"adapted-recogniser": AdaptedRecogniser}
