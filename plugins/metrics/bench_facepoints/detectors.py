"""What finds the landmarks in images: the built-in network, or MTCNN."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bench_facesets.alignment.detect import Detector, MtcnnDetector, subject_of

from bench_facepoints.network import INPUT_SIZE, POINTS, loaded


def by_network(images: torch.Tensor, weights: Path) -> torch.Tensor:
    """Return the landmarks ``(n, 5, 2)`` that the built-in network finds, as shares of width and height; NaN for images
    without a face. Images of another size are resized."""
    if images.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
        images = F.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True).clamp(0, 1)
    with torch.no_grad():
        points, logits = loaded(weights, str(images.device))(images.float())
    return torch.where(logits[:, None, None] > 0, (points + 0.5) / INPUT_SIZE, torch.nan)


def by_mtcnn(images: torch.Tensor) -> torch.Tensor:
    """Return the landmarks ``(n, 5, 2)`` that MTCNN finds, as shares of width and height; NaN for images without a
    face, or with several of which none stands out."""
    return by_detector(images, _mtcnn())


def by_detector(images: torch.Tensor, detector: Detector) -> torch.Tensor:
    """Do the same as `by_mtcnn`, with a detector."""
    h, w = images.shape[-2:]
    found = np.full((len(images), len(POINTS), 2), np.nan)
    pixels = images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for row, image in enumerate(pixels):
        face = subject_of(detector.detect(image), (h, w))
        if face is not None:
            found[row] = (face.landmarks + 0.5) / (w, h)
    return torch.from_numpy(found).to(images.device).float()


@functools.cache
def _mtcnn() -> Detector:
    return MtcnnDetector()
