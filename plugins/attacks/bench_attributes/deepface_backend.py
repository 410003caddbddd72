"""deepface's four classifiers on batches of aligned faces.

Its public ``DeepFace.analyze`` takes one image at a time, truncates ages, and detects faces with downloaded
detectors. This module calls its classifiers directly, as ``analyze(..., detector_backend="skip")`` does; a test checks
that both give the same results. ``deepface.modules.modeling`` is internal to deepface, so its version is pinned.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bench import DataError, file_sha256
from bench_attributes import deepface_files
from bench_attributes.deepface_files import FILES
from bench_attributes.onnx_threads import limited_threads

SIDE = 224  #: The side of deepface's inputs in pixels.
BATCH = 16  #: The number of images in a batch of a VGG-16.


def estimate(images: torch.Tensor, attributes: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return ``age (n,)`` in years and class probabilities ``(n, k)`` of images float ``(n, 3, h, w)`` RGB in [0, 1].

    Raises DataError if a weights file is missing, damaged, or has other outputs than deepface's.
    """
    faces = prepare(images)
    place = deepface_files.folder()
    # All classifiers are loaded first, so that a missing file is reported before anything is computed.
    clients = {name: _client(name, place) for name in attributes}
    return {name: torch.from_numpy(_predict(client, name, faces)).to(images) for name, client in clients.items()}


def prepare(images: torch.Tensor) -> NDArray[np.float32]:
    """Convert RGB ``(n, 3, h, w)`` to the input of deepface's classifiers: BGR ``(n, 224, 224, 3)``, padded with black.

    This is the arithmetic of deepface's ``preprocessing.resize_image``. That function interprets values above 1 as
    8-bit values, so values are clamped to [0, 1] here, before and after resizing.
    """
    height, width = images.shape[-2:]
    factor = min(SIDE / height, SIDE / width)
    inner = (int(height * factor), int(width * factor))
    resized = F.interpolate(images.detach().float().clamp(0, 1).cpu(), size=inner, mode="bilinear", align_corners=False)
    down, right = SIDE - inner[0], SIDE - inner[1]
    padded = F.pad(resized.clamp(0, 1), (right // 2, right - right // 2, down // 2, down - down // 2))
    return np.ascontiguousarray(padded.flip(1).permute(0, 2, 3, 1).numpy())


def _client(attribute: str, place: Path) -> Any:
    """Return deepface's classifier of one attribute, with the weights in a folder."""
    deepface_files.check([attribute])
    return _loaded(attribute, place, file_sha256(place / FILES[attribute].name))


@functools.cache
def _loaded(attribute: str, place: Path, _sha256: str) -> Any:
    """Load weights once for each content, so that a file that is replaced is loaded again."""
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"  # With torch installed, deepface would look for other files.
    os.environ["DEEPFACE_HOME"] = str(place.parent.parent)
    os.environ.setdefault("DEEPFACE_ONNX_PROVIDERS", "cpu")
    os.environ.setdefault("DEEPFACE_LOG_LEVEL", "40")  # Only errors are logged.
    expected, path = FILES[attribute], place / FILES[attribute].name
    with warnings.catch_warnings():  # Modules that deepface imports raise warnings.
        warnings.simplefilter("ignore")
        from deepface.commons import backend_utils
        from deepface.modules import modeling

        if not backend_utils.is_onnx():
            raise DataError("deepface already uses another engine in this process; set DEEPFACE_BACKEND_ENGINE=onnx")
        try:
            with limited_threads():
                client = modeling.get_model_class("facial_attribute", expected.model)()
        except ValueError as error:
            raise DataError(f"{path}: expected an ONNX graph: {error.__cause__ or error}") from None
    outputs = client.model.get_outputs()[0].shape
    if outputs[-1] != expected.outputs:
        raise DataError(f"{path}: expected a graph with outputs (n, {expected.outputs}), found {tuple(outputs)}")
    return client


def _predict(client: Any, attribute: str, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities ``(n, k)`` that sum to 1, or years ``(n,)``, from deepface's internal ``predict``."""
    one = client.model.get_inputs()[0].shape[0] == 1  # Some exports take one image at a time.
    step = 1 if one else BATCH
    shape = (-1,) if attribute == "age" else (-1, FILES[attribute].outputs)  # deepface drops the axis of a batch of 1.
    chunks = [faces[start : start + step] for start in range(0, len(faces), step)]
    found = np.concatenate([np.reshape(client.predict(chunk), shape) for chunk in chunks]).astype(np.float32)
    return found if attribute == "age" else found / found.sum(1, keepdims=True)
