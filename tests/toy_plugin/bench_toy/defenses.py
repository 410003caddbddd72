"""Toy defenses that obey the contract."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval

from bench import Defense, Faces, Protected

if TYPE_CHECKING:
    import torch

    from bench import Context, Need


@dataclass(frozen=True, kw_only=True)
class ToyMean(Defense):
    """Blends every face with the mean of the training faces."""

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})

    weight: Annotated[float, Interval(ge=0, le=1)] = 0.5

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the mean face ``(3, h, w)``."""
        import numpy as np
        import torch

        return {"mean": torch.from_numpy(np.array(faces.images)).float().mean(0) / 255}

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the mixture, with the mean change of each image as an extra."""
        mixed = (1 - self.weight) * images + self.weight * ctx.state["mean"]
        return Protected(images=mixed, extra={"moved": (mixed - images).abs().mean((1, 2, 3))})


@dataclass(frozen=True, kw_only=True)
class ToyStep(Defense):
    """One signed gradient step from noise towards the features of the face in the first authorised model."""

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow"})

    split: str = "block"
    rate: float = 0.2

    def passes(self) -> float:
        """Return 4: a forward pass for the face, a forward and a backward pass for the step."""
        return 4.0

    def splits(self, available: Sequence[str]) -> Sequence[str]:
        """Return the split of the parameter ``split``. Raises ValueError if the model lacks it."""
        if self.split not in available:
            raise ValueError(f"no split point {self.split!r} among {', '.join(available)}")
        return [self.split]

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return grey plus noise, moved towards the features of the face."""
        import torch

        x = (0.5 + 0.1 * ctx.randn(images)).clamp(0, 1).requires_grad_()
        loss = torch.zeros(())
        for label in ctx.authorised:
            shallow = ctx.shallow(label)
            (wanted,) = shallow.features(images, [self.split])
            (found,) = shallow.features(x, [self.split])
            loss = loss + (found - wanted.detach()).square().sum((1, 2, 3)).sum()
        (gradient,) = torch.autograd.grad(loss, [x])
        return Protected(images=(x - self.rate * gradient.sign()).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class ToyGate(Defense):
    """Sends the face unchanged, but only when the file that ``TOY_GATE`` names exists. So a test can stop a run here.

    The variable is not part of any key, so the same suite runs through without it.
    """

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Create the file ``<gate>.reached``, wait for the gate file, and return a copy of the images."""
        if gate := os.environ.get("TOY_GATE"):
            Path(f"{gate}.reached").touch()
            while not Path(gate).exists():
                time.sleep(0.02)
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class ToyFlaky(Defense):
    """Fails until the variable ``TOY_MENDED`` is set, which is not part of any key."""

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return a copy of the images, or raise RuntimeError."""
        if not os.environ.get("TOY_MENDED"):
            raise RuntimeError("not mended yet")
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class ToySingle(ToyStep):
    """Protects for one model at a time."""

    max_authorised: ClassVar[int | None] = 1


@dataclass(frozen=True, kw_only=True)
class ToyTargets(Defense):
    """Needs targets, and further pictures of people, which the toy data set does not have."""

    needs: ClassVar[frozenset[Need]] = frozenset({"targets", "enrolment"})

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Raise AssertionError: the host must not call it."""
        raise AssertionError("a defense whose needs are not met was called")


@dataclass(frozen=True, kw_only=True)
class ToyFeatures(Defense):
    """Sends only features of the face, with a little noise."""

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow"})
    sends = frozenset({"feature"})

    sigma: float = 0.01

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the noisy maps at ``ctx.uploaded``."""
        import torch

        with torch.no_grad():
            maps = ctx.shallow(ctx.authorised[0]).features(images, ctx.uploaded)
        noisy = [m + self.sigma * ctx.randn(m) for m in maps]
        return Protected(features=dict(zip(ctx.uploaded, noisy, strict=True)))


@dataclass(frozen=True, kw_only=True)
class ToyBoth(ToyFeatures):
    """Sends a grey image or the features of the face, so that a test can see which of them was uploaded."""

    sends = frozenset({"image", "feature"})

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return grey images and the maps at ``ctx.uploaded``."""
        import torch

        return Protected(images=torch.full_like(images, 0.5), features=super().protect(images, ctx).features)


DEFENSES: Mapping[str, type[Defense]] = {
    "toy-mean": ToyMean,
    "toy-step": ToyStep,
    "toy-gate": ToyGate,
    "toy-flaky": ToyFlaky,
    "toy-single": ToySingle,
    "toy-targets": ToyTargets,
    "toy-features": ToyFeatures,
    "toy-both": ToyBoth,
}
