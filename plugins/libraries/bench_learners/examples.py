"""Which faces an attack learns from, and which it holds out; the faces of each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench import ContractError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples, Received


def split(
    subjects: NDArray[np.int64], share: float, generator: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of faces to learn from and those of held-out faces, both in ascending order.

    ``subjects (n,)`` are the people whom the faces show. A random ``share`` of them, rounded, but at least one person
    and not all, is held out with all their faces. Raise `DataError` for fewer than two people.
    """
    people = np.unique(subjects)
    if len(people) < 2:
        raise DataError(
            f"an attack learns from some people and stops early on others: expected auxiliary faces of at least two "
            f"people, found {len(people)}; name a data set with more, or raise the attack's 'faces'"
        )
    count = min(max(round(share * len(people)), 1), len(people) - 1)
    chosen = people[torch.randperm(len(people), generator=generator)[:count].numpy()]
    held_out = np.isin(subjects, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def batches(rows: NDArray[np.int64], size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of ``size`` different rows without end, or of all rows if there are fewer.

    The rows are shuffled for every pass. A pass leaves out the rows that do not fill its last batch.
    """
    size = min(size, len(rows))
    while True:
        order = rows[torch.randperm(len(rows), generator=generator).numpy()]
        for first in range(0, len(rows) - size + 1, size):
            yield order[first : first + size]


def parts(rows: NDArray[np.int64], size: int = 64) -> Iterator[NDArray[np.int64]]:
    """Yield the rows in their order, at most ``size`` at a time, for what is computed once for each of them."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def faces_of(examples: Examples, rows: NDArray[np.int64], ctx: Context) -> Tensor:
    """Return some of the unprotected faces as float ``(len(rows), 3, h, w)`` RGB in [0, 1], on the context's device."""
    return torch.from_numpy(np.array(examples.images[rows])).to(ctx.device).float() / 255


def images_of(received: Received, who: str) -> Tensor:
    """Return the uploaded images. Raise `ContractError`, which names ``who``, if there are none or if they are not
    finite."""
    if received.images is None:
        raise ContractError(f"{who}: works on images, and received none; upload images, or use an attack on features")
    if not torch.isfinite(received.images).all():
        raise ContractError(f"{who}: the received images hold values that are NaN or infinite")
    return received.images


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Return the images ``(n, c, h, w)``, of which the ``chosen`` ones, bool ``(n,)``, are mirrored."""
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(-1), images)


def coin(n: int, generator: torch.Generator) -> Tensor:
    """Return ``n`` random booleans, each True with probability 1/2."""
    return torch.rand(n, generator=generator) < 0.5
