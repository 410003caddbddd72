"""k-same: one picture in place of those of k people, so that nobody can say which of the k people it shows.

Source: Newton, Sweeney and Malin, "Preserving privacy by de-identifying face images" (IEEE TKDE 17, 2005). The people
who are released together are divided into groups of at least k, and every picture of a person is replaced by the
average of the group, in which each person has the same weight. All k people then have the same picture, and no
recogniser tells them apart.

In the paper each person has one picture, and whoever is shown a released one names the right person with a probability
of at most 1/k. Here a person may have several: their mean stands for the person, and all of them are replaced by the
same picture, since different pictures would say more together than each of them alone. The 1/k holds where all people
of a group have equally many released pictures. Otherwise, whoever knows the numbers names the person with most of them,
and is right with the share that these are of the group: .82 for 32 of 39 pictures.

All this holds for each released set by itself; who knows two sets with the same person, or the pictures of the other
k - 1 people, knows more.

This module holds the declarations and imports no torch. The groups are made in `groups`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval
from bench_eigenfaces import Eigenfaces, fitted

from bench import Bound, Defense, Need, Protected, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context, Faces

__all__ = ["KSameEigen", "KSamePixel", "bench_defenses"]


class _KSame(Defense):
    """What both have in common. They must see all faces that are released together, and know whom they show."""

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})
    promise = (
        "that at least k people have the same picture, so that whatever recogniser is used names the right one with a "
        "probability of at most 1/k, where all of them have equally many released pictures"
    )
    trusts = "whoever makes the groups, and holds all pictures"
    not_promised = (
        "1/k where people of a group have unequally many released pictures: whoever knows the numbers names the one "
        "with most of them; "
        "anything if the same person is in two released sets, or if the pictures of others of the group are known; "
        "that nothing follows from what all of the group have in common"
    )

    k: int

    def bound(self) -> Bound:
        """Return k."""
        return Bound(words=f"every released picture is the same for at least {self.k} of the released people", k=self.k)


@dataclass(frozen=True, kw_only=True)
class KSamePixel(_KSame):
    """k-same-pixel: sends the average of the pictures of ``k`` people, pixel by pixel.

    People are grouped by the Euclidean distance of their mean pictures: in the order of their numbers, each one who has
    no group yet is joined by the k - 1 nearest without a group; the last group has up to 2 k - 1 people. Source:
    Newton, Sweeney and Malin (2005), who vary k; 5 is our choice.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"whole_set", "subjects"})

    k: Annotated[int, Interval(ge=2, le=10**6)] = 5

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect all released faces, float ``(n, 3, h, w)`` RGB in [0, 1]."""
        from bench_k_same.groups import averages, people_of

        people = people_of(images, ctx)
        return Protected(images=averages(people.means, self.k, ctx)[people.person].view_as(images).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class KSameEigen(_KSame):
    """k-same-eigen: sends the face whose coefficients among ``components`` eigenfaces are the average of ``k`` people.

    Groups are made as by k-same-pixel, by the distance of coefficients. With all eigenfaces it would send the same as
    k-same-pixel; with few of them its pictures are smoother. Source: Newton, Sweeney and Malin (2005), who compute the
    eigenfaces of the released pictures; here they are those of auxiliary people, so that nothing else about the
    released pictures is in what is sent. The defaults, 5 and 64, are our choice.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"whole_set", "subjects", "training"})

    k: Annotated[int, Interval(ge=2, le=10**6)] = 5
    components: Annotated[int, Interval(ge=1, le=1000)] = 64

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the eigenfaces of auxiliary people."""
        return fitted(faces, self.components, ctx)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect all released faces, float ``(n, 3, h, w)`` RGB in [0, 1]."""
        from bench_k_same.groups import averages, people_of

        faces, people = Eigenfaces.of_state(ctx.state), people_of(images, ctx)
        found = averages(faces.coefficients(people.means), self.k, ctx)
        return Protected(images=faces.images(found, images)[people.person].to(images.dtype))


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    """Register ``k-same-pixel`` and ``k-same-eigen``."""
    return {"k-same-pixel": KSamePixel, "k-same-eigen": KSameEigen}
