"""The weights files that deepface needs. They are checked without importing deepface, which downloads missing files.

The ONNX weights belong into ``$DEEPFACE_HOME/.deepface/weights`` (``DEEPFACE_HOME``: by default the home folder).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from bench import DataError, file_sha256
from bench_attributes.versions import ARITHMETIC, versions_of

URL = "https://github.com/serengil/deepface_models/releases/download/v1.0"
PACKAGES = ("deepface", "onnxruntime")
INSTALL = "pip install 'face-privacy-bench[deepface]'"


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """One of deepface's classifiers: file ``name``, description ``what``, deepface's name ``model``, and ``outputs``.

    ``classes`` is empty for age, whose ``outputs`` are the probabilities of 0, 1 ... 100 years.
    """

    name: str
    what: str
    model: str
    outputs: int
    classes: tuple[str, ...] = ()


FILES: Mapping[str, WeightsFile] = {
    "age": WeightsFile(name="age_model_weights.onnx", what="age, a VGG-16", model="Age", outputs=101),
    "gender": WeightsFile(
        name="gender_model_weights.onnx",
        what="gender, a VGG-16",
        model="Gender",
        outputs=2,
        classes=("woman", "man"),
    ),
    "emotion": WeightsFile(
        name="facial_expression_model_weights.onnx",
        what="emotion, a small network",
        model="Emotion",
        outputs=7,
        classes=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    ),
    "race": WeightsFile(
        name="race_model_single_batch.onnx",
        what="race, a VGG-16",
        model="Race",
        outputs=6,
        classes=("asian", "indian", "black", "white", "middle eastern", "latino hispanic"),
    ),
}


def folder() -> Path:
    """Return the folder in which deepface looks for weights."""
    return Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"


def available() -> bool:
    """Return whether deepface is installed and all of its weights files exist."""
    packages = all(find_spec(name) is not None for name in PACKAGES)
    return packages and all((folder() / file.name).is_file() for file in FILES.values())


def check(attributes: Sequence[str]) -> None:
    """Raise DataError if a package or weights file is missing; it names each, its purpose and where it belongs."""
    if absent := [name for name in PACKAGES if find_spec(name) is None]:
        raise DataError(f"attributes: the deepface backend needs {', '.join(absent)}; install with: {INSTALL}")
    missing = [FILES[name] for name in attributes if not (folder() / FILES[name].name).is_file()]
    if missing:
        lines = [f"  {file.name}  ({file.what}; {URL}/{file.name})" for file in missing]
        raise DataError(
            f"attributes: {len(missing)} of deepface's {len(attributes)} weights files are missing. Put them into "
            f"{folder()} (or set DEEPFACE_HOME); bench does not download them:\n" + "\n".join(lines)
        )


def fingerprint(attributes: Sequence[str]) -> str:
    """Return a digest of the weights and of the versions of what computes with them. Raises DataError like `check`."""
    check(attributes)
    parts = [f"{FILES[name].name} {file_sha256(folder() / FILES[name].name)}" for name in attributes]
    return hashlib.sha256(
        "\n".join([f"deepface {version('deepface')}", *versions_of(ARITHMETIC), *parts]).encode()
    ).hexdigest()
