"""Laplace noise on the coefficients of a picture among eigenfaces, with the epsilon that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from bench import Bound, Context, Defense, Faces, Need, Protected


@dataclass(frozen=True, kw_only=True)
class PcaLaplace(Defense):
    """Clips the ``components`` coefficients of a picture to the range of the training faces and adds Laplace noise.

    Two clipped pictures differ in coefficient i by at most its width w_i, so noise of the scale
    ``components * w_i / epsilon`` gives epsilon-differential privacy for one picture.
    """

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})
    needs: ClassVar[frozenset[Need]] = frozenset({"training"})

    epsilon: Annotated[float, Gt(0)] = 200.0
    components: Annotated[int, Ge(1)] = 64

    def bound(self) -> Bound:
        """Return epsilon."""
        words = f"a picture is {self.epsilon:g}-differentially private among all pictures with clipped coefficients"
        return Bound(words=words, epsilon=self.epsilon)

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the mean face, the eigenfaces, and the range of each coefficient."""
        flat = torch.from_numpy(faces.images[:]).float().div(255).flatten(1)
        mean = flat.mean(dim=0)
        basis = torch.linalg.svd(flat - mean, full_matrices=False).Vh[: self.components]
        found = (flat - mean) @ basis.T
        return {"mean": mean, "basis": basis, "low": found.amin(dim=0), "high": found.amax(dim=0)}

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the pictures that the noisy coefficients give."""
        low, high = ctx.state["low"], ctx.state["high"]
        found = ((images.flatten(1) - ctx.state["mean"]) @ ctx.state["basis"].T).clamp(low, high)
        u = ctx.rand(found) - 0.5
        noise = -u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.4999999)) * len(low) * (high - low) / self.epsilon
        made = (found + noise) @ ctx.state["basis"] + ctx.state["mean"]
        return Protected(images=made.view_as(images).clamp(0, 1))
