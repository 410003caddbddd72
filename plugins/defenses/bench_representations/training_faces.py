"""What a recogniser learns from: auxiliary faces, their embeddings by the network that it starts from, and other people
who decide when the training of a recogniser of channels stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from bench_learners.examples import batches, coin, faces_of, mirrored, parts, split
from bench_learners.recognition import clean_embeddings
from torch import Tensor

from bench import DataError, Faces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bench import Context, Examples, Model

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

    The target of a picture is its embedding by ``network``, the mean over the picture and its mirror image. ``rows``
    are the numbers of the faces to learn from among all auxiliary faces. ``people`` are those whom the faces to learn
    from show, and then the held-out ones. All randomness is that of ``generator``. Raise `DataError` if there are fewer
    than two people.
    """

    @classmethod
    def of(cls, faces: Faces, model: Model, ctx: Context) -> TrainingFaces:
        """Return the faces whose targets are embeddings by a model."""
        return cls(faces, loaded(model, ctx), ctx)

    def __init__(self, faces: Faces, network: Any, ctx: Context) -> None:
        people = len(np.unique(faces.subjects))
        if people < 2:
            raise DataError(
                f"{ctx.plugin}: a defense learns from some people and is tried on others: expected auxiliary faces of "
                f"at least two people, found {people}; name a data set with more"
            )
        self.generator = ctx.generator()
        learning, others = split(faces.subjects, _HELD_OUT, self.generator)
        self.rows = self._some(learning, _MOST_FACES)
        rows = np.concatenate([self.rows, self._some(others, _LOOKED_AT)])
        self.people = np.asarray(faces.subjects)[rows]
        self._ctx, self._faces = ctx, _only(faces, rows)
        count = len(self.rows)
        targets = clean_embeddings(network, self._faces, ctx)
        self.targets, self.held_out_targets = targets[:count], targets[count:]
        self.held_out = self._pictures(np.arange(count, len(targets)))
        self._batches = batches(np.arange(count), _BATCH, self.generator)

    def pictures(self) -> Iterator[Tensor]:
        """Yield all pictures to learn from once, some at a time, float ``(n, 3, h, w)`` RGB in [0, 1]."""
        return map(self._pictures, parts(np.arange(len(self.rows))))

    def batch(self) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        """Return the pictures of the next batch, half of them mirrored, their targets, and the rows of their faces."""
        chosen = next(self._batches)
        images = mirrored(self._pictures(chosen), coin(len(chosen), self.generator))
        return images, self.targets[chosen], self.rows[chosen]

    def _some(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        return np.sort(rows[torch.randperm(len(rows), generator=self.generator).numpy()[:most]])

    def _pictures(self, chosen: NDArray[np.int64]) -> Tensor:
        return faces_of(self._faces, chosen, self._ctx)


def _only(faces: Faces, rows: NDArray[np.int64]) -> Examples:
    """Return some faces in memory, as examples of which `bench_learners` reads nothing but the pictures."""
    images = np.array(faces.images[rows])
    return cast("Examples", Faces(images=images, subjects=faces.subjects[rows], sample_ids=faces.sample_ids[rows]))
