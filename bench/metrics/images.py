"""Metrics that compare the pixels of two images: SSIM and PSNR."""

from __future__ import annotations

import numpy as np

from bench.metrics.arrays import Floats, Images, slices

SSIM_VARIANT = "Gaussian window, sigma 1.5, 11x11, valid region; population covariance; RGB mean; data range 1; uint8"

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5  # 3.5 sigma, rounded: the window of scikit-image and of Wang et al. (11x11)
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def ssim(a: Images, b: Images) -> Floats:
    """Return the structural similarity per image, in [-1, 1] and 1 for equal images; lower is better for a defense.

    Two arrays uint8 ``(n, c, h, w)`` to ``(n,)``. Wang et al. 2004, "Image quality assessment", Equation 13, with a
    Gaussian window of sigma 1.5 (see `SSIM_VARIANT`): the mean over channels and over all windows inside the image of
    ``(2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))``, C1 = .01^2, C2 = .03^2.
    Equals scikit-image's ``structural_similarity(gaussian_weights=True, use_sample_covariance=False,
    channel_axis=..., data_range=1)``. Compare it with the baselines of `bench.metrics.blank_images`.
    Raises ValueError for images smaller than 11x11, other types or unequal shapes.
    """
    _check_images(a, b)
    h, w = a.shape[2:]
    if min(h, w) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"expected images of at least 11x11 pixels, got {h}x{w}")
    rows, columns = _valid_gaussian(h), _valid_gaussian(w).T.copy()

    def blurred(x: Floats) -> Floats:
        return rows @ (x.reshape(-1, w) @ columns).reshape(*x.shape[:-1], -1)

    value = np.empty(len(a))
    for part in slices(len(a), 8):  # Eight images fit into the cache of the processor.
        x, y = a[part] / 255.0, b[part] / 255.0
        mean_x, mean_y = blurred(x), blurred(y)
        of_means, mean_squares = mean_x * mean_y, mean_x**2 + mean_y**2
        covariance, variances = blurred(x * y) - of_means, blurred(x * x + y * y) - mean_squares
        similar = (2 * of_means + _SSIM_C1) * (2 * covariance + _SSIM_C2)
        value[part] = (similar / ((mean_squares + _SSIM_C1) * (variances + _SSIM_C2))).mean(axis=(1, 2, 3))
    return value


def _valid_gaussian(size: int) -> Floats:
    """Return the matrix ``(size - 10, size)`` that filters one axis with the SSIM window, wherever the window fits."""
    window = np.exp(-(np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1) ** 2) / (2 * _SSIM_SIGMA**2))
    matrix = np.zeros((size - 2 * _SSIM_RADIUS, size))
    for i, row in enumerate(matrix):
        row[i : i + len(window)] = window / window.sum()
    return matrix


def psnr(a: Images, b: Images) -> Floats:
    """Return the peak signal-to-noise ratio per image in dB; lower is better for a defense.

    ``10 log10(255^2 / mean((a - b)^2))`` with the mean over channels and pixels of one image (section 6.2): two arrays
    uint8 ``(n, c, h, w)`` to ``(n,)``, from 0 upwards. It is infinite for equal images: store that as null with a flag,
    and never average it. Raises ValueError for other types or unequal shapes.
    """
    _check_images(a, b)
    error = np.empty(len(a))
    for part in slices(len(a)):
        error[part] = ((a[part].astype(np.float64) - b[part]) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        value: Floats = 10 * np.log10(255**2 / error)
    return value


def _check_images(a: Images, b: Images) -> None:
    for images in (a, b):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"expected images uint8 (n, c, h, w), got {images.dtype} {images.shape}")
    if a.shape != b.shape:
        raise ValueError(f"expected images of one shape, got {a.shape} and {b.shape}")
