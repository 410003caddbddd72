"""Privacy Minimization Transformation (PMT), its form for several models (MR-PMT), and noise as strong as PMT.

PMT starts from an image that has nothing to do with the face and changes it until the *shallow* model of the
authorised service computes the same features for it as for the face (paper, section 5.2, Equation 7, Algorithm 1).
MR-PMT does so for several services at once (section 5.4, Equation 8). Section 5.3 and Algorithm 2 add three
techniques, each of which can be switched on alone (Table X): data augmentation (``augment``), a translation-invariant
kernel (``kernel``) and layer aggregation (``layers``). The paper leaves many details open; each choice is a parameter,
and the defaults were measured (``docs/design/pmt-defaults.md``).

The printed signs are wrong: Algorithm 1 *adds* the gradient of a distance that is to be minimised. This implementation
subtracts it.

``pmt-noise`` is shuffled PMT noise, the paper's control: the same change of the features, in random order (Table VI).

This module holds the declarations and `parameters` the parameters; neither imports torch. The arithmetic is in
`transforms`, `optimise` and `shuffled`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt

from bench import Defense, Need, Protected, hookimpl
from bench_pmt.parameters import PmtParameters

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["MrPmt", "Pmt", "PmtNoise", "bench_defenses"]


@dataclass(frozen=True, kw_only=True)
class Pmt(PmtParameters, Defense):
    """PMT for one authorised model (section 5.2-5.3).

    It sends an obfuscated image x~. If a suite uploads features, the host sends E_c(x~) at the suite's splits instead;
    the descent does not depend on which splits are uploaded.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow"})
    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    max_authorised: ClassVar[int | None] = 1
    promise: ClassVar[str] = (
        "that the authorised model recognises the face, and that nobody else recognises, rebuilds or describes it from "
        "what was uploaded, not even with the shallow model in hand"
    )
    trusts: ClassVar[str] = "the authorised service, which recognises the face and gives the client its shallow model"
    not_promised: ClassVar[str] = (
        "anything against the authorised service; that two uploads of one person cannot be linked; a formal bound: it "
        "rests on experiments"
    )

    def passes(self) -> float:
        """Return the forward passes per image and model: K times forward and backward, K more for T(x) when it changes
        in each iteration, and three for the features of the face and the losses before and after."""
        per_step = 4 if self.adds_noise or self.moves else 3
        return float(per_step * self.steps + 3)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same. No image depends on the others.

        ``extra``: ``loss_start`` and ``loss_end`` (without augmentation, before quantisation) and ``iterations``.
        """
        from bench_pmt.optimise import obfuscate

        return obfuscate(images, self, ctx)


@dataclass(frozen=True, kw_only=True)
class MrPmt(Pmt):
    """MR-PMT: PMT for any number of authorised models (section 5.4, Equation 8). With one model it is PMT.

    The loss is the weighted mean of the models' losses, each of them a mean over feature values, so that a model with
    large maps does not dominate. ``weights``: one number per authorised model, in the order in which the suite names
    them; empty for equal weights. Features of different networks differ in scale: ``balance = "relative"`` evens it.
    """

    max_authorised: ClassVar[int | None] = None
    promise: ClassVar[str] = (
        "that each of the authorised models recognises the face in one and the same picture, and that nobody else "
        "recognises, rebuilds or describes it"
    )
    trusts: ClassVar[str] = "every authorised service, which recognises the face and gives the client its shallow model"

    weights: tuple[Annotated[float, Gt(0)], ...] = ()  # type: ignore[assignment]  # of models; it reads no files

    def check_authorised(self, models: int) -> None:
        """Accept any number of models if ``weights`` is empty or has one number for each. Raises ValueError."""
        self.model_weights(models)

    def model_weights(self, models: int) -> tuple[float, ...]:
        """Return ``weights`` scaled to sum to 1. Raises ValueError if their number is not that of the models."""
        if not self.weights:
            return super().model_weights(models)
        if len(self.weights) != models:
            raise ValueError(f"weights: expected one per authorised model ({models}), got {len(self.weights)}")
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)


@dataclass(frozen=True, kw_only=True)
class PmtNoise(Pmt):
    """Noise on features as strong as the change that PMT makes: the "Random Noise" of Table VI (section 6.3.2).

    Runs PMT with the same parameters, computes its change of the features at each uploaded split,
    d = E_c(x~) - E_c(x), shuffles the values of d over channels and positions, and uploads E_c(x) + shuffled d. The
    values of d are kept, so the noise is as strong as PMT's change in every norm; only the order is lost.
    """

    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"feature"})
    promise: ClassVar[str] = (
        "nothing of its own: a comparison, which changes features as much as PMT does, but at random"
    )
    not_promised: ClassVar[str] = "that the noise cannot be taken out again; a formal bound"

    def passes(self) -> float:
        """Return the passes of PMT plus one each for the features of the face and of the obfuscated image."""
        return super().passes() + 2

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Float ``(n, 3, h, w)`` RGB in [0, 1] to features ``(n, c, h', w')`` at every split of ``ctx.uploaded``.

        ``extra``: that of PMT, and ``noise_to_signal``: |d| / |E_c(x)|, Euclidean, the mean over the uploaded splits.
        """
        from bench_pmt.shuffled import upload_noise

        return upload_noise(images, self, ctx)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``pmt``, ``mr-pmt`` and ``pmt-noise``."""
    return {"pmt": Pmt, "mr-pmt": MrPmt, "pmt-noise": PmtNoise}
