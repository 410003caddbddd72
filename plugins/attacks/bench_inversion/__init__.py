"""White-box reconstruction: search for the image whose features are those that were received (paper, section 4.1.1).

The adversary of Level 2 holds the shallow model E_c and the features z of a face. It moves an image x^ until
``||E_c(x^) - z||_2 + lambda TV(x^)`` is small (Equations 2-4, after UnSplit: Erdogan et al. 2022). The start decides
much of the result and is a parameter, as are the splits whose features are matched and the weight of the smoothness
prior. The defaults were measured (``docs/design/inversion.md``).

Equation 4 prints a plus sign: it *adds* the gradient of what it wants to minimise. We subtract it.

The arithmetic is in `descent`, which imports torch; this module does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from bench import Attack, Received, Reconstructed, Sees, hookimpl

if TYPE_CHECKING:
    from bench import Context

__all__ = ["Inversion", "bench_attacks"]

_STARTS = {
    "grey": "starts from flat grey",
    "random": "starts from random pixels",
    "obfuscated": "starts from the received image",
}


@dataclass(frozen=True, kw_only=True)
class Inversion(Attack):
    """Descent on the distance between features, from one start. Pixels and step sizes are in [0, 1] units.

    Start
        ``start``: ``grey`` is 0.5 everywhere; ``random`` is drawn from N(0.5, 0.25^2) and clamped to [0, 1];
        ``obfuscated`` is the image that the client uploaded, so it must have uploaded one.
    Features matched (Equation 2)
        ``stages``: ``all`` splits that can be had, the ``first`` or ``last`` of them, or those that were ``uploaded``.
        ``distance``: ``l2`` is the norm of the difference divided by the norm of z, ``mse`` the mean squared
        difference divided by the mean square of z. Both are per split and averaged over splits: relative to z none
        of them dominates because it has more or larger values.
    Smoothness (Equation 3)
        ``tv_weight`` is lambda (1 in the paper) and ``tv_beta`` beta (open in the paper). ``tv_norm``: ``sum`` adds
        up as printed, ``mean`` divides by the number of values (37,632 for 112x112 RGB, so the same lambda weighs
        that much less).
    Descent (Equation 4)
        ``steps`` is K and ``step_size`` alpha. ``decay`` multiplies alpha in iteration i of K: ``linear`` by 1 - i/K,
        ``cosine`` by half of 1 + cos(pi i/K), ``step`` by 1, then .3 from K/2 and .1 from 3K/4.
        ``update``: ``sign`` moves every pixel by alpha (the paper's); ``l1`` divides the gradient by its mean
        absolute value per image; ``adam`` uses alpha as its learning rate.
        ``early_stop`` ends an image's descent when ``patience`` iterations in a row have not lowered its best loss
        by this share of it; 0 switches it off.
    """

    outputs = "images"
    trains_on = "nothing"

    start: Literal["grey", "random", "obfuscated"] = "grey"
    stages: Literal["all", "first", "last", "uploaded"] = "all"
    distance: Literal["l2", "mse"] = "l2"
    tv_weight: Annotated[float, Interval(ge=0, le=1e9)] = 30.0
    tv_beta: Annotated[float, Interval(ge=1, le=4)] = 2.0
    tv_norm: Literal["mean", "sum"] = "mean"
    steps: Annotated[int, Interval(ge=1, le=100_000)] = 100
    step_size: Annotated[float, Interval(gt=0, le=1)] = 0.1
    decay: Literal["none", "linear", "cosine", "step"] = "linear"
    update: Literal["sign", "l1", "adam"] = "adam"
    early_stop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Ge(1)] = 10

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features and shallow weights; the images as well when it starts from them."""
        known: frozenset[Sees] = frozenset({"features", "shallow_weights"})
        return known | {"images"} if self.start == "obfuscated" else known

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What the adversary knows, in words."""
        held = "the uploaded images, " if self.start == "obfuscated" else ""
        which = "the uploaded features" if self.stages == "uploaded" else f"features ({self.stages} of the splits)"
        return (
            f"white box: sees {held}{which} and the weights of the shallow model; searches for an image with these "
            f"features, {_STARTS[self.start]}; learns nothing and does not know the defense"
        )

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """The splits whose features are matched, from shallow to deep; `ValueError` when there are none."""
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
        """A forward and a backward pass in each of K iterations, and one for the loss at the end."""
        return 3.0 * self.steps + 1.0

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Images float ``(n, 3, h, w)`` RGB in [0, 1] whose features are close to ``received.features``.

        Every image is treated as if it were alone. ``extra``, each ``(n,)``: ``loss_start`` and ``loss_end`` (feature
        distance plus lambda TV, before quantisation) and ``iterations``.

        Raises ContractError when there are no features or not finite ones, when they have other shapes than those of
        ``ctx.image_size``, when not exactly one model is authorised, and when the image to start from was not uploaded.
        """
        from bench_inversion.descent import invert

        return invert(received, self, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """The attack of this plugin."""
    return {"inversion": Inversion}
