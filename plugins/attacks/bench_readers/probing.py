"""The probe on representations, whose regression is that of `attribute-probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_learners.examples import parts, split
from bench_learners.weights import restored, state_of
from bench_probes.labels import targets
from bench_probes.regression import fit_probe, read_probe
from torch import Tensor

from bench_readers.reading import Reading, features, packed, shapes_of

if TYPE_CHECKING:
    from bench import Context, Examples, Received
    from bench_readers.parameters import ReadAttributeParameters

_SAMPLE = 256  # At most so many faces decide how representations are standardised.


def learn(params: ReadAttributeParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: how it reads representations, and the weights of the regression.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    names = params.classes().get(params.attribute, ())
    labels = targets(examples, params.attribute, names, ctx)
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, ctx.generator())
    sample = examples.received(learning[:_SAMPLE])
    reading = Reading.of_sample(shapes_of(sample, ctx.plugin), packed(sample, ctx.plugin))
    every = parts(np.arange(len(labels)))
    found = torch.cat([features(reading, packed(examples.received(rows), ctx.plugin)).cpu() for rows in every])
    return state_of(reading, "reading.") | fit_probe(found, labels, len(names), learning, held_out)


def read(params: ReadAttributeParameters, received: Received, ctx: Context) -> Tensor:
    """Return what the probe reads from uploads: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    reading = Reading.of_state(shapes_of(received, ctx.plugin), ctx.state, "reading.", ctx.plugin)
    restored(reading, ctx.state, "reading.").to(ctx.device)
    found = features(reading, packed(received, ctx.plugin))
    return read_probe(found, ctx.state, len(params.classes().get(params.attribute, ())))
