"""Blur, pixelation and a secret order of blocks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from bench_obfuscation import BlockPermutation, Blur, Pixelation, bench_defenses

from bench.api.context import Context
from bench.api.defense import Defense
from bench.core.errors import ContractError
from bench.stages.contracts import protect_checked

FACES = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))


def _protected(defense: Defense, images: torch.Tensor) -> torch.Tensor:
    ids = [str(row) for row in range(len(images))]
    out = protect_checked(defense, images, Context(device=torch.device("cpu"), seed=7, sample_ids=ids)).images
    assert out is not None
    return out


def _blocks(image: torch.Tensor) -> set[tuple[float, ...]]:
    """Return the blocks of 4 x 4 pixels of an image, in no order."""
    blocks = image.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).reshape(-1, 48)
    return {tuple(block.tolist()) for block in blocks}


def test_registration_without_torch() -> None:
    code = "import sys, bench_obfuscation as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['block-permutation', 'blur', 'pixelation'] False"


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_they_hide_who_it_is_and_say_what_they_promise(name: str) -> None:
    defense = bench_defenses()[name]()
    assert defense.goal == "anonymity"
    assert defense.control is None
    assert defense.protects == {"probe", "gallery", "both"}
    assert defense.needs == frozenset()
    assert defense.promise
    assert defense.trusts
    assert defense.not_promised


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_a_face_does_not_depend_on_its_batch(name: str) -> None:
    defense = bench_defenses()[name]()
    faces = FACES.repeat(1, 1, 2, 2)  # 48 x 48, nine blocks of 16 x 16
    together = _protected(defense, faces)
    assert together.shape == faces.shape
    assert torch.equal(together[1:2], _protected(defense, faces[1:2]))


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    point = torch.zeros(1, 3, 21, 21)
    point[..., 10, 10] = 1
    out = _protected(Blur(sigma=1.5), point)[0, 0]
    assert float(out.sum()) == pytest.approx(1, abs=1e-4)
    distance = torch.arange(21) - 10.0
    assert float((out.sum(0) * distance**2).sum()) == pytest.approx(1.5**2, rel=0.02)
    assert torch.allclose(out, out.T)


@pytest.mark.parametrize("sigma", [0.01, 3.0, 100.0])
def test_blur_of_any_width_keeps_a_plain_picture(sigma: float) -> None:
    assert torch.allclose(_protected(Blur(sigma=sigma), torch.full((1, 3, 7, 9), 0.3)), torch.tensor(0.3), atol=1e-5)


def test_pixelation_sends_means() -> None:
    out = _protected(Pixelation(block=8), FACES)
    assert torch.allclose(out[..., 0:8, 0:8], FACES[..., 0:8, 0:8].mean((2, 3), keepdim=True), atol=1e-6)
    # 20 rows are two blocks and a half: the last squares are means of the four rows that are left.
    assert torch.allclose(out[..., 16:20, 16:24], FACES[..., 16:20, 16:24].mean((2, 3), keepdim=True), atol=1e-6)


@pytest.mark.parametrize("block", [21, 1000])
def test_one_square_larger_than_the_picture_is_its_mean(block: int) -> None:
    out = _protected(Pixelation(block=block), FACES[..., :20])
    assert torch.allclose(out, FACES[..., :20].mean((2, 3), keepdim=True).expand_as(out), atol=1e-6)


def test_pixelation_by_single_pixels_changes_nothing() -> None:
    assert torch.equal(_protected(Pixelation(block=1), FACES), FACES)


@pytest.mark.parametrize("block", [4, 5, 7])
def test_a_permutation_moves_every_pixel_and_loses_none(block: int) -> None:
    out = _protected(BlockPermutation(block=block), FACES)
    assert torch.equal(out.flatten(2).sort(-1).values, FACES.flatten(2).sort(-1).values)
    assert not torch.equal(out, FACES)


@pytest.mark.parametrize("block", [13, 24, 100])
def test_a_picture_of_one_block_is_not_sent_as_it_is(block: int) -> None:
    with pytest.raises(ContractError, match=f"at least two whole blocks of {block} x {block} pixels, found "):
        _protected(BlockPermutation(block=block), FACES)


def test_a_permutation_moves_whole_blocks() -> None:
    out = _protected(BlockPermutation(block=4), FACES)
    assert _blocks(FACES[0]) == _blocks(out[0])


def test_the_order_follows_from_the_key() -> None:
    first, again, other = (_protected(BlockPermutation(block=4, key=key), FACES) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
