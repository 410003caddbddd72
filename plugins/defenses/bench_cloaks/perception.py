"""What people see of a change: the structural dissimilarity of pictures, with gradients; and a Gaussian blur."""

from __future__ import annotations

import torch
from torch import Tensor

from bench import ContractError

_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004, as `bench.metrics.ssim`
_C1, _C2 = 0.01**2, 0.03**2
_HALVINGS = 12  # of the interval in which the largest change within a budget is looked for


def _profile(size: int, sigma: float, like: Tensor) -> Tensor:
    """Return a Gaussian ``(size,)`` with sum 1."""
    at = torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
    found = torch.exp(-at.square() / (2 * sigma**2))
    return found / found.sum()


def _windows(side: int, like: Tensor) -> Tensor:
    """Return the matrix ``(side - 10, side)`` that averages a line of pixels over all windows inside of it."""
    if side < _WINDOW:
        raise ContractError(f"expected pictures of at least {_WINDOW}x{_WINDOW} pixels, found a side of {side}")
    profile = _profile(_WINDOW, _SIGMA, like)
    rows = torch.zeros(side - _WINDOW + 1, side, device=like.device, dtype=like.dtype)
    for row in range(len(rows)):
        rows[row, row : row + _WINDOW] = profile
    return rows


def dssim(a: Tensor, b: Tensor) -> Tensor:
    """Return (1 - SSIM) / 2 for each pair of pictures: two ``(n, c, h, w)`` in [0, 1] to ``(n,)``, 0 for equal ones.

    SSIM is that of `bench.metrics.ssim`: Wang et al. 2004, Equation 13, Gaussian window of 11 x 11 with a standard
    deviation of 1.5, the mean over channels and over all windows inside the picture.
    """
    rows, columns = _windows(a.shape[2], a), _windows(a.shape[3], a)

    def averages(maps: Tensor) -> Tensor:
        return rows @ maps @ columns.T

    mean_a = averages(a)
    mean_b, squared, product = averages(torch.stack([b, a * a + b * b, a * b])).unbind()
    both, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    similar = (2 * both + _C1) * (2 * (product - both) + _C2)
    similar = similar / ((squares + _C1) * (squared - squares + _C2))
    return (1 - similar.mean(dim=(1, 2, 3))) / 2


def within(images: Tensor, changed: Tensor, budget: float) -> Tensor:
    """Return 8-bit pictures ``(n, c, h, w)`` in [0, 1] between ``images`` and ``changed``, as near to the latter as a
    DSSIM of at most ``budget`` allows. ``images`` are 8-bit pictures as well."""
    least, most = torch.zeros(2, len(images), 1, 1, 1, device=images.device).unbind()
    most = most + 1
    kept = images
    for step in range(_HALVINGS + 1):
        share = most if step == 0 else (least + most) / 2  # Most often the whole change fits.
        tried = ((images + share * (changed - images)) * 255).round() / 255
        fits = (dssim(images, tried) <= budget)[:, None, None, None]
        least, most = torch.where(fits, share, least), torch.where(fits, most, share)
        kept = torch.where(fits, tried, kept)
    return kept


def blurred(images: Tensor, size: int, sigma: float) -> Tensor:
    """Convolve pictures ``(n, c, h, w)`` with a Gaussian of ``size`` x ``size`` pixels, mirrored at the edges."""
    profile, c = _profile(size, sigma, images), images.shape[1]
    line = profile.expand(c, 1, size)
    padded = torch.nn.functional.pad(images, [size // 2] * 4, mode="reflect")
    down = torch.nn.functional.conv2d(padded, line[..., None], groups=c)
    return torch.nn.functional.conv2d(down, line[..., None, :], groups=c)
