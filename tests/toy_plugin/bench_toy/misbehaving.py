"""Defenses that break their contract, each in one way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench import Defense, Faces, Protected

if TYPE_CHECKING:
    import torch

    from bench.contracts import Context
    from bench.hookspecs import Need

How = Literal[
    "raises", "hangs", "exits", "leaves", "segfaults", "nan", "shape", "range", "mutates", "integers", "nothing",
    "a-tensor", "numpy", "extra-shape", "extra-nan", "asks-shallow", "asks-network", "asks-subjects",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ToyMisbehave(Defense):
    """Misbehaves in ``protect``."""

    how: How = "raises"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Do it."""
        act = getattr(self, "_" + self.how.replace("-", "_"))
        result: Protected = act(images, ctx)
        return result

    def _raises(self, images: Any, ctx: Any) -> Any:
        raise RuntimeError("the toy broke [/red] {in} a <strange> way")

    def _hangs(self, images: Any, ctx: Any) -> Any:
        while True:
            time.sleep(60)

    def _exits(self, images: Any, ctx: Any) -> Any:
        os._exit(7)

    def _leaves(self, images: Any, ctx: Any) -> Any:
        sys.exit("the toy called sys.exit")

    def _segfaults(self, images: Any, ctx: Any) -> Any:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)

    def _nan(self, images: Any, ctx: Any) -> Any:
        out = images.clone()
        out[0, 0, 0, 0] = float("nan")
        return Protected(images=out)

    def _shape(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images[..., 1:])

    def _range(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images * 255)

    def _mutates(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.mul_(0.5))

    def _integers(self, images: Any, ctx: Any) -> Any:
        return Protected(images=(images * 255).byte())

    def _nothing(self, images: Any, ctx: Any) -> Any:
        return Protected()

    def _a_tensor(self, images: Any, ctx: Any) -> Any:
        return images.clone()

    def _numpy(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.numpy().copy())

    def _extra_shape(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"loss": images.mean()})

    def _extra_nan(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"loss": images.mean((1, 2, 3)) * float("nan")})

    def _asks_shallow(self, images: Any, ctx: Any) -> Any:
        return ctx.shallow("toy-a").features(images, ["stem"])

    def _asks_network(self, images: Any, ctx: Any) -> Any:
        return ctx.network("toy-a")(images)

    def _asks_subjects(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"who": ctx.subjects})


@dataclass(frozen=True, kw_only=True)
class ToyForger(Defense):
    """Sends the face as it is and claims, under the names of measured columns, that nothing is left of it."""

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """The extras lie."""
        lie = images.mean((1, 2, 3)) * 0
        return Protected(images=images.clone(), extra={"ssim": lie, "psnr": lie})


@dataclass(frozen=True, kw_only=True)
class ToyVandal(Defense):
    """Was lent the whole model for its gradients, and zeroes its weights."""

    needs: ClassVar[frozenset[Need]] = frozenset({"full_gradients"})

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """The images are untouched; the network is not."""
        network: Any = ctx.network(ctx.authorised[0])
        for parameter in network.parameters():
            parameter.data.zero_().add_(1)
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class ToyBadFit(Defense):
    """Returns from ``fit`` what is no tensor."""

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})

    def fit(self, faces: Faces, ctx: Context) -> Any:
        """A number in the place of a tensor."""
        return {"mean": 3}

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Never called: fit() is refused."""
        raise AssertionError("a defense that could not be fitted was called")


MISBEHAVING: Mapping[str, type[Defense]] = {
    "toy-misbehave": ToyMisbehave,
    "toy-forger": ToyForger,
    "toy-vandal": ToyVandal,
    "toy-bad-fit": ToyBadFit,
}
