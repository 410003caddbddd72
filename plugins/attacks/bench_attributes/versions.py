"""The versions of the libraries that compute the numbers of an estimator. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from bench import distributions_of

ARITHMETIC = ("onnxruntime", "cv2")
"""The packages that run the networks and prepare faces for them."""


def versions_of(packages: Iterable[str]) -> list[str]:
    """Return the name and version of each installed distribution of some packages; ``cv2``, for one, has several."""
    return sorted({f"{one.name} {one.version}" for package in packages for one in distributions_of(package)})
