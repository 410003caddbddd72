"""The judges: copies of the surrogate models that have adapted to protected pictures of auxiliary people."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from bench_learners.examples import parts, split
from bench_learners.losses import temperature_of
from bench_learners.recognition import Behind, Lessons, adapt, clean_embeddings
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench import Faces
from bench_pmt_adapted.descent import Judge, protected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context, Examples
    from bench_pmt_adapted.parameters import AdaptedParameters

    Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


def trained(faces: Faces, params: AdaptedParameters, ctx: Context) -> dict[str, Tensor]:
    """Return the weights of the judges of all rounds, each name after that of its judge."""
    chosen = np.sort(torch.randperm(len(faces.images), generator=ctx.generator())[: params.faces].numpy())
    some = Faces(
        images=np.array(faces.images[chosen]), subjects=faces.subjects[chosen], sample_ids=faces.sample_ids[chosen]
    )
    clean = torch.from_numpy(some.images).to(ctx.device).float() / 255
    rows = split(some.subjects, params.adaptation().held_out, ctx.generator())
    ids = [str(name) for name in some.sample_ids]
    judges: list[Judge] = []
    state: dict[str, Tensor] = {}
    for number in range(params.rounds):
        made = [_protected(clean, part, ids, number, params, judges, ctx) for part in parts(np.arange(len(ids)))]
        pictures = torch.cat(made)
        fresh = []
        for label in ctx.surrogates:
            adapted = adapted_copy(label, some, pictures, rows, params, ctx)
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


@dataclass(frozen=True, kw_only=True)
class Shown(Lessons):
    """Lessons whose uploads are at hand: ``pictures (n, 3, h, w)``."""

    pictures: Tensor

    def uploads(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the uploaded images of some faces."""
        return self.pictures[rows]


def adapted_copy(
    label: str, faces: Faces, pictures: Tensor, rows: Rows, params: AdaptedParameters, ctx: Context
) -> nn.Module:
    """Return a copy of a surrogate that gives ``pictures (n, 3, h, w)`` the embeddings of the clean ``faces``, as
    `bench_learners.recognition.adapt` trains it. ``rows``: those to learn from, and those of held-out people."""
    examples = cast("Examples", faces)  # Nothing but its pictures is read.
    targets = clean_embeddings(ctx.surrogate(label), examples, ctx)
    learning, held_out = rows
    lessons = Shown(
        examples=examples,
        targets=targets,
        temperature=temperature_of(targets, faces.subjects),
        learning=learning,
        held_out=held_out,
        plugin=ctx.plugin,
        pictures=pictures,
    )
    judge = Behind(None, _copied(ctx.surrogate(label)).requires_grad_(True))
    adapt(judge, lessons, params.adaptation(), replace(ctx, on_progress=None), in_proportion=True)
    return judge.network
