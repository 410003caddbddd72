"""Cloaks: pictures in which people see the same face, and which recognisers should take for somebody else.

Each changes the pixels a little, along the gradients of surrogate models that the client holds, and hopes that models
it does not know are misled as well. None of them has a bound, and none knows what an adversary learns from cloaked
pictures: Radiya-Dixit, Hong, Carlini and Tramèr, "Data poisoning won't save you from facial recognition" (ICLR 2022),
train recognisers against which Fawkes and LowKey fail.

What all four have in common: the features are the embeddings of the experiment's ``surrogates``, scaled to length 1, so
that no model counts more because its embeddings are longer; all surrogates count alike. The pictures are aligned faces
in [0, 1], of which nothing is cropped or put back. A suite that names an evaluated model among its surrogates finds out
whether the optimisation works, not whether the cloak protects.

This module holds the declarations and imports no torch. Each cloak has a module of its own; `surrogates` holds the
features and `perception` what people see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench import Defense, Need, Protected, hookimpl
from bench_cloaks.parameters import FawkesParameters, LowKeyParameters, OpomParameters, TipImParameters

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Fawkes", "LowKey", "Opom", "TipIm", "bench_defenses"]


class _Cloak(Defense):
    """What cloaks have in common: people still see the face, and either side of a pair can carry the cloak."""

    goal = "appearance"
    protects = frozenset({"probe", "gallery", "both"})
    trusts = "nobody: it asks no service, and computes with surrogate models of its own"
    not_promised = (
        "anything against a recogniser that learnt from cloaked pictures, or against one that sees otherwise than the "
        "surrogates; that people do not recognise the face; a formal bound: it rests on experiments"
    )


@dataclass(frozen=True, kw_only=True)
class Fawkes(FawkesParameters, _Cloak):
    """Moves the features of a picture to those of another person, who is far away, within a budget of DSSIM.

    Source: Shan, Wenger, Zhang, Li, Zheng and Zhao, "Fawkes: Protecting privacy against unauthorized deep learning
    models" (USENIX Security 2020). Of ``candidates`` auxiliary people, the one whose mean features are farthest from
    the picture is its target T. With F for the features and x_T for a picture of T, Adam minimises

        |F(x') - F(x_T)| / |F(x_T)| + penalty * max(DSSIM(x, x') - rho, 0)^2,   DSSIM = (1 - SSIM) / 2

    over x', summed over the surrogates, in ``steps`` of about ``rate`` (in units of pixels in [0, 1]). ``rho`` has no
    unit; the paper takes 0.007. The authors' program offers modes for it: low 0.003, mid 0.005 and high 0.008.

    Features have length 1 here, so that the division by |F(x_T)|, which is that of the program, changes nothing.

    Other than in the paper:

    - features have length 1, so that distances are those of directions, from 0 to 2
    - the penalty is that of the excess squared, as in the authors' program; the paper prints the excess itself
    - each picture has a target of its own, as in the program, where the paper has one per person; its picture x_T is
      the first one, and candidates are compared by the mean of all
    - pixels are clamped, and Adam moves them, where the program optimises their inverse hyperbolic tangents with
      Adadelta
    - the last step counts, where the program keeps the one whose features are nearest to those of the target
    - at the end the change is scaled down until the 8-bit picture keeps the budget, which the penalty does not ensure
    - the paper makes 1000 steps with a penalty that it does not print; 100, and the 10^5 of the program, are the
      defaults here, and ``rate`` is our choice
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates", "targets"})
    promise = (
        "that recognisers which learn from the cloaked pictures, or compare with them, take the person for another"
    )

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Cloak a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same. No picture depends on the others.

        ``extra``: ``cosine`` to the original for the surrogates (their mean), and ``dssim``.
        """
        from bench_cloaks.fawkes import cloaked

        return cloaked(images, self, ctx)


@dataclass(frozen=True, kw_only=True)
class LowKey(LowKeyParameters, _Cloak):
    """Moves the features of a picture, sharp and blurred, away from its own, as far as the look allows.

    Source: Cherepanova, Goldblum, Foley, Duan, Dickerson, Taylor and Goldstein, "LowKey: Leveraging adversarial attacks
    to protect social media users from facial recognition" (ICLR 2021). With F for the features and G for a Gaussian
    blur of 7 x 7 pixels (standard deviation ``blur`` pixels), it climbs

        mean over surrogates of (|F(x) - F(x')|^2 + |F(x) - F(G(x'))|^2) / (2 |F(x)|) - alpha * DSSIM(x, x')

    by ``steps`` along the sign of the gradient, each of which moves every pixel by ``rate`` (pixels in [0, 1]), from a
    start at most ``noise`` away from the picture. 50 steps of 0.0025, a blur of 3 and a start of 0.005 are those of the
    authors' code. Like that code, it has no limit for a single pixel.

    Other than in the paper: the perceptual term is DSSIM = (1 - SSIM) / 2, where the paper has LPIPS with AlexNet,
    whose weights do not come with bench and cannot be replaced by random ones; so ``alpha`` is our choice, too. With 5,
    SSIM is about 0.95 on the bundled faces and networks, with 20 about 0.97. The surrogates are those of the
    experiment, where the paper has four of its own; pictures are aligned already.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates"})
    promise = "that recognisers do not find the person whose enrolled pictures are cloaked, even after a blur"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Cloak a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same. No picture depends on the others.

        ``extra``: ``cosine`` to the original for the surrogates (their mean), and ``dssim``.
        """
        from bench_cloaks.lowkey import cloaked

        return cloaked(images, self, ctx)


@dataclass(frozen=True, kw_only=True)
class TipIm(TipImParameters, _Cloak):
    """Moves a picture towards whichever of several other people is best, anew in each step, within ``epsilon``.

    Source: Yang, Dong, Pang, Su, Zhu, Chen and Xue, "Towards face encryption by generating adversarial identity masks"
    (ICCV 2021), "targeted identity-protection iterative method". In each of ``steps``, and for each of ``targets``
    auxiliary people t, the gradient of

        |F(x') - F(t)|^2 - |F(x') - F(x)|^2 + gamma * MMD^2(x', x)

    is divided by its mean absolute value and added to ``momentum`` times the sum before it; the picture moves by 1.5
    epsilon / steps along its sign, and stays within ``epsilon`` of x at every pixel (L-infinity, pixels in [0, 1]). An
    upload has 8 bits: it keeps an epsilon of whole grey levels (multiples of 1/255), and is otherwise rounded, which
    adds up to half a level. Of these candidates, the one is kept with the largest gain |F(x') - F(x)| - min over t of
    |F(x') - F(t)|, which is the greedy choice of the authors' code. MMD, the term for a natural look, is the maximum
    mean discrepancy of the two pictures for the sum of 19 Gaussian kernels of that code, with pixels from 0 to 255.
    ``diversity`` is the largest standard deviation of the random affine maps through which the surrogates see the
    picture; 0 switches them off. 12/255 for epsilon, a momentum of 1, 10 targets and a diversity of 0.1 are those of
    that code.

    Other than in the paper: 20 steps where the code makes 100, because each of them takes ten backward passes; the
    scale of the features, and with it gamma, which is our choice (the code's default is 0, without the term). On the
    bundled faces and networks, SSIM is about 0.82 with 0, 0.90 with 0.4 and 0.96 with 1; with 20 nothing is hidden.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"surrogates", "targets"})
    promise = "that recognisers take the person in the picture for one of the targets"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Cloak a batch: float ``(n, 3, h, w)`` RGB in [0, 1] to the same. No picture depends on the others.

        ``extra``: ``cosine`` to the original for the surrogates (their mean), and ``dssim``. On CUDA the gradient of
        the random maps is summed in no fixed order, so that results there are only nearly reproducible.
        """
        from bench_cloaks.tip_im import cloaked

        return cloaked(images, self, ctx)


@dataclass(frozen=True, kw_only=True)
class Opom(OpomParameters, _Cloak):
    """Adds to all pictures of a person one mask, which moves features away from everything the person looks like.

    Source: Zhong and Deng, "OPOM: Customized invisible cloak towards face privacy protection" (IEEE TPAMI 2022). From m
    pictures x_i of a person, it makes one mask d with at most ``epsilon`` at every pixel (L-infinity, pixels in [0,
    1]); rounding an upload to 8 bits adds up to half a grey level if epsilon is no multiple of 1/255. In each of
    ``steps``, the mean over i of the gradients of

        |F(x_i + d) - nearest point of the hull of F(x_1) ... F(x_m)|^2

    moves the mask by ``step_size`` along its sign. ``hull``: ``convex``, ``affine``, or ``center`` for the mean of the
    features; a convex hull is replaced by its center for the first ``first`` steps, without which the pictures would
    not leave it. 8/255, steps of 1/255, 16 steps and 5 first ones are those of the authors' code, the random start as
    well. The start follows from the key of the person.

    ``pictures``: from which pictures the mask is made. ``further``, as in the paper, where they are ten: other
    pictures of the person, of which a data set may have fewer (the bundled ones have four), so that a mask meets
    pictures that it was not made for. Data sets have such pictures of scored people only. Attacks that learn from
    pictures of other people that the defense has protected are therefore skipped, and the adversary sets his threshold
    on scored people. ``released``: those pictures of the person that are protected together. All attacks can be asked,
    but a probe is often the only picture of its person, and the mask is then a cloak of this one picture, for which
    ``convex`` and ``affine`` are the same as ``center``.
    """

    promise = "that no recogniser knows any picture of the person which carries the mask, whoever makes the picture"

    @property
    def needs(self) -> frozenset[Need]:  # type: ignore[override]  # It depends on a parameter.
        """What it needs: further pictures of each person, or all pictures that are released together."""
        source: Need = "enrolment" if self.pictures == "further" else "whole_set"
        return frozenset({"surrogates", "subjects", "key", source})

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Mask float ``(n, 3, h, w)`` RGB in [0, 1]; the mask of a person is the same for all pictures in the call.

        ``extra``: ``cosine`` to the original for the surrogates (their mean), and ``dssim``.
        """
        from bench_cloaks.opom import masked

        return masked(images, self, ctx)


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``fawkes``, ``lowkey``, ``tip-im`` and ``opom``."""
    return {"fawkes": Fawkes, "lowkey": LowKey, "tip-im": TipIm, "opom": Opom}
