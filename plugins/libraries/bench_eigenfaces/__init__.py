"""Eigenfaces: the principal components of pictures of faces (Turk and Pentland, "Eigenfaces for recognition", 1991)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ContractError

if TYPE_CHECKING:
    import torch

    from bench import Context, Faces

__all__ = ["MOST_FACES", "Eigenfaces", "fitted"]

MOST_FACES = 2000  # More faces hardly change the first components, and all of them must be in memory at once.
_ROUNDING = 1e-6  # of the largest variance: what float32 leaves of a variance of 0


@dataclass(frozen=True, kw_only=True)
class Eigenfaces:
    """A mean picture ``(d,)``, and orthonormal components ``(k, d)``, those with the most variance first.

    ``low`` and ``high`` ``(k,)`` are the smallest and the largest coefficients of the faces that they were fitted to.
    ``d`` is 3 x h x w.
    """

    mean: torch.Tensor
    components: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of_state(cls, state: Mapping[str, torch.Tensor]) -> Eigenfaces:
        """Return the eigenfaces that `fitted` has returned as a state."""
        return cls(mean=state["mean"], components=state["components"], low=state["low"], high=state["high"])

    def coefficients(self, images: torch.Tensor) -> torch.Tensor:
        """Return the coefficients ``(n, k)`` of images ``(n, 3, h, w)``."""
        return (images.flatten(1) - self.mean) @ self.components.T

    def images(self, coefficients: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return the images that coefficients ``(n, k)`` describe, of the size of images ``like (m, 3, h, w)``, in
        [0, 1]."""
        made = coefficients @ self.components + self.mean
        return made.view(len(coefficients), *like.shape[1:]).clamp(0, 1)


def fitted(faces: Faces, components: int, ctx: Context) -> dict[str, torch.Tensor]:
    """Return the state of `Eigenfaces` that are fitted to training faces, to at most `MOST_FACES` of them in random
    order. Raise `ContractError` if they are too few for this number of components."""
    import torch

    n = len(faces.images)
    if n <= components:
        raise ContractError(
            f"{ctx.plugin}: expected more training faces than components ({components}), found {n}; set components to "
            f"at most {n - 1}, or give the data set more auxiliary people"
        )
    chosen = torch.randperm(n, generator=ctx.generator())[: max(MOST_FACES, components + 1)].sort().values
    flat = torch.from_numpy(faces.images[chosen.numpy()]).to(ctx.device).float().div(255).flatten(1)
    mean = flat.mean(dim=0)
    centred = flat - mean
    # The products of the faces with each other have the same components as the much larger covariance of their pixels.
    variances, weights = torch.linalg.eigh((centred @ centred.T).double())
    variances, weights = variances[-components:].flip(0), weights[:, -components:].flip(1)
    if float(variances[-1]) <= _ROUNDING * float(variances[0]):
        raise ContractError(
            f"{ctx.plugin}: expected training faces that differ in {components} ways, found fewer; set fewer components"
        )
    basis = (weights / variances.sqrt()).T.float() @ centred
    found = centred @ basis.T
    return {"mean": mean, "components": basis, "low": found.amin(dim=0), "high": found.amax(dim=0)}
