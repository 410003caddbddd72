"""Classical image restoration: filters with fixed strengths, from scikit-image, torchvision and Pillow.

All functions take and return images float ``(n, 3, h, w)`` RGB in [0, 1], and treat each image by itself.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import restoration
from skimage.filters import median
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

from bench_restoration.families import Family

Change = Callable[[Tensor], Tensor]
Channel = NDArray[np.float64]

# scikit-image has no types.
_WIENER: Callable[..., Channel] = restoration.wiener
_LUCY: Callable[..., Channel] = restoration.richardson_lucy
_MEDIAN: Callable[..., Channel] = median

_WIDTHS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # standard deviations of blur, in pixels of the face
_FACTORS = (2, 4, 6, 8, 12, 16)  # by which pictures are made smaller


def unchanged(images: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter with its strength: what it does to uploads, and to the enrolled pictures that they are compared with.

    ``words`` names both. Degrading enrolled pictures as the uploads are degraded, so that both lack the same details,
    is the "parrot recognition" of Newton, Sweeney and Malin, "Preserving privacy by de-identifying face images" (2005).
    """

    words: str
    uploads: Change = unchanged
    enrolled: Change = unchanged


NONE = Filter(words="no filter")


def filters(families: tuple[Family, ...]) -> list[Filter]:
    """Return no filter, and all filters of some families with all strengths, in a fixed order."""
    return [NONE, *(found for family in families for found in _FAMILIES[family]())]


# ---- families --------------------------------------------------------------------------------------------------------


def _blurs() -> Iterator[Filter]:
    for sigma in _WIDTHS:
        yield from _on_either_side(f"Gaussian blur of {sigma:g} px", partial(blurred, sigma=sigma))


def _down_ups() -> Iterator[Filter]:
    for factor in _FACTORS:
        yield from _on_either_side(f"reduction by {factor} and back", partial(down_up, factor=factor))


def _on_either_side(words: str, change: Change) -> Iterator[Filter]:
    yield Filter(words=words, uploads=change)
    yield Filter(words=f"{words} of enrolled pictures", enrolled=change)
    yield Filter(words=f"{words} of uploads and enrolled pictures", uploads=change, enrolled=change)


def _medians() -> Iterator[Filter]:
    for size in (3, 5, 7):
        change = partial(_each_channel, function=partial(_median, size=size))
        yield Filter(words=f"median of {size} x {size} px", uploads=change)


def _jpegs() -> Iterator[Filter]:
    for quality in (5, 10, 25, 50):
        yield Filter(words=f"JPEG of quality {quality}", uploads=partial(jpeg, quality=quality))


def _means() -> Iterator[Filter]:
    for strength in (0.05, 0.1, 0.2, 0.4):
        change = partial(non_local_means, strength=strength)
        yield Filter(words=f"non-local means of strength {strength:g}", uploads=change)


def _wieners() -> Iterator[Filter]:
    for sigma in _WIDTHS[2:]:
        for balance in (1e-3, 1e-2, 1e-1):
            change = partial(wiener, sigma=sigma, balance=balance)
            words = f"Wiener deconvolution of a blur of {sigma:g} px with balance {balance:g}"
            yield Filter(words=words, uploads=change)


def _richardson_lucys() -> Iterator[Filter]:
    for sigma in _WIDTHS[2:-2]:
        for steps in (4, 12):
            change = partial(richardson_lucy, sigma=sigma, steps=steps)
            words = f"Richardson-Lucy deconvolution of a blur of {sigma:g} px in {steps} steps"
            yield Filter(words=words, uploads=change)


_FAMILIES: dict[Family, Callable[[], Iterator[Filter]]] = {
    "blur": _blurs,
    "down-up": _down_ups,
    "median": _medians,
    "jpeg": _jpegs,
    "non-local-means": _means,
    "wiener": _wieners,
    "richardson-lucy": _richardson_lucys,
}


# ---- filters ---------------------------------------------------------------------------------------------------------


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian of standard deviation ``sigma`` in pixels; the picture is mirrored at its edges."""
    radius = min(math.ceil(3 * sigma), *(size - 1 for size in images.shape[-2:]))
    found: Tensor = gaussian_blur(images, [2 * radius + 1] * 2, [sigma] * 2)
    return found.clamp(0, 1)


def down_up(images: Tensor, factor: int) -> Tensor:
    """Average squares of ``factor`` x ``factor`` pixels, and enlarge the result smoothly to the old size."""
    height, width = images.shape[-2:]
    small = interpolate(images, size=(max(height // factor, 1), max(width // factor, 1)), mode="area")
    return interpolate(small, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Store as JPEG of this quality, 1 to 95, and read again."""

    def stored(image: NDArray[np.float64]) -> NDArray[np.float64]:
        held = io.BytesIO()
        Image.fromarray((image * 255).round().astype(np.uint8)).save(held, "jpeg", quality=quality)
        return np.asarray(Image.open(held), np.float64) / 255

    return _each_image(images, stored)


def non_local_means(images: Tensor, strength: float) -> Tensor:
    """Average pixels whose surroundings are alike (Buades, Coll and Morel 2005); ``strength`` is the cut-off ``h``."""

    def denoised(image: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = restoration.denoise_nl_means(
            image, patch_size=5, patch_distance=5, h=strength, fast_mode=True, channel_axis=-1
        )
        return found

    return _each_image(images, denoised)


def wiener(images: Tensor, sigma: float, balance: float) -> Tensor:
    """Undo a Gaussian blur with a Wiener filter; ``balance`` weighs smoothness against the data."""

    def sharper(channel: Channel) -> Channel:
        kernel = _kernel(sigma, channel.shape)
        return _padded(channel, kernel, lambda x: _WIENER(x, kernel, balance, clip=False))

    return _each_channel(images, sharper)


def richardson_lucy(images: Tensor, sigma: float, steps: int) -> Tensor:
    """Undo a Gaussian blur with ``steps`` steps of Richardson (1972) and Lucy (1974)."""

    def sharper(channel: Channel) -> Channel:
        kernel = _kernel(sigma, channel.shape)
        return _padded(channel, kernel, lambda x: _LUCY(x, kernel, steps, filter_epsilon=1e-3))

    return _each_channel(images, sharper)


def _median(channel: Channel, size: int) -> Channel:
    found: Channel = _MEDIAN(channel, np.ones((size, size)), mode="nearest")
    return found


def _kernel(sigma: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a Gaussian kernel ``(2 r + 1, 2 r + 1)`` with sum 1 that is no wider than images of a ``shape`` allow."""
    radius = min(math.ceil(3 * sigma), *(size - 1 for size in shape))
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel: NDArray[np.float64] = np.outer(line, line) / line.sum() ** 2
    return kernel


def _padded(channel: Channel, kernel: NDArray[np.float64], function: Callable[[Channel], Channel]) -> Channel:
    """Apply a function to an image that is mirrored at its edges, so that these edges leave no traces inside."""
    width = len(kernel) - 1
    inside = (slice(width, -width or None),) * 2
    return function(np.pad(channel, width, mode="reflect"))[inside]


def _each_channel(images: Tensor, function: Callable[[Channel], Channel]) -> Tensor:
    return _each_image(images, lambda image: np.stack([function(image[..., i]) for i in range(3)], axis=-1))


def _each_image(images: Tensor, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Tensor:
    """Apply a function to each image as an array ``(h, w, 3)``, and clamp what it returns to [0, 1]."""
    arrays = images.detach().cpu().double().permute(0, 2, 3, 1).numpy()
    made = np.stack([function(np.ascontiguousarray(image)) for image in arrays])
    return torch.from_numpy(np.ascontiguousarray(made.transpose(0, 3, 1, 2))).clamp(0, 1).to(images)
