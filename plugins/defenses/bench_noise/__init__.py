"""Two references for every defense: no protection at all, and plain Gaussian noise on the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Interval

from bench import Defense, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Identity", "Noise", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class Identity(Defense):
    """Sends the face as it is: the paper's rows "Clean" and "Unprotected"."""

    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    control = "leaks"
    promise = "nothing: the reference without protection"
    trusts = "everybody who comes to hold what was uploaded"
    not_promised = "any protection"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return a copy of the images ``(n, 3, h, w)``, so that no later stage can change the faces through it."""
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class Noise(Defense):
    """Adds Gaussian noise of standard deviation ``sigma`` to every pixel of [0, 1] and clamps.

    This is noise on *images*: the paper's ``x + delta`` of Table VIII, of amplitude 0.3 (section 6.5). The "Random
    Noise" of Table VI is noise on *features*, as strong as the change that PMT makes: ``pmt-noise`` of the plugin
    ``pmt``.
    """

    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    promise = "that noise on every pixel hides some of the face from anyone who holds the picture"
    trusts = "nobody: it knows no model"
    not_promised = "that a service still recognises the face; that the noise cannot be taken out again; a formal bound"

    sigma: Annotated[float, Interval(ge=0, le=10)] = 0.3

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Add noise: float ``(n, 3, h, w)`` RGB in [0, 1] to the same; each image draws from its own stream."""
        return Protected(images=(images + self.sigma * ctx.randn(images)).clamp(0, 1))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``identity`` and ``noise``."""
    return {"identity": Identity, "noise": Noise}
