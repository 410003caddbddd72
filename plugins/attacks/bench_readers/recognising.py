"""The recogniser of representations: what it learns, and how it embeds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from bench_learners.examples import faces_of
from bench_learners.recognition import Behind, Lessons, adapt, lessons
from bench_learners.weights import restored, state_of
from bench_translation.networks import initialised
from torch import Tensor

from bench_readers.linear import MapPicture, VectorEmbedding
from bench_readers.reading import Reading, most_faces, packed, shapes_of

if TYPE_CHECKING:
    import numpy as np
    from bench_learners.parameters import AdaptationParameters
    from numpy.typing import NDArray

    from bench import Context, Examples, Received

_SAMPLE = 1024  # At most so many faces decide the linear reading.


@dataclass(frozen=True, kw_only=True)
class Readings(Lessons):
    """Lessons whose uploads are packed representations ``(n, d)``."""

    def uploads(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the packed representations of some faces."""
        return packed(self.examples.received(rows), self.plugin)


class ReadingRecogniser(Behind):
    """Maps are read as a picture, which a copy of the evaluated network embeds; vectors as an embedding."""

    def __init__(self, reading: Reading, network: Any, size: tuple[int, int], length: int) -> None:
        pictured = bool(reading.channels)
        super().__init__(None, network if pictured else VectorEmbedding(reading.length, length))
        self.reading = reading
        self.picture = MapPicture(reading, size) if pictured else None

    def prepared(self, images: Tensor) -> Tensor:
        """Return packed representations ``(n, d)`` as the network gets them: pictures in [0, 1], or vectors as maps of
        one position."""
        vectors, maps = self.reading(images)
        if self.picture is None:
            positions: Tensor = vectors[:, :, None, None]
            return positions
        read: Tensor = self.picture(vectors, maps)
        return read.clamp(0, 1)


def recogniser_weights(params: AdaptationParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Learn to read representations of auxiliary faces; return the weights, and as ``steps`` the number of steps after
    which they were best on held-out people."""
    known = lessons(examples, "originals", params.held_out, ctx)
    shapes = shapes_of(examples.received(known.learning[:1]), ctx.plugin)
    most = most_faces(shapes)
    known = Readings(**{**vars(known), "held_out": known.held_out[:most]})
    order = torch.randperm(len(known.learning), generator=ctx.generator()).numpy()
    rows, others = known.learning[order[: min(most, _SAMPLE)]], known.held_out
    sample, looked_at = known.uploads(rows), known.uploads(others)
    reading = Reading.of_sample(shapes, sample)
    network = _recogniser(reading, ctx, known.targets.shape[1])
    if isinstance(network.network, VectorEmbedding):
        initialised(network.network, [], ctx.generator())
        torch.nn.init.zeros_(network.network.outer.weight)
        pairs = ((reading(x)[0], known.targets[chosen]) for x, chosen in ((sample, rows), (looked_at, others)))
        network.network.learn(*pairs)
        network.network.layer.requires_grad_(False)
    if network.picture is not None:
        pairs = ((x, faces_of(examples, chosen, ctx)) for x, chosen in ((sample, rows), (looked_at, others)))
        network.picture.learn(reading, *pairs)
    best = adapt(network, known, params, ctx)
    return {**state_of(network, "recogniser."), "steps": torch.tensor(float(best))}


def recogniser_embeddings(received: Received, ctx: Context) -> Tensor:
    """Return the embeddings ``(n, d)`` of uploads by what `recogniser_weights` has learnt."""
    x, shapes = packed(received, ctx.plugin), shapes_of(received, ctx.plugin)
    reading = Reading.of_state(shapes, ctx.state, "recogniser.reading.", ctx.plugin)
    length = 1 if reading.channels else len(ctx.state["recogniser.network.layer.bias"])
    network = _recogniser(reading, ctx, length)
    with torch.no_grad():
        found: Tensor = restored(network, ctx.state, "recogniser.").to(ctx.device)(x)
    return found


def _recogniser(reading: Reading, ctx: Context, length: int) -> ReadingRecogniser:
    """Return a recogniser of representations with the evaluated network as it is, for embeddings of this length."""
    with torch.random.fork_rng(devices=[]):
        return ReadingRecogniser(reading, ctx.evaluated(), ctx.image_size, length).to(ctx.device)
