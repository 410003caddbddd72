"""A new head of the recogniser: training, and recognition with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench_learners.examples import batches, parts
from bench_learners.fitting import fit
from bench_learners.heads import Head, Trunk
from bench_learners.losses import towards
from bench_learners.recognition import Lessons, lessons
from bench_learners.weights import restored, state_of
from torch import Tensor

if TYPE_CHECKING:
    from bench_learners.parameters import AdaptationParameters
    from numpy.typing import NDArray

    from bench import Context, Examples, Received


def train_head(params: AdaptationParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Train a new head of the evaluated recogniser on uploads; return its weights and the best number of ``steps``."""
    known = lessons(examples, "originals", params.held_out, ctx)
    trunk = Trunk(ctx.evaluated(), known.uploads(known.held_out[:2]))
    learnt, held_out = (_seen(trunk, known, rows) for rows in (known.learning, known.held_out))
    targets, wanted = known.targets[known.learning].repeat(2, 1), known.targets[known.held_out].repeat(2, 1)
    head = Head(learnt[1].shape[1], learnt[0].shape[1]).to(ctx.device)
    head.note_statistics(learnt[1])
    rows = batches(np.arange(len(targets)), params.batch, ctx.generator())

    def loss(step: int) -> Tensor:
        chosen = torch.from_numpy(next(rows)).to(ctx.device)
        return towards(head(learnt[0][chosen], learnt[1][chosen]), targets[chosen], known.temperature)

    best = fit(
        head,
        loss,
        lambda: float(towards(head(*held_out), wanted, known.temperature)),
        steps=params.steps,
        rate=params.rate,
        patience=params.patience,
        ctx=ctx,
    )
    return {**state_of(head, "head."), "steps": torch.tensor(float(best))}


def _seen(trunk: Trunk, known: Lessons, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the embeddings and features of uploads, followed by those of the mirrored uploads."""
    plain, flipped = [], []
    for part in parts(rows):
        images = known.uploads(part)
        plain.append(trunk(images))
        flipped.append(trunk(images.flip(-1)))
    embeddings, features = zip(*plain, *flipped, strict=True)
    return torch.cat(embeddings), torch.cat(features)


def embed_by_head(received: Received, ctx: Context) -> Tensor:
    """Return the embeddings ``(n, d)`` of uploads by the network with its new head."""
    network: Any = ctx.evaluated()
    images = received.images
    assert images is not None  # The attack sees images.
    with torch.no_grad():
        embeddings, features = Trunk(network, images[:1])(images)
        head = Head(features.shape[1], embeddings.shape[1]).to(ctx.device)
        found: Tensor = restored(head, ctx.state, "head.")(embeddings, features)
    return found
