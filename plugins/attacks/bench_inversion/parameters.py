"""The parameters of the white-box reconstruction. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval


@dataclass(frozen=True, kw_only=True)
class InversionParameters:
    """Parameters. Pixels and step sizes are in [0, 1] units.

    Start
        ``start``: ``grey`` is 0.5 everywhere; ``random`` is drawn from N(0.5, 0.25^2) and clamped to [0, 1];
        ``obfuscated`` is the image that the client uploaded, so images must be uploaded.
    Features matched (Equation 2)
        ``stages``: ``all`` available splits, the ``first`` or ``last`` of them, or those that were ``uploaded``.
        ``distance``: ``l2`` is the norm of the difference divided by the norm of z, ``mse`` the mean squared
        difference divided by the mean square of z. Both are computed per split and averaged over splits. Relative to
        z, no split dominates because it has more or larger values.
    Smoothness (Equation 3)
        ``tv_weight`` is lambda (1 in the paper) and ``tv_beta`` beta (open in the paper). ``tv_norm``: ``sum`` is the
        sum as printed, ``mean`` divides it by the number of values (37,632 for 112x112 RGB, so the same lambda has
        that much less weight).
    Descent (Equation 4)
        ``steps`` is K and ``step_size`` alpha. ``decay`` multiplies alpha in iteration i of K: ``linear`` by 1 - i/K,
        ``cosine`` by half of 1 + cos(pi i/K), ``step`` by 1, then .3 from K/2 and .1 from 3K/4.
        ``update``: ``sign`` moves every pixel by alpha (the paper's); ``l1`` divides the gradient by its mean
        absolute value per image; ``adam`` uses alpha as its learning rate.
        ``early_stop`` ends an image's descent when ``patience`` iterations in a row have not lowered its best loss
        by this share of it; 0 switches it off.
    """

    start: Literal["grey", "random", "obfuscated"] = "grey"
    stages: Literal["all", "first", "last", "uploaded"] = "all"
    distance: Literal["l2", "mse"] = "l2"
    tv_weight: Annotated[float, Interval(ge=0, le=1e9)] = 1000.0
    tv_beta: Annotated[float, Interval(ge=1, le=4)] = 2.0
    tv_norm: Literal["mean", "sum"] = "mean"
    steps: Annotated[int, Interval(ge=1, le=100_000)] = 100
    step_size: Annotated[float, Interval(gt=0, le=1)] = 0.1
    decay: Literal["none", "linear", "cosine", "step"] = "linear"
    update: Literal["sign", "l1", "adam"] = "adam"
    early_stop: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Ge(1)] = 10
