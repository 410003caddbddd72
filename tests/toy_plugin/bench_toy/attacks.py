"""Toy attacks that obey the contract, one of every kind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from bench import Attack, DataError, Received, Reconstructed

if TYPE_CHECKING:
    import torch

    from bench import Context, Examples, Sees

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class ToyRecognise(Attack):
    """Feeds the received images to the evaluated model."""

    outputs = "recognition"
    threat = "sees the images"


@dataclass(frozen=True, kw_only=True)
class ToyUpsample(Attack):
    """Shows the shallowest available feature map, enlarged, as a grey image; learns nothing."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"features"})
    threat = "sees the features"

    gain: float = 1.0

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Return the shallowest available split."""
        return available[:1]

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return the mean over the channels as an image, and its standard deviation as an extra."""
        import torch

        ((_, maps),) = received.features.items()
        grey = torch.sigmoid(self.gain * maps.mean(1, keepdim=True))
        images = torch.nn.functional.interpolate(grey, size=ctx.image_size).expand(-1, 3, -1, -1)
        return Reconstructed(images=images, extra={"spread": grey.flatten(1).std(dim=1)})


@dataclass(frozen=True, kw_only=True)
class ToyLearner(Attack):
    """Learns the mean of the training images and the mean of their uploads."""

    learns: Literal["clean", "defense", "evaluated"] = "clean"
    look: Literal["features", "images"] = "features"

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features with their images, or images alone."""
        return frozenset({"features", "pairs"}) if self.look == "features" else frozenset({"images"})

    @property
    def trains_on(self) -> Literal["clean", "defense", "evaluated"]:  # type: ignore[override]
        """The parameter ``learns``."""
        return self.learns

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        return f"learns from {self.learns} uploads"

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Return all available splits."""
        return available

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the mean image ``(3, h, w)`` and the mean of all received images and features."""
        import numpy as np
        import torch

        rows = np.arange(len(examples.images))
        mean = torch.from_numpy(examples.images).to(ctx.device).float().mean(0) / 255
        received = examples.received(rows)
        state = {"mean": mean, "subjects": torch.tensor(len(set(examples.subjects.tolist())))}
        if received.images is not None:
            state["images"] = received.images.mean(0)
        ctx.progress(1, 2)
        return {**state, **{f"at {split}": maps.mean(0) for split, maps in received.features.items()}}

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return the mean image, slightly brighter for brighter uploads."""
        import torch

        seen = received.images if self.look == "images" else next(iter(received.features.values()))
        assert seen is not None
        bright = torch.sigmoid(seen.flatten(1).mean(1)).reshape(-1, 1, 1, 1)
        return Reconstructed(images=(0.9 * ctx.state["mean"] + 0.1 * bright).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class ToyDenoise(Attack):
    """Averages every pixel of the received image with its neighbours."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"images"})
    threat = "sees the images and smooths them"

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return means over windows of 3x3 pixels."""
        from torch.nn.functional import avg_pool2d

        assert received.images is not None
        return Reconstructed(images=avg_pool2d(received.images, 3, 1, 1, count_include_pad=False))


@dataclass(frozen=True, kw_only=True)
class ToyDescent(Attack):
    """Searches with the gradients of the shallow model for an image that has the received features."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"features", "shallow_weights"})
    threat = "sees the features and holds the shallow model"

    steps: Annotated[int, Ge(1)] = 4
    rate: float = 0.05

    def passes(self) -> float:
        """Return 3 per step: a forward and a backward pass."""
        return 3.0 * self.steps

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Return the deepest available split."""
        return available[-1:]

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return the result of signed gradient steps from noise, with the first and the last loss as extras."""
        import torch

        ((split, wanted),) = received.features.items()
        shallow = ctx.shallow(ctx.authorised[0])
        x = ctx.rand(torch.empty(len(wanted), 3, *ctx.image_size, device=ctx.device))
        losses = []
        for step in range(self.steps):
            x = x.detach().requires_grad_()
            (found,) = shallow.features(x, [split])
            loss = (found - wanted).square().mean((1, 2, 3))
            losses.append(loss.detach())
            (gradient,) = torch.autograd.grad(loss.sum(), [x])
            x = (x - self.rate * gradient.sign()).clamp(0, 1)
            ctx.progress(step + 1, self.steps)
        return Reconstructed(images=x.detach(), extra={"loss_start": losses[0], "loss_end": losses[-1]})


@dataclass(frozen=True, kw_only=True)
class ToyAttributes(Attack):
    """Estimates the strongest colour, as a vector over three classes, and the brightness as an age."""

    outputs = "attributes"
    threat = "looks at the colours"

    sharpness: float = 10.0

    def fingerprint(self) -> str:
        """Return a digest of imaginary weights, which ``TOY_EYES`` names. Raises DataError if it is ``missing``."""
        eyes = os.environ.get("TOY_EYES", "brown")
        if eyes == "missing":
            raise DataError("toy-eyes.bin: the toy eyes are missing; unset TOY_EYES")
        return hashlib.sha256(eyes.encode()).hexdigest()

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the colours."""
        return {"colour": COLOURS}

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return ``colour (n, 3)`` and ``age (n,)``."""
        means = images.mean((2, 3))
        return {"colour": (self.sharpness * means).softmax(1), "age": 100 * means.mean(1)}


ATTACKS: Mapping[str, type[Attack]] = {
    "toy-recognise": ToyRecognise,
    "toy-upsample": ToyUpsample,
    "toy-learner": ToyLearner,
    "toy-denoise": ToyDenoise,
    "toy-descent": ToyDescent,
    "toy-attributes": ToyAttributes,
}
