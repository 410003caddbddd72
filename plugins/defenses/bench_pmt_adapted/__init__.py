"""PMT that knows its enemy: recognisers that have adapted to its pictures take part in the descent.

PMT is optimised for what the authorised model sees and hopes that nobody else recognises the result. Recognisers that
learn from PMT pictures of other people do (docs/design/learners.md). Here the client trains such recognisers itself,
in `fit`, and the descent moves the picture away from what they recognise. It is an adaptive defense in the sense in
which attacks are adaptive, after the games of adversarial training; no paper proposes it for PMT.

It cannot win for certain: what the authorised model recognises is in the picture, so that an adversary who adapts anew
can learn to see it, too. docs/defenses.md says what was measured.

This module holds the declarations and imports no torch. `judges` trains the recognisers and `descent` uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench_pmt import Pmt

from bench import Defense, Need, Protected, hookimpl
from bench_pmt_adapted.parameters import AdaptedParameters

if TYPE_CHECKING:
    import torch

    from bench import Context, Faces

__all__ = ["PmtAdapted", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class PmtAdapted(AdaptedParameters, Pmt):
    """PMT, whose pictures are moved away from what recognisers see that have adapted to PMT.

    With L for the loss of PMT (relative: divided by the mean square of the face's features), f_j for a surrogate model
    and g_j for its copy that has adapted to protected pictures, it minimises

        L(x~, x) + push * mean over j of max(cos(g_j(x~), f_j(x)), 0)

    in the way of PMT. All parameters of PMT are those of ``pmt``; ``balance`` is ``relative`` here, so that ``push``,
    which has no unit, means the same for all authorised models.

    `fit` makes the judges g_j in ``rounds``. In each, up to ``faces`` auxiliary faces are protected, against all judges
    so far, and a copy of each surrogate learns by ``judge_steps`` of AdamW with ``batch`` faces to give protected
    pictures the embeddings of the originals; so there are rounds * surrogates judges. It is the training of the attack
    `adapted-recogniser`, in small. All defaults are our choice.

    Cost: the client needs whole surrogate models, auxiliary faces, and the training; each step of the descent also
    runs every judge forward and backward. The host cannot count the operations for a single face, because it counts
    them on networks in another form than the one that was trained here.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow", "surrogates", "training"})
    trusts: ClassVar[str] = (
        "the authorised service, which recognises the face and gives the client its shallow model, and adversaries to "
        "adapt as the client's own judges do"
    )
    not_promised: ClassVar[str] = (
        "anything against the authorised service, or against recognisers that learn from these very pictures; that two "
        "uploads of one person cannot be linked; a formal bound: it rests on experiments"
    )

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the judges on protected auxiliary faces and return their weights."""
        from bench_pmt_adapted.judges import trained

        return trained(faces, self, ctx)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same. No image depends on the others.

        ``extra``: ``loss_start`` and ``loss_end`` (with the judges, before quantisation), ``iterations``, and
        ``recognised``: the mean cosine of the judges' embeddings to those of the original.
        """
        from bench_pmt_adapted.descent import protected
        from bench_pmt_adapted.judges import restored_judges

        return protected(images, self, restored_judges(self, ctx), ctx)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``pmt-adapted``."""
    return {"pmt-adapted": PmtAdapted}
