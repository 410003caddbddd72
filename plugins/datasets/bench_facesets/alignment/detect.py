"""Detection of faces and their landmarks in an image: an interface for detectors, and one implementation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench import PluginError

INSTALL = "pip install 'face-privacy-bench[align]'"
# Sizes in pixels: an image is enlarged until its short side has at least _SHORT, and reduced until its long side has at
# most _LONG.
_SHORT, _LONG = 160, 1024
_MARGIN = 1 / 8  # A black margin, as a share of the long side, so that faces at the edge are found too.
_LOWEST = 0.5  # Detections with a lower score are not faces.
# Without oneDNN, TensorFlow adds in the same order on every processor. Its log would report every image without a face.
# deepface sets TF_USE_LEGACY_KERAS, but the old Keras is not installed.
_TENSORFLOW = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "0"}
_RIVAL = 0.8  # A second face with this share of the largest weight makes it unclear whom the image shows.


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face: ``box`` is left, top, right, bottom; ``score`` the detector's confidence in [0, 1]; ``landmarks``
    ``(5, 2)`` as in `bench_facesets.alignment.geometry`. Coordinates are in pixels of the image."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]


class Detector(Protocol):
    """A face detector. ``name`` is its name and version: another detector or version gives other crops."""

    name: str

    def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        """Return the faces in an RGB image ``(h, w, 3)`` of any size; the same image gives the same faces."""
        ...


def subject_of(faces: Sequence[Face], size: tuple[int, int]) -> Face | None:
    """Return the face of the person whom an image of ``size`` (height, width) shows; None if no face stands out.

    The weight of a face is its area, reduced by its distance from the middle. If two faces that do not overlap have
    nearly the same weight, no face stands out.
    """
    middle = np.array([size[1] - 1, size[0] - 1]) / 2

    def weight(face: Face) -> float:
        left, top, right, bottom = face.box
        off = np.hypot(*((left + right) / 2, (top + bottom) / 2) - middle) / np.hypot(*size) * 2
        return max(0.0, right - left) * max(0.0, bottom - top) * max(0.0, 1 - float(off))

    def apart(face: Face, other: Face) -> bool:
        left, top, right, bottom = other.box
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        return not (left <= x <= right and top <= y <= bottom)

    best = max(faces, key=weight, default=None)
    if best is None or any(apart(face, best) and weight(face) >= _RIVAL * weight(best) for face in faces):
        return None
    return best


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) from the package ``mtcnn``, which contains its weights and uses TensorFlow.

    Raises PluginError if the extra ``align`` is not installed.
    """

    def __init__(self) -> None:
        os.environ.update(_TENSORFLOW)
        try:
            from mtcnn import MTCNN
        except ImportError as error:
            raise PluginError(f"aligning needs a face detector, which is not installed ({error}): {INSTALL}") from None
        self._detector = MTCNN()
        self.name = f"mtcnn {version('mtcnn')}"

    def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        """Return the faces in an RGB image ``(h, w, 3)``; see `Detector`."""
        height, width = image.shape[:2]
        scale = min(max(1, math.ceil(_SHORT / min(height, width))), _LONG / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        margin = round(_MARGIN * max(size))
        canvas = Image.new("RGB", (size[0] + 2 * margin, size[1] + 2 * margin))
        canvas.paste(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), (margin, margin))
        found = self._detector.detect_faces(
            np.asarray(canvas), output_type="numpy", box_format="xyxy", threshold_onet=_LOWEST
        )
        # A row holds, for one face: the image's number, the box, the score, five x, five y.
        rows = np.asarray(found, dtype=np.float64).reshape(-1, 16)

        def original(points: NDArray[np.float64]) -> NDArray[np.float64]:
            ratio = np.array([width / size[0], height / size[1]])
            return np.asarray((points - margin + 0.5) * ratio - 0.5)

        faces = []
        for row in rows:
            (left, top), (right, bottom) = original(row[1:5].reshape(2, 2)).tolist()
            landmarks = original(row[6:].reshape(2, 5).T)
            faces.append(Face(box=(left, top, right, bottom), score=float(row[5]), landmarks=landmarks))
        return faces
