"""Templates under a key: embeddings of an authorised model, turned so that they can be compared under one key only.

A service that stores embeddings of faces can be searched with any picture, its embeddings can be linked with those of
other services, and whoever finds them cannot change his face. A *cancelable* template is an embedding after a transform
that follows from a key: two services have different keys, and a stolen template is replaced by one under a new key.

This module holds the declarations and imports no torch. The arithmetic is in `turning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Defense, Protected, Received, hookimpl
from bench_templates.sent import Template

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["KeyedTemplate", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class KeyedTemplate(Template):
    """Sends the embedding of the authorised model, multiplied by a random orthogonal matrix that follows from ``key``.

    The embedding is scaled to length 1 first, which changes no cosine. The matrix keeps all angles, so that templates
    under one key are matched exactly as well as embeddings. With ``binary``, only the signs are sent, as 0 and 1: less
    accurate, and whoever has template and key computes the embedding up to a cosine of about .8 (the square root of
    2 / pi), which most recognisers take for the same person. ``key`` is that of a service and the same for all its
    people. With ``across``, each upload goes to another service, under a key of its own: see
    `bench_templates.sent.Template`. ``size`` is the length of the model's embeddings; that of the networks of
    `bench_zoo` is 128.

    Source: BioHashing of Teoh, Ngo and Goh, "BioHashing: two factor authentication featuring fingerprint data and
    tokenised random number" (Pattern Recognition, 2004), who project onto random orthonormal vectors and keep the
    signs. They give each person a token; here the key is that of the service, so that nobody is recognised by a token
    in place of a face.
    """

    promise = "that templates under different keys cannot be linked, and that a stolen one can be replaced"
    not_promised = (
        "anything against those who know the key: they compute the embedding, with `binary` up to a cosine of .8; "
        "anything against those who know embeddings with their templates: from `size` independent ones the whole "
        "matrix follows, from fewer a part of it"
    )

    binary: bool = False

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return templates ``(n, size)`` of float ``(n, 3, h, w)`` RGB in [0, 1]."""
        from bench_templates.turning import turned

        template = self.under_key(self.embeddings(images, ctx), turned, ctx)
        return Protected(representation={"template": (template > 0).to(template.dtype) if self.binary else template})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the template as it is; bits as -1 and 1, whose cosine counts how many are equal."""
        if self.binary:
            return lambda received: 2 * received.representation["template"] - 1
        return super().recogniser(ctx)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``keyed-template``."""
    return {"keyed-template": KeyedTemplate}
