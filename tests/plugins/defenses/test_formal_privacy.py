"""Differentially private pictures: noise, samples, and the guarantees that are shown."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bench_formal_privacy import DpPix, DpSamp, DpSnow, Peep, bench_defenses
from bench_formal_privacy.mechanisms import GREY, interpolated, laplace, samples_allowed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench import Capabilities, ContractError, Faces, SuiteError, instantiate
from bench.api.context import Context
from bench.api.defense import Defense
from bench.stages.contracts import check_state, protect_checked

FACES = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
TRAINING = Faces(
    images=torch.randint(0, 256, (40, 3, 20, 24), generator=torch.Generator().manual_seed(2)).byte().numpy(),
    subjects=np.arange(40) // 2,
    sample_ids=np.array([f"t{row}" for row in range(40)]),
)
DEFENSES: dict[str, Defense] = {
    "dp-pix": DpPix(epsilon=20.0),
    "dp-samp": DpSamp(epsilon=3.0, pixels=4),
    "dp-snow": DpSnow(),
    "peep": Peep(components=8),
}


def _context(defense: Defense, ids: list[str], seed: int = 7) -> Context:
    ctx = Context(device=torch.device("cpu"), seed=seed, capabilities=Capabilities(needs=defense.needs), sample_ids=ids)
    if "training" in defense.needs:
        learnt = check_state(defense.fit(TRAINING, ctx), "defense")
        ctx = replace(ctx, state={name: torch.from_numpy(values) for name, values in learnt.items()})
    return ctx


def _protected(defense: Defense, images: torch.Tensor, first: int = 0, seed: int = 7) -> torch.Tensor:
    ids = [str(row) for row in range(first, first + len(images))]
    out = protect_checked(defense, images, _context(defense, ids, seed)).images
    assert out is not None
    return out


def test_registration_without_torch() -> None:
    code = "import sys, bench_formal_privacy as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['dp-pix', 'dp-samp', 'dp-snow', 'peep'] False"


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_what_they_declare(name: str) -> None:
    defense = bench_defenses()[name]()
    assert defense.goal == "anonymity"
    assert defense.protects == {"probe", "gallery", "both"}
    assert all((defense.promise, defense.trusts, defense.not_promised))
    assert "real numbers and secret randomness" in defense.not_promised
    bound = defense.bound()
    assert bound is not None
    assert "differentially private" in bound.words


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_face_depends_on_its_own_stream_only(name: str) -> None:
    defense = DEFENSES[name]
    together = _protected(defense, FACES)
    assert (together.shape, together.dtype) == (FACES.shape, FACES.dtype)
    assert torch.allclose(together[1:], _protected(defense, FACES[1:], first=1), atol=1e-6)
    assert torch.equal(together, _protected(defense, FACES))
    assert not torch.allclose(together, _protected(defense, FACES, seed=8), atol=0.01)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("dp-pix", {"epsilon": 0.0}),
        ("dp-pix", {"pixels": 0}),
        ("dp-pix", {"block": 0}),
        ("dp-samp", {"epsilon": -1.0}),
        ("dp-snow", {"delta": 1.5}),
        ("dp-snow", {"delta": -0.1}),
        ("peep", {"components": 0}),
        ("peep", {"epsilon": 0.0}),
    ],
)
def test_a_parameter_out_of_bounds_is_one_error(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=rf"here\.{next(iter(params))}: input should be"):
        instantiate(bench_defenses()[name], params, "here")


def test_the_noise_has_the_distribution_of_laplace() -> None:
    drawn = laplace(torch.rand(20_000, generator=torch.Generator().manual_seed(3)))
    assert float(drawn.mean()) == pytest.approx(0, abs=4 * math.sqrt(2 / 20_000))  # four standard errors
    assert float(drawn.abs().mean()) == pytest.approx(1, abs=4 / math.sqrt(20_000))
    assert stats.kstest(drawn.numpy(), "laplace").pvalue > 0.001


def test_the_noise_is_finite_and_symmetric_at_the_ends() -> None:
    ends = laplace(torch.tensor([0.0, 1 - 2.0**-24, 0.5 - 2.0**-25, 0.25, 0.75]))
    assert bool(torch.isfinite(ends).all())
    assert float(ends[0]) == pytest.approx(-24 * math.log(2))
    assert float(ends[0]) == -float(ends[1])
    assert float(ends[3]) == pytest.approx(-math.log(2), abs=1e-6)
    assert float(ends[4]) == pytest.approx(math.log(2), abs=1e-6)


# ---- DP-Pix


def test_dp_pix_adds_noise_of_its_scale_to_means() -> None:
    """3 pixels of 16 and epsilon 36 give the scale 3 * 3 / (16 * 36) = 1/64, which hardly reaches black or white."""
    picture = torch.full((40, 3, 32, 32), 0.5)
    noise = _protected(DpPix(epsilon=36.0, pixels=3, block=4), picture)[..., ::4, ::4] - 0.5
    n = noise.numel()
    assert n == 40 * 3 * 64
    assert float(noise.abs().mean()) == pytest.approx(1 / 64, rel=4 / math.sqrt(n))
    assert stats.kstest(noise.flatten().numpy() * 64, "laplace").pvalue > 0.001


def test_dp_pix_sends_squares_of_one_colour() -> None:
    out = _protected(DpPix(epsilon=1e6, block=8), FACES)
    assert torch.allclose(out[..., :8, :8], FACES[..., :8, :8].mean((2, 3), keepdim=True), atol=1e-3)
    assert torch.allclose(out[..., 16:, 16:], FACES[..., 16:, 16:].mean((2, 3), keepdim=True), atol=1e-3)
    assert torch.equal(out[..., 16:20, 16:24], out[..., 16:17, 16:17].expand(3, 3, 4, 8))


def test_narrow_squares_get_more_noise() -> None:
    """20 rows are two squares of 8 and one of 4, whose mean a pixel moves twice as far."""
    picture = torch.full((300, 3, 20, 8), 0.5)
    noise = (_protected(DpPix(epsilon=60.0, pixels=1, block=8), picture) - 0.5).abs().mean((0, 1, 3))
    assert float(noise[18] / noise[2]) == pytest.approx(2, rel=0.2)


def _log_ratio(scale: torch.Tensor, moved: torch.Tensor) -> float:
    """The largest logarithm of the ratio of densities of Laplace noise around two points that far apart."""
    return float((moved.abs() / scale).sum())


@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    block=st.integers(1, 30),
    pixels=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_no_change_of_so_many_pixels_costs_more_than_epsilon(
    height: int, width: int, block: int, pixels: int, seed: int
) -> None:
    from bench_blocks import pixelated
    from bench_formal_privacy.mechanisms import square_areas

    epsilon = 0.7
    changed = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))[:pixels]
    black, white = torch.zeros(1, 3, height, width), torch.zeros(1, 3, height, width)
    white.view(1, 3, -1)[..., changed] = 1
    areas = square_areas(black, block)
    assert int(areas.sum()) == height * width
    moved = (pixelated(white, block) - pixelated(black, block))[..., ::block, ::block]
    assert _log_ratio(3 * pixels / (areas * epsilon), moved) <= epsilon * 1.0001


def test_the_shown_epsilon_is_the_parameter() -> None:
    bound = DpPix(epsilon=0.25, pixels=9).bound()
    assert bound.epsilon == 0.25
    assert "at most 9 pixels" in bound.words


# ---- DP-Samp


@given(n=st.integers(1, 400), m=st.integers(1, 20), epsilon=st.floats(0.01, 5))
@settings(deadline=None, max_examples=60)
def test_the_number_of_samples_is_the_largest_that_the_bound_allows(n: int, m: int, epsilon: float) -> None:
    def ratio(x: int) -> float:
        ways = math.comb(n - m, x) if n >= m else 0
        return math.inf if not ways else math.comb(n, x) / ways

    x = samples_allowed(n, m, epsilon)
    assert x == 0 or ratio(x) <= math.exp(epsilon) * (1 + 1e-9)
    assert ratio(x + 1) > math.exp(epsilon) * (1 - 1e-9)


def test_a_change_is_seen_with_a_probability_of_at_most_delta() -> None:
    """Four pixels of 480 differ. How often one of them is sent, in 2000 uploads?"""
    defense = DpSamp(epsilon=0.5, pixels=4)
    base = torch.full((2000, 3, 20, 24), 0.2)
    other = base.clone()
    other[..., 3, 3:5] = other[..., 11, 20:22] = 0.9
    one, two = _protected(defense, base), _protected(defense, other)
    seen = float((one != two).flatten(1).any(dim=1).float().mean())
    assert defense.delta == pytest.approx(1 - math.exp(-0.5))
    assert seen <= defense.delta + 4 * math.sqrt(0.25 / 2000)
    assert seen > defense.delta / 2  # It uses its budget.
    assert defense.bound().epsilon is None
    assert "0.3935" in defense.bound().words


def test_interpolation_is_exact_at_samples_and_linear_between() -> None:
    ramp = (torch.arange(24) / 23).expand(1, 3, 20, 24)
    kept = torch.zeros(1, 20, 24, dtype=torch.bool)
    kept[:, :, (0, 23)] = True
    assert torch.allclose(interpolated(ramp, kept), ramp, atol=1e-5)
    few = torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(4)) < 0.1
    assert torch.equal(interpolated(FACES[:1], few)[:, :, few[0]], FACES[:1, :, few[0]])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_samples_or_samples_in_a_line_give_a_picture(count: int) -> None:
    kept = torch.zeros(1, 20, 24, dtype=torch.bool)
    kept[0, 5, :count] = True
    out = interpolated(FACES[:1], kept)
    assert bool(torch.isfinite(out).all())
    if count < 2:
        colour = FACES[:1, :, 5:6, :1] if count else torch.full((1, 3, 1, 1), GREY)
        assert torch.allclose(out, colour.expand_as(out), atol=1e-5)


# ---- DP-Snow


@pytest.mark.parametrize(("delta", "kept"), [(0.0, 0), (0.1, 48), (0.29, 139), (1.0, 480)])
def test_snow_keeps_its_share_of_pixels(delta: float, kept: int) -> None:
    out = _protected(DpSnow(delta=delta), FACES)
    same = (out == FACES).all(dim=1)
    assert same.flatten(1).sum(1).tolist() == [kept] * 3
    assert bool((out.movedim(1, -1)[~same] == torch.tensor(GREY)).all())


def test_each_pixel_is_kept_with_the_same_probability() -> None:
    out = _protected(DpSnow(delta=0.3), torch.full((1000, 3, 4, 5), 0.9))
    rate = (out[:, 0] > 0.8).float().mean(0)
    assert float((rate - 0.3).abs().max()) < 4 * math.sqrt(0.21 / 1000)
    assert "(0, 0.3)" in DpSnow(delta=0.3).bound().words


# ---- PEEP


def test_peep_without_noise_is_a_projection_to_eigenfaces() -> None:
    images = torch.from_numpy(TRAINING.images[:3]).float() / 255
    out = _protected(Peep(components=8, epsilon=1e6), images)
    state = _context(Peep(components=8), ["a"]).state
    flat = images.flatten(1) - state["mean"]
    expected = (flat @ state["components"].T @ state["components"] + state["mean"]).view_as(images).clamp(0, 1)
    assert torch.allclose(out, expected, atol=1e-3)


def test_the_noise_of_peep_has_the_width_of_each_coefficient() -> None:
    """Coefficients are computed again from pictures whose values the noise leaves within [0, 1]."""
    defense = Peep(components=8, epsilon=200.0)
    images = torch.full((200, 3, 20, 24), 0.5)
    state = _context(defense, ["a"]).state
    clean, noisy = (
        (one.flatten(1) - state["mean"]) @ state["components"].T for one in (images, _protected(defense, images))
    )
    within = clean.clamp(state["low"], state["high"])
    noise = (noisy - within) / (state["high"] - state["low"])
    assert float(noise.abs().mean()) * 200 == pytest.approx(1, rel=4 / math.sqrt(noise.numel()))


def test_any_two_pictures_differ_by_at_most_one_in_each_coefficient() -> None:
    from bench_eigenfaces import Eigenfaces

    faces = Eigenfaces.of_state(_context(Peep(components=8), ["a"]).state)
    extreme = torch.stack([torch.zeros(3, 20, 24), torch.ones(3, 20, 24), *FACES])
    scaled = (faces.coefficients(extreme).clamp(faces.low, faces.high) - faces.low) / (faces.high - faces.low)
    assert float(scaled.min()) >= 0
    assert float(scaled.max()) <= 1 + 1e-6


def test_peep_shows_the_epsilon_of_the_whole_picture() -> None:
    bound = Peep(epsilon=0.5, components=20).bound()
    assert bound.epsilon == 10
    assert bound.words == "10-differentially private for any two pictures: 20 coefficients with 0.5 each"


def test_too_few_training_faces_are_one_error() -> None:
    with pytest.raises(ContractError, match=r"more training faces than components \(40\), found 40; set components to"):
        _context(Peep(components=40), ["a"])


def test_more_noise_for_less_epsilon() -> None:
    for name in ("dp-pix", "peep"):
        errors = []
        for epsilon in (1.0, 10.0, 100.0, 1000.0):
            defense = replace(DEFENSES[name], epsilon=epsilon)  # type: ignore[call-arg]
            errors.append(float((_protected(defense, FACES) - FACES).abs().mean()))
        assert errors == sorted(errors, reverse=True), name
