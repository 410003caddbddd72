"""Several uploads of one photo: fresh randomness of a defense cancels in their mean.

A client that protects a photo again for every upload gives an adversary several draws of the same noise. The attack on
query answers is as old as differential privacy ("averaging attack"); for face images see Oh, Schiele and Fritz (2017),
whose adversaries are answered by a randomised protection. Figures: ``docs/design/restoration.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from bench import Attack, hookimpl

if TYPE_CHECKING:
    import numpy as np
    import torch
    from bench_restoration.filters import Filter
    from numpy.typing import NDArray

    from bench import Context, Examples, Received, Sees

__all__ = ["Averaged", "bench_attacks"]


@dataclass(frozen=True, kw_only=True)
class Averaged(Attack):
    """Recognises the mean of ``uploads`` uploads of one photo with the evaluated model.

    ``restore``: after averaging it applies the classical filter that suits the means of ``faces`` auxiliary pictures
    best, which the attack ``restored`` chooses; the client then protects each of these ``uploads`` times. Of a defense
    without randomness all uploads of a photo are equal, and a note says so.
    """

    outputs = "recognition"
    license = "none needed"

    uploads: Annotated[int, Interval(ge=2, le=1000)] = 8  # type: ignore[misc]
    restore: bool = False
    faces: Annotated[int, Ge(2)] = 200

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Several uploads; with ``restore`` also pictures of other people that the defense protects, and who they
        are."""
        return frozenset({"images", "uploads", "defense", "labels"} if self.restore else {"images", "uploads"})

    @property
    def trains_on(self) -> Literal["nothing", "defense"]:  # type: ignore[override]
        """Protected auxiliary faces if a filter is chosen."""
        return "defense" if self.restore else "nothing"

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What the adversary knows, as a sentence."""
        known = f"receives {self.uploads} uploads of each photo, which the client protects anew, and averages them"
        return (
            f"{known}; then applies the classical filter that suits other people's pictures" if self.restore else known
        )

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces, if a filter is chosen."""
        return {"faces": self.faces} if self.restore else {}

    def fit_seconds(self) -> float:
        """Return the seconds of the choice of a filter."""
        return 30 + 0.1 * self.faces

    @property
    def filters(self) -> list[Filter]:
        """The filters to choose from."""
        from bench_restoration.families import FAMILIES
        from bench_restoration.filters import filters

        return filters(FAMILIES)

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Choose the filter on means of uploads; the state is that of ``restored``."""
        from bench_learners.examples import images_of
        from bench_restoration.choice import choose

        def means(rows: NDArray[np.int64]) -> torch.Tensor:
            return mean([images_of(examples.received(rows, upload=j), ctx.plugin) for j in range(self.uploads)])

        return choose(self.filters, examples, means, ctx)

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings of the mean of all uploads of each photo."""
        from bench_learners.examples import images_of
        from bench_restoration.choice import embedded

        images = mean([images_of(upload, ctx.plugin) for upload in (received, *received.further)])
        return embedded(images, self._filter(ctx).uploads, ctx)

    def enrol(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the embeddings of clean pictures, which some filters degrade as uploads are degraded."""
        from bench_restoration.choice import embedded

        return embedded(images, self._filter(ctx).enrolled, ctx)

    def _filter(self, ctx: Context) -> Filter:
        """Return the filter that was chosen, or none."""
        from bench_restoration.choice import chosen_filter
        from bench_restoration.filters import NONE

        return chosen_filter(self.filters, ctx.state) if self.restore else NONE


def mean(uploads: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of uploads, each ``(n, 3, h, w)``."""
    import torch

    return torch.stack(list(uploads)).mean(dim=0)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``averaged``."""
    return {"averaged": Averaged}
