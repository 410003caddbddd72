"""A recogniser that adapts to protected pictures: their embeddings become those of clean pictures of the person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench import DataError
from bench_learners.examples import batches, coin, faces_of, images_of, mirrored, parts, split
from bench_learners.fitting import fit
from bench_learners.losses import rank_error, temperature_of, towards
from bench_learners.parameters import AdaptationParameters
from bench_learners.rearrangement import FACES, Rearrangement, find
from bench_learners.weights import restored, state_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples, Received

Knows = Literal["originals", "people"]
_MOST_HELD_OUT = 512  # faces at which the training looks for early stopping
_MOST_COMPARED = 64  # faces on which rearrangements are compared
_LOSS_SHARE = 1e-3  # of the loss beside the rank error where held-out people are looked at
_CAREFUL_RATE = 3e-4  # of a recogniser that learns from few faces
# A rearrangement must lower the rank error to this share of what it is without one, and by at least so much: a network
# that recognises nearly everybody learns the rest better by itself.
_WORTH, _LEAST_GAIN = 0.5, 0.05
_FRONT = "adapted.front."


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a recogniser learns: ``targets (n, d)`` of the uploads of ``n`` auxiliary faces, the ``temperature`` at
    which they are told apart, the rows to learn from, and the held-out rows."""

    examples: Examples
    targets: Tensor
    temperature: float
    learning: NDArray[np.int64]
    held_out: NDArray[np.int64]
    plugin: str

    def uploads(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the uploaded images ``(len(rows), 3, h, w)`` of some faces."""
        return images_of(self.examples.received(rows), self.plugin)


def lessons(examples: Examples, knows: Knows, share: float, ctx: Context) -> Lessons:
    """Return what the evaluated network ``ctx.evaluated()`` learns from auxiliary faces, ``share`` of whose people are
    held out.

    The target of an upload is an embedding of clean pictures by the network as it is: of its own original if the
    adversary ``knows`` the ``originals``; if it knows only which ``people`` the uploads show, the mean over all other
    pictures of the person. Raise `DataError` if there are too few people or pictures.
    """
    subjects = np.asarray(examples.subjects)
    targets = clean_embeddings(ctx.evaluated(), examples, ctx)
    rows = np.arange(len(subjects))
    if knows == "people":
        rows, targets = of_other_pictures(targets, subjects, ctx)
    learning, held_out = split(subjects[rows], share, ctx.generator())
    return Lessons(
        examples=examples,
        targets=targets,
        temperature=temperature_of(targets[rows], subjects[rows]),
        learning=rows[learning],
        held_out=rows[held_out][:_MOST_HELD_OUT],
        plugin=ctx.plugin,
    )


def clean_embeddings(network: Any, examples: Examples, ctx: Context) -> Tensor:
    """Return the embeddings ``(n, d)`` of the unprotected faces, each the mean of the picture and its mirror image."""
    found = []
    with torch.no_grad():
        for rows in parts(np.arange(len(examples.images))):
            images = faces_of(examples, rows, ctx)
            plain, flipped = (normalize(network(seen), dim=1) for seen in (images, images.flip(-1)))
            found.append(normalize(plain + flipped, dim=1))
    return torch.cat(found)


def of_other_pictures(targets: Tensor, subjects: NDArray[np.int64], ctx: Context) -> tuple[NDArray[np.int64], Tensor]:
    """Return the rows of people with several pictures, and for every row the mean embedding of the person's others."""
    _, person, count = np.unique(subjects, return_inverse=True, return_counts=True)
    index = torch.from_numpy(person).to(targets.device)
    sums = torch.zeros(len(count), targets.shape[1], device=targets.device).index_add_(0, index, targets)
    rows = np.flatnonzero(count[person] > 1)
    if not len(rows):
        raise DataError(
            f"{ctx.plugin}: the target of an upload is the mean of other pictures of the person: expected auxiliary "
            "people with two pictures or more, found none; name a data set that has some as auxiliary"
        )
    return rows, normalize(sums[index] - targets, dim=1)


def adapted_weights(params: AdaptationParameters, examples: Examples, knows: Knows, ctx: Context) -> dict[str, Tensor]:
    """Adapt the evaluated network to uploads of auxiliary faces; return its weights, and as ``steps`` the number of
    steps after which it was best on held-out people."""
    known = lessons(examples, knows, params.held_out, ctx)
    network = Behind(rearrangement_of(known, ctx) if knows == "originals" else None, ctx.evaluated())
    best = adapt(network, known, params, ctx, in_proportion=True)
    return {**state_of(network, "adapted."), "steps": torch.tensor(float(best))}


def adapted_embeddings(received: Received, ctx: Context) -> Tensor:
    """Return the embeddings ``(n, d)`` of uploads by the network whose weights `adapted_weights` returned."""
    rearranged = any(name.startswith(_FRONT) for name in ctx.state)
    network = Behind(Rearrangement.of_state(ctx.state, _FRONT) if rearranged else None, ctx.evaluated())
    with torch.no_grad():
        found: Tensor = restored(network.to(ctx.device), ctx.state, "adapted.")(received.images)
    return found


class Behind(nn.Module):
    """A recogniser behind a `Rearrangement` of its images; None leaves them as they are."""

    def __init__(self, front: Rearrangement | None, network: Any) -> None:
        super().__init__()
        self.front = front
        self.network: nn.Module = network

    def prepared(self, images: Tensor) -> Tensor:
        """Return images as the recogniser gets them, in [0, 1]."""
        if self.front is None:
            return images
        rearranged: Tensor = self.front(images)
        return rearranged.clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)`` of images."""
        found: Tensor = self.network(self.prepared(images))
        return found


def rearrangement_of(known: Lessons, ctx: Context) -> Rearrangement | None:
    """Return the layer that undoes what the defense does to the places of blocks and pixels, found from uploads and
    their originals; None if the network recognises held-out people about as well without it."""
    rows, others = known.learning[:FACES], known.held_out[:_MOST_COMPARED]
    uploads = known.uploads(others)
    front = find(
        known.uploads(rows), faces_of(known.examples, rows, ctx), (uploads, faces_of(known.examples, others, ctx))
    )
    if front.trivial:
        return None
    network: Any = ctx.evaluated()
    without, behind = (
        rank_error(embeddings(Behind(layer, network).eval(), uploads), known.targets[others]) for layer in (None, front)
    )
    return front if behind < min(_WORTH * without, without - _LEAST_GAIN) else None


def adapt(
    network: Behind, known: Lessons, params: AdaptationParameters, ctx: Context, *, in_proportion: bool = False
) -> int:
    """Train a network in place on uploads and return the number of steps after which it was best on held-out people.

    ``in_proportion``: every weight was trained before (see `fit`).
    """
    generator = ctx.generator()
    rows = batches(known.learning, params.batch, generator)
    held_out, wanted = known.uploads(known.held_out), known.targets[known.held_out]

    def loss(step: int) -> Tensor:
        chosen = next(rows)
        # A mirrored upload would have its blocks in another order.
        images = mirrored(network.prepared(known.uploads(chosen)), coin(len(chosen), generator))
        return towards(network.network(images), known.targets[chosen], known.temperature)

    few = len(known.learning) < params.few
    return fit(
        network,
        loss,
        lambda: _error(embeddings(network, held_out), wanted, known.temperature),
        steps=params.steps,
        rate=min(params.rate, _CAREFUL_RATE) if few else params.rate,
        patience=params.patience,
        ctx=ctx,
        statistics="keep" if few else params.statistics,
        in_proportion=in_proportion,
    )


def _error(found: Tensor, wanted: Tensor, temperature: float) -> float:
    """Return how badly held-out uploads are recognised: by ranks, and where these hardly differ by the loss.

    From few faces a network soon learns to be too sure, so that the loss rises while ranks still improve.
    """
    return rank_error(found, wanted) + _LOSS_SHARE * float(towards(found, wanted, temperature))


def embeddings(network: nn.Module, images: Tensor) -> Tensor:
    """Return the embeddings ``(n, d)`` of images, without gradients."""
    with torch.no_grad():
        return torch.cat([network(images[part]) for part in parts(np.arange(len(images)))])
