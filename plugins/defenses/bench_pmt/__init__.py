"""Privacy Minimization Transformation (PMT), its form for several models (MR-PMT), and noise as strong as PMT.

PMT starts from an image that has nothing to do with the face and moves it until the *shallow* model of the authorised
service answers as it does for the face (paper, section 5.2, Equation 7, Algorithm 1). MR-PMT does so for several
services at once (section 5.4, Equation 8). Section 5.3 and Algorithm 2 add three techniques, each of which can be
switched on alone (Table X): data augmentation (``augment``), a translation-invariant kernel (``kernel``) and layer
aggregation (``layers``). The paper leaves much open; each reading is a parameter, and the
defaults were measured (``docs/design/pmt-defaults.md``).

Printed signs are wrong: Algorithm 1 *adds* the gradient of a distance that it wants to minimise. We subtract it.

``pmt-noise`` is the paper's control for it: the same change of the features, in random order (Table VI).

This module holds parameters and declarations. The arithmetic is in `transforms`, `optimise` and `shuffled`, which
import torch; this module does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval, Le

from bench import Defense, Need, Protected, did_you_mean, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["MrPmt", "Pmt", "PmtNoise", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class Pmt(Defense):
    """PMT for one authorised model (section 5.2-5.3). Pixels and step sizes are in [0, 1] units.

    It sends an image x~. A suite that uploads features has the host send E_c(x~) at its splits instead; the descent
    does not depend on which of them are uploaded.

    Start
        ``init``: ``noise`` is grey plus Gaussian noise of standard deviation ``init_std``, clamped to [0, 1];
        ``sort`` shuffles the face's own square blocks of ``init_block`` pixels (our reading of "random
        substitution", Table III's "Random Sort"; 1 shuffles single pixels); ``blur`` is the face under a Gaussian
        blur whose width is drawn per image from [0.5, 1.5] times ``init_blur`` pixels.
    Descent
        ``steps`` is K and ``step_size`` alpha. ``decay`` multiplies alpha in iteration i of K: ``linear`` by 1 - i/K,
        ``cosine`` by half of 1 + cos(pi i/K), ``step`` by 1, then .3 from K/2 and .1 from 3K/4.
        ``update``: ``sign`` moves every pixel by alpha (text of section 5.2); ``l1`` divides the gradient by its mean
        absolute value per image (Algorithm 2, with the mean instead of the sum, which would make no progress);
        ``adam`` uses alpha as its learning rate.
        ``early_stop`` ends an image's descent when ``patience`` iterations in a row have not lowered its best loss
        by this share of it; 0 switches it off. A stopped image does not change any more.
    Augmentation T (section 5.3)
        Drawn anew in each iteration and applied to face and obfuscated image alike: ``noise`` adds Gaussian noise of
        standard deviation ``augment_sigma`` (0 is the same as ``none``); ``affine`` turns by at most
        ``augment_degrees``, shifts by at most ``augment_shift`` of the side and scales by at most
        1 +- ``augment_scale``; ``mix`` is affine followed by noise.
    Features compared (Algorithm 2, lines 4-9)
        ``layers``: ``last`` split, ``all`` splits, or names. ``pool`` > 0 averages larger maps to that many cells per
        side, ``pool_kernel`` > 1 averages windows of that many positions instead; 0 compares the maps as they are.
        ``balance`` weighs several layers: ``mean`` is the mean of their mean squared differences, ``concat`` the
        mean over all values of all layers (Algorithm 2 as written: the largest layer dominates), ``relative``
        divides each layer's by the mean square of the face's own features first.
    Kernel W (section 5.3)
        ``linear`` or ``gaussian`` with side 2 * ``kernel_length`` + 1, convolved with the gradient after it is
        normalised and before its sign is taken.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow"})
    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    max_authorised: ClassVar[int | None] = 1
    promise: ClassVar[str] = (
        "that the authorised model recognises the face, and that nobody else recognises, rebuilds or describes it from "
        "what was uploaded, not even with the shallow model in hand"
    )
    trusts: ClassVar[str] = "the authorised service, which recognises the face and gives the client its shallow model"
    not_promised: ClassVar[str] = (
        "anything against the authorised service; that two uploads of one person cannot be linked; a formal bound: it "
        "rests on experiments"
    )

    init: Literal["noise", "blur", "sort"] = "noise"
    init_std: Annotated[float, Interval(ge=0, le=1)] = 1.0
    init_blur: Annotated[float, Interval(gt=0, le=64)] = 4.0
    init_block: Annotated[int, Ge(1)] = 8
    steps: Annotated[int, Interval(ge=1, le=10_000)] = 100
    step_size: Annotated[float, Interval(gt=0, le=1)] = 0.02
    decay: Literal["none", "linear", "cosine", "step"] = "linear"
    early_stop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Ge(1)] = 10
    update: Literal["sign", "l1", "adam"] = "sign"
    augment: Literal["none", "noise", "affine", "mix"] = "none"
    augment_sigma: Annotated[float, Interval(ge=0, le=1)] = 0.05
    augment_degrees: Annotated[float, Interval(ge=0, le=180)] = 10.0
    augment_shift: Annotated[float, Interval(ge=0, le=1)] = 0.05
    augment_scale: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    layers: Literal["last", "all"] | tuple[str, ...] = "last"
    balance: Literal["mean", "concat", "relative"] = "mean"
    pool: Annotated[int, Ge(0), Le(256)] = 0
    pool_kernel: Annotated[int, Ge(0), Le(256)] = 0
    kernel: Literal["none", "linear", "gaussian"] = "none"
    kernel_length: Annotated[int, Interval(ge=1, le=31)] = 1

    def __post_init__(self) -> None:
        """Checks that span fields. Raises ValueError."""
        if self.pool and self.pool_kernel:
            raise ValueError(f"expected pool or pool_kernel, got both ({self.pool} and {self.pool_kernel})")
        if isinstance(self.layers, tuple):
            if not self.layers:
                raise ValueError("expected at least one layer, got none; write 'last', 'all' or split names")
            twice = sorted({name for name in self.layers if self.layers.count(name) > 1})
            if twice:
                raise ValueError(f"expected each layer once, got {', '.join(twice)} more than once")

    @property
    def adds_noise(self) -> bool:
        """Whether T(.) adds noise."""
        return self.augment in ("noise", "mix") and self.augment_sigma > 0

    @property
    def moves(self) -> bool:
        """Whether T(.) moves pixels."""
        return self.augment in ("affine", "mix")

    def passes(self) -> float:
        """Forward passes per image and model: K times forward and backward, K more for T(x) when it changes in each
        iteration, and three for the face and the losses before and after."""
        per_step = 4 if self.adds_noise or self.moves else 3
        return float(per_step * self.steps + 3)

    def splits(self, available: Sequence[str]) -> tuple[str, ...]:
        """The splits that are compared, from shallow to deep; `ValueError` for a name that the model lacks."""
        if not available:
            raise ValueError("expected a model with split points, got one without")
        if self.layers == "last":
            return (available[-1],)
        if self.layers == "all":
            return tuple(available)
        for name in self.layers:
            if name not in available:
                raise ValueError(f"layers: the model has no split {name!r}; {did_you_mean(name, available)}")
        return tuple(name for name in available if name in self.layers)

    def model_weights(self, models: int) -> tuple[float, ...]:
        """The share of each authorised model in the loss; they sum to 1."""
        return (1 / models,) * models

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Float ``(n, 3, h, w)`` RGB in [0, 1] to the same. Every image is treated as if it were alone.

        ``extra``: ``loss_start`` and ``loss_end`` (without augmentation, before quantisation) and ``iterations``.
        """
        from bench_pmt.optimise import obfuscate

        return obfuscate(images, self, ctx)


@dataclass(frozen=True, kw_only=True)
class MrPmt(Pmt):
    """MR-PMT: PMT for any number of authorised models (section 5.4, Equation 8). With one model it is PMT.

    The loss is the weighted mean of the models' losses, each of them a mean over feature values, so that a model with
    large maps does not dominate. ``weights``: one number per authorised model, in the order in which the suite names
    them, or none for equal ones. Features of different networks differ in scale: ``balance = "relative"`` evens it.
    """

    max_authorised: ClassVar[int | None] = None
    promise: ClassVar[str] = (
        "that each of the authorised models recognises the face in one and the same picture, and that nobody else "
        "recognises, rebuilds or describes it"
    )
    trusts: ClassVar[str] = "every authorised service, which recognises the face and gives the client its shallow model"

    weights: tuple[Annotated[float, Gt(0)], ...] = ()

    def check_authorised(self, models: int) -> None:
        """Any number of models, as many as there are weights."""
        self.model_weights(models)

    def model_weights(self, models: int) -> tuple[float, ...]:
        """``weights`` scaled to sum to 1; `ValueError` when there are not as many as models."""
        if not self.weights:
            return super().model_weights(models)
        if len(self.weights) != models:
            raise ValueError(f"weights: expected one per authorised model ({models}), got {len(self.weights)}")
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)


@dataclass(frozen=True, kw_only=True)
class PmtNoise(Pmt):
    """Noise on features as strong as PMT's own: the "Random Noise" of Table VI (section 6.3.2).

    Runs PMT with the same parameters, takes what it changes at each uploaded split, d = E_c(x~) - E_c(x), shuffles
    the values of d over channels and positions, and uploads E_c(x) + shuffled d. Its values are PMT's, so its
    amplitude is, in every norm; only the order that PMT gave them is lost.
    """

    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"feature"})
    promise: ClassVar[str] = "nothing of its own: a control, which changes features as much as PMT does, but at random"
    not_promised: ClassVar[str] = "that the noise cannot be taken out again; a formal bound"

    def passes(self) -> float:
        """Those of PMT, and one each for the features of face and obfuscated image."""
        return super().passes() + 2

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Float ``(n, 3, h, w)`` RGB in [0, 1] to features ``(n, c, h', w')`` at every split of ``ctx.uploaded``.

        ``extra``: that of PMT, and ``noise_to_signal``: |d| / |E_c(x)|, Euclidean, the mean over the uploaded splits.
        """
        from bench_pmt.shuffled import upload_noise

        return upload_noise(images, self, ctx)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """``pmt``, ``mr-pmt`` and ``pmt-noise``."""
    return {"pmt": Pmt, "mr-pmt": MrPmt, "pmt-noise": PmtNoise}
