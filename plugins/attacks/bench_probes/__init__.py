"""Attributes from protected pictures by adversaries who learn: probes on embeddings, and an adapted estimator.

Recognition networks are not trained to know gender or age, and their embeddings tell both: Terhörst et al., "Beyond
identity: what information is stored in biometric face templates?" (arXiv 2009.09918). A linear probe reads them out; so
a picture that a recogniser can still place reveals attributes even where a ready-made estimator fails. Figures:
``docs/design/attribute-probes.md``.

This module holds the declarations and does not import torch. The probe is in `probe`, its regression in
`regression`, the adapted estimator in `estimator`, and what both attacks learn from in `labels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench import Attack, hookimpl
from bench_probes.parameters import EstimatorParameters, ProbeParameters

if TYPE_CHECKING:
    import torch

    from bench import Context, Examples, Sees

__all__ = ["AttributeProbe", "AttributesAdapted", "bench_attacks"]

_WHOSE = {
    "insider": "the authorised service's whole model",
    "outsider": "a recogniser of his own",
    "adapted": "a recogniser of his own, which he adapts to protected pictures",
}
_FROM = {"clean": "unprotected faces", "defense": "protected faces"}


@dataclass(frozen=True, kw_only=True)
class AttributeProbe(ProbeParameters, Attack):
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
        return 0.02 * self.faces + (self.adapting_seconds() if self.of == "adapted" else 0)

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Adapt the recogniser if it is to be, and learn the probe; the state holds both."""
        from bench_probes.probe import learn

        return learn(self, examples, ctx)

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return class probabilities ``(n, k)``, or an age ``(n,)`` in years."""
        from bench_probes.probe import read

        return {self.attribute: read(self, images, ctx)}


@dataclass(frozen=True, kw_only=True)
class AttributesAdapted(EstimatorParameters, Attack):
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

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces and of steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training: a second for a step of 64 faces."""
        return self.steps * self.batch / 64

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
