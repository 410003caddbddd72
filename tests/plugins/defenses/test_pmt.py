"""PMT, MR-PMT and noise as strong as PMT: the arithmetic by hand, the descent on small networks, and what may not
leak between images."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bench_pmt import MrPmt, Pmt, PmtNoise, bench_defenses
from bench_pmt import transforms as tf
from bench_pmt.optimise import Objective, Stepper, descend, l1_normalised, model_loss
from bench_pmt.shuffled import shuffle
from bench_zoo.loading import SplitNetwork
from bench_zoo.networks import build
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from bench import folded
from bench.api.context import Capabilities, Context, Shallow
from bench.api.types import Protected
from bench.stages.contracts import protect_checked

SPLITS = ("stem", "stage1", "stage2")
SIDE = 16


class Toy(nn.Module):
    """Three smooth stages, 16 to 8 to 4 pixels a side; float64, so that rounding does not blur a comparison."""

    def __init__(self, seed: int, width: int = 6) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.Tanh()),
                nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.Tanh()),
                nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.Tanh()),
            ]
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)
                elif name.endswith("bias"):
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        self.double().eval().requires_grad_(False)
        self.calls = 0

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        self.calls += 1
        found, x = {}, images
        for name, stage in zip(SPLITS, self.stages, strict=True):
            x = stage(x)
            found[name] = x
        return [found[name] for name in splits]

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images, SPLITS[-1:])[0].flatten(1)


def context(ids: str, *networks: Toy, seed: int = 3, uploaded: tuple[str, ...] = ()) -> Context:
    named: dict[str, Any] = {f"net{i}": (network, SPLITS) for i, network in enumerate(networks)}
    return Context(
        device=torch.device("cpu"),
        seed=seed,
        capabilities=Capabilities.of_defense(Pmt.needs, named, uploaded=uploaded),
        sample_ids=list(ids),
    )


def faces(n: int = 4, seed: int = 0) -> Tensor:
    """Smooth pictures, float64 ``(n, 3, 16, 16)``."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=True)


def loaded() -> Toy:
    """Return the network in the form in which the host loads it."""
    network = folded(Toy(0), lambda toy: toy.features(faces(1), SPLITS))
    network.calls = 0
    return network


def protect(params: Pmt, ids: str = "abcd", *networks: Toy, images: Tensor | None = None) -> tuple[Tensor, Protected]:
    images = faces(len(ids)) if images is None else images
    protected = params.protect(images, context(ids, *(networks or (Toy(0),))))
    assert protected.images is not None
    return protected.images, protected


def validated(cls: type, **params: Any) -> Any:
    return TypeAdapter(cls).validate_python(params)


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_registration_without_torch() -> None:
    code = "import sys, bench_pmt; print(sorted(bench_pmt.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mr-pmt', 'pmt', 'pmt-noise'] False"
    declared = {name: (cls.max_authorised, set(cls.sends)) for name, cls in bench_defenses().items()}
    assert declared == {"pmt": (1, {"image"}), "mr-pmt": (None, {"image"}), "pmt-noise": (1, {"feature"})}
    assert all(cls.needs == {"shallow"} for cls in bench_defenses().values())


def test_defaults_and_layers_are_suite_parameters() -> None:
    assert validated(Pmt) == Pmt()
    assert validated(Pmt, layers=("stem", "stage1")).layers == ("stem", "stage1")
    assert validated(MrPmt, weights=(1.0, 3.0), layers="all").weights == (1.0, 3.0)
    assert hash(validated(Pmt, layers=("stem",)))


@pytest.mark.parametrize(
    "params",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"step_size": 0.0},
        {"step_size": math.nan},
        {"init": "zeros"},
        {"early_stop": 1.0},
        {"augment_sigma": -0.1},
        {"layers": ()},
        {"layers": ("stem", "stem")},
        {"layers": "first"},
        {"pool": 2, "pool_kernel": 2},
        {"kernel_length": 0},
        {"init_block": 0},
    ],
)
def test_refused_parameters(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validated(Pmt, **params)


def test_splits() -> None:
    assert Pmt().splits(SPLITS) == ("stage2",)
    assert Pmt(layers="all").splits(SPLITS) == SPLITS
    assert Pmt(layers=("stage2", "stem")).splits(SPLITS) == ("stem", "stage2")
    with pytest.raises(ValueError, match="did you mean 'stage2'"):
        Pmt(layers=("stage22",)).splits(SPLITS)
    with pytest.raises(ValueError, match="split points"):
        Pmt().splits(())


@pytest.mark.parametrize("augment", ["none", "noise", "affine", "mix"])
def test_passes_counts_forward_passes(augment: Any) -> None:
    # the network is called once less per step than passes(): a backward is two passes but no call
    network = loaded()
    params = Pmt(augment=augment, steps=5)
    protect(params, "ab", network)
    backward = 2 * params.steps
    assert network.calls == params.passes() - backward


# ---- arithmetic by hand ----------------------------------------------------------------------------------------------


def test_l1_normalisation_is_per_image_and_by_the_mean() -> None:
    gradient = torch.tensor([[[[1.0, -3.0]]], [[[0.0, 0.0]]], [[[-10.0, 30.0]]]])
    expected = torch.tensor([[[[0.5, -1.5]]], [[[0.0, 0.0]]], [[[-0.5, 1.5]]]])
    torch.testing.assert_close(l1_normalised(gradient), expected)


def test_tiny_gradients_survive_float32() -> None:
    gradient = torch.tensor([[[[1e-20, -3e-20]]]])
    torch.testing.assert_close(l1_normalised(gradient), torch.tensor([[[[0.5, -1.5]]]]))


def test_linear_kernel_by_hand() -> None:
    # k = 1: 1 - |i|/2 = .5, 1, .5, scaled to sum 1; the outer product has 1/4 in the middle
    profile = tf.kernel_profile("linear", 1)
    assert profile is not None
    assert profile.tolist() == [0.25, 0.5, 0.25]
    longer = tf.kernel_profile("linear", 2)
    assert longer is not None
    torch.testing.assert_close(longer, torch.tensor([1, 2, 3, 2, 1], dtype=torch.float64) / 9)


def test_gaussian_kernel_by_hand() -> None:
    # k = 1: s^2 = 1/3, so the neighbour weighs exp(-3/2); the centre of the 3x3 kernel is .478
    profile = tf.kernel_profile("gaussian", 1)
    assert profile is not None
    edge = math.exp(-1.5)
    assert profile.tolist() == pytest.approx([edge / (1 + 2 * edge), 1 / (1 + 2 * edge), edge / (1 + 2 * edge)])
    assert float(profile[1] ** 2) == pytest.approx(0.478, abs=5e-4)
    assert tf.kernel_profile("none", 1) is None


@pytest.mark.parametrize(("kind", "length"), [("linear", 1), ("linear", 3), ("gaussian", 2)])
def test_smoothing_is_the_convolution_with_the_full_kernel(kind: str, length: int) -> None:
    from scipy.ndimage import convolve

    gradient = torch.randn(2, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    i = np.arange(-length, length + 1)
    side = 1 - abs(i) / (length + 1) if kind == "linear" else np.exp(-(i**2) / (2 * length**2 / 3))
    kernel = np.outer(side, side) / np.outer(side, side).sum()
    expected = [[convolve(channel.numpy(), kernel, mode="constant") for channel in image] for image in gradient]
    found = tf.smooth(gradient, tf.kernel_profile(kind, length))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_the_sign_is_taken_after_the_convolution() -> None:
    gradient = torch.zeros(1, 1, 1, 5)
    gradient[..., 1], gradient[..., 2] = 4.0, -1.0
    images = torch.zeros_like(gradient)
    plain = Stepper(Pmt(step_size=0.1, decay="none"), images).step(gradient, 0)
    torch.testing.assert_close(plain, torch.tensor([[[[0.0, 0.1, -0.1, 0.0, 0.0]]]]))
    smoothed = Stepper(Pmt(step_size=0.1, decay="none", kernel="linear"), images).step(gradient, 0)
    torch.testing.assert_close(smoothed, torch.tensor([[[[0.1, 0.1, 0.1, -0.1, 0.0]]]]))  # 1, 1.75, .5, -.25, 0


def test_l1_step_has_the_mean_size_alpha() -> None:
    gradient = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    step = Stepper(Pmt(update="l1", step_size=0.02, decay="none"), gradient).step(gradient, 0)
    torch.testing.assert_close(step.abs().mean(dim=(1, 2, 3)), torch.full((3,), 0.02))


@pytest.mark.slow
def test_adam_equals_torch_optim() -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    stepper = Stepper(Pmt(update="adam", step_size=0.1, decay="none"), images)
    parameter = nn.Parameter(images.clone())
    optimiser = torch.optim.Adam([parameter], lr=0.1, eps=1e-12)
    generator = torch.Generator().manual_seed(0)
    for iteration in range(4):
        gradient = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        parameter.grad = gradient
        optimiser.step()
        images = images - stepper.step(gradient, iteration)
    torch.testing.assert_close(images, parameter.detach())


def test_momentum_is_the_sign_of_the_weighted_sum_of_normalised_gradients() -> None:
    stepper = Stepper(Pmt(update="momentum", momentum=0.5, step_size=0.1, decay="none"), torch.zeros(1, 1, 1, 2))
    # Divided by their mean absolute values: (1.5, .5), (-.5, -1.5) and (-.5, 1.5).
    gradients = [torch.tensor(g).view(1, 1, 1, 2) for g in ([3.0, 1.0], [-1.0, -3.0], [-5.0, 15.0])]
    steps = [stepper.step(gradient, i).flatten().tolist() for i, gradient in enumerate(gradients)]
    # The sums are (1.5, .5), (.25, -1.25) and (-.375, .875).
    assert steps == [pytest.approx(expected) for expected in ([0.1, 0.1], [0.1, -0.1], [-0.1, 0.1])]


def test_momentum_of_zero_is_the_sign_of_the_gradient() -> None:
    protected = [protect(params)[0] for params in (Pmt(steps=9), Pmt(steps=9, update="momentum", momentum=0.0))]
    assert torch.equal(*protected)


def test_a_third_of_the_iterations_with_momentum_matches_the_features_as_well() -> None:
    plain = protect(Pmt(), "abcd")[1].extra["loss_end"]
    quick = protect(Pmt(update="momentum", steps=33, step_size=0.04), "abcd")[1].extra["loss_end"]
    assert quick.mean() < 1.05 * plain.mean()


def written_plainly(network: Any, face: Tensor, start: Tensor, params: Pmt) -> tuple[Tensor, int]:
    """Algorithm 2 for one face without augmentation and kernel, with the early stop of the parameters."""
    (target,) = network.features(face[None], ["stage4"])
    moving, best, stale = start[None], math.inf, 0
    for iteration in range(params.steps):
        moving = moving.detach().requires_grad_()
        (maps,) = network.features(moving, ["stage4"])
        loss = (maps - target).square().mean()
        (gradient,) = torch.autograd.grad(loss, moving)
        better = loss.item() < best * (1 - params.early_stop)
        best, stale = (loss.item(), 0) if better else (best, stale + 1)
        if stale == params.patience:
            return moving.detach()[0], iteration
        size = params.step_size * (1 - iteration / params.steps)
        moving = (moving - size * gradient.sign()).clamp(0, 1)
    return moving.detach()[0], params.steps


def test_a_folded_batched_and_stopped_run_equals_algorithm_2_written_plainly() -> None:
    """In double precision, folding changes gradients by 1e-15 of their size, so that only a pixel whose gradient is
    zero up to rounding may take another step: at most one pixel in 10,000 may differ by more than 1e-9."""
    torch.manual_seed(5)
    network = SplitNetwork(build("mobileface"), [f"stage{i}" for i in range(5)])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network(torch.rand(8, 3, 32, 32))  # gives batch normalisations the statistics of a batch
    network.double().eval().requires_grad_(False)
    images = F.interpolate(faces(4), size=(32, 32), mode="bilinear")
    params = Pmt(steps=40, step_size=0.05, early_stop=0.2, patience=3)
    models: Any = {"net": (network, network.splits)}
    ctx = Context(
        device=torch.device("cpu"),
        seed=3,
        capabilities=Capabilities.of_defense(Pmt.needs, models),
        sample_ids=list("abcd"),
    )
    starts = tf.start(images, params, dataclasses.replace(ctx))
    protected = params.protect(images, ctx)
    plain = [written_plainly(network, face, start, params) for face, start in zip(images, starts, strict=True)]
    iterations = [iterations for _, iterations in plain]
    assert protected.images is not None
    assert protected.extra["iterations"].tolist() == iterations
    assert len(set(iterations)) > 1
    assert min(iterations) < params.steps
    different = (protected.images - torch.stack([image for image, _ in plain])).abs() > 1e-9
    assert different.double().mean() <= 1e-4


def test_step_sizes() -> None:
    sizes = {d: [tf.decayed(0.1, d, i, 4) for i in range(4)] for d in ("none", "linear", "cosine", "step")}
    assert sizes["none"] == [0.1] * 4
    assert sizes["linear"] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert sizes["cosine"] == pytest.approx([0.1 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    assert sizes["step"] == pytest.approx([0.1, 0.1, 0.03, 0.01])


@pytest.mark.parametrize(
    ("height", "width", "cells"),
    [(7, 7, 4), (7, 7, 3), (8, 6, 2), (5, 3, 4), (4, 4, 4), (9, 9, 1)],
)
def test_pooling_to_cells_equals_adaptive_pooling(height: int, width: int, cells: int) -> None:
    maps = torch.randn(2, 5, height, width, dtype=torch.float64)
    expected = F.adaptive_avg_pool2d(maps, (min(cells, height), min(cells, width)))
    torch.testing.assert_close(tf.pool(maps, cells, 0), expected)


def test_pooling_windows_and_no_pooling() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert tf.pool(maps, 0, 0) is maps
    assert tf.pool(maps, 4, 0) is maps
    assert tf.pool(maps, 0, 1) is maps
    assert tf.pool(maps, 0, 4) is maps  # not larger than the window
    assert tf.pool(maps, 0, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_loss_of_layers_by_hand() -> None:
    # layer 1: one value, difference 2, target 4; layer 2: three values, differences 1, 2, 3, target 1 each
    target = [torch.full((1, 1, 1, 1), 4.0), torch.ones(1, 3, 1, 1)]
    found = [torch.full((1, 1, 1, 1), 6.0), torch.tensor([2.0, 3.0, 4.0]).reshape(1, 3, 1, 1)]
    assert model_loss(found, target, "mean").item() == pytest.approx((4 + 14 / 3) / 2)
    assert model_loss(found, target, "concat").item() == pytest.approx(18 / 4)
    assert model_loss(found, target, "relative").item() == pytest.approx((4 / 16 + 14 / 3) / 2)


def test_loss_of_models_is_their_weighted_mean() -> None:
    networks = [Toy(0), Toy(1, width=12)]
    shallow = [Shallow(network, SPLITS) for network in networks]
    x, y = faces(3), faces(3, seed=9)
    parts = []
    for network in networks:
        parts.append((network(x) - network(y)).square().mean(dim=1))
    objective = Objective(MrPmt(weights=(1.0, 3.0)), shallow)
    torch.testing.assert_close(objective.loss(x, objective.features(y)), 0.25 * parts[0] + 0.75 * parts[1])
    equal = Objective(MrPmt(), shallow)
    torch.testing.assert_close(equal.loss(x, equal.features(y)), (parts[0] + parts[1]) / 2)
    with pytest.raises(ValueError, match=r"one per authorised model \(2\), got 1"):
        Objective(MrPmt(weights=(1.0,)), shallow)
    with pytest.raises(ValueError, match="at least one authorised model"):
        Objective(Pmt(), [])


class Tiled(Toy):
    """A network that repeats every value sixteen times: maps with four times the height and width of `Toy`'s."""

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        return [maps.repeat(1, 1, 4, 4) for maps in super().features(images, splits)]


def test_a_model_with_larger_maps_does_not_dominate() -> None:
    x, y = faces(3), faces(3, seed=9)

    def loss_and_gradient(*networks: Toy) -> tuple[Tensor, Tensor]:
        objective = Objective(MrPmt(), [Shallow(network, SPLITS) for network in networks])
        moving = x.clone().requires_grad_()
        loss = objective.loss(moving, objective.features(y))
        (gradient,) = torch.autograd.grad(loss.sum(), moving)
        return loss.detach(), gradient

    plain, tiled = loss_and_gradient(Toy(0), Toy(1)), loss_and_gradient(Toy(0), Tiled(1))
    torch.testing.assert_close(tiled, plain)
    first, second = loss_and_gradient(Toy(0))[1], loss_and_gradient(Toy(1))[1]
    torch.testing.assert_close(tiled[1], (first + second) / 2)


# ---- starts and augmentations ----------------------------------------------------------------------------------------


def test_noise_start_is_grey_noise_and_knows_nothing_of_the_face() -> None:
    ctx = context("abcd")
    first = tf.start(faces(4), Pmt(), ctx)
    assert float(first.mean()) == pytest.approx(0.5, abs=0.02)
    # N(.5, 1) clamped to [0, 1]: variance 2 * .3085 * .25 in the clamped tails + (.3829 - .3521) between them
    assert float(first.std()) == pytest.approx(0.185**0.5, abs=0.02)
    quiet = tf.start(faces(4), Pmt(init_std=0.25), context("abcd"))
    assert float(quiet.std()) == pytest.approx(0.245, abs=0.02)
    torch.testing.assert_close(tf.start(faces(4, seed=5), Pmt(), context("abcd")), first)
    assert torch.equal(tf.start(faces(2), Pmt(init_std=0.0), context("ab")), torch.full((2, 3, 16, 16), 0.5).double())


def test_blur_start_keeps_constants_and_flattens_detail() -> None:
    images = torch.full((2, 3, SIDE, SIDE), 0.3, dtype=torch.float64)
    torch.testing.assert_close(tf.start(images, Pmt(init="blur"), context("ab")), images)
    detail = torch.rand(2, 3, SIDE, SIDE, dtype=torch.float64)
    blurred = tf.start(detail, Pmt(init="blur"), context("ab"))
    assert float(blurred.std(dim=(2, 3)).max()) < 0.3 * float(detail.std(dim=(2, 3)).min())


def test_gaussian_blur_equals_scipy_away_from_the_border() -> None:
    from scipy.ndimage import gaussian_filter

    image = torch.rand(2, 3, 40, 44, dtype=torch.float64)
    sigma = torch.tensor([1.0, 1.5], dtype=torch.float64)
    found = tf.gaussian_blur(image, sigma)
    for i in range(2):
        expected = gaussian_filter(image[i].numpy(), (0, float(sigma[i]), float(sigma[i])), truncate=8)
        np.testing.assert_allclose(found[i, :, 15:-15, 15:-15].numpy(), expected[:, 15:-15, 15:-15], atol=1e-9)


@pytest.mark.parametrize("block", [1, 4, 16])
def test_sort_start_keeps_the_pixels_of_each_face(block: int) -> None:
    images = torch.rand(3, 3, SIDE, SIDE, dtype=torch.float64)
    mixed = tf.start(images, Pmt(init="sort", init_block=block), context("abc"))
    key = [image.flatten(1).T for image in images]  # a pixel keeps its three channels together
    for i in range(3):
        pixels = {tuple(p) for p in key[i].tolist()}
        assert {tuple(p) for p in mixed[i].flatten(1).T.tolist()} == pixels
    assert torch.equal(mixed, images) == (block == SIDE)


def test_sort_start_refuses_blocks_that_do_not_tile() -> None:
    with pytest.raises(ValueError, match="16x16, got 5"):
        tf.start(faces(1), Pmt(init="sort", init_block=5), context("a"))


def test_augmentation_is_the_same_draw_for_face_and_obfuscated_image() -> None:
    params = Pmt(augment="mix")
    transform = tf.draw_augmentation(faces(2), params, context("ab"))
    assert transform is not None
    x = faces(2)
    assert torch.equal(transform(x), transform(x))
    assert not torch.equal(transform(x), x)
    ctx = context("ab")
    first, second = (tf.draw_augmentation(x, params, ctx) for _ in range(2))
    assert first is not None
    assert second is not None
    assert not torch.equal(first(x), second(x))  # a new draw in each iteration


def test_noise_augmentation_has_its_amplitude_and_none_is_off() -> None:
    x = faces(4)
    transform = tf.draw_augmentation(x, Pmt(augment="noise", augment_sigma=0.2), context("abcd"))
    assert transform is not None
    assert float((transform(x) - x).std()) == pytest.approx(0.2, rel=0.05)
    assert tf.draw_augmentation(x, Pmt(augment="none"), context("abcd")) is None
    assert tf.draw_augmentation(x, Pmt(augment="noise", augment_sigma=0.0), context("abcd")) is None


def test_affine_augmentation_turns_shifts_and_scales_about_the_centre() -> None:
    x = faces(2)
    still = Pmt(augment="affine", augment_degrees=0.0, augment_shift=0.0, augment_scale=0.0)
    transform = tf.draw_augmentation(x, still, context("ab"))
    assert transform is not None
    torch.testing.assert_close(transform(x), x)

    class Fixed:
        """A context whose random draws are set by the test: angle, scale, right and down, in [0, 1)."""

        def __init__(self, *values: float) -> None:
            self.values = values

        def rand(self, like: Tensor) -> Tensor:
            return torch.tensor([self.values], dtype=like.dtype).expand(len(like), 4)

    ramp = torch.linspace(0, 1, SIDE, dtype=torch.float64).expand(1, 1, SIDE, SIDE)
    turn = Pmt(augment="affine", augment_degrees=90.0)
    grid = tf.affine_grid(ramp, turn, Fixed(1.0, 0.5, 0.5, 0.5))  # type: ignore[arg-type]
    turned = F.grid_sample(ramp, grid, align_corners=False)
    torch.testing.assert_close(turned, torch.rot90(ramp, 1, (2, 3)), atol=1e-6, rtol=0)
    shift = Pmt(augment="affine", augment_shift=1 / SIDE)  # one pixel: sampled one to the right
    grid = tf.affine_grid(ramp, shift, Fixed(0.5, 0.5, 1.0, 0.5))  # type: ignore[arg-type]
    moved = F.grid_sample(ramp, grid, align_corners=False)
    torch.testing.assert_close(moved[..., :-1], ramp[..., 1:])


# ---- the descent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", ["sign", "l1", "adam", "momentum"])
@pytest.mark.parametrize("init", ["noise", "blur", "sort"])
def test_the_loss_falls_and_the_features_match(update: Any, init: Any) -> None:
    network, images = Toy(0), faces(4)
    params = Pmt(update=update, init=init, steps=60, augment="none", init_block=4)
    out, protected = protect(params, "abcd", network, images=images)
    start, end = protected.extra["loss_start"], protected.extra["loss_end"]
    assert bool((end < 0.2 * start).all())
    torch.testing.assert_close(end, (network(out) - network(images)).square().mean(dim=1))
    assert float(out.min()) >= 0.0
    assert float(out.max()) <= 1.0
    assert protected.extra["iterations"].tolist() == [60] * 4


@pytest.mark.parametrize(
    "change",
    [
        {"augment": "noise"},
        {"augment": "affine"},
        {"augment": "mix"},
        {"kernel": "linear"},
        {"kernel": "gaussian", "kernel_length": 2},
        {"layers": "all"},
        {"layers": "all", "balance": "concat"},
        {"layers": "all", "balance": "relative"},
        {"pool": 2},
        {"pool_kernel": 2},
        {"augment": "mix", "kernel": "gaussian", "layers": "all", "pool": 3, "update": "l1", "decay": "step"},
    ],
)
def test_every_switch_alone_still_descends(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"steps": 40, "augment": "none", **change}
    _, protected = protect(Pmt(**base))
    assert bool((protected.extra["loss_end"] < protected.extra["loss_start"]).all())
    assert float((protected.extra["loss_end"] / protected.extra["loss_start"]).mean()) < 0.6


def test_it_descends_where_algorithm_1_as_printed_would_ascend() -> None:
    network, images = Toy(0), faces(2)
    objective = Objective(Pmt(steps=1, augment="none", decay="none"), [Shallow(network, SPLITS)])
    first = tf.start(images, objective.params, context("ab"))
    after, _ = descend(images, first, objective, context("ab"))
    targets = objective.features(images)
    assert bool((objective.loss(after, targets) < objective.loss(first, targets)).all())
    literal = (2 * first - after).clamp(0, 1)  # the same step with the printed sign
    assert bool((objective.loss(literal, targets) > objective.loss(first, targets)).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"update": "l1", "augment": "mix", "kernel": "gaussian", "pool": 2, "layers": "all"},
        {"update": "adam", "init": "blur"},
        {"init": "sort", "early_stop": 0.2, "patience": 2},
    ],
)
def test_an_image_does_not_depend_on_its_batch(change: dict[str, Any]) -> None:
    params = Pmt(**{"steps": 25, **change})
    images, network = faces(4), Toy(0)
    whole, protected = protect(params, "abcd", network, images=images)
    for i, name in enumerate("abcd"):
        alone, single = protect(params, name, network, images=images[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], atol=1e-9, rtol=0)
        assert single.extra["iterations"][0] == protected.extra["iterations"][i]
    order = [2, 0, 3, 1]
    shuffled, _ = protect(params, "cadb", network, images=images[order])
    torch.testing.assert_close(shuffled, whole[order], atol=1e-9, rtol=0)


def test_the_same_seed_repeats_and_another_does_not() -> None:
    images, network = faces(2), Toy(0)
    params = Pmt(steps=10)
    runs = [params.protect(images, context("ab", network, seed=s)).images for s in (3, 3, 4)]
    assert runs[0] is not None
    assert runs[1] is not None
    assert runs[2] is not None
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_early_stopping_freezes_each_image_on_its_own() -> None:
    images, network = faces(4), Toy(0)
    base = Pmt(steps=80, augment="none", decay="none", step_size=0.02)
    params = dataclasses.replace(base, early_stop=0.05, patience=4)
    out, protected = protect(params, "abcd", network, images=images)
    iterations = protected.extra["iterations"]
    assert int(iterations.min()) < 80
    assert len(set(iterations.tolist())) > 1
    for i, name in enumerate("abcd"):  # exactly what a run without early stopping holds after that many iterations
        shorter = dataclasses.replace(base, steps=int(iterations[i]))
        alone, _ = protect(shorter, name, network, images=images[i : i + 1])
        torch.testing.assert_close(alone[0], out[i], atol=1e-9, rtol=0)


def test_an_image_that_already_matches_stops_at_once() -> None:
    images, network = faces(2), Toy(0)
    params = Pmt(steps=50, augment="none", early_stop=0.1, patience=3)
    objective = Objective(params, [Shallow(network, SPLITS)])
    moved, iterations = descend(images, images.clone(), objective, context("ab"))
    assert iterations.tolist() == [3, 3]
    assert torch.equal(moved, images)  # no gradient, no step, no division by zero


def test_clean_features_are_computed_once_without_augmentation() -> None:
    network = loaded()
    protect(Pmt(steps=7, augment="none"), "ab", network)
    assert network.calls == 7 + 3  # each step, the features of the faces, and the losses before and after


def test_protect_keeps_the_contract_under_the_host() -> None:
    network = Toy(0).float()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = faces(3).float()
    with torch.no_grad():  # whatever the caller's mode
        protected = protect_checked(Pmt(steps=5, layers="all"), images, context("abc", network))
    assert protected.images is not None
    assert protected.images.dtype == torch.float32
    assert not protected.images.requires_grad
    assert set(protected.extra) == {"loss_start", "loss_end", "iterations"}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


# ---- several models --------------------------------------------------------------------------------------------------


def test_mr_pmt_with_one_model_is_pmt() -> None:
    images, network = faces(3), Toy(0)
    shared: dict[str, Any] = {"steps": 20, "layers": "all", "kernel": "linear"}
    one, _ = protect(Pmt(**shared), "abc", network, images=images)
    for weights in ((), (5.0,)):
        many, _ = protect(MrPmt(**shared, weights=weights), "abc", network, images=images)
        assert torch.equal(one, many)


def test_mr_pmt_serves_every_authorised_model_and_pmt_only_one() -> None:
    images, first, second = faces(4), Toy(0), Toy(1)

    def left(out: Tensor, network: Toy, start: Tensor) -> float:
        distance = (network(out) - network(images)).square().mean(dim=1)
        return float((distance / (network(start) - network(images)).square().mean(dim=1)).mean())

    shared: dict[str, Any] = {"steps": 80, "augment": "none"}
    start = tf.start(images, Pmt(), context("abcd"))
    both, _ = protect(MrPmt(**shared), "abcd", first, second, images=images)
    one, _ = protect(Pmt(**shared), "abcd", first, images=images)
    assert left(both, first, start) < 0.2
    assert left(both, second, start) < 0.2
    assert left(one, second, start) > 2 * left(both, second, start)


# ---- noise as strong as PMT ------------------------------------------------------------------------------------------


def upload(params: PmtNoise, images: Tensor, network: Toy, uploaded: tuple[str, ...], seed: int = 3) -> Protected:
    """What the host gets of `images`, which are named a, b, c ..."""
    ctx = context("abcdefgh"[: len(images)], network, seed=seed, uploaded=uploaded)
    protected = protect_checked(params, images, ctx)
    assert protected.images is None
    assert tuple(protected.features) == uploaded
    return protected


@pytest.mark.parametrize("uploaded", [("stage2",), ("stem", "stage1", "stage2")])
def test_noise_is_what_pmt_changes_in_another_order(uploaded: tuple[str, ...]) -> None:
    images, network = faces(3), Toy(0)
    shared: dict[str, Any] = {"steps": 8, "augment": "noise", "kernel": "linear"}
    protected = upload(PmtNoise(**shared), images, network, uploaded)
    moved = Pmt(**shared).protect(images, context("abc", network)).images
    assert moved is not None
    moved = (moved * 255).round() / 255  # what the host would send of PMT
    ratios = []
    for split in uploaded:
        (clean,), (pmt,) = network.features(images, [split]), network.features(moved, [split])
        noise, change = (protected.features[split] - clean).flatten(1), (pmt - clean).flatten(1)
        torch.testing.assert_close(noise.sort(dim=1).values, change.sort(dim=1).values, atol=1e-12, rtol=0)
        torch.testing.assert_close(noise.norm(dim=1), change.norm(dim=1))
        for i in range(3):
            both = torch.stack([noise[i], change[i]])
            assert abs(float(torch.corrcoef(both)[0, 1])) < 0.25  # the order is gone
        ratios.append(change.norm(dim=1) / clean.flatten(1).norm(dim=1))
    torch.testing.assert_close(protected.extra["noise_to_signal"], torch.stack(ratios).mean(dim=0))
    assert set(protected.extra) == {"loss_start", "loss_end", "iterations", "noise_to_signal"}


def test_shuffling_moves_values_over_channels_and_positions() -> None:
    maps = torch.arange(2 * 4 * 3 * 5, dtype=torch.float64).reshape(2, 4, 3, 5)
    mixed = shuffle(maps, context("ab"))
    assert mixed.shape == maps.shape
    for i in range(2):  # nothing leaves its image, much leaves its channel and its position
        assert sorted(mixed[i].flatten().tolist()) == maps[i].flatten().tolist()
        assert float((mixed[i] // 15 != maps[i] // 15).double().mean()) > 0.5
        assert float((mixed[i] % 15 != maps[i] % 15).double().mean()) > 0.8
    assert not torch.equal(mixed[0], mixed[1] - 60)  # each image is shuffled in another order


def test_noise_does_not_depend_on_the_batch_and_repeats_with_its_seed() -> None:
    images, network = faces(3), Toy(0)
    params = PmtNoise(steps=4, augment="mix", init="blur")
    whole = upload(params, images, network, ("stage1",)).features["stage1"]
    alone = upload(params, images[:1], network, ("stage1",)).features["stage1"]
    torch.testing.assert_close(alone[0], whole[0], atol=1e-9, rtol=0)
    assert torch.equal(upload(params, images, network, ("stage1",)).features["stage1"], whole)
    assert not torch.equal(upload(params, images, network, ("stage1",), seed=4).features["stage1"], whole)


def test_noise_has_the_parameters_and_nearly_the_cost_of_pmt() -> None:
    assert validated(PmtNoise, steps=7, layers="all").splits(SPLITS) == Pmt(layers="all").splits(SPLITS)
    assert PmtNoise(steps=7).passes() == Pmt(steps=7).passes() + 2
    with pytest.raises(ValueError, match="at most 1"):
        PmtNoise().check_authorised(2)
    with pytest.raises(ValueError, match='upload = "features"'):
        PmtNoise(steps=1).protect(faces(1), context("a", Toy(0)))
