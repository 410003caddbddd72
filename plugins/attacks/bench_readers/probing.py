"""Logistic and ridge regression from representations to an attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_learners.examples import parts, split
from bench_learners.weights import restored, state_of
from bench_probes.labels import targets
from bench_probes.probe import _YEARS, _probe
from torch import Tensor

from bench_readers.reading import Reading, features, packed, shapes_of

if TYPE_CHECKING:
    from bench import Context, Examples, Received
    from bench_readers.parameters import ProbeParameters

_SAMPLE = 256  # At most so many faces decide how representations are standardised.
_PARTS = ("mean", "scale", "weight", "bias")


def learn(params: ProbeParameters, examples: Examples, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a probe: how it reads representations, and the weights of the regression.

    Raise `DataError` for faces without labels of the attribute, or of fewer than two people.
    """
    labels = targets(examples, params.attribute, params.classes().get(params.attribute, ()), ctx)
    learning, held_out = split(np.asarray(examples.subjects), params.held_out, ctx.generator())
    sample = examples.received(learning[:_SAMPLE])
    reading = Reading.of_sample(shapes_of(sample, ctx.plugin), packed(sample, ctx.plugin))
    every = parts(np.arange(len(labels)))
    found = torch.cat([features(reading, packed(examples.received(rows), ctx.plugin)).cpu() for rows in every])
    known = labels >= 0 if params.classes() else ~labels.isnan()
    probe = _probe(found, labels, *(rows[known[rows].numpy()] for rows in (learning, held_out)))
    return {**state_of(reading, "reading."), **{f"probe.{name}": tensor for name, tensor in probe.items()}}


def read(params: ProbeParameters, received: Received, ctx: Context) -> Tensor:
    """Return what the probe reads from uploads: class probabilities ``(n, k)``, or ages ``(n,)`` in years."""
    reading = Reading.of_state(shapes_of(received, ctx.plugin), ctx.state, "reading.", ctx.plugin)
    restored(reading, ctx.state, "reading.").to(ctx.device)
    mean, scale, weight, bias = (ctx.state[f"probe.{name}"].to(ctx.device) for name in _PARTS)
    found = (features(reading, packed(received, ctx.plugin)) - mean) / scale @ weight + bias
    return found.softmax(1) if params.classes() else (found[:, 0] * _YEARS).clamp(min=0)
