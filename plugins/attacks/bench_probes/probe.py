"""The probe on embeddings, of a recogniser that was adapted to protected pictures if need be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.examples import faces_of, images_of, parts, split
from bench_learners.recognition import adapted_embeddings, adapted_weights
from torch import Tensor

from bench import Received
from bench_probes.labels import targets
from bench_probes.regression import Rows, fit_probe, read_probe

if TYPE_CHECKING:
    from bench import Context, Examples
    from bench_probes.parameters import ProbeParameters

Embed = Callable[[Tensor], Tensor]


def learn(params: ProbeParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: what embeddings are reduced by, its weights, and an adapted network if there is one.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    names = params.classes().get(params.attribute, ())
    labels = targets(examples, params.attribute, names, ctx)
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, ctx.generator())
    state = adapted_weights(params, examples, "originals", ctx) if params.of == "adapted" else {}
    as_it_is: Embed = _network(params, ctx)

    def embedded(rows: Rows) -> Tensor:
        if params.learns == "clean":
            # An adapted network gives uploads the embeddings that the original one gives to clean pictures.
            return as_it_is(faces_of(examples, rows, ctx))
        return _of_uploads(params, images_of(examples.received(rows), ctx.plugin), as_it_is, ctx)

    ctx.state = state
    with torch.no_grad():
        found = [embedded(rows).float().cpu() for rows in parts(np.arange(len(labels)))]
        embeddings = F.normalize(torch.cat(found), dim=1)
    return state | fit_probe(embeddings, labels, len(names), learning, held_out)


def read(params: ProbeParameters, images: Tensor, ctx: Context) -> Tensor:
    """Return what a probe reads from images: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    with torch.no_grad():
        unit = F.normalize(_of_uploads(params, images, _network(params, ctx), ctx), dim=1)
    return read_probe(unit, ctx.state, len(params.classes().get(params.attribute, ())))


def _network(params: ProbeParameters, ctx: Context) -> Any:
    """Return the network whose embeddings are probed, as it is."""
    return ctx.network(ctx.authorised[0]) if params.of == "insider" else ctx.evaluated()


def _of_uploads(params: ProbeParameters, images: Tensor, as_it_is: Embed, ctx: Context) -> Tensor:
    """Return the embeddings of uploads, by the adapted network if there is one; its weights are in ``ctx.state``."""
    return adapted_embeddings(Received(images=images), ctx) if params.of == "adapted" else as_it_is(images)
