"""How far made pictures are from faces: in pixels, and in the features and the embedding of a recognition network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import ContractError, Network, did_you_mean, registered

_PIXELS = 20.0  # The weight of the mean squared error of pixels, which is about .01 to .05 for a face unlike the own.
_FEATURES = 0.5
_EMBEDDING = 1.0
_TINY = 1e-12


def public_network(name: str) -> Any:
    """Return the installed model with this name, with its default parameters. Raise ValueError if there is none."""
    models = registered("model")
    if name not in models:
        raise ValueError(f"network: no model {name!r} is installed; {did_you_mean(name, models)}, or 'none'")
    try:
        return models[name]()
    except TypeError as error:
        raise ValueError(f"network: the model {name!r} has parameters without defaults: {error}") from None


def loaded(name: str, ctx: Any) -> tuple[Network, tuple[str, ...], tuple[int, int]]:
    """Return a public network on the device of the context, frozen, with its splits and the size of its inputs."""
    model = public_network(name)
    network = model.load()
    network.to(ctx.device).eval().requires_grad_(False)
    return network, tuple(model.splits), tuple(model.input_size)


class FaceLoss:
    """The distance of made pictures from faces, per picture.

    The mean squared error of pixels; with a network also the distance of its features, each relative to that of the
    face (perceptual loss: Johnson et al. 2016), and 1 - cosine of its embeddings. Pictures of another size than the
    network takes are resized for it.
    """

    def __init__(self, network: Network | None, splits: Sequence[str] = (), size: tuple[int, int] = (0, 0)) -> None:
        self.network, self.splits, self.size = network, tuple(splits), size

    @classmethod
    def of(cls, name: str, ctx: Any) -> FaceLoss:
        """Return the loss with the public network of this name; ``none``: with pixels only."""
        return cls(None) if name == "none" else cls(*loaded(name, ctx))

    def __call__(self, made: Tensor, faces: Tensor) -> Tensor:
        """Return the distance ``(n,)`` of pictures ``(n, 3, h, w)`` from faces in [0, 1]."""
        loss = _PIXELS * (made - faces).square().mean((1, 2, 3))
        if self.network is None:
            return loss
        found = self._seen(made)
        with torch.no_grad():
            wanted = self._seen(faces)
        for a, b in zip(found[:-1], wanted[:-1], strict=True):
            apart, size = (a - b).square().mean((1, 2, 3)), b.square().mean((1, 2, 3))
            loss = loss + _FEATURES / len(self.splits) * apart / (size + _TINY)
        return loss + _EMBEDDING * (1 - F.cosine_similarity(found[-1], wanted[-1]))

    def _seen(self, images: Tensor) -> list[Tensor]:
        """Return the features at the splits, and the embeddings."""
        assert self.network is not None
        if images.shape[2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        if not self.splits:
            return [self.network(images)]
        maps = self.network.features(images, self.splits)
        return [*maps, self.network.from_features(maps[-1], self.splits[-1])]


def image_batch(images: Tensor | None, who: str) -> Tensor:
    """Return received images. Raise `ContractError` if there are none or if they are not finite."""
    if images is None:
        raise ContractError(f"{who}: decodes images, and received none; upload images, or use an attack on features")
    if not torch.isfinite(images).all():
        raise ContractError(f"{who}: the received images hold values that are NaN or infinite")
    return images
