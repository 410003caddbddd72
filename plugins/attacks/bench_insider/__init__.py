"""The insider: the authorised service itself is the adversary, with its whole model.

It shows the most that uploads tell without learning: a defense whose authorised model still recognises people tells it
who they are, by its purpose. The host counts it apart from leakage to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench import Attack, ContractError, Received, Sees, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Insider", "bench_attacks"]


@dataclass(frozen=True, kw_only=True)
class Insider(Attack):
    """Embeds uploads and enrolled pictures with the authorised models, whatever model is evaluated.

    With several authorised models, the cosine of two pictures is the mean of the cosines of the models.
    """

    sees: ClassVar[frozenset[Sees]] = frozenset({"images", "full_model"})
    outputs: ClassVar[Literal["recognition"]] = "recognition"
    threat: ClassVar[str] = "is the authorised service: it has its whole model and all pictures that clients upload"
    license: ClassVar[str] = "none needed"

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of uploads."""
        if received.images is None:
            raise ContractError(f"{ctx.plugin}: expected uploaded images, received none")
        return self.enrol(received.images, ctx)

    def enrol(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of images: those of all authorised models, each of length 1, side by
        side."""
        import torch

        with torch.no_grad():
            every = [ctx.network(label)(images) for label in ctx.authorised]
            return torch.cat([torch.nn.functional.normalize(found, dim=1) for found in every], dim=1)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``insider``."""
    return {"insider": Insider}
