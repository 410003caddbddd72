"""What is tried on an aligned face before it is recognised: simple preprocessings that anybody applies who wants to
recognise.

They need no knowledge of the protection. The list is short and fixed, so that results can be compared, and because with
every further one more strangers match by chance. Adversaries who choose among many, or learn, are attacks of
suites (``bench run standard``).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bench.metrics.arrays import Images

Change = Callable[[Images], Images]
AS_RECEIVED = "as received"


def as_received(images: Images) -> Images:
    """Return the images as they are."""
    return images


def blurred(images: Images) -> Images:
    """Convolve with a Gaussian of standard deviation 1.5 pixels."""
    return _rounded(ndimage.gaussian_filter(images.astype(np.float64), (0, 0, 1.5, 1.5), mode="mirror"))


def median(images: Images) -> Images:
    """Replace each pixel by the median of 3 x 3 pixels."""
    found: Images = ndimage.median_filter(images, size=(1, 1, 3, 3), mode="nearest")
    return found


def jpeg(images: Images) -> Images:
    """Store as JPEG of quality 50, and read again."""

    def stored(image: Image.Image) -> Image.Image:
        held = io.BytesIO()
        image.save(held, "jpeg", quality=50)
        return Image.open(held)

    return _each(images, stored)


def resized(images: Images) -> Images:
    """Average squares of 2 x 2 pixels, and enlarge the result smoothly to the old size."""

    def small_and_back(image: Image.Image) -> Image.Image:
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        return small.resize(image.size, Image.Resampling.BICUBIC)

    return _each(images, small_and_back)


#: By name, in the order in which they are shown. All take and return images uint8 ``(n, 3, h, w)``.
PREPROCESSINGS: Mapping[str, Change] = {
    AS_RECEIVED: as_received,
    "resized to half and back": resized,
    "JPEG of quality 50": jpeg,
    "Gaussian blur of 1.5 px": blurred,
    "median of 3 x 3 px": median,
}


def _rounded(values: NDArray[np.float64]) -> Images:
    found: Images = np.rint(values).clip(0, 255).astype(np.uint8)
    return found


def _each(images: Images, function: Callable[[Image.Image], Image.Image]) -> Images:
    """Apply a function of Pillow images to each image."""
    made = [np.asarray(function(Image.fromarray(image.transpose(1, 2, 0)))) for image in images]
    return np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2)) if made else images
