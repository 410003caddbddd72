"""Classic ways to hide a face: covering its parts, moving its pixels, dropping grey levels or DCT coefficients.

They need no network and have no secret, and each is known to be weak: recognisers get along with what a cover leaves,
and what was only moved or made coarser can be learnt or computed back. Todt, Hanisch and Strufe, "Fantômas:
understanding face anonymization reversibility" (2022, arXiv 2210.10651), measure this for many of them.

This module holds the declarations and imports no torch. The pixels are in `covers`, `relocation` and `coefficients`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval

from bench import Defense, Protected, hookimpl
from bench_masking.template import EYES, FACE, Point

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["BlackBox", "EyeMask", "P3Public", "PixelRelocation", "Quantisation", "bench_defenses"]

_NO_SECRET = "nobody: it knows no model and has no secret"


class _Hiding(Defense):
    """What these defenses have in common: they hide who it is, and protect either side of a pair."""

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})
    trusts = _NO_SECRET


class _Cover(_Hiding):
    """A black rectangle over some landmarks of the aligned face."""

    points: ClassVar[Sequence[Point]]
    margin: float

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Cover float ``(n, 3, h, w)`` RGB in [0, 1]; each image in the same place."""
        from bench_masking.covers import covered

        return Protected(images=covered(images, self.points, self.margin))


@dataclass(frozen=True, kw_only=True)
class EyeMask(_Cover):
    """Draws a black bar over both eyes.

    The bar reaches ``margin`` distances between the eyes beyond them on every side. The places are those of the
    five-point template for aligned faces, so that pictures must be aligned. Source: the bar of newspapers; Newton,
    Sweeney and Malin, "Preserving privacy by de-identifying face images" (IEEE TKDE, 2005), show that recognisers are
    hardly hindered by it. The width is our choice: with 0.4 the bar covers the brows, too.
    """

    points = EYES
    promise = "that nobody recognises the person without seeing the eyes"
    not_promised = "that the rest of the face tells nobody apart"

    margin: Annotated[float, Interval(ge=0, le=5)] = 0.4


@dataclass(frozen=True, kw_only=True)
class BlackBox(_Cover):
    """Draws a black box over the whole face.

    The box reaches ``margin`` distances between the eyes beyond eyes, nose and corners of the mouth on every side. The
    places are those of the five-point template for aligned faces. Source: the blacked-out faces of Newton, Sweeney and
    Malin (IEEE TKDE, 2005), who cover the whole face. The default, 0.75, is our choice: it leaves ears, hair and
    background.
    """

    points = FACE
    promise = "that nobody recognises the person from hair, ears and background"
    not_promised = "that what lies around the face tells nobody apart; any use of the face"

    margin: Annotated[float, Interval(ge=0, le=5)] = 0.75


@dataclass(frozen=True, kw_only=True)
class PixelRelocation(_Hiding):
    """Moves each pixel ``steps`` places along a spiral from the border of the picture to its centre.

    The last pixels of the spiral come to its beginning. No colour is changed, and whoever knows ``steps`` moves the
    pixels back. Source: Cichowski and Czyzewski, "Reversible video stream anonymization for video surveillance systems
    based on pixels relocation and watermarking" (ICCV Workshops, 2011). They hide the way back in a watermark, which
    is left out, and give no default; 100 turns the outermost ring of a picture of 112 x 112 by about a quarter.
    """

    promise = "that nobody recognises the person in a picture whose pixels are not where they belong"
    trusts = "everybody who knows the number of steps: it is the same for all people"
    not_promised = "that the few possible numbers of steps are not tried one by one; that the order cannot be learnt"

    steps: Annotated[int, Interval(ge=0, lt=2**31)] = 100

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Move the pixels of images ``(n, 3, h, w)``; each image in the same way."""
        from bench_masking.relocation import relocated

        return Protected(images=relocated(images, self.steps))


@dataclass(frozen=True, kw_only=True)
class Quantisation(_Hiding):
    """Keeps ``levels`` values of each colour channel, from black to white in equal steps; or of grey.

    With ``grey``, all channels get the brightness (ITU-R BT.601). Source: the posterisation of image editors; no paper
    proposes it as a protection, and it is here as the simplest loss of colour.
    """

    promise = "that nobody recognises the person in a picture of a few colours"
    not_promised = "that the shapes, which stay, tell nobody apart"

    levels: Annotated[int, Interval(ge=2, le=256)] = 4
    grey: bool = False

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Quantise float ``(n, 3, h, w)`` RGB in [0, 1]; each image by itself."""
        from bench_masking.coefficients import brightness

        values = brightness(images).expand_as(images) if self.grey else images
        return Protected(images=(values * (self.levels - 1)).round() / (self.levels - 1))


@dataclass(frozen=True, kw_only=True)
class P3Public(_Hiding):
    """Sends the public part of a photo that P3 splits into a public and a secret part.

    The picture is coded as by JPEG: brightness and two colours, blocks of 8 x 8 pixels, cosine transform, quantisation
    with the tables of Annex K of the standard for ``quality``. The public part has no mean values (DC); a coefficient
    whose size is above ``threshold``, in quantisation steps, is replaced by the threshold without its sign. The secret
    part, which has what is missing, goes to friends and is never uploaded. Source: Ra, Govindan and Ortega, "P3: Toward
    privacy-preserving photo sharing" (NSDI 2013, arXiv 1302.5062), who find thresholds of 15 to 20 a good
    compromise. They take the photo's own tables; 90 is our choice for a good camera.
    """

    promise = "that neither people nor programs recognise the person in the public part"
    trusts = "those who hold the secret part: with it, they see the photo"
    not_promised = "that the small coefficients, which are the edges of the picture, tell nobody apart"

    threshold: Annotated[int, Interval(ge=1, le=2048)] = 15
    quality: Annotated[int, Interval(ge=1, le=100)] = 90

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the public part of float ``(n, 3, h, w)`` RGB in [0, 1]; of each image by itself."""
        from bench_masking.coefficients import public_part

        return Protected(images=public_part(images, self.threshold, self.quality))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``eye-mask``, ``black-box``, ``pixel-relocation``, ``quantisation`` and ``p3-public``."""
    return {
        "eye-mask": EyeMask,
        "black-box": BlackBox,
        "pixel-relocation": PixelRelocation,
        "quantisation": Quantisation,
        "p3-public": P3Public,
    }
