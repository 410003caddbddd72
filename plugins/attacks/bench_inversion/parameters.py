"""The parameters of the white-box reconstruction. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MultipleOf


@dataclass(frozen=True, kw_only=True)
class InversionParameters:
    """Parameters. Pixels and step sizes are in [0, 1] units.

    Start
        ``start``: ``grey`` is 0.5 everywhere; ``random`` is drawn from N(0.5, 0.25^2) and clamped to [0, 1];
        ``obfuscated`` is the image that the client uploaded, so images must be uploaded; ``decoder`` is what a trained
        network makes of that image (a learnt prior).
    Features matched (Equation 2)
        ``stages``: ``all`` available splits, the ``first`` or ``last`` of them, those that were ``uploaded``, or those
        that the defense works with (``matched``: its method is public), which are all if it works without the model.
        ``through``: ``nothing`` compares the features of the searched image with the received ones; ``defense``
        compares those of a learnt copy of the defense applied to it. The copy is differentiable, and is the expectation
        over the randomness of the defense.
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
    Learning, for the start ``decoder`` and for ``through``
        ``pairs``: the decoder learns from what the ``defense`` makes of auxiliary faces, or from ``clean`` faces that
        it degrades itself. At most ``faces`` auxiliary faces, ``learning_steps`` of AdamW with ``batch_size`` faces
        each and the largest rate ``learning_rate``; ``channels`` of the networks at their finest scale; ``network``:
        the installed recognition model whose features the decoder compares beside pixels, or ``none``.
    """

    start: Literal["grey", "random", "obfuscated", "decoder"] = "grey"
    stages: Literal["all", "first", "last", "uploaded", "matched"] = "all"
    through: Literal["nothing", "defense"] = "nothing"
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
    pairs: Literal["clean", "defense"] = "defense"
    faces: Annotated[int, Ge(2)] = 800
    learning_steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 300
    batch_size: Annotated[int, Interval(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 16
    network: str = "zoo-resnet"
