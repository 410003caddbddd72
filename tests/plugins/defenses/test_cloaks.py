"""Cloaks: they keep their budget, and move the features of the network that they were made for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from bench_cloaks import Fawkes, LowKey, Opom, TipIm, bench_defenses
from bench_cloaks.fawkes import farthest
from bench_cloaks.opom import nearest_point, on_simplex
from bench_cloaks.perception import blurred, dssim, within
from bench_cloaks.surrogates import Surrogates, one_of_each
from bench_cloaks.tip_im import discrepancy, gains, random_map
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from bench import Capabilities, CapabilityError, ContractError, Pictures, SuiteError, instantiate
from bench.api.context import Context
from bench.api.defense import Defense
from bench.kit import world
from bench.metrics import ssim
from bench.stages.contracts import protect_checked

FACES = world.faces(3, 1)
IMAGES = world.floats(FACES.images)
PEOPLE = [5, 6, 5]  # Two of the three pictures are said to show one person.
FURTHER = world.pictures(world.faces(2, 3, first=5))
MADE_FOR, OTHER = world.network(1), world.network(2)
SMALL: Mapping[str, Defense] = {
    "fawkes": Fawkes(steps=12, rate=0.01),
    "lowkey": LowKey(steps=8, rate=0.005),
    "tip-im": TipIm(steps=8, targets=2, gamma=0.0, diversity=0.02),
    "opom": Opom(steps=8, step_size=2 / 255, first=2),
}
NAMES = sorted(SMALL)


def context(defense: Defense, rows: list[int], **changes: Any) -> Context:
    """The context of some of the pictures; ``changes`` replace capabilities."""
    subjects = torch.tensor(PEOPLE)[rows]
    known: dict[str, Any] = {
        "needs": defense.needs,
        "surrogates": {"made for": MADE_FOR},
        "targets": world.pictures(world.faces(3, 2, first=50)),
        "subjects": subjects,
        "enrolment": FURTHER,
    }
    ids = [f"face {row}" for row in rows]
    capabilities = Capabilities(**{**known, **changes})
    return Context(device=torch.device("cpu"), seed=7, capabilities=capabilities, sample_ids=ids, plugin="tried")


def protected(defense: Defense, rows: list[int] | None = None, **changes: Any) -> torch.Tensor:
    chosen = [0, 1, 2] if rows is None else rows
    out = protect_checked(defense, IMAGES[chosen].clone(), context(defense, chosen, **changes)).images
    assert out is not None
    return out


def cosine(network: world.TinyNetwork, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.nn.functional.cosine_similarity(network(images), network(IMAGES))


def eight_bit(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round() / 255


def test_registration_without_torch() -> None:
    code = "import sys, bench_cloaks as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['fawkes', 'lowkey', 'opom', 'tip-im'] False"


@pytest.mark.parametrize("name", NAMES)
def test_what_they_declare(name: str) -> None:
    defense = bench_defenses()[name]()
    assert (defense.goal, defense.control, defense.bound()) == ("appearance", None, None)
    assert defense.protects == {"probe", "gallery", "both"}
    assert "surrogates" in defense.needs
    assert not defense.needs & {"shallow", "full_gradients", "training"}
    assert all((defense.promise, defense.trusts, defense.not_promised))


def test_opom_needs_further_pictures_or_all_that_are_released() -> None:
    assert {"enrolment", "subjects", "key"} <= Opom().needs
    released = Opom(pictures="released").needs
    assert "whole_set" in released
    assert "enrolment" not in released


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("fawkes", {"rho": 0.0}),
        ("fawkes", {"candidates": 0}),
        ("lowkey", {"blur": 0.0}),
        ("tip-im", {"epsilon": 1.5}),
        ("tip-im", {"momentum": -0.1}),
        ("opom", {"hull": "round"}),
        ("opom", {"steps": 0}),
    ],
)
def test_a_parameter_out_of_bounds_is_one_error(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=rf"here\.{next(iter(params))}: input should be"):
        instantiate(bench_defenses()[name], params, "here")


@pytest.mark.parametrize("name", NAMES)
def test_it_moves_the_features_of_its_surrogate_more_than_those_of_another_network(name: str) -> None:
    out = eight_bit(protected(SMALL[name]))
    own, other = (1 - cosine(network, out) for network in (MADE_FOR, OTHER))
    noise = eight_bit(IMAGES + 0.03 * torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(3)).sign())
    assert own.mean() > 2 * (1 - cosine(MADE_FOR, noise.clamp(0, 1))).mean()
    assert own.mean() > 2 * other.mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_does_not_depend_on_its_batch_and_is_the_same_again(name: str) -> None:
    together, alone = protected(SMALL[name]), protected(SMALL[name], [1])
    assert torch.equal(together, protected(SMALL[name]))
    # The networks round differently in batches of other sizes, so that single signs differ.
    assert ((together[1:2] - alone).abs() > 1e-3).float().mean() < 0.05


@pytest.mark.parametrize("name", ["fawkes", "lowkey", "tip-im", "opom"])
def test_what_was_reached_is_reported(name: str) -> None:
    chosen = [0, 1, 2]
    out = SMALL[name].protect(IMAGES, context(SMALL[name], chosen))
    assert out.images is not None
    assert torch.allclose(out.extra["cosine"], cosine(MADE_FOR, out.images), atol=1e-4)
    assert torch.allclose(out.extra["dssim"], dssim(IMAGES, out.images))


@pytest.mark.parametrize("rho", [0.001, 0.007])
def test_fawkes_keeps_its_budget_after_rounding(rho: float) -> None:
    out = protected(Fawkes(steps=12, rate=0.05, penalty=0.0, rho=rho))
    assert torch.equal(out, eight_bit(out))
    found = (1 - ssim((IMAGES * 255).round().byte().numpy(), (out * 255).round().byte().numpy())) / 2
    assert (found <= rho + 1e-6).all()
    assert (found > rho / 2).all()  # What the budget allows is used.


@pytest.mark.parametrize(("name", "levels"), [("tip-im", 12), ("opom", 8)])
def test_no_pixel_leaves_its_budget(name: str, levels: int) -> None:
    change = ((eight_bit(protected(SMALL[name])) - IMAGES) * 255).round().abs()
    assert change.max() <= levels
    assert change.max() > levels / 2


def test_rounding_adds_at_most_half_a_level_to_a_budget_of_no_whole_levels() -> None:
    out = protected(TipIm(steps=8, targets=2, gamma=0.0, diversity=0.02, epsilon=3.7 / 255))
    change = ((eight_bit(out) - IMAGES) * 255).round().abs()
    assert change.max() == 4
    assert ((out - IMAGES) * 255).abs().max() <= 3.7 + 1e-3


def test_fawkes_aims_at_the_person_who_is_farthest() -> None:
    ctx = context(SMALL["fawkes"], [0, 1, 2])
    surrogates, targets = Surrogates(ctx), ctx.targets
    own = surrogates.fixed(IMAGES)
    (wanted,) = farthest(own, surrogates, targets, 3, ctx)
    (seen,) = surrogates.fixed(targets.images)
    centers = seen.view(3, 2, -1).mean(dim=1)
    assert torch.allclose(wanted, seen[::2][torch.cdist(own[0], centers).argmax(dim=1)], atol=1e-5)
    (first,) = farthest(own, surrogates, targets, 1, ctx)
    assert torch.allclose(first, seen[:1].expand(3, -1), atol=1e-5)


def test_lowkey_without_the_look_goes_farther() -> None:
    free, held = (protected(LowKey(steps=8, rate=0.005, alpha=alpha)) for alpha in (0.0, 1000.0))
    assert (dssim(IMAGES, free) > 2 * dssim(IMAGES, held)).all()
    assert (cosine(MADE_FOR, free) < cosine(MADE_FOR, held)).all()


def test_tip_im_takes_the_target_that_is_nearest_and_gamma_keeps_the_look() -> None:
    free, held = (protected(TipIm(steps=5, targets=2, gamma=gamma)) for gamma in (0.0, 1e4))
    assert (dssim(IMAGES, held) < dssim(IMAGES, free)).all()
    own, others = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    at_target = gains([others[:1]], [own], [others])
    assert at_target.item() == pytest.approx(2**0.5)
    assert gains([own], [own], [others]).item() == pytest.approx(-(2**0.5))


def test_opom_has_one_mask_for_all_pictures_of_a_person() -> None:
    grey = torch.full_like(IMAGES, 0.5)
    defense = SMALL["opom"]
    out = defense.protect(grey, context(defense, [0, 1, 2])).images
    assert out is not None
    assert torch.equal(out[0], out[2])
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("hull", ["convex", "affine", "center"])
@pytest.mark.parametrize("pictures", ["further", "released"])
def test_every_hull_and_source_of_opom_moves_the_features(hull: Any, pictures: Any) -> None:
    out = protected(Opom(steps=6, step_size=2 / 255, first=2, hull=hull, pictures=pictures))
    assert (cosine(MADE_FOR, out) < 0.9).all()


def test_opom_without_further_pictures_is_one_error() -> None:
    others = Pictures(images=IMAGES, subjects=torch.tensor([5, 5, 7]))
    with pytest.raises(ContractError, match="expected further pictures of everybody, found none of person 6"):
        protected(SMALL["opom"], enrolment=others)


@pytest.mark.parametrize("name", ["fawkes", "tip-im"])
def test_no_targets_are_one_error(name: str) -> None:
    nobody = Pictures(images=IMAGES[:0], subjects=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ContractError, match="expected pictures of other people as targets, found none"):
        protected(SMALL[name], targets=nobody)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_declared_cannot_be_used(name: str) -> None:
    with pytest.raises(CapabilityError, match="surrogates"):
        protected(SMALL[name], needs=SMALL[name].needs - {"surrogates"})


def test_targets_are_one_picture_of_each() -> None:
    subjects = torch.tensor([9, 4, 9])
    found = one_of_each(Pictures(images=IMAGES, subjects=subjects), 5, context(SMALL["tip-im"], [0]))
    assert torch.equal(found, IMAGES[[1, 0]])


def test_dssim_is_that_of_the_metric() -> None:
    other = world.floats(world.faces(3, 1, first=9).images)
    expected = (1 - ssim(FACES.images, world.faces(3, 1, first=9).images)) / 2
    assert np.allclose(dssim(IMAGES, other).numpy(), expected, atol=1e-4)
    assert dssim(IMAGES, IMAGES).abs().max() < 1e-5
    with pytest.raises(ContractError, match="at least 11x11 pixels, found a side of 10"):
        dssim(IMAGES[..., :10], IMAGES[..., :10])


def test_within_keeps_a_change_that_fits_and_shrinks_one_that_does_not() -> None:
    changed = IMAGES.flip(-1)
    assert torch.equal(within(IMAGES, changed, 1.0), eight_bit(changed))
    out = within(IMAGES, changed, 0.01)
    assert (dssim(IMAGES, out) <= 0.01).all()
    assert (dssim(IMAGES, out) > 0.005).all()


def test_the_blur_is_gaussian() -> None:
    expected = gaussian_filter(IMAGES.double().numpy(), (0, 0, 3.0, 3.0), radius=(0, 0, 3, 3), mode="mirror")
    assert np.allclose(blurred(IMAGES, 7, 3.0).numpy(), expected, atol=1e-5)


def test_mmd_of_one_picture_each() -> None:
    other = IMAGES.clone()
    assert (discrepancy(IMAGES, other) == 0).all()
    other[:, :, 0, 0] = 1 - other[:, :, 0, 0]
    far = discrepancy(IMAGES, torch.ones_like(IMAGES))
    assert (discrepancy(IMAGES, other) > 0).all()
    assert ((discrepancy(IMAGES, other) < far) & (far <= 38)).all()


def test_random_maps_are_near_to_none() -> None:
    ctx = context(SMALL["tip-im"], [0, 1, 2])
    assert torch.equal(random_map(IMAGES, 0.0, ctx)(IMAGES), IMAGES)
    little, much = (random_map(IMAGES, largest, ctx)(IMAGES) for largest in (1e-3, 0.1))
    assert (little - IMAGES).abs().mean() < (much - IMAGES).abs().mean()


def test_the_nearest_point_of_a_hull() -> None:
    generator = torch.Generator().manual_seed(4)
    corners, points = torch.randn(4, 6, generator=generator), torch.randn(5, 6, generator=generator)
    convex, affine = (nearest_point(points, corners, hull) for hull in ("convex", "affine"))
    for point, in_convex, in_affine in zip(points, convex, affine, strict=True):
        for found, bounds in ((in_convex, [(0.0, 1.0)] * 4), (in_affine, [(None, None)] * 4)):
            best = minimize(
                lambda w, point=point: float(((w @ corners.double().numpy() - point.numpy()) ** 2).sum()),
                np.full(4, 0.25),
                bounds=bounds,
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"ftol": 1e-12, "maxiter": 500},
            )
            assert float((found - point).square().sum()) == pytest.approx(best.fun, rel=1e-3)
    assert torch.allclose(nearest_point(corners, corners, "convex"), corners, atol=2e-2)
    assert torch.allclose(nearest_point(points, corners, "center"), corners.mean(dim=0).expand(5, -1))
    assert torch.allclose(nearest_point(points, corners[:1], "affine"), corners[:1].expand(5, -1))


def test_weights_on_the_simplex() -> None:
    found = on_simplex(torch.tensor([[0.2, 0.3, 0.5], [5.0, 0.0, 0.0], [0.4, 0.4, -9.0]]))
    assert torch.allclose(found, torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
