"""The parameters of PMT and what follows from them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval, Le

from bench import did_you_mean


@dataclass(frozen=True, kw_only=True)
class PmtParameters:
    """Parameters (paper, sections 5.2 and 5.3). Pixels and step sizes are in [0, 1] units.

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
        ``adam`` uses alpha as its learning rate; ``momentum`` moves every pixel by alpha in the direction of the
        sum of past gradients, each divided by its mean absolute value and weighted by a power of ``momentum`` (Dong et
        al. 2018, "Boosting adversarial attacks with momentum", equations 6 and 7). It needs a third of the iterations:
        ``steps = 33`` and ``step_size = 0.04`` give what 100 steps of .02 give with ``sign``.
        ``early_stop`` ends an image's descent when ``patience`` iterations in a row have not lowered its best loss
        by this share of it; 0 switches it off. A stopped image does not change any more.
    Augmentation T (section 5.3)
        Drawn anew in each iteration and applied to face and obfuscated image alike: ``noise`` adds Gaussian noise of
        standard deviation ``augment_sigma`` (0 is the same as ``none``); ``affine`` rotates by at most
        ``augment_degrees``, shifts by at most ``augment_shift`` of the side and scales by at most
        1 +- ``augment_scale``; ``mix`` is affine followed by noise.
    Features compared (Algorithm 2, lines 4-9)
        ``layers``: ``last`` split, ``all`` splits, or names. ``pool`` > 0 averages larger maps to that many cells per
        side, ``pool_kernel`` > 1 averages windows of that many positions instead; 0 compares the maps as they are.
        ``balance`` weighs several layers: ``mean`` is the mean of their mean squared differences, ``concat`` the
        mean over all values of all layers (Algorithm 2 as written: the largest layer dominates), ``relative``
        divides each layer's difference by the mean square of the face's own features first.
    Kernel W (section 5.3)
        ``linear`` or ``gaussian`` with side 2 * ``kernel_length`` + 1, convolved with the gradient after it is
        normalised and before its sign is taken.
    """

    init: Literal["noise", "blur", "sort"] = "noise"
    init_std: Annotated[float, Interval(ge=0, le=1)] = 1.0
    init_blur: Annotated[float, Interval(gt=0, le=64)] = 4.0
    init_block: Annotated[int, Ge(1)] = 8
    steps: Annotated[int, Interval(ge=1, le=10_000)] = 100
    step_size: Annotated[float, Interval(gt=0, le=1)] = 0.02
    decay: Literal["none", "linear", "cosine", "step"] = "linear"
    early_stop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Ge(1)] = 10
    update: Literal["sign", "l1", "adam", "momentum"] = "sign"
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.5
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
        """Check what spans several fields. Raises ValueError."""
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
        """Whether the augmentation T(.) adds noise."""
        return self.augment in ("noise", "mix") and self.augment_sigma > 0

    @property
    def moves(self) -> bool:
        """Whether the augmentation T(.) moves pixels."""
        return self.augment in ("affine", "mix")

    def splits(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the splits that are compared, from shallow to deep. Raises ValueError if the model lacks one."""
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
        """Return the weight of each authorised model in the loss; the weights sum to 1."""
        return (1 / models,) * models
