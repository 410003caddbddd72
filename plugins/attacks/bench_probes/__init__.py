"""Attributes from protected pictures by adversaries who learn: probes on embeddings, and an adapted estimator.

Recognition networks are not trained to know gender or age, and their embeddings tell both: Terhörst et al., "Beyond
identity: what information is stored in biometric face templates?" (arXiv 2009.09918). A linear probe reads them out; so
a picture that a recogniser can still place reveals attributes even where a ready-made estimator fails. Figures:
``docs/design/attribute-probes.md``.

This module holds the declarations and does not import torch. The probe is in `probe`, the adapted estimator in
`estimator`, and what both learn from in `labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt, Interval
from bench_attributes import CLASSES, WEIGHTS
from bench_learners.parameters import AdaptationParameters

from bench import Attack, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context, Examples, Sees

Of = Literal["insider", "outsider", "adapted"]
Learns = Literal["clean", "defense"]

__all__ = ["AttributeProbe", "AttributesAdapted", "bench_attacks"]

_WHOSE = {
    "insider": "the authorised service's whole model",
    "outsider": "a recogniser of his own",
    "adapted": "a recogniser of his own, which he adapts to protected pictures",
}
_FROM = {"clean": "unprotected faces", "defense": "protected faces"}


@dataclass(frozen=True, kw_only=True)
class AttributeProbe(AdaptationParameters, Attack):
    """Reads an attribute out of embeddings with logistic regression, or a number (``age``) with ridge regression.

    - ``of``: whose embeddings: ``outsider``, those of the evaluated model as it is; ``adapted``, those of a copy of it
      that was trained for ``steps`` steps to give protected pictures the embeddings of their originals; ``insider``,
      those of the authorised model, which the service itself has
    - ``learns``: whether the probe learns from embeddings of ``clean`` auxiliary faces or of protected ones
      (``defense``)
    - ``faces``, ``held_out``: the largest number of auxiliary faces, and the share of their people on whom the strength
      of the regularisation is chosen and the adapting ends early
    - ``attribute``: the attribute, as the data set names it; ``names``: its classes, which are known for ``gender``,
      ``emotion`` and ``group`` of the built-in data sets; an ``age`` has none
    """

    outputs = "attributes"
    license = "none needed: it is trained in the run"

    of: Of = "outsider"
    learns: Learns = "clean"
    attribute: str = "gender"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the classes of the attribute are known. Raises ValueError."""
        if self.attribute != "age" and len(self._names()) < 2:
            raise ValueError(
                f"names: expected at least two classes of the attribute {self.attribute!r}, found "
                f"{list(self.names)}; name them as the data set does"
            )
        if self.attribute == "age" and self.names:
            raise ValueError(f"names: expected none, because an age is a number, found {list(self.names)}")

    def _names(self) -> tuple[str, ...]:
        return self.names or CLASSES.get(self.attribute, ())

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Images and labels; whose model is probed decides the rest."""
        found: set[Sees] = {"images", "labels", "full_model" if self.of == "insider" else "recogniser"}
        return frozenset(found | {"defense"} if self.trains_on == "defense" else found)

    @property
    def trains_on(self) -> Literal["clean", "defense"]:  # type: ignore[override]
        """Protected faces if the probe or the recogniser learns from them."""
        return "defense" if self.of == "adapted" else self.learns

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What the adversary knows, as a sentence."""
        return (
            f"embeds uploads with {_WHOSE[self.of]}; reads the {self.attribute} out of embeddings, as learnt from "
            f"labelled {_FROM[self.learns]} of other people"
        )

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces, and the steps in which the recogniser is adapted."""
        return {"faces": self.faces, **({"steps": self.steps} if self.of == "adapted" else {})}

    def fit_seconds(self) -> float:
        """Return the seconds of embedding the faces, and of adapting the recogniser."""
        return 0.02 * self.faces + (0.013 * self.steps * self.batch if self.of == "adapted" else 0)

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the classes of the attribute; none for an age."""
        return {} if self.attribute == "age" else {self.attribute: self._names()}

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Adapt the recogniser if it is to be, and learn the probe; the state holds both."""
        from bench_probes.probe import learn

        return learn(self, examples, ctx)

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return class probabilities ``(n, k)``, or an age ``(n,)`` in years."""
        from bench_probes.probe import read

        return {self.attribute: read(self, images, ctx)}


@dataclass(frozen=True, kw_only=True)
class AttributesAdapted(AdaptationParameters, Attack):
    """Trains the built-in attribute network further on protected pictures of auxiliary people whose labels are known.

    ``attributes``: the attributes to estimate, by default all that the network knows. Skipped on real faces, because
    the network was trained on generated ones.
    """

    sees = frozenset({"images", "defense", "labels"})
    outputs = "attributes"
    trains_on = "defense"
    synthetic = True
    threat = "knows the defense and trains an attribute estimator on protected, labelled pictures of other people"
    license = "same as this project (trained on generated faces)"

    attributes: tuple[Literal["age", "gender", "emotion", "group"], ...] = ()
    rate: Annotated[float, Gt(0), Interval(le=1)] = 5e-4
    statistics: Literal["learn", "keep"] = "keep"

    def __post_init__(self) -> None:
        """Check that no attribute is named twice. Raises ValueError."""
        if len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes: expected each one once, found {list(self.attributes)}")

    @property
    def estimated(self) -> tuple[str, ...]:
        """The attributes that are estimated, in a fixed order."""
        return tuple(name for name in ("age", *CLASSES) if not self.attributes or name in self.attributes)

    def weights(self) -> Path:
        """Return the file of the weights that the training begins with."""
        return WEIGHTS / "attributes.safetensors"

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces and of steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training: a second for a step of 64 faces."""
        return self.steps * self.batch / 64

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return the classes of each attribute; age is a number and has none."""
        return {name: CLASSES[name] for name in self.estimated if name in CLASSES}

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the network further and return its weights."""
        from bench_probes.estimator import adapt

        return adapt(self, examples, ctx)

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return class probabilities ``(n, k)`` by attribute, and ``age (n,)`` in years."""
        from bench_probes.estimator import estimate

        return estimate(self, images, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``attribute-probe`` and ``attributes-adapted``."""
    return {"attribute-probe": AttributeProbe, "attributes-adapted": AttributesAdapted}
