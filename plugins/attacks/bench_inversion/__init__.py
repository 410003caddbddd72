"""White-box reconstruction: search for an image whose features equal the received ones (paper, section 4.1.1).

The adversary of Level 2 holds the shallow model E_c and the features z of a face. It changes an image x^ until
``||E_c(x^) - z||_2 + lambda TV(x^)`` is small (Equations 2-4, after UnSplit: Erdogan et al. 2022). The start decides
much of the result and is a parameter, as are the splits whose features are matched and the weight of the smoothness
prior. The defaults were measured (``docs/design/inversion.md``).

Two variants learn before they search. The start ``decoder`` is what a network makes of the received image. With
``through = "defense"`` the search goes through a learnt differentiable copy of the defense, as is done with defenses
that have no gradients or are random (Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of
security", 2018: backward pass differentiable approximation, and expectation over transformation).

Equation 4 prints a plus sign: it *adds* the gradient of the loss that is to be minimised. This implementation
subtracts it.

This module holds the declarations and `parameters` the parameters; neither imports torch. The arithmetic is in
`descent`, and what is learnt in `learning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench_translation.public_networks import fingerprint_of, packages_of, public_network, training_seconds

from bench import Attack, Examples, Model, Received, Reconstructed, Sees, hookimpl
from bench_inversion.parameters import InversionParameters

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Inversion", "bench_attacks"]

_STARTS = {
    "grey": "starts from flat grey",
    "random": "starts from random pixels",
    "obfuscated": "starts from the received image",
    "decoder": "starts from what a trained network makes of the received image",
}


@dataclass(frozen=True, kw_only=True)
class Inversion(InversionParameters, Attack):
    """Gradient descent on the distance between features, from one start."""

    outputs = "images"

    def __post_init__(self) -> None:
        """Raise ValueError if no model of the name ``network`` is installed, and a decoder is learnt with it."""
        if self.start == "decoder":
            public_network(self.network)

    @property
    def _model(self) -> Model | None:
        """The public network whose features the decoder compares; None if no decoder is learnt or it compares none."""
        return public_network(self.network) if self.start == "decoder" else None

    @property
    def _trainings(self) -> int:
        """The number of networks that are learnt."""
        return (self.start == "decoder") + (self.through == "defense")

    @property
    def _known_defense(self) -> bool:
        return self.through == "defense" or (self.start == "decoder" and self.pairs == "defense")

    @property
    def license(self) -> str:  # type: ignore[override]
        """Whose weights are used."""
        learns = self.trains_on != "nothing"
        return "none needed: " + ("its weights are trained in the run" if learns else "no weights of its own")

    @property
    def libraries(self) -> Sequence[str]:  # type: ignore[override]
        """The package of the public network."""
        return packages_of(self._model)

    def fingerprint(self) -> str | None:
        """Return the digest of the public network's weights; None without a network."""
        return fingerprint_of(self._model)

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features and shallow weights; also the images if the descent starts from them, pairs to learn from, and the
        defense if the pairs are made with it."""
        known: frozenset[Sees] = frozenset({"features", "shallow_weights"})
        if self.start in ("obfuscated", "decoder") or self.through == "defense":
            known |= {"images"}
        if self.trains_on != "nothing":
            known |= {"pairs"}
        return known | {"defense"} if self._known_defense else known

    @property
    def trains_on(self) -> Literal["nothing", "clean", "defense"]:  # type: ignore[override]
        """Pictures of auxiliary faces, clean or protected, if the start or the copy of the defense is learnt."""
        if self._known_defense:
            return "defense"
        return "clean" if self.start == "decoder" else "nothing"

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        held = "the uploaded images, " if "images" in self.sees else ""
        which = {
            "uploaded": "the uploaded features",
            "matched": "the features that the defense works with",
        }.get(self.stages, f"features ({self.stages} of the splits)")
        through = " after a learnt copy of the defense" if self.through == "defense" else ""
        knows = "knows of the defense only these features" if self.stages == "matched" else "does not know the defense"
        learns = {
            "nothing": f"learns nothing and {knows}",
            "clean": f"learns from faces of other people and {knows}",
            "defense": "learns from what the defense makes of faces of other people; adaptive",
        }[self.trains_on]
        return (
            f"white box: sees {held}{which} and the weights of the shallow model; searches for an image with these "
            f"features{through}, {_STARTS[self.start]}; {learns}"
        )

    def budget(self) -> Mapping[str, float]:
        """Return the steps of the descent; if it learns, also the auxiliary faces, and the steps of learning and of the
        descent together."""
        if self.trains_on == "nothing":
            return {"steps": self.steps}
        return {"faces": self.faces, "steps": self.steps + self._trainings * self.learning_steps}

    def trained_as(self) -> Mapping[str, Any] | None:
        """Return the attack that decodes uploads, if its decoder is all that is learnt; otherwise None."""
        if self.start != "decoder" or self.through == "defense":
            return None
        shared = {name: getattr(self, name) for name in ("pairs", "faces", "batch_size", "learning_rate", "channels")}
        return {"plugin": "decoder", "steps": self.learning_steps, "network": self.network, **shared}

    def fit_seconds(self) -> float:
        """Return the seconds of learning."""
        return self._trainings * training_seconds(self.learning_steps, self.batch_size)

    def splits_knowing(
        self, available: Sequence[str], uploaded: Sequence[str], matched: Sequence[str]
    ) -> tuple[str, ...]:
        """Return the splits whose features are matched, from shallow to deep. Raises ValueError if there are none."""
        if self.stages != "matched":
            return self.splits(available, uploaded)
        if not matched:
            return tuple(available)
        found = tuple(split for split in available if split in matched)
        if not found:
            works, there = ", ".join(matched), ", ".join(available)
            raise ValueError(f"stages = 'matched', and the defense works with {works}; available: {there}")
        return found

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """Return the splits whose features are matched, from shallow to deep. Raises ValueError if there are none."""
        if self.stages == "uploaded" and not uploaded:
            raise ValueError("stages: no features were uploaded; expected 'all', 'first' or 'last', got 'uploaded'")
        if not available:
            raise ValueError("expected a model with split points, got one without")
        if self.stages == "matched":
            raise ValueError("stages = 'matched' needs to know the defense")
        if self.stages == "first":
            return (available[0],)
        if self.stages == "last":
            return (available[-1],)
        return tuple(uploaded if self.stages == "uploaded" else available)

    def passes(self) -> float:
        """Return 3 K + 1: a forward and a backward pass in each of K iterations, and one pass for the final loss."""
        return 3.0 * self.steps + 1.0

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the copy of the defense, and the decoder of the start if there is one; return their weights.

        Raises ContractError if no images are received that fit the faces, and if a training diverges.
        """
        from bench_inversion.learning import learn

        return learn(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1] whose features are close to ``received.features``.

        No image depends on the others. ``extra``, each ``(n,)``: ``loss_start`` and ``loss_end`` (feature distance
        plus lambda TV, before quantisation) and ``iterations``.

        Raises ContractError if there are no features, if they are not finite, if their shapes do not belong to images
        of ``ctx.image_size``, if not exactly one model is authorised, and if the image to start from was not uploaded.
        """
        from bench_inversion.descent import invert

        return invert(received, self, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``inversion``."""
    return {"inversion": Inversion}
