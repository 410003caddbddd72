"""Groups of at least k people, and their averages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from bench import ContractError

if TYPE_CHECKING:
    from bench import Context


class People(NamedTuple):
    """The mean picture ``means (people, d)`` of each person, in the order of their numbers, and for each image the
    position of its ``person (n,)`` among them."""

    means: torch.Tensor
    person: torch.Tensor


def people_of(images: torch.Tensor, ctx: Context) -> People:
    """Return the people whom images ``(n, 3, h, w)`` show.

    Pictures are added up in the order of their names, so that the last bits do not depend on the order of the images.
    """
    subjects = ctx.subjects.tolist()
    rows = sorted(range(len(images)), key=lambda row: (subjects[row], str(ctx.sample_ids[row])))
    numbers = {subject: number for number, subject in enumerate(sorted(set(subjects)))}
    means = images.new_zeros(len(numbers), images[0].numel())
    counts = [0] * len(numbers)
    for row in rows:
        number = numbers[subjects[row]]
        means[number] += images[row].flatten()
        counts[number] += 1
    person = torch.tensor([numbers[subject] for subject in subjects], device=images.device)
    return People(means=means / torch.tensor(counts).to(images)[:, None], person=person)


def averages(points: torch.Tensor, k: int, ctx: Context) -> torch.Tensor:
    """Return for each person the average ``(people, d)`` of the points ``(people, d)`` of the group. Raise
    `ContractError` if there are fewer than k people."""
    if len(points) < k:
        raise ContractError(
            f"{ctx.plugin}: expected at least k = {k} people among the faces that are released together, found "
            f"{len(points)}; set a smaller k, or more pairs in the experiment"
        )
    made = torch.empty_like(points)
    for group in groups(torch.cdist(points, points), k):
        made[group] = points[group].mean(dim=0)
    return made


def groups(distances: torch.Tensor, k: int) -> Iterator[list[int]]:
    """Yield groups of at least k people by their distances ``(people, people)``: the first person who is left and the
    k - 1 nearest who are left; all of them if fewer than 2 k are left."""
    left = list(range(len(distances)))
    while len(left) >= 2 * k:
        first, others = left[0], left[1:]
        nearest = distances[first, others].argsort(stable=True)[: k - 1].tolist()
        group = [first, *sorted(others[at] for at in nearest)]
        yield group
        taken = set(group)
        left = [person for person in left if person not in taken]
    yield left
