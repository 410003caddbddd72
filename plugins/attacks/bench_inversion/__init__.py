"""White-box reconstruction: search for an image whose features equal the received ones (paper, section 4.1.1).

The adversary of Level 2 holds the shallow model E_c and the features z of a face. It changes an image x^ until
``||E_c(x^) - z||_2 + lambda TV(x^)`` is small (Equations 2-4, after UnSplit: Erdogan et al. 2022). The start decides
much of the result and is a parameter, as are the splits whose features are matched and the weight of the smoothness
prior. The defaults were measured (``docs/design/inversion.md``).

Equation 4 prints a plus sign: it *adds* the gradient of the loss that is to be minimised. This implementation
subtracts it.

This module holds the declarations and `parameters` the parameters; neither imports torch. The arithmetic is in
`descent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Attack, Received, Reconstructed, Sees, hookimpl
from bench_inversion.parameters import InversionParameters

if TYPE_CHECKING:
    from bench import Context

__all__ = ["Inversion", "bench_attacks"]

_STARTS = {
    "grey": "starts from flat grey",
    "random": "starts from random pixels",
    "obfuscated": "starts from the received image",
}


@dataclass(frozen=True, kw_only=True)
class Inversion(InversionParameters, Attack):
    """Gradient descent on the distance between features, from one start."""

    outputs = "images"
    trains_on = "nothing"
    license = "none needed: no weights of its own"

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features and shallow weights; also the images if the descent starts from them."""
        known: frozenset[Sees] = frozenset({"features", "shallow_weights"})
        return known | {"images"} if self.start == "obfuscated" else known

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        held = "the uploaded images, " if self.start == "obfuscated" else ""
        which = "the uploaded features" if self.stages == "uploaded" else f"features ({self.stages} of the splits)"
        return (
            f"white box: sees {held}{which} and the weights of the shallow model; searches for an image with these "
            f"features, {_STARTS[self.start]}; learns nothing and does not know the defense"
        )

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """Return the splits whose features are matched, from shallow to deep. Raises ValueError if there are none."""
        if self.stages == "uploaded" and not uploaded:
            raise ValueError("stages: no features were uploaded; expected 'all', 'first' or 'last', got 'uploaded'")
        if not available:
            raise ValueError("expected a model with split points, got one without")
        if self.stages == "first":
            return (available[0],)
        if self.stages == "last":
            return (available[-1],)
        return tuple(uploaded if self.stages == "uploaded" else available)

    def passes(self) -> float:
        """Return 3 K + 1: a forward and a backward pass in each of K iterations, and one pass for the final loss."""
        return 3.0 * self.steps + 1.0

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1] whose features are close to ``received.features``.

        No image depends on the others. ``extra``, each ``(n,)``: ``loss_start`` and ``loss_end`` (feature distance
        plus lambda TV, before quantisation) and ``iterations``.

        Raises ContractError if there are no features, if they are not finite, if their shapes do not belong to images
        of ``ctx.image_size``, if not exactly one model is authorised, and if the image to start from was not uploaded.
        """
        from bench_inversion.descent import invert

        return invert(received, self, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``inversion``."""
    return {"inversion": Inversion}
