"""The defenses whose answer is known."""

from __future__ import annotations

import torch
from bench_controls import KnownBreak, Oblivion
from bench_noise import Identity, Noise
from bench_obfuscation import BlockPermutation
from bench_pmt import Pmt

from bench.api.context import Context
from bench.api.defense import Defense
from bench.stages.contracts import protect_checked

FACES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _protected(defense: Defense, images: torch.Tensor, ids: str = "abcd", seed: int = 7) -> torch.Tensor:
    context = Context(device=torch.device("cpu"), seed=seed, sample_ids=list(ids))
    out = protect_checked(defense, images, context).images
    assert out is not None
    return out


def test_controls_declare_what_must_be_found() -> None:
    assert [d.control for d in (Identity, Oblivion, KnownBreak)] == ["leaks", "safe", "learnable"]
    assert {d.control for d in (Noise, Pmt, BlockPermutation)} == {None}


def test_oblivion_sends_nothing_of_the_face() -> None:
    sent = _protected(Oblivion(), FACES)
    assert torch.equal(sent, _protected(Oblivion(), torch.zeros_like(FACES)))


def test_uploads_of_oblivion_differ() -> None:
    sent = _protected(Oblivion(), FACES)
    assert float((sent[0] - sent[1]).abs().mean()) > 0.1
    assert float((sent - _protected(Oblivion(), FACES, seed=8)).abs().mean()) > 0.1
    assert torch.equal(sent[1:2], _protected(Oblivion(), FACES[1:2], "b"))


def test_oblivion_has_the_patches_that_are_set() -> None:
    assert torch.allclose(*(_protected(Oblivion(patches=1), FACES)[:, :, row, 3] for row in (0, 31)))
    fine = _protected(Oblivion(patches=32), FACES)
    assert float(fine.std()) > 0.25  # uniform colours of single pixels: 1 / sqrt(12) = .289


def test_known_break_moves_all_blocks_in_one_order() -> None:
    sent = _protected(KnownBreak(block=8), FACES)
    assert torch.equal(sent.flatten(2).sort(-1).values, FACES.flatten(2).sort(-1).values)
    ramp = torch.arange(32 * 32).reshape(1, 1, 32, 32).expand(1, 3, 32, 32) / 1024
    order = (_protected(KnownBreak(block=8), ramp, "a") * 1024).round().long()[0, 0].flatten()
    assert torch.equal(sent.flatten(2), FACES.flatten(2)[..., order])
    assert not torch.equal(order, torch.arange(1024))
