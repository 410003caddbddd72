"""The masks of OPOM: one for each person, away from the hull of the features of the person's own pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from bench import ContractError, Protected
from bench_cloaks.surrogates import Surrogates, squared_distance, with_measures

if TYPE_CHECKING:
    from bench import Context
    from bench_cloaks.parameters import OpomParameters

Hull = Literal["convex", "affine", "center"]
_AT_ONCE = 64  # pictures from which masks are made at a time; no person is divided
_PROJECTIONS = 200  # steps in which the nearest point of a convex hull is found


def masked(images: Tensor, params: OpomParameters, ctx: Context) -> Protected:
    """Add its person's mask to each picture ``(n, 3, h, w)`` in [0, 1]."""
    surrogates = Surrogates(ctx)
    people, keys = ctx.subjects.tolist(), ctx.keys.tolist()
    known, shown = (images, people) if params.pictures == "released" else _further(ctx)
    rows = {person: [row for row, who in enumerate(shown) if who == person] for person in dict.fromkeys(people)}
    missing = [person for person, of_person in rows.items() if not of_person]
    if missing:
        raise ContractError(f"{ctx.plugin}: expected further pictures of everybody, found none of person {missing[0]}")
    key_of = dict(zip(people, keys, strict=True))
    masks: dict[int, Tensor] = {}
    for group in _groups(rows):
        starts = [_start(images[0], params.epsilon, key_of[person]) for person in group]
        pictures = [known[rows[person]] for person in group]
        masks |= zip(group, masks_of(pictures, torch.stack(starts), params, surrogates), strict=True)
        ctx.progress(len(masks), len(rows))
    mask = torch.stack([masks[person] for person in people])
    return with_measures(images, (images + mask).clamp(0, 1), surrogates.fixed(images), surrogates)


def _further(ctx: Context) -> tuple[Tensor, list[int]]:
    pictures = ctx.enrolment()
    return pictures.images, pictures.subjects.tolist()


def _groups(rows: dict[int, list[int]]) -> Iterator[list[int]]:
    """Yield people in groups with at most `_AT_ONCE` pictures, or of one person."""
    group: list[int] = []
    for person in sorted(rows):
        if group and sum(len(rows[one]) for one in [*group, person]) > _AT_ONCE:
            yield group
            group = []
        group.append(person)
    yield group


def _start(picture: Tensor, epsilon: float, key: int) -> Tensor:
    """Return a uniform random mask ``(3, h, w)`` within ``epsilon``, which follows from the key of the person."""
    drawn = torch.rand(picture.shape, generator=torch.Generator().manual_seed(key))
    return (epsilon * (2 * drawn - 1)).to(picture)


def masks_of(pictures: list[Tensor], starts: Tensor, params: OpomParameters, surrogates: Surrogates) -> Tensor:
    """Return the masks ``(people, 3, h, w)`` of people, each made from that person's ``pictures (m, 3, h, w)``."""
    counts = [len(of_person) for of_person in pictures]
    owner = torch.arange(len(counts), device=starts.device).repeat_interleave(torch.tensor(counts).to(starts.device))
    images = torch.cat(pictures)
    own = surrogates.fixed(images)
    masks = starts
    for step in range(params.steps):
        hull: Hull = "center" if params.hull == "convex" and step < params.first else params.hull
        with torch.enable_grad():
            masks = masks.detach().requires_grad_()
            found = surrogates((images + masks[owner]).clamp(0, 1))
            nearest = [_nearest(f.detach(), o, counts, hull) for f, o in zip(found, own, strict=True)]
            # The mean over a person's pictures and their sum have the same sign.
            (gradient,) = torch.autograd.grad(squared_distance(found, nearest).sum(), masks)
        masks = (masks.detach() + params.step_size * gradient.sign()).clamp(-params.epsilon, params.epsilon)
    return masks.detach()


def _nearest(found: Tensor, own: Tensor, counts: list[int], hull: Hull) -> Tensor:
    """Return for features ``found (n, d)``, person by person, the nearest points of the hulls of the ``own`` ones."""
    pairs = zip(torch.split(found, counts), torch.split(own, counts), strict=True)
    return torch.cat([nearest_point(points, corners, hull) for points, corners in pairs])


def nearest_point(points: Tensor, corners: Tensor, hull: Hull) -> Tensor:
    """Return for points ``(n, d)`` the nearest ones in the hull of ``corners (m, d)``; their mean for ``center``."""
    center = corners.mean(dim=0)
    if hull == "center" or len(corners) == 1:
        return center.expand_as(points)
    if hull == "affine":
        spread = corners - center
        weights: Tensor = (points - center) @ torch.linalg.pinv(spread)
        return center + weights @ spread
    # Projected gradient: weights w >= 0 with sum 1 that minimise |w corners - point|^2.
    gram = corners @ corners.T
    step = 1 / torch.linalg.matrix_norm(gram, ord="fro")
    shares = corners.new_full((len(points), len(corners)), 1 / len(corners))
    for _ in range(_PROJECTIONS):
        shares = on_simplex(shares - step * (shares @ gram - points @ corners.T))
    return shares @ corners


def on_simplex(values: Tensor) -> Tensor:
    """Return for each row ``(n, m)`` the nearest weights that are at least 0 and have the sum 1."""
    falling = values.sort(dim=1, descending=True).values
    count = torch.arange(1, values.shape[1] + 1, device=values.device)
    levels = (falling.cumsum(dim=1) - 1) / count
    last = (falling > levels).sum(dim=1, keepdim=True) - 1
    return (values - levels.gather(1, last)).clamp(min=0)
