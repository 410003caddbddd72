"""Toy attacks that behave: one of every kind."""

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
    """Shows the shallowest feature map that it can have, enlarged, as a grey image; learns nothing."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"features"})
    threat = "sees the features"

    gain: float = 1.0

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """The shallowest."""
        return available[:1]

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """The mean over the channels; its spread is an extra."""
        import torch

        ((_, maps),) = received.features.items()
        grey = torch.sigmoid(self.gain * maps.mean(1, keepdim=True))
        images = torch.nn.functional.interpolate(grey, size=ctx.image_size).expand(-1, 3, -1, -1)
        return Reconstructed(images=images, extra={"spread": grey.flatten(1).std(dim=1)})


@dataclass(frozen=True, kw_only=True)
class ToyLearner(Attack):
    """Learns the mean of the images it is shown, and what the uploads that go with them look like on average."""

    learns: Literal["clean", "defense", "evaluated"] = "clean"
    look: Literal["features", "images"] = "features"

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features with the images that go with them, or images alone."""
        return frozenset({"features", "pairs"}) if self.look == "features" else frozenset({"images"})

    @property
    def trains_on(self) -> Literal["clean", "defense", "evaluated"]:  # type: ignore[override]
        """What the suite says."""
        return self.learns

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What it knows."""
        return f"learns from {self.learns} uploads"

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """All that it can have."""
        return available

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """The mean image ``(3, h, w)``, and the mean of everything that was received with it."""
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
        """The mean image, a little brighter where the upload is."""
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
        """3x3 means."""
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
        """A forward and a backward for every step."""
        return 3.0 * self.steps

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """The deepest one."""
        return available[-1:]

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Signed gradient steps from noise; the first and the last loss are extras."""
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
    """The strongest colour, as a vector over three classes, and the brightness in place of an age."""

    outputs = "attributes"
    threat = "looks at the colours"

    sharpness: float = 10.0

    def fingerprint(self) -> str:
        """Of the weights that it pretends to have; ``TOY_EYES`` names others, or ``missing`` ones."""
        eyes = os.environ.get("TOY_EYES", "brown")
        if eyes == "missing":
            raise DataError("toy-eyes.bin: the toy eyes are missing; unset TOY_EYES")
        return hashlib.sha256(eyes.encode()).hexdigest()

    def classes(self) -> Mapping[str, Sequence[str]]:
        """The names of the colours."""
        return {"colour": COLOURS}

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """``colour (n, 3)``, ``age (n,)``."""
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
