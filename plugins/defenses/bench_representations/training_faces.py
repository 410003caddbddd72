"""What a recogniser learns from: auxiliary faces, their embeddings by the network that it starts from, and other people
who decide when it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench_learners.examples import batches, coin, mirrored, parts, split
from torch import Tensor
from torch.nn.functional import normalize

from bench import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bench import Context, Faces, Model

_BATCH = 64
_HELD_OUT = 0.15  # of the people decide when the training stops.
_LOOKED_AT = 128  # At most so many of their pictures are looked at.
_MOST_FACES = 4000  # More pictures are hardly seen in the steps of a training.


def loaded(model: Model, ctx: Context) -> Any:
    """Return a new copy of the network of a model, on the device of the context, which may be trained."""
    network: Any = model.load()
    return network.to(ctx.device).eval().requires_grad_(True)


class TrainingFaces:
    """Auxiliary faces to learn from, and ``held_out (m, 3, h, w)``, those of other people, with their targets.

    The target of a picture is its embedding by ``network``, the mean over the picture and its mirror image. All
    randomness is that of ``generator``. Raise `ContractError` if there are fewer than two people.
    """

    @classmethod
    def of(cls, faces: Faces, model: Model, ctx: Context) -> TrainingFaces:
        """Return the faces whose targets are embeddings by a model."""
        return cls(faces, loaded(model, ctx), ctx)

    def __init__(self, faces: Faces, network: Any, ctx: Context) -> None:
        people = len(np.unique(faces.subjects))
        if people < 2:
            raise ContractError(
                f"{ctx.plugin}: its recogniser learns from some people and stops early on others: expected auxiliary "
                f"faces of at least two people, found {people}; name a data set with more"
            )
        self._faces, self._device, self.generator = faces, ctx.device, ctx.generator()
        rows, held_out = split(faces.subjects, _HELD_OUT, self.generator)
        self.rows, other = self._some(rows, _MOST_FACES), self._some(held_out, _LOOKED_AT)
        self.targets = _embedded(network, self.pictures)
        self.held_out = self._pictures(other)
        self.held_out_targets = _embedded(network, lambda: iter([self.held_out]))
        self._batches = batches(np.arange(len(self.rows)), _BATCH, self.generator)

    def pictures(self) -> Iterator[Tensor]:
        """Yield all pictures to learn from once, some at a time, float ``(n, 3, h, w)`` RGB in [0, 1]."""
        for rows in parts(self.rows):
            yield self._pictures(rows)

    def batch(self) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """Return the pictures of the next batch, half of them mirrored, their targets, and the rows of their faces."""
        chosen = next(self._batches)
        images = mirrored(self._pictures(self.rows[chosen]), coin(len(chosen), self.generator))
        return images, self.targets[chosen], self.rows[chosen]

    def _some(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        return np.sort(rows[torch.randperm(len(rows), generator=self.generator).numpy()[:most]])

    def _pictures(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.array(self._faces.images[rows])).to(self._device).float() / 255


def _embedded(network: Any, pictures: Any) -> Tensor:
    """Return the embeddings ``(n, d)`` of length 1 of pictures, each the mean with that of its mirror image."""
    found = []
    with torch.no_grad():
        for images in pictures():
            plain, flipped = (normalize(network(seen), dim=1) for seen in (images, images.flip(-1)))
            found.append(normalize(plain + flipped, dim=1))
    return torch.cat(found)
