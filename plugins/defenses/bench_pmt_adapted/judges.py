"""The judges: copies of the surrogate models that have adapted to protected pictures of auxiliary people."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench_learners.examples import batches, coin, mirrored, parts, split
from bench_learners.fitting import fit
from bench_learners.losses import towards
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench_pmt_adapted.descent import Judge, protected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Faces
    from bench_pmt_adapted.parameters import AdaptedParameters

_HELD_OUT, _PATIENCE = 0.15, 4  # the share of people for early stopping, and trials without a better value


def trained(faces: Faces, params: AdaptedParameters, ctx: Context) -> dict[str, Tensor]:
    """Return the weights of the judges of all rounds, each name after that of its judge."""
    rows = np.sort(torch.randperm(len(faces.images), generator=ctx.generator())[: params.faces].numpy())
    clean = torch.from_numpy(np.array(faces.images[rows])).to(ctx.device).float() / 255
    learning, held_out = split(np.asarray(faces.subjects)[rows], _HELD_OUT, ctx.generator())
    ids = [str(faces.sample_ids[row]) for row in rows]
    judges: list[Judge] = []
    state: dict[str, Tensor] = {}
    for number in range(params.rounds):
        made = [_protected(clean, part, ids, number, params, judges, ctx) for part in parts(np.arange(len(rows)))]
        uploads = torch.cat(made)
        fresh = []
        for label in ctx.surrogates:
            adapted = adapted_copy(ctx.surrogate(label), clean, uploads, learning, held_out, params, ctx)
            state |= state_of(adapted, _name(number, label))
            fresh.append(Judge(ctx.surrogate(label), _frozen(adapted)))
        judges += fresh
        ctx.progress(number + 1, params.rounds)
    return state


def restored_judges(params: AdaptedParameters, ctx: Context) -> list[Judge]:
    """Return the judges whose weights `trained` returned."""
    judges = []
    for number in range(params.rounds):
        for label in ctx.surrogates:
            clean = ctx.surrogate(label)
            network: Any = restored(_copied(clean).to(ctx.device), ctx.state, _name(number, label))
            judges.append(Judge(clean, network))
    return judges


def _name(number: int, label: str) -> str:
    return f"round {number + 1}/{label}/"


def _copied(network: Any) -> nn.Module:
    copied: nn.Module = copy.deepcopy(network)
    return copied


def _frozen(network: Any) -> Any:
    return network.eval().requires_grad_(False)


def _protected(
    clean: Tensor,
    part: NDArray[np.int64],
    ids: list[str],
    number: int,
    params: AdaptedParameters,
    judges: list[Judge],
    ctx: Context,
) -> Tensor:
    """Return protected pictures ``(len(part), 3, h, w)`` as they are uploaded, with 8-bit values; each round has random
    starts of its own."""
    own = replace(ctx, sample_ids=[f"{ids[row]}, round {number + 1}" for row in part], on_progress=None)
    images = protected(clean[part], params, judges, own).images
    assert images is not None
    return (images * 255).round() / 255


def adapted_copy(
    network: Any,
    clean: Tensor,
    uploads: Tensor,
    learning: NDArray[np.int64],
    held_out: NDArray[np.int64],
    params: AdaptedParameters,
    ctx: Context,
) -> Any:
    """Return a copy of a network that gives ``uploads (n, 3, h, w)`` the embeddings of the ``clean`` pictures."""
    with torch.no_grad():
        wanted = torch.cat([network(clean[part]) for part in parts(np.arange(len(clean)))])
    judge = _copied(network).requires_grad_(True)
    generator = ctx.generator()
    rows = batches(learning, params.batch, generator)

    def loss(step: int) -> Tensor:
        chosen = next(rows)
        return towards(judge(mirrored(uploads[chosen], coin(len(chosen), generator))), wanted[chosen])

    def error() -> float:
        found = torch.cat([judge(uploads[part]) for part in parts(held_out)])
        return float(towards(found, wanted[held_out]))

    quiet = replace(ctx, on_progress=None)
    fit(
        judge, loss, error, steps=params.judge_steps, rate=params.judge_rate, patience=_PATIENCE, ctx=quiet,
        statistics="keep",
    )  # fmt: skip
    return judge
