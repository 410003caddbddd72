"""The layer in front of networks: permutations found exactly, mixtures and maps within blocks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from bench_blocks import permute_blocks
from bench_learners.rearrangement import Rearrangement, find
from torch import Tensor

Protect = Callable[[Tensor], Tensor]


def faces(n: int = 40, side: tuple[int, int] = (24, 24), seed: int = 0) -> Tensor:
    """Smooth random pictures in [0, 1]."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=side, mode="bilinear", align_corners=True)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocks(images: Tensor, size: int) -> Tensor:
    """Cut pictures into blocks ``(n, p, 3, size, size)``."""
    cut = images.unfold(2, size, size).unfold(3, size, size)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def joined(cut: Tensor, side: int) -> Tensor:
    n, p, _, size, _ = cut.shape
    rows = side // size
    return cut.reshape(n, rows, p // rows, 3, size, size).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, side, side)


def found(protect: Protect, images: Tensor) -> tuple[Rearrangement, Tensor]:
    """What is found on some pictures, and the difference that it leaves on others."""
    shown, chosen_on, new = images[:20], images[20:30], images[30:]
    front = find(protect(shown), shown, (protect(chosen_on), chosen_on))
    return front, front(protect(new)) - new


# ---- what is undone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(24, 24), (28, 21), (23, 30)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 10])
def test_a_permutation_of_blocks_is_undone_exactly(size: int, side: tuple[int, int]) -> None:
    """Also where blocks do not divide the picture, and the narrower ones change places among themselves."""
    front, rest = found(lambda x: permute_blocks(x, size, 5), faces(side=side))
    torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-5, rtol=0)
    assert not front.in_order


@pytest.mark.parametrize("size", [7, 8, 16])
def test_a_permutation_of_larger_pictures_is_undone_exactly(size: int) -> None:
    front, rest = found(lambda x: permute_blocks(x, size, 5), faces(side=(56, 48)))
    torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-5, rtol=0)
    assert not front.in_order


def test_blocks_beside_which_something_is_left_over_are_undone() -> None:
    def protect(x: Tensor) -> Tensor:
        made = x.clone()
        made[..., :20, :20] = permute_blocks(x[..., :20, :20], 10, 1)
        return made

    _, rest = found(protect, faces(side=(23, 23)))
    torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-5, rtol=0)


def test_a_shuffle_and_inversion_within_blocks_is_undone() -> None:
    order, inverted = torch.randperm(48, generator=generator()), torch.rand(48, generator=generator()) < 0.5

    def protect(x: Tensor) -> Tensor:
        cut = blocks(x, 4)
        values = cut.flatten(2)[..., order]
        return joined(torch.where(inverted, 1 - values, values).view_as(cut), 24)

    front, rest = found(protect, faces())
    assert int(front.block) == 4
    assert float(rest.square().mean()) < 1e-4


def test_a_mixture_of_blocks_is_undone() -> None:
    """Each block of the upload is a weighted sum of all blocks, and no place holds one alone."""
    weights = torch.linalg.qr(torch.randn(9, 9, generator=generator())).Q

    def protect(x: Tensor) -> Tensor:
        return joined((weights @ blocks(x, 8).flatten(2)).unflatten(2, (3, 8, 8)), 24)

    front, rest = found(protect, torch.rand(90, 3, 24, 24, generator=generator()))
    assert front.between.shape == (9, 9)
    assert not front.in_order
    assert float(rest.abs().max()) < 0.05
    state = {f"front.{name}": value for name, value in front.state_dict().items()}
    images = faces(2)
    assert torch.equal(Rearrangement.of_state(state, "front.")(images), front(images))


# ---- what is left alone ----------------------------------------------------------------------------------------------


def test_pictures_that_are_faces_already_are_left_alone() -> None:
    front, rest = found(lambda x: x, faces())
    assert front.trivial
    assert front.in_order
    assert float(rest.abs().max()) == 0


def test_pictures_that_show_nothing_of_the_face_give_no_face() -> None:
    noise = faces(seed=9)
    front = find(noise[:20], faces()[:20], (noise[20:30], faces()[20:30]))
    error = (front(noise[30:]) - faces()[30:]).square().mean()
    mean_face = (faces()[:20].mean(0) - faces()[30:]).square().mean()
    assert error > 0.9 * mean_face


def test_noise_is_no_mixture() -> None:
    """A sum of many blocks has less noise than one, and less of the face: it is left to the network."""
    noise = 0.3 * torch.randn(40, 3, 24, 24, generator=generator())
    front = find((faces() + noise)[:30], faces()[:30], ((faces() + noise)[30:], faces()[30:]))
    assert front.in_order
