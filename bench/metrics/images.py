"""Metrics that compare the pixels of two images: SSIM and PSNR."""

from __future__ import annotations

import functools

import numpy as np

from bench.metrics.arrays import Floats, Images, slices

SSIM_VARIANT = "Gaussian window, sigma 1.5, 11x11, valid region; population covariance; RGB mean; data range 1; uint8"

_SIGMA = 1.5
_RADIUS = 5  # 3.5 sigma, rounded: the window of scikit-image and of Wang et al. (11x11)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BLOCK = 16  # windows along an axis that one matrix product filters
_EXACT = 256  # A float32 holds the sum of so many squares of 8-bit numbers exactly.
_TOGETHER = 8  # images whose squares fit into the cache of the processor


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
    if min(h, w) <= 2 * _RADIUS:
        raise ValueError(f"expected images of at least 11x11 pixels, got {h}x{w}")
    return np.array([_ssim(x, y) for x, y in zip(a, b, strict=True)], np.float64)


def _ssim(x: Images, y: Images) -> float:
    """Return the SSIM of two images uint8 ``(c, h, w)``, from means m and variances v of their sum s and difference d.

    With pixels from 0 to 255 it is the mean of ``(m_s^2 - m_d^2 + 2 C1)(v_s - v_d + 2 C2)`` divided by
    ``(m_s^2 + m_d^2 + 2 C1)(v_s + v_d + 2 C2)``. All arrays are changed in place, so that they stay in the cache of the
    processor.
    """
    c, h, w = x.shape
    first, second = (image.transpose(1, 0, 2).reshape(h, c * w).astype(np.int16) for image in (x, y))
    values = np.empty((4, h, c * w))  # s, d, s^2, d^2, with the channels side by side
    values[0], values[1] = first + second, first - second
    np.multiply(values[:2], values[:2], out=values[2:])
    # The columns are filtered, then the lines, whose pixels become the second axis. Copying the transposed array would
    # take longer than multiplying it.
    filtered = _filtered(_filtered(values).reshape(4, -1, w).transpose(0, 2, 1))
    means, variances = filtered[:2], filtered[2:]
    means *= means
    variances -= means
    means[0] += 2 * _C1
    variances[0] += 2 * _C2
    similar, contrast = means[0] - means[1], variances[0] - variances[1]
    means[0] += means[1]
    variances[0] += variances[1]
    similar *= contrast
    means[0] *= variances[0]
    similar /= means[0]
    return float(similar.mean())


def _filtered(values: Floats) -> Floats:
    """Apply the Gaussian window along the second axis wherever it fits: ``(k, h, n)`` to ``(k, h - 10, n)``.

    A matrix product filters a block of windows at a time: a matrix for the whole axis would be zero nearly everywhere.
    """
    k, h, n = values.shape
    found = np.empty((k, h - 2 * _RADIUS, n))
    for part in slices(h - 2 * _RADIUS, _BLOCK):
        rows = slice(part.start, part.stop + 2 * _RADIUS)
        np.matmul(_windows(part.stop - part.start), values[:, rows], out=found[:, part])
    return found


@functools.cache
def _windows(count: int) -> Floats:
    """Return the matrix ``(count, count + 10)`` that filters one axis with ``count`` neighbouring SSIM windows."""
    window = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * _SIGMA**2))
    matrix = np.zeros((count, count + 2 * _RADIUS))
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
    n, size = len(a), int(np.prod(a.shape[1:]))
    padded = -(-size // _EXACT) * _EXACT
    high, low = np.empty((2, _TOGETHER, size), np.uint8)
    difference = np.zeros((_TOGETHER, padded), np.float32)
    error = np.empty(n)
    for part in slices(n, _TOGETHER):
        count = part.stop - part.start
        x, y = a[part].reshape(count, size), b[part].reshape(count, size)
        np.maximum(x, y, out=high[:count])
        np.minimum(x, y, out=low[:count])
        high[:count] -= low[:count]
        difference[:count, :size] = high[:count]
        terms = difference[:count].reshape(count, -1, _EXACT)
        error[part] = np.vecdot(terms, terms).sum(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        value: Floats = 10 * np.log10(255**2 * size / error)
    return value


def _check_images(a: Images, b: Images) -> None:
    for images in (a, b):
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"expected images uint8 (n, c, h, w), got {images.dtype} {images.shape}")
    if a.shape != b.shape:
        raise ValueError(f"expected images of one shape, got {a.shape} and {b.shape}")
