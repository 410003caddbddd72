"""Templates under a key: embeddings of an authorised model, turned so that they can be compared under one key only.

A service that stores embeddings of faces can be searched with any picture, its embeddings can be linked with those of
other services, and whoever finds them cannot change his face. A *cancelable* template is an embedding after a transform
that follows from a key: two services have different keys, and a stolen template is replaced by one under a new key.

This module holds the declarations and imports no torch. The arithmetic is in `turning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval

from bench import ContractError, Defense, Need, Protected, Received, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["KeyedTemplate", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class KeyedTemplate(Defense):
    """Sends the embedding of the authorised model, multiplied by a random orthogonal matrix that follows from ``key``.

    The matrix keeps all angles, so that templates under one key are matched exactly as well as embeddings. With
    ``binary``, only the signs are sent, as 0 and 1: less accurate, and whoever has template and key computes the
    embedding up to a cosine of about .8 (the square root of 2 / pi), which most recognisers take for the same person.
    ``key`` is that of a service and the same for all its people. ``size`` is the length of the
    model's embeddings; that of the networks of `bench_zoo` is 128.

    Source: BioHashing of Teoh, Ngo and Goh, "BioHashing: two factor authentication featuring fingerprint data and
    tokenised random number" (Pattern Recognition, 2004), who project onto random orthonormal vectors and keep the
    signs. They give each person a token; here the key is that of the service, so that nobody is recognised by a token
    in place of a face.
    """

    goal = "template"
    protects = frozenset({"both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"full_gradients"})
    sends = frozenset({"representation"})
    own_recogniser = True
    max_authorised = 1
    promise = "that templates under different keys cannot be linked, and that a stolen one can be replaced"
    trusts = "the service, which holds key and templates, and gives the client its whole model"
    not_promised = (
        "anything against those who know the key: they compute the embedding, with `binary` up to a cosine of .8; "
        "anything against those who know a few embeddings with their templates, from which the matrix follows"
    )

    size: Annotated[int, Interval(ge=2, le=4096)] = 128
    key: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    binary: bool = False

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

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return templates ``(n, size)`` of float ``(n, 3, h, w)`` RGB in [0, 1]."""
        from bench_templates.turning import embeddings, turned

        found = embeddings(ctx.network(ctx.authorised[0]), images)
        if found.shape[1] != self.size:
            raise ContractError(
                f"{ctx.plugin}: expected embeddings of the length {self.size}, found {found.shape[1]} of "
                f"{ctx.authorised[0]}; set size = {found.shape[1]}"
            )
        template = turned(found, self.key)
        return Protected(representation={"template": (template > 0).to(template.dtype) if self.binary else template})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the template as it is; bits as -1 and 1, whose cosine counts how many are equal."""
        if self.binary:
            return lambda received: 2 * received.representation["template"] - 1
        return lambda received: received.representation["template"]


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``keyed-template``."""
    return {"keyed-template": KeyedTemplate}
