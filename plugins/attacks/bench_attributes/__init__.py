"""Attribute estimation: age, gender, emotion and race from uploaded images (paper, section 4.1.2, Table VIII).

The attack has three estimators. ``deepface`` is the package that the paper uses (reference [45]); the user downloads
its weights. ``uniface`` are FairFace and a network for the age, which ``bench models fetch`` gets. ``builtin`` is a
small network trained on generated faces (``bench train suites/attributes.toml``), for the synthetic stand-ins; instead
of race it estimates their abstract appearance groups.

This module imports neither torch nor deepface nor uniface: a suite is planned from these declarations alone. The plugin
`bench_uniface` is imported only if its estimator is used or looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import Attack, DataError, SuiteError, file_sha256, hookimpl
from bench_attributes import deepface_files
from bench_attributes.classes import CLASSES, COMMAND

if TYPE_CHECKING:
    import torch

    from bench import Context, TrainingJob

Estimator = Literal["builtin", "deepface", "uniface"]
Backend = Literal["auto", "builtin", "deepface", "uniface"]
Attribute = Literal["age", "gender", "emotion", "group", "race"]

__all__ = ["CLASSES", "COMMAND", "WEIGHTS", "Attributes", "bench_attacks", "weights"]

WEIGHTS = Path(__file__).parent / "weights"
LICENSES = {
    "builtin": "same as this project (trained on generated faces)",
    "deepface": "MIT (code of deepface); the training sets' terms apply to the weights",
}


@dataclass(frozen=True, kw_only=True)
class Attributes(Attack):
    """Estimates the attributes of the person in each image.

    ``backend``: ``deepface`` is the package that the paper uses, ``uniface`` are FairFace and AgeGender of the library
    uniface, ``builtin`` is a small network trained on generated faces, which is skipped on real ones; ``auto`` is
    ``deepface`` if its weights exist, else ``uniface`` if both files are in weights folders, else ``builtin``.
    ``attributes``: the attributes to estimate, by default all that the backend estimates: age and gender, emotion
    (``builtin`` and ``deepface``), group (``builtin``) or race (``deepface`` with 6 classes, ``uniface`` with 7).

    Vectors are softmax probabilities. They are never orthogonal: compare their cosines (Equation 11) with those of a
    constant predictor.
    """

    sees = frozenset({"images"})
    outputs = "attributes"
    threat = "sees the uploaded images; estimates attributes with a ready-made model; does not adapt"

    backend: Backend = "auto"
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        """Check that the backend estimates the attributes. Raises ValueError."""
        known = self._known()
        for name in self.attributes:
            if name not in known:
                raise ValueError(f"attributes: expected some of {', '.join(known)} for {self.estimator}, got {name!r}")
            if self.attributes.count(name) > 1:
                raise ValueError(f"attributes: expected each one once, got {name!r} more than once")

    @property
    def estimator(self) -> Estimator:
        """The backend that is used: ``auto`` is resolved."""
        if self.backend != "auto":
            return self.backend
        if deepface_files.available():
            return "deepface"
        from bench_attributes.uniface_files import available

        return "uniface" if available() else "builtin"

    @property
    def synthetic(self) -> bool:  # type: ignore[override]
        """True for the built-in network, which was trained on generated faces only."""
        return self.estimator == "builtin"

    @property
    def license(self) -> str:  # type: ignore[override]
        """The license of the weights of the backend."""
        if self.estimator == "uniface":
            from bench_attributes.uniface_files import FILES

            return "; ".join(f"{file.name}: {file.license}" for file in dict.fromkeys(FILES.values()))
        return LICENSES[self.estimator]

    def _known(self) -> tuple[str, ...]:
        if self.estimator == "uniface":
            from bench_attributes.uniface_files import FILES

            return tuple(FILES)
        return tuple(deepface_files.FILES) if self.estimator == "deepface" else ("age", *CLASSES)

    @property
    def estimated(self) -> tuple[str, ...]:
        """The attributes that are estimated, in a fixed order."""
        return tuple(name for name in self._known() if not self.attributes or name in self.attributes)

    def fingerprint(self) -> str:
        """Return a digest of the weights. Raises DataError, which names the missing files and how to get them."""
        if self.estimator == "deepface":
            return deepface_files.fingerprint(self.estimated)
        if self.estimator == "uniface":
            from bench_attributes import uniface_files

            return uniface_files.fingerprint(self.estimated)
        return file_sha256(weights())

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the classes of each attribute vector, in order; age is a number and has no classes."""
        known: Mapping[str, Sequence[str]] = CLASSES
        if self.estimator == "deepface":
            known = {name: file.classes for name, file in deepface_files.FILES.items() if file.classes}
        elif self.estimator == "uniface":
            from bench_attributes import uniface_files

            known = uniface_files.CLASSES
        return {name: known[name] for name in self.estimated if name in known}

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Estimate the attributes of images float ``(n, 3, h, w)`` RGB in [0, 1]: ``age (n,)`` in years, the others
        class probabilities ``(n, k)``, whose rows sum to 1."""
        if self.estimator == "deepface":
            from bench_attributes.deepface_backend import estimate

            return estimate(images, self.estimated)
        if self.estimator == "uniface":
            from bench_attributes.uniface_backend import estimate as estimate_uniface

            return estimate_uniface(images, self.estimated)
        from bench_attributes.builtin import estimate_builtin

        found = estimate_builtin(images, weights())
        return {name: found[name] for name in self.estimated}

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the built-in network and return its card. Raises SuiteError for any other backend."""
        if self.backend not in ("auto", "builtin"):
            raise SuiteError(f"{job.where}: {self.backend} is not trained by bench; leave backend at builtin")
        from bench_attributes.training import train_attributes

        return train_attributes(job, WEIGHTS)


def weights() -> Path:
    """Return the bundled weights of the built-in network. Raises DataError if they are missing."""
    path = WEIGHTS / "attributes.safetensors"
    if not path.is_file():
        raise DataError(f"{path}: the weights are missing; make them with: {COMMAND}")
    return path


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``attributes``."""
    return {"attributes": Attributes}
