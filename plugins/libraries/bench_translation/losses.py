"""How far made pictures are from others: in pixels, and in the features and the embedding of a recognition network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench_translation.public_networks import public_network

if TYPE_CHECKING:
    from bench import Context, Model

_PIXELS = 20.0  # The weight of the mean squared error of pixels, which is about .01 to .05 for a face unlike the own.
_FEATURES = 0.5
_EMBEDDING = 1.0
_TINY = 1e-12

# Returns feature maps of images, which are compared relative to their size, and embeddings, compared by their cosine.
Seen = Callable[[Tensor], tuple[Sequence[Tensor], Sequence[Tensor]]]


class PictureLoss:
    """The distance of made pictures from the wanted ones, per picture.

    The mean squared error of pixels; with ``seen`` also that of features, each relative to the mean square of the
    wanted ones (perceptual loss: Johnson et al. 2016), and 1 - cosine of embeddings.
    """

    def __init__(self, seen: Seen | None = None) -> None:
        self.seen = seen

    @classmethod
    def of_network(cls, name: str, ctx: Context) -> PictureLoss:
        """Return the loss with the public network of this name; ``none``: with pixels only."""
        model = public_network(name)
        return cls(None if model is None else _by(model, ctx))

    def __call__(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Return the distance ``(n,)`` of pictures ``(n, 3, h, w)`` from pictures in [0, 1]."""
        loss = _PIXELS * _mean_square(made - wanted)
        if self.seen is None:
            return loss
        maps, embeddings = self.seen(made)
        with torch.no_grad():
            wanted_maps, wanted_embeddings = self.seen(wanted)
        for a, b in zip(maps, wanted_maps, strict=True):
            loss = loss + _FEATURES / len(maps) * _mean_square(a - b) / (_mean_square(b) + _TINY)
        for a, b in zip(embeddings, wanted_embeddings, strict=True):
            loss = loss + _EMBEDDING * (1 - F.cosine_similarity(a, b))
        return loss


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1)


def _by(model: Model, ctx: Context) -> Seen:
    """Return what a model sees of pictures, which are resized to the size that it takes."""
    network: Any = model.load()
    network.to(ctx.device).eval().requires_grad_(False)
    splits, size = tuple(model.splits), tuple(model.input_size)

    def seen(images: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        if not splits:
            return (), (network(images),)
        maps = network.features(images, splits)
        return maps, (network.from_features(maps[-1], splits[-1]),)

    return seen
