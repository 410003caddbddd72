"""Evaluation of the built-in network on people that it was not trained on, for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import Faces, LazyImages
from bench_attributes.builtin import probabilities
from bench_attributes.classes import CLASSES
from bench_attributes.network import AttributeNetwork

_BATCH = 128


def estimates(
    network: AttributeNetwork, images: NDArray[np.uint8] | LazyImages, sigma: float = 0.0
) -> dict[str, NDArray[Any]]:
    """Return ages and probabilities of images uint8 ``(n, 3, h, w)``, after Gaussian noise of standard deviation
    ``sigma`` (pixels in [0, 1], clamped)."""
    stream = torch.Generator().manual_seed(0)
    parts: list[dict[str, torch.Tensor]] = []
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH]).float() / 255
        if sigma:
            batch = (batch + sigma * torch.randn(batch.shape, generator=stream)).clamp(0, 1)
        parts.append(probabilities(network, batch))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def measure(network: AttributeNetwork, faces: Faces, sigma: float = 0.0) -> dict[str, Any]:
    """Return the mean absolute error of the age in years and the accuracy of each attribute, with those of the best
    constant answers.

    ``balanced`` is the mean over classes of the accuracy within a class; any constant answer has 1 / classes.
    """
    found = estimates(network, faces.images, sigma)
    ages = np.asarray(faces.attributes["age"], np.float64)
    out: dict[str, Any] = {
        "images": len(ages),
        "people": len(np.unique(faces.subjects)),
        "age": {
            "error_years": float(np.abs(found["age"] - ages).mean()),
            "constant": float(np.abs(np.median(ages) - ages).mean()),
        },
    }
    for name, names in CLASSES.items():
        truth = np.asarray(faces.attributes[name])
        right = np.array(names)[found[name].argmax(1)] == truth
        shares = [right[truth == label] for label in np.unique(truth)]
        out[name] = {
            "accuracy": float(right.mean()),
            "constant": max(len(share) for share in shares) / len(truth),
            "balanced": float(np.mean([share.mean() for share in shares])),
        }
    return out


def summary(measured: Mapping[str, Any]) -> str:
    """Return the result of `measure` in one line."""
    parts = [f"age error {measured['age']['error_years']:.1f} years"]
    parts += [f"{name} {100 * measured[name]['accuracy']:.1f} %" for name in CLASSES]
    return f"{', '.join(parts)} (N = {measured['images']} images of {measured['people']} people)"
