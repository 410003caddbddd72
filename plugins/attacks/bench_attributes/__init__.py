"""Attribute estimation: age, gender, emotion and race read off what was uploaded (paper, section 4.1.2, Table VIII).

Two estimators stand behind one attack. ``deepface`` is the package that the paper uses (reference [45]); its weights
are the user's to fetch. ``builtin`` is a small network trained on generated faces (``bench train
suites/attributes.toml``), for the synthetic stand-ins; instead of race it tells their abstract appearance groups.

Nothing here imports torch or deepface: a suite is planned from these declarations alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import Attack, DataError, SuiteError, file_sha256, hookimpl
from bench_attributes import deepface_files

if TYPE_CHECKING:
    import torch

    from bench import Context, TrainingJob

Backend = Literal["auto", "builtin", "deepface"]
Attribute = Literal["age", "gender", "emotion", "group", "race"]

WEIGHTS = Path(__file__).parent / "weights"
COMMAND = "bench train suites/attributes.toml"

CLASSES: Mapping[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "emotion": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    "group": ("group-a", "group-b", "group-c", "group-d", "group-e", "group-f"),
}
"""What the built-in network tells apart, in the order of its outputs; beside them it estimates the age."""

LICENSES = {
    "builtin": "same as this project (trained on generated faces)",
    "deepface": "MIT (code of deepface); the training sets' terms apply to the weights",
}


@dataclass(frozen=True, kw_only=True)
class Attributes(Attack):
    """Estimate the attributes of the person in each image.

    ``backend``: see the module; ``auto`` is deepface where its weights are, else the built-in network, which is skipped
    on real faces. ``attributes``: those to estimate, by default all that the backend knows: age,
    gender, emotion, and group (``builtin``) or race (``deepface``).

    Vectors are softmax probabilities. They are never orthogonal: judge their cosines (Equation 11) against those of
    a constant predictor.
    """

    sees = frozenset({"images"})
    outputs = "attributes"
    threat = "sees the uploaded images; estimates attributes with a ready-made model; does not adapt"

    backend: Backend = "auto"
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        """Checks that span fields. Raises ValueError."""
        known = self._known()
        for name in self.attributes:
            if name not in known:
                raise ValueError(f"attributes: expected some of {', '.join(known)} for {self.estimator}, got {name!r}")
            if self.attributes.count(name) > 1:
                raise ValueError(f"attributes: expected each one once, got {name!r} more than once")

    @property
    def estimator(self) -> Literal["builtin", "deepface"]:
        """The backend that is used."""
        if self.backend == "auto":
            return "deepface" if deepface_files.there() else "builtin"
        return self.backend

    @property
    def synthetic(self) -> bool:  # type: ignore[override]
        """The built-in network has seen generated faces only."""
        return self.estimator == "builtin"

    @property
    def license(self) -> str:  # type: ignore[override]
        """Of the weights of the backend."""
        return LICENSES[self.estimator]

    def _known(self) -> tuple[str, ...]:
        return ("age", *CLASSES) if self.estimator == "builtin" else tuple(deepface_files.FILES)

    @property
    def estimated(self) -> tuple[str, ...]:
        """The attributes that are estimated, in a fixed order."""
        return tuple(name for name in self._known() if not self.attributes or name in self.attributes)

    def fingerprint(self) -> str:
        """A digest of the weights; `DataError` that names the files which are missing, and how to get them."""
        if self.estimator == "deepface":
            return deepface_files.fingerprint(self.estimated)
        return file_sha256(weights())

    def classes(self) -> Mapping[str, Sequence[str]]:
        """The classes of each vector, in order; age is a number and has none."""
        if self.estimator == "deepface":
            known = {name: file.classes for name, file in deepface_files.FILES.items() if file.classes}
        else:
            known = dict(CLASSES)
        return {name: known[name] for name in self.estimated if name in known}

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Images float ``(n, 3, h, w)`` RGB in [0, 1] -> ``age (n,)`` in years; others ``(n, k)``, rows sum to 1."""
        if self.estimator == "deepface":
            from bench_attributes.deepface_backend import estimate

            return estimate(images, self.estimated)
        from bench_attributes.builtin import estimate_builtin

        found = estimate_builtin(images, weights())
        return {name: found[name] for name in self.estimated}

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the built-in network; returns its card."""
        if self.backend == "deepface":
            raise SuiteError(f"{job.where}: deepface is not trained by bench; leave backend at builtin")
        from bench_attributes.training import train_attributes

        return train_attributes(job, WEIGHTS)


def weights() -> Path:
    """The bundled weights of the built-in network; `DataError` when they are missing."""
    path = WEIGHTS / "attributes.safetensors"
    if not path.is_file():
        raise DataError(f"{path}: the weights are missing; make them with: {COMMAND}")
    return path


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """The attack of this plugin."""
    return {"attributes": Attributes}
