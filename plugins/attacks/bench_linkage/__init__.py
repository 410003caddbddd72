"""Linking two uploads of one person, without knowing who the person is.

Two services that collude, or one that gets two uploads, compare embeddings of both. Both uploads are protected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench_learners.parameters import AdaptationParameters

from bench import Attack, Received, Sees, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Linked", "bench_attacks"]

_THREATS = {
    "nothing": "compares two uploads with a ready-made recogniser",
    "pairs": "has the defense protect pictures of other people, adapts a recogniser to them and compares two uploads",
}


@dataclass(frozen=True, kw_only=True)
class Linked(AdaptationParameters, Attack):
    """The cosine of the embeddings of two uploads, by the evaluated recogniser as it is or adapted to the defense.

    ``learns``: ``nothing``, or ``pairs`` of protected pictures and their originals; the other parameters are then those
    of `adapted-recogniser`, and otherwise mean nothing.
    """

    outputs: ClassVar[Literal["links"]] = "links"
    license: ClassVar[str] = "none needed: its weights are trained in the run"

    learns: Literal["nothing", "pairs"] = "nothing"

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Images, and if it learns also the defense and who is shown."""
        return frozenset({"images", "labels", "defense"} if self.learns == "pairs" else {"images"})

    @property
    def trains_on(self) -> Literal["nothing", "defense"]:  # type: ignore[override]
        """Protected auxiliary faces, if it learns."""
        return "defense" if self.learns == "pairs" else "nothing"

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        return _THREATS[self.learns]

    def budget(self) -> Mapping[str, float]:
        """Return the auxiliary faces and the steps; nothing if it learns nothing."""
        return {} if self.learns == "nothing" else {"faces": self.faces, "steps": self.steps}

    def trained_as(self) -> Mapping[str, Any] | None:
        """Return the recogniser that is adapted to the defense; None if nothing is learnt."""
        if self.learns == "nothing":
            return None
        names = (each.name for each in fields(AdaptationParameters))
        return {"plugin": "adapted-recogniser", **{name: getattr(self, name) for name in names}}

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of uploads, which `link` compares."""
        if self.learns == "nothing":
            return super().embed(received, ctx)
        from bench_learners.recognition import adapted_embeddings

        return adapted_embeddings(received, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``linked``."""
    return {"linked": Linked}
