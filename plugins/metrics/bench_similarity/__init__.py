"""The image metrics of every experiment: SSIM, PSNR and LPIPS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import Metric, MissingDataError, hookimpl

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from bench import Context

__all__ = ["Lpips", "Psnr", "Ssim", "bench_metrics"]


@dataclass(frozen=True, kw_only=True)
class Ssim(Metric):
    """Structural similarity of 8-bit images with a Gaussian window (see `bench.metrics.ssim`)."""

    formula = (
        "mean over channels and windows of (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a² + m_b² + C1)(s_a² + s_b² + C2)); "
        "Gaussian window, sigma 1.5, 11x11, C1 = .01², C2 = .03²"
    )
    source = 'Wang et al. 2004, "Image quality assessment", Equation 13'
    heading = "SSIM"
    range = (-1.0, 1.0)
    better = {"recognition": "lower", "template": "lower", "appearance": "higher", "anonymity": "higher"}

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> NDArray[np.float64]:
        """Return SSIM ``(n,)``, 1 for equal images."""
        from bench.metrics import ssim

        return ssim(_bytes(original), _bytes(other))


@dataclass(frozen=True, kw_only=True)
class Psnr(Metric):
    """Peak signal-to-noise ratio of 8-bit images (see `bench.metrics.psnr`)."""

    formula = "10 log₁₀(255² / mean squared error of channels and pixels)"
    source = "section 6.2 of the paper"
    heading = "PSNR"
    unit = "dB"
    range = (0.0, math.inf)
    infinite = True
    better = {"recognition": "lower", "template": "lower", "appearance": "higher", "anonymity": "higher"}
    digits = 2

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> NDArray[np.float64]:
        """Return PSNR in dB ``(n,)``, infinite for equal images."""
        from bench.metrics import psnr

        return psnr(_bytes(original), _bytes(other))


@dataclass(frozen=True, kw_only=True)
class Lpips(Metric):
    """Perceptual distance of images by VGG-16, whose weights the user provides (see `bench.metrics.lpips`)."""

    formula = "sum over layers of mean_hw sum_c w_c (f_c(a) - f_c(b))², features f of unit length over channels; VGG-16"
    source = 'Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", Equation 1'
    heading = "LPIPS"
    range = (0.0, math.inf)
    better = {"recognition": "higher", "template": "higher", "appearance": "lower", "anonymity": "lower"}
    license = "BSD 2-Clause (package lpips), BSD 3-Clause (VGG-16 of torchvision)"

    def fingerprint(self) -> str:
        """Return the sha256 of the weights of VGG-16."""
        from bench.metrics import find_vgg

        found = find_vgg()
        if found.sha256 is None:
            raise MissingDataError(found.reason)
        return found.sha256

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> NDArray[np.float64]:
        """Return LPIPS ``(n,)``, 0 for equal images."""
        from bench.metrics import load_lpips

        return load_lpips(ctx.device).distance(_bytes(original), _bytes(other))


def _bytes(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return images with multiples of 1/255 as 8-bit images."""
    found: NDArray[Any] = images.mul(255).round().byte().cpu().numpy()
    return found


@hookimpl
def bench_metrics() -> Mapping[str, type[Metric]]:
    """Register the image metrics that every experiment computes."""
    return {"ssim": Ssim, "psnr": Psnr, "lpips": Lpips}
