"""Multi-scale structural similarity, a metric with one value per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from bench import Metric

if TYPE_CHECKING:
    import torch

    from bench import Context

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True, kw_only=True)
class MsSsim(Metric):
    """MS-SSIM over ``scales`` scales, each of which halves the image; the weights of the scales sum to 1."""

    scales: Annotated[int, Interval(ge=1, le=5)] = 4

    formula = "product over scales of contrast times structure, and of luminance at the last, to the weights of scales"
    source = 'Wang et al. 2003, "Multi-scale structural similarity for image quality assessment", Equation 7'
    heading = "MS-SSIM"
    range = (0.0, 1.0)
    better = {"recognition": "lower", "appearance": "higher"}
    license = "none needed"

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> torch.Tensor:
        import torch
        from torch.nn.functional import avg_pool2d

        if min(original.shape[2:]) // 2 ** (self.scales - 1) < 11:
            raise ValueError(f"images of {original.shape[2]}x{original.shape[3]} pixels are too small for its scales")
        weights = [w / sum(WEIGHTS[: self.scales]) for w in WEIGHTS[: self.scales]]
        a, b = original.double(), other.double()
        value = torch.ones(len(a), a.shape[1], dtype=a.dtype, device=a.device)
        for scale, weight in enumerate(weights):
            luminance, structure = _terms(a, b)
            last = scale == self.scales - 1
            term = (luminance * structure if last else structure).mean(dim=(2, 3))
            value = value * term.clamp(min=0) ** weight
            a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
        return value.mean(dim=1)


def _terms(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maps of luminance and of contrast times structure, with a Gaussian window of sigma 1.5."""
    import torch
    from torch.nn.functional import conv2d

    offsets = torch.arange(-5, 6, dtype=a.dtype, device=a.device)
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(a.shape[1], 1, -1, -1)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return conv2d(x, window, groups=x.shape[1])

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)
