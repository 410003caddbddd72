"""Recognition after classical restoration: the adversary applies the filter with which he matches most people.

He knows no secret and trains nothing. He has the defense protect pictures of other people, and tries filters from
textbooks, none included: blur against structured noise, median and non-local means against noise, JPEG, making pictures
smaller, Wiener and Richardson-Lucy deconvolution against blur; and degrading enrolled pictures in the same way ("parrot
recognition", Newton, Sweeney and Malin 2005). Source: SEBA (PoPETs 2024), which tries 20 de-anonymisations on 20
anonymisations. Figures: ``docs/design/restoration.md``.

This module holds the declarations and does not import torch. The filters are in `filters`, their choice in `choice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from bench import Attack, hookimpl
from bench_restoration.families import FAMILIES, Family

if TYPE_CHECKING:
    import torch

    from bench import Context, Examples, Received
    from bench_restoration.filters import Filter

__all__ = ["Restored", "bench_attacks"]


@dataclass(frozen=True, kw_only=True)
class Restored(Attack):
    """Applies one filter to uploads and recognises the result with the evaluated model.

    The filter and its strength are chosen on ``faces`` protected pictures of auxiliary people: those with which the
    evaluated model matches most of them with another picture of the person, at a false match rate of 1 %. ``families``
    are the filters to choose from, by default all; no filter is always among them.
    """

    sees = frozenset({"images", "defense", "labels"})
    outputs = "recognition"
    trains_on = "defense"
    threat = (
        "knows the defense and has pictures of other people protected; recognises uploads after the classical filter "
        "that suits these best; trains nothing"
    )
    license = "none needed"

    faces: Annotated[int, Ge(2)] = 200
    families: tuple[Family, ...] = FAMILIES

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces."""
        return {"faces": self.faces}

    def fit_seconds(self) -> float:
        """Return the seconds of the choice: half a second for each face that is screened, less for all others."""
        return 30 + 0.1 * self.faces

    @property
    def filters(self) -> list[Filter]:
        """The filters to choose from."""
        from bench_restoration.filters import filters

        return filters(self.families)

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Choose the filter; the state holds its index and the shares of uploads that the best filters matched."""
        from bench_learners.examples import images_of

        from bench_restoration.choice import choose

        return choose(self.filters, examples, lambda rows: images_of(examples.received(rows), ctx.plugin), ctx)

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings of uploads after the filter."""
        from bench_learners.examples import images_of

        from bench_restoration.choice import chosen_filter, embedded

        return embedded(images_of(received, ctx.plugin), chosen_filter(self.filters, ctx.state).uploads, ctx)

    def enrol(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the embeddings of clean pictures, which some filters degrade as uploads are degraded."""
        from bench_restoration.choice import chosen_filter, embedded

        return embedded(images, chosen_filter(self.filters, ctx.state).enrolled, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``restored``."""
    return {"restored": Restored}
