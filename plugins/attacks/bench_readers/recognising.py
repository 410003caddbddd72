"""The recogniser of representations: what it learns, and how it embeds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import faces_of, parts
from bench_learners.recognition import Behind, Lessons, adapt, lessons
from bench_learners.weights import restored, state_of
from bench_translation.networks import initialised
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench_readers.linear import MapPicture, VectorEmbedding
from bench_readers.reading import Reading, most_faces, packed, shapes_of

if TYPE_CHECKING:
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


class Embedder(nn.Module):
    """Embeds what was read: pictures by a network, and vectors by `VectorEmbedding`, which gets the network's embedding
    beside the vectors if there are both.

    Both come as one tensor ``(n, c, h, w)``: under the ``height`` rows of the picture, each number of a vector is a row
    of one value, so that vectors stay what they are where pictures are mirrored. There are no rows of a picture if
    ``network`` is None.
    """

    def __init__(self, network: nn.Module | None, height: int, length: int, size: int) -> None:
        super().__init__()
        self.network, self.height, self.length = network, height if network else 0, length
        self.size = size
        self.vectors = VectorEmbedding(length + (size if network else 0), size) if length else None

    def read(self, joined: Tensor) -> Tensor:
        """Return all that was read as vectors ``(n, d)``: the embeddings of pictures, with about 1 as the mean square
        of their numbers, and the vectors."""
        vectors = joined[:, :, self.height :, 0].flatten(1)[:, : self.length]
        if self.network is None:
            return vectors
        seen = normalize(self.network(joined[:, :, : self.height]), dim=1)
        return torch.cat([self.size**0.5 * seen, vectors], dim=1)

    def forward(self, joined: Tensor) -> Tensor:
        """Return the embeddings ``(n, size)``."""
        found = self.read(joined)
        return found if self.vectors is None else self.vectors(found)


class ReadingRecogniser(Behind):
    """Maps are read as a picture, which a copy of the evaluated network embeds; vectors as an embedding."""

    network: Embedder

    def __init__(self, reading: Reading, network: Any, size: tuple[int, int], length: int) -> None:
        pictured = bool(reading.channels)
        super().__init__(None, Embedder(network if pictured else None, size[0], reading.length, length))
        self.reading = reading
        self.picture = MapPicture(reading, size) if pictured else None

    def prepared(self, images: Tensor) -> Tensor:
        """Return packed representations ``(n, d)`` as `Embedder` gets them; pictures are in [0, 1]."""
        vectors, maps = self.reading(images)
        if self.picture is None:
            rows: Tensor = vectors[:, None, :, None]
            return rows
        picture = self.picture(vectors, maps).clamp(0, 1)
        channels, width = picture.shape[1], picture.shape[3]
        filled = F.pad(vectors, (0, -vectors.shape[1] % channels))
        return torch.cat([picture, filled.view(len(filled), channels, -1, 1).expand(-1, -1, -1, width)], dim=2)


def recogniser_weights(params: AdaptationParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Learn to read representations of auxiliary faces; return the weights, the length of embeddings as ``size``, and
    as ``steps`` the number of steps after which they were best on held-out people."""
    known = lessons(examples, "originals", params.held_out, ctx)
    shapes = shapes_of(examples.received(known.learning[:1]), ctx.plugin)
    most = most_faces(shapes)
    known = Readings(**{**vars(known), "held_out": known.held_out[:most]})
    order = torch.randperm(len(known.learning), generator=ctx.generator()).numpy()
    rows, others = known.learning[order[: min(most, _SAMPLE)]], known.held_out
    sample, looked_at = known.uploads(rows), known.uploads(others)
    size = known.targets.shape[1]
    network = _recogniser(Reading.of_sample(shapes, sample), ctx, size)
    if network.picture is not None:
        pairs = [(x, faces_of(examples, chosen, ctx)) for x, chosen in ((sample, rows), (looked_at, others))]
        network.picture.learn(network.reading, *pairs, contrast=True)
    if (vectors := network.network.vectors) is not None:
        initialised(vectors, [], ctx.generator())
        torch.nn.init.zeros_(vectors.outer.weight)
        read = ((_read(network, x), known.targets[chosen]) for x, chosen in ((sample, rows), (looked_at, others)))
        vectors.learn(*read)
        vectors.layer.requires_grad_(False)
    # What is new beside a network that reads pictures has weights of a usual size, or 0, and so the full rate.
    best = adapt(network, known, params, ctx, in_proportion=network.picture is not None)
    found = {"steps": torch.tensor(float(best)), "size": torch.tensor(float(size))}
    return {**state_of(network, "recogniser."), **found}


def recogniser_embeddings(received: Received, ctx: Context) -> Tensor:
    """Return the embeddings ``(n, d)`` of uploads by what `recogniser_weights` has learnt."""
    x, shapes = packed(received, ctx.plugin), shapes_of(received, ctx.plugin)
    reading = Reading.of_state(shapes, ctx.state, "recogniser.reading.", ctx.plugin)
    network = _recogniser(reading, ctx, int(ctx.state["size"]))
    with torch.no_grad():
        found: Tensor = restored(network, ctx.state, "recogniser.").to(ctx.device)(x)
    return found


def _recogniser(reading: Reading, ctx: Context, size: int) -> ReadingRecogniser:
    """Return a recogniser of representations with the evaluated network as it is, for embeddings of this length."""
    with torch.random.fork_rng(devices=[]):
        return ReadingRecogniser(reading, ctx.evaluated(), ctx.image_size, size).to(ctx.device)


def _read(network: ReadingRecogniser, x: Tensor) -> Tensor:
    """Return what `Embedder.read` reads of packed representations before the training."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network.network.read(network.prepared(x[part])) for part in parts(np.arange(len(x)))])
