"""Linear maps that are learnt from pairs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bench_linear.pixels import fit_pixels, give_contrast
from bench_linear.regression import ridge
from torch import Tensor, nn


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def faces(n: int, seed: int = 0) -> Tensor:
    """Faces that differ from one mean face."""
    return 0.5 + 0.2 * drawn(1, 3, 8, 8, seed=99) + 0.1 * drawn(n, 3, 8, 8, seed=seed)


def test_a_linear_map_is_found_exactly_and_one_of_noise_is_weak() -> None:
    x, weights = drawn(200, 6), drawn(4, 6, seed=1)
    y = x @ weights.T + 3
    found, bias = ridge((x[:150], y[:150]), (x[150:], y[150:]))
    assert torch.allclose(found, weights, atol=1e-3)
    assert torch.allclose(bias, torch.full((4,), 3.0), atol=1e-3)
    unrelated = drawn(200, 4, seed=2)
    weak, _ = ridge((x[:150], unrelated[:150]), (x[150:], unrelated[150:]))
    assert float(weak.norm()) < 0.5


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_layer_makes_the_pixels_of_a_position(kernel: int) -> None:
    images = faces(60)
    maps = F.pixel_unshuffle(images, 2)
    layer = nn.Conv2d(12, 12, kernel, padding=kernel // 2)
    fit_pixels(layer, (maps[:40], images[:40]), (maps[40:], images[40:]))
    made = F.pixel_shuffle(layer(maps[40:]), 2).detach()
    assert float((made - images[40:]).square().mean() / images.var()) < 1e-4


def test_neighbours_tell_what_a_position_does_not() -> None:
    images = faces(80)
    maps = F.pixel_unshuffle(images, 2).roll(1, dims=3)
    errors = []
    for kernel in (1, 3):
        layer = nn.Conv2d(12, 12, kernel, padding=kernel // 2)
        fit_pixels(layer, (maps[:60], images[:60]), (maps[60:], images[60:]))
        made = F.pixel_shuffle(layer(maps[60:]), 2).detach()
        errors.append(float((made - images[60:])[..., 2:-2].square().mean()))
    assert errors[1] < errors[0] / 10


def test_contrast_is_that_of_faces_and_the_mean_picture_stays() -> None:
    images = 0.5 + 0.1 * drawn(120, 3, 8, 8)
    maps = 2 * drawn(120, 12, 4, 4, seed=5) + 10 * (F.pixel_unshuffle(images, 2) - 0.5) + 7
    layer = nn.Conv2d(12, 12, 1)
    fit_pixels(layer, (maps[:90], images[:90]), (maps[90:], images[90:]))
    before = layer(maps[:90]).detach()
    give_contrast(layer, (maps[:90], images[:90]))
    after = layer(maps[:90]).detach()
    assert torch.allclose(before.mean((0, 2, 3)), after.mean((0, 2, 3)), atol=1e-4)
    assert float(before.std()) < 0.09
    assert float(after.std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(("strength", "least", "most"), [(0, -0.1, 0.1), (10, 0.3, 0.6), (1000, 0.9, 1)])
def test_what_is_read_of_other_people(strength: float, least: float, most: float) -> None:
    """Noise says nothing of them, also where all faces are alike in the mean."""
    images = faces(120)
    told = F.pixel_unshuffle(images - images.mean(0), 2)
    maps = 2 * drawn(120, 12, 4, 4, seed=5) + strength * told + F.pixel_unshuffle(images.mean(0, keepdim=True), 2)
    layer = nn.Conv2d(12, 12, 1)
    assert least < fit_pixels(layer, (maps[:60], images[:60]), (maps[60:], images[60:])) <= most


def test_without_others_known_pairs_decide() -> None:
    images = faces(5)
    maps = F.pixel_unshuffle(images, 2)
    layer = nn.Conv2d(12, 12, 1)
    fit_pixels(layer, (maps, images), (maps[:0], images[:0]))
    assert torch.isfinite(layer.weight).all()
    assert float((F.pixel_shuffle(layer(maps).detach(), 2) - images).square().mean()) < 1e-3


def test_faces_of_another_size_are_resized() -> None:
    images = faces(40)
    layer = nn.Conv2d(12, 3, 1)
    maps = F.pixel_unshuffle(images, 2)
    fit_pixels(layer, (maps, images), (maps, images))
    small = F.interpolate(images, size=(4, 4), mode="bilinear", align_corners=False, antialias=True)
    assert float((layer(maps).detach() - small).square().mean() / small.var()) < 0.2
