"""Is there still a face, and are its landmarks where they were? Metrics of what an anonymisation keeps.

The built-in network learnt from generated faces, whose true landmarks are known. It is not used on real faces; for
these ``detector = "mtcnn"`` names a detector of real faces, which the extra ``align`` installs. None stands in for the
other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

from bench import DataError, Metric, MissingDataError, SuiteError, file_sha256, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context, TrainingJob

__all__ = ["FaceDetected", "FaceKept", "LandmarkDistance", "bench_metrics", "weights"]

WEIGHTS = Path(__file__).parent / "weights"
COMMAND = "bench train suites/facepoints.toml"
Detector = Literal["builtin", "mtcnn"]
_LICENSES: Mapping[str, str] = {"builtin": "Apache-2.0", "mtcnn": "MIT (package mtcnn and its weights)"}
_SOURCE = "the five points by which faces are aligned (Deng et al. 2019, ArcFace)"


@dataclass(frozen=True, kw_only=True)
class _OfPoints(Metric):
    """A metric of the landmarks that a detector finds; ``detector`` is the built-in network or MTCNN."""

    detector: Detector = "builtin"

    @property
    def synthetic(self) -> bool:  # type: ignore[override]
        """True for the built-in network, which learnt from generated faces only."""
        return self.detector == "builtin"

    @property
    def license(self) -> str:  # type: ignore[override]
        """The license of the weights of the detector."""
        return _LICENSES[self.detector]

    def fingerprint(self) -> str:
        """Return a digest of the weights, or the version of the detector. Raises DataError or MissingDataError, which
        says how to get what is missing."""
        if self.detector == "builtin":
            return file_sha256(weights())
        return mtcnn_version()

    def seconds(self) -> float:
        """Return the seconds that one image takes on one core."""
        return 1e-3 if self.detector == "builtin" else 0.2

    def points(self, images: torch.Tensor) -> torch.Tensor:
        """Return the landmarks ``(n, 5, 2)`` of images float ``(n, 3, h, w)``, as shares of their width and height; NaN
        for an image without a face."""
        from bench_facepoints import detectors

        if self.detector == "builtin":
            return detectors.by_network(images, weights())
        return detectors.by_mtcnn(images)

    def distance(self, original: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the mean distance ``(n,)`` of the landmarks of two images, in distances between the eyes of the
        original; NaN if one of them shows no face."""
        first, second = self.points(original), self.points(other)
        eyes = (first[:, 0] - first[:, 1]).norm(dim=1)
        found: torch.Tensor = (first - second).norm(dim=2).mean(dim=1) / eyes.clamp(min=1e-6)
        return found


@dataclass(frozen=True, kw_only=True)
class FaceDetected(_OfPoints):
    """The share of images in which a detector finds a face."""

    formula = "1 if the detector finds a face in the image, else 0"
    heading = "face detected"
    unit = "%"
    share = True
    range = (0.0, 1.0)
    better = {"appearance": "higher", "anonymity": "higher"}
    digits = 1

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return 1 for each image with a face ``(n,)``, 0 for the others."""
        return self.points(other).isfinite().all(dim=(1, 2)).double()


@dataclass(frozen=True, kw_only=True)
class LandmarkDistance(_OfPoints):
    """How far the landmarks are from where they were."""

    formula = (
        "mean distance of eyes, nose and corners of the mouth in both images, divided by the distance between the eyes "
        "of the original; infinite if one of the images shows no face"
    )
    source = _SOURCE
    heading = "landmark distance"
    range = (0.0, math.inf)
    infinite = True
    better = {"appearance": "lower", "anonymity": "lower"}

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the distance ``(n,)``, infinite where there is no face."""
        return self.distance(original, other).double().nan_to_num(nan=math.inf)


@dataclass(frozen=True, kw_only=True)
class FaceKept(_OfPoints):
    """The share of images that show a face whose landmarks are where they were: the utility of the goal anonymity.

    Landmarks of aligned faces are near to each other whoever is shown, so ``within`` is small.
    """

    formula = (
        "1 if the detector finds a face in both images, and the mean distance of their landmarks is at most `within` "
        "times the distance between the eyes of the original; else 0"
    )
    source = _SOURCE
    heading = "face kept"
    unit = "%"
    share = True
    range = (0.0, 1.0)
    better = {"appearance": "higher", "anonymity": "higher"}
    digits = 1
    within: Annotated[float, Gt(0)] = 0.05

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return 1 for each image whose face is kept ``(n,)``, 0 for the others."""
        return (self.distance(original, other) <= self.within).double()

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the built-in network and return its card. Raises SuiteError for any other detector."""
        if self.detector != "builtin":
            raise SuiteError(f"{job.where}: {self.detector} is not trained by bench; leave detector at builtin")
        from bench_facepoints.training import train_facepoints

        return train_facepoints(job, WEIGHTS)


def weights() -> Path:
    """Return the bundled weights of the built-in network. Raises DataError if they are missing."""
    path = WEIGHTS / "facepoints.safetensors"
    if not path.is_file():
        raise DataError(f"{path}: the weights are missing; make them with: {COMMAND}")
    return path


def mtcnn_version() -> str:
    """Return the name and version of MTCNN, which hold for its weights. Raises MissingDataError if it is not
    installed."""
    from bench_facesets.alignment.detect import INSTALL

    if not all(find_spec(name) for name in ("mtcnn", "tensorflow")):
        raise MissingDataError(
            "detector 'mtcnn' needs the package mtcnn, which holds its weights, and TensorFlow, and they are not "
            f"installed: {INSTALL}; or use detector = 'builtin', for generated faces only"
        )
    return f"mtcnn {version('mtcnn')}"


@hookimpl
def bench_metrics() -> Mapping[str, type[Metric]]:
    """Register the metrics of what an anonymisation keeps."""
    return {"face-detected": FaceDetected, "landmark-distance": LandmarkDistance, "face-kept": FaceKept}
