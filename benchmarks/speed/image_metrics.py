"""SSIM and PSNR: images per second of processor time, next to a loop over scikit-image at equal values"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.metrics.images import psnr, ssim
from speed import Bar, Case, Variant

IMAGES, SIDE = 64, 112
Metric = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]


def cases() -> Iterator[Case]:
    """Yield a case for each metric."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (IMAGES, 3, 14, 14))
    faces = np.kron(coarse, np.ones((1, 1, 8, 8), np.int64))
    noisy = np.clip(faces + rng.normal(0, 40, faces.shape), 0, 255).astype(np.uint8)
    pair = faces.astype(np.uint8), noisy
    yield case("SSIM", pair, ssim, ssim_of_scikit_image)
    yield case("PSNR", pair, psnr, psnr_of_scikit_image)


def case(name: str, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]], ours: Metric, theirs: Metric) -> Case:
    """Return the case of one metric, whose values must be equal."""
    np.testing.assert_allclose(ours(*pair), theirs(*pair), atol=1e-9)

    def variant(metric: Metric) -> Variant:
        return lambda: float(len(metric(*pair)))

    variants = {"bench": variant(ours), "scikit-image": variant(theirs)}
    return Case(f"{name} of {SIDE}x{SIDE}", "images", variants, [Bar("bench", "scikit-image", 5.0)])


def ssim_of_scikit_image(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the SSIM of each pair of images, in the variant of bench."""
    options = {"gaussian_weights": True, "use_sample_covariance": False, "channel_axis": 2, "data_range": 1}
    pairs = zip(a.transpose(0, 2, 3, 1) / 255, b.transpose(0, 2, 3, 1) / 255, strict=True)
    return np.array([structural_similarity(x, y, **options) for x, y in pairs])


def psnr_of_scikit_image(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the PSNR of each pair of images."""
    return np.array([peak_signal_noise_ratio(x, y) for x, y in zip(a, b, strict=True)])
