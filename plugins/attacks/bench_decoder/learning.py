"""What the attacks learn, and how they use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from bench_learners.examples import images_of
from bench_translation.losses import PictureLoss
from bench_translation.networks import embedding_decoder_of, translator_of
from bench_translation.training import People, Settings, train_decoder, train_restorer
from torch import Tensor

from bench import ContractError, Received, Reconstructed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench import Context, Examples
    from bench_decoder.parameters import DecoderParameters


def settings_of(params: DecoderParameters) -> Settings:
    """Return the settings of the training."""
    return Settings(steps=params.steps, batch=params.batch_size, rate=params.learning_rate, channels=params.channels)


def fit_decoder(params: DecoderParameters, examples: Examples, ctx: Context) -> Mapping[str, Tensor]:
    """Train the decoder of pictures, as `bench_decoder.Decoder.fit` states."""
    loss = PictureLoss.of_network(params.network, ctx)
    return train_restorer(People(examples, ctx), params.pairs, loss, settings_of(params))


def decoded(params: DecoderParameters, received: Received, ctx: Context) -> Reconstructed:
    """Decode uploaded pictures."""
    images = images_of(received, ctx.plugin)
    network = translator_of(ctx.state, params.channels, ctx.plugin).to(ctx.device)
    with torch.no_grad():
        return Reconstructed(images=network(images).clamp(0, 1))


def fit_embedding_inversion(params: DecoderParameters, examples: Examples, ctx: Context) -> Mapping[str, Tensor]:
    """Train the decoder of embeddings, as `bench_decoder.EmbeddingInversion.fit` states."""
    embedded = embedder(ctx)

    def embeddings(rows: NDArray[np.int64], step: int) -> Tensor:
        return embedded(examples.received(rows))

    loss = PictureLoss.of_network(params.network, ctx)
    return train_decoder(People(examples, ctx), embeddings, loss, settings_of(params))


def decoded_embeddings(params: DecoderParameters, received: Received, ctx: Context) -> Reconstructed:
    """Decode the embeddings of uploads."""
    embeddings = embedder(ctx)(received)
    network = embedding_decoder_of(ctx.state, embeddings.shape[1], params.channels, ctx.plugin).to(ctx.device)
    with torch.no_grad():
        return Reconstructed(images=network(embeddings).clamp(0, 1))


def embedder(ctx: Context) -> Callable[[Received], Tensor]:
    """Return the function from uploads to the embeddings ``(n, d)`` of the authorised model."""
    if len(ctx.authorised) != 1:
        raise ContractError(f"{ctx.plugin}: an embedding is that of one authorised model; got {len(ctx.authorised)}")
    network = ctx.network(ctx.authorised[0])

    @torch.no_grad()
    def embed(received: Received) -> Tensor:
        ((split, maps),) = received.features.items()
        if not torch.isfinite(maps).all():
            raise ContractError(f"{ctx.plugin}: the received features at {split} hold values that are NaN or infinite")
        return network.from_features(maps, split)

    return embed
