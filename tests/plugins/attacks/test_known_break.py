"""Every attack that learns from pictures of the defense undoes its permutation of blocks, whatever their size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from bench_adapted import AdaptedRecogniser
from bench_blocks import permute_blocks
from bench_decoder import Decoder
from bench_linkage import Linked
from learner_examples import Pictures, Recogniser, cosines, learnt, recogniser_context
from torch import Tensor

from bench import Received
from bench.testing import embed_checked, link_checked, reconstruct_checked

# Sides of blocks and pictures. In the last three cases something is left over beside whole blocks.
CASES = [(8, 24), (16, 32), (7, 21), (8, 20), (16, 40), (7, 24)]
ADAPTED: dict[str, Any] = {"learns": "pairs", "steps": 2, "batch": 16, "few": 0}


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}px-in-{case[1]}px")
def case(request: pytest.FixtureRequest) -> tuple[Callable[[Tensor], Tensor], int]:
    """The permutation, and the side of the pictures."""
    block, side = request.param
    return partial(permute_blocks, block=block, key=20_260), side


def ids(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def area(same: Tensor, other: Tensor) -> float:
    return float((same[:, None] > other).float().mean())


def test_the_adapted_recogniser_undoes_it(case: Any) -> None:
    (protect, side), attack = case, AdaptedRecogniser(**ADAPTED)
    state = learnt(attack, Pictures(protect=protect, side=side))
    others = Pictures(people=30, each=1, protect=protect, seed=9, side=side)
    with torch.no_grad():
        clean = Recogniser().eval()(others.clean(slice(None)))
    ctx = recogniser_context(attack, state, sample_ids=ids(30))
    assert area(*cosines(embed_checked(attack, Received(images=others.sent), ctx), clean)) > 0.99


def test_links_undo_it(case: Any) -> None:
    (protect, side), attack = case, Linked(**ADAPTED)
    state = learnt(attack, Pictures(protect=protect, side=side))
    others = Pictures(people=30, protect=protect, seed=9, side=side)
    first, second = others.sent[0::2], others.sent[1::2]
    ctx = recogniser_context(attack, state, sample_ids=ids(30))
    same, other = (
        torch.as_tensor(link_checked(attack, Received(images=first), Received(images=shown), ctx))
        for shown in (second, second.roll(1, 0))
    )
    assert area(same, other) > 0.99


def test_the_decoder_undoes_it(case: Any) -> None:
    (protect, side), attack = case, Decoder(steps=1, batch_size=4, channels=8, network="none")
    state = learnt(attack, Pictures(protect=protect, side=side))
    others = Pictures(people=8, each=1, protect=protect, seed=9, side=side)
    ctx = recogniser_context(attack, state, sample_ids=ids(8))
    made = reconstruct_checked(attack, Received(images=others.sent), (3, side, side), ctx).images
    wanted = others.clean(slice(None))
    assert (made - wanted).square().mean() < 0.01 * (wanted.mean(0) - wanted).square().mean()
