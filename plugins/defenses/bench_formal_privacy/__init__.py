"""Noise with a formal guarantee: differential privacy of single pictures.

A randomised protection M is (epsilon, delta)-differentially private if for all neighbouring pictures x and x' and every
set S of uploads

    P(M(x) in S) <= exp(epsilon) P(M(x') in S) + delta.

epsilon and delta have no unit. *What neighbours are decides what is promised*: for DP-Pix and DP-Samp two pictures that
differ in at most ``m`` pixels, for DP-Snow in one pixel, for PEEP any two pictures. Two faces differ in nearly all of
about ten thousand pixels, so the first three promise that a detail is hidden, and not who is shown. Each upload spends
the budget anew: for k uploads of one picture, epsilon and delta are multiplied by k.

The guarantees are those of real numbers and secret randomness. This implementation draws floating-point numbers from
seeded streams, so that a benchmark can be repeated; a client that really protects needs a secure source of randomness
and a mechanism that is safe on floating-point numbers (Mironov, "On significance of the least significant bits for
differential privacy", CCS 2012).

This module holds the declarations and imports no torch. The arithmetic is in `mechanisms`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval
from bench_blocks import pixelated
from bench_eigenfaces import Eigenfaces, fitted

from bench import Bound, Defense, Need, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context, Faces

__all__ = ["DpPix", "DpSamp", "DpSnow", "Peep", "bench_defenses"]

_IDEAL = (
    "the same for several uploads; the guarantee itself for floating-point numbers from a seeded stream, as here: it "
    "is that of real numbers and secret randomness (Mironov 2012)"
)


class _FormalPrivacy(Defense):
    """What these defenses have in common: they hide who it is, and protect either side of a pair."""

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})
    trusts = "nobody but the client's own source of randomness"
    not_promised = f"anything about faces that differ in more pixels than the neighbours of the guarantee; {_IDEAL}"


@dataclass(frozen=True, kw_only=True)
class DpPix(_FormalPrivacy):
    """DP-Pix: replaces each square of ``block`` x ``block`` pixels by its mean colour with Laplace noise.

    Neighbours differ in at most ``pixels`` pixels, each of them in any way. The noise on each of the three channels of
    a square with a pixels has the scale ``3 * pixels / (a * epsilon)`` in [0, 1]: m changed pixels of the square move
    the three means by at most 3 m / a together, so that all squares together cost at most epsilon. Colours are clamped
    afterwards.

    Source: Fan, "Image pixelization with differential privacy" (DBSec 2018), for grey pictures, with the scale
    255 m / (b^2 epsilon) in grey levels; the factor 3 is for the channels of a coloured one, all of which a changed
    pixel may change. The defaults, epsilon = 0.5, m = 16 and b = 16, follow her experiments.
    """

    promise = "that an upload hardly depends on any few pixels of the picture"

    epsilon: Annotated[float, Interval(gt=0, le=1e6)] = 0.5
    pixels: Annotated[int, Interval(ge=1, le=10**6)] = 16
    block: Annotated[int, Interval(ge=1, le=1000)] = 16

    def bound(self) -> Bound:
        """Return epsilon, with its neighbours."""
        words = f"{self.epsilon:g}-differentially private for pictures that differ in at most {self.pixels} pixels"
        return Bound(words=words, epsilon=self.epsilon)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect float ``(n, 3, h, w)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_formal_privacy.mechanisms import laplace, square_areas, squares

        areas = square_areas(images, self.block)
        noise = laplace(ctx.rand(images.new_empty(len(images), 3, *areas.shape)))
        scale = 3 * self.pixels / (areas * self.epsilon)
        made = pixelated(images, self.block) + squares(noise * scale, images, self.block)
        return Protected(images=made.clamp(0, 1).to(images.dtype))


@dataclass(frozen=True, kw_only=True)
class DpSamp(_FormalPrivacy):
    """DP-Samp: sends a few random pixels, and colours between them by linear interpolation.

    Neighbours differ in at most ``pixels`` = m of the n pixels. The number x of sent pixels is the largest with
    C(n, x) / C(n - m, x) <= exp(epsilon), where C are binomial coefficients, or 0. All x pixels miss the m that differ
    with probability C(n - m, x) / C(n, x), so that what is sent is (0, delta)-differentially private with
    delta = 1 - exp(-epsilon). It is *not* epsilon-differentially private: a pixel that is sent is sent as it is.

    Source: the sampling of Wang, Xie and Hong, "VideoDP" (PoPETs 2020, arXiv 1909.08729), as Reilly and Fan, "A
    comparative evaluation of differentially private image obfuscation" (TPS-ISA 2021), use it for faces. They sample
    each of k colours by itself, with shares of epsilon; these colours and shares depend on the picture, and no bound
    covers them, so that here all pixels are sampled together. The defaults are those of DP-Pix.
    """

    promise = "that an upload most likely shows none of any few pixels of the picture"

    epsilon: Annotated[float, Interval(gt=0, le=1e6)] = 0.5
    pixels: Annotated[int, Interval(ge=1, le=10**6)] = 16

    @property
    def delta(self) -> float:
        """The probability that a pixel is sent in which two neighbours differ."""
        return -math.expm1(-self.epsilon)

    def bound(self) -> Bound:
        """Return delta, with its neighbours; it has no epsilon in the usual sense."""
        return Bound(
            words=f"(0, {self.delta:.4g})-differentially private for pictures that differ in at most {self.pixels} "
            f"pixels, where {self.delta:.4g} = 1 - exp(-{self.epsilon:g})"
        )

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect float ``(n, 3, h, w)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_formal_privacy.mechanisms import chosen_pixels, interpolated, samples_allowed

        height, width = images.shape[-2:]
        count = samples_allowed(height * width, self.pixels, self.epsilon)
        kept = chosen_pixels(ctx.rand(images.new_empty(len(images), height, width)), count)
        return Protected(images=interpolated(images, kept))


@dataclass(frozen=True, kw_only=True)
class DpSnow(_FormalPrivacy):
    """DP-Snow: makes random pixels grey, and keeps the share ``delta`` of them.

    Neighbours differ in one pixel. Of n pixels, floor(delta * n) are kept, each with the same probability, so that the
    pixel that differs is seen with a probability of at most delta: (0, delta)-differential privacy. For neighbours that
    differ in m pixels, it is at most m * delta.

    Source: John, Liu, Xia, Koppal and Jain, "Let it snow: adding pixel noise to protect the user's identity" (ETRA
    Adjunct 2020), where a share of the pixels of pictures of eyes gets the medium grey 127. They vary the share; 0.1 is
    our choice, because generated faces are matched as before with half of the pixels.
    """

    promise = "that an upload most likely does not show any given pixel of the picture"

    delta: Annotated[float, Interval(ge=0, le=1)] = 0.1

    def bound(self) -> Bound:
        """Return delta, with its neighbours."""
        return Bound(words=f"(0, {self.delta:g})-differentially private for pictures that differ in one pixel")

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect float ``(n, 3, h, w)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_formal_privacy.mechanisms import GREY, chosen_pixels

        height, width = images.shape[-2:]
        count = math.floor(self.delta * height * width + 1e-9)  # A share such as 0.29 of 100 pixels is 28.99... .
        kept = chosen_pixels(ctx.rand(images.new_empty(len(images), height, width)), count)
        return Protected(images=images.where(kept[:, None], images.new_tensor(GREY)))


@dataclass(frozen=True, kw_only=True)
class Peep(_FormalPrivacy):
    """PEEP: describes a face by ``components`` eigenfaces and adds Laplace noise to each coefficient.

    The eigenfaces, and the range of each coefficient, are those of auxiliary people. Each coefficient is clipped to its
    range, scaled to [0, 1], and gets noise of the scale 1 / ``epsilon``; the picture is then made of the noisy
    coefficients and clamped. Neighbours are any two pictures of people from whom nothing was learnt: one coefficient
    differs by at most 1, so that it is epsilon-differentially private, and the whole picture
    (``components`` * ``epsilon``)-differentially private.

    Source: Chamikara, Bertok, Khalil, Liu and Camtepe, "Privacy preserving face recognition utilizing differential
    privacy" (Computers & Security 2020, arXiv 2005.10486), where a server learns to recognise people from such
    coefficients; here they are shown as a picture, which any recogniser can read. The paper counts epsilon for a
    sensitivity of 1, which is that of a single coefficient; the bound that is shown here is that of the picture. The
    defaults are our choice: with a smaller epsilon, little of a face is left in a picture.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})
    promise = "that an upload hardly depends on whose picture it is"
    not_promised = (
        "anything if components * epsilon is large, as it is with the paper's settings; anything for the auxiliary "
        f"people; {_IDEAL}"
    )

    epsilon: Annotated[float, Interval(gt=0, le=1e6)] = 8.0
    components: Annotated[int, Interval(ge=1, le=1000)] = 128

    def bound(self) -> Bound:
        """Return the epsilon of a whole picture."""
        epsilon = self.components * self.epsilon
        words = (
            f"{epsilon:g}-differentially private for any two pictures: {self.components} coefficients with "
            f"{self.epsilon:g} each"
        )
        return Bound(words=words, epsilon=epsilon)

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the eigenfaces of auxiliary people."""
        return fitted(faces, self.components, ctx)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect float ``(n, 3, h, w)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_formal_privacy.mechanisms import laplace

        faces = Eigenfaces.of_state(ctx.state)
        width = faces.high - faces.low
        scaled = (faces.coefficients(images).clamp(faces.low, faces.high) - faces.low) / width
        noisy = scaled + laplace(ctx.rand(scaled)) / self.epsilon
        return Protected(images=faces.images(faces.low + noisy * width, images).to(images.dtype))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``dp-pix``, ``dp-samp``, ``dp-snow`` and ``peep``."""
    return {"dp-pix": DpPix, "dp-samp": DpSamp, "dp-snow": DpSnow, "peep": Peep}
