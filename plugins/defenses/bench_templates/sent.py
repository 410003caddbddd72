"""What defenses that send a template have in common: an embedding of the authorised model, transformed. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval

from bench import ContractError, Defense, Need, Received

if TYPE_CHECKING:
    import torch

    from bench import Context


@dataclass(frozen=True, kw_only=True)
class Template(Defense):
    """Sends the embedding of the authorised model, scaled to length 1, after a transform that follows from a key.

    ``key`` is that of a service and the same for all its people. ``size`` is the length of the model's embeddings; that
    of the networks of `bench_zoo` is 128. Templates of two pictures are compared by their cosine.

    With ``across``, each upload goes to a service of its own, under a key of its own, which is drawn at random for each
    picture; ``key`` is not used. Attacks that link uploads then show what services can link that put their templates
    together. The recogniser of the defense compares templates under different keys and cannot match them. Each service
    has a single template, so that what follows from several under one key is another question.
    """

    goal = "template"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"full_gradients"})
    sends = frozenset({"representation"})
    own_recogniser = True
    max_authorised = 1
    trusts = "the service, which holds key and templates, and gives the client its whole model"

    size: Annotated[int, Interval(ge=2, le=4096)] = 128
    key: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    across: bool = False

    @property
    def recogniser_size(self) -> int:  # type: ignore[override]  # It depends on a parameter.
        """The length of the template."""
        return self.size

    def passes(self) -> float:
        """Return one pass of the whole model, which is at least that of its shallow part."""
        return 2.0

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the template."""
        return {"template": (self.size,)}

    def embeddings(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the unit embeddings ``(n, size)`` of float ``(n, 3, h, w)`` RGB in [0, 1].

        Raise `ContractError` if those of the model have another length.
        """
        from bench_templates.turning import embeddings

        found = embeddings(ctx.network(ctx.authorised[0]), images)
        if found.shape[1] != self.size:
            raise ContractError(
                f"{ctx.plugin}: expected embeddings of the length {self.size}, found {found.shape[1]} of "
                f"{ctx.authorised[0]}; set size = {found.shape[1]}"
            )
        return found

    def under_key(
        self, embeddings: torch.Tensor, transform: Callable[[torch.Tensor, int], torch.Tensor], ctx: Context
    ) -> torch.Tensor:
        """Return what ``transform``, a function of embeddings ``(n, size)`` and a key, makes of embeddings under the
        key of the service, or of each of them under a key of its own."""
        if not self.across:
            return transform(embeddings, self.key)
        from bench_templates.turning import under_own_keys

        return under_own_keys(embeddings, transform, ctx)

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the template as it is; with ``across`` it matches by chance only."""
        return lambda received: received.representation["template"]
