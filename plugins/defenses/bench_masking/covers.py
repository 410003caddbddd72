"""Black rectangles."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench_masking.template import Point, box


def covered(images: torch.Tensor, points: Sequence[Point], margin: float) -> torch.Tensor:
    """Return images ``(n, c, h, w)`` with a black box around points of the aligned face (see `template.box`)."""
    rows, columns = box(points, margin, *images.shape[-2:])
    result = images.clone()
    result[..., rows, columns] = 0
    return result
