"""Covers, relocated pixels, few colours and the public part of P3."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from bench_facesets.alignment.geometry import TEMPLATE
from bench_masking import BlackBox, EyeMask, P3Public, PixelRelocation, Quantisation, bench_defenses
from bench_masking.coefficients import BLOCK, cosines, public_part, steps_of
from bench_masking.relocation import spiral
from bench_masking.template import EYE_DISTANCE, FACE
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

from bench import SuiteError, instantiate
from bench.api.context import Context
from bench.api.defense import Defense
from bench.stages.contracts import protect_checked

FACES = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
ALIGNED = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(2))


def _protected(defense: Defense, images: torch.Tensor) -> torch.Tensor:
    ids = [str(row) for row in range(len(images))]
    out = protect_checked(defense, images, Context(device=torch.device("cpu"), seed=7, sample_ids=ids)).images
    assert out is not None
    return out


def test_registration_without_torch() -> None:
    code = "import sys, bench_masking as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['black-box', 'eye-mask', 'p3-public', 'pixel-relocation', 'quantisation'] False"


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_what_they_declare(name: str) -> None:
    defense = bench_defenses()[name]()
    assert defense.goal == "anonymity"
    assert defense.control is None
    assert defense.protects == {"probe", "gallery", "both"}
    assert defense.needs == frozenset()
    assert defense.bound() is None
    assert all((defense.promise, defense.trusts, defense.not_promised))


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_a_face_does_not_depend_on_its_batch(name: str) -> None:
    defense = bench_defenses()[name]()
    together = _protected(defense, FACES)
    assert (together.shape, together.dtype) == (FACES.shape, FACES.dtype)
    assert torch.equal(together[1:2], _protected(defense, FACES[1:2]))
    assert not torch.equal(together, FACES)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("eye-mask", {"margin": -0.1}),
        ("black-box", {"margin": 6.0}),
        ("pixel-relocation", {"steps": -1}),
        ("quantisation", {"levels": 1}),
        ("quantisation", {"levels": 257}),
        ("p3-public", {"threshold": 0}),
        ("p3-public", {"quality": 101}),
    ],
)
def test_a_parameter_out_of_bounds_is_one_error(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=rf"here\.{next(iter(params))}: input should be"):
        instantiate(bench_defenses()[name], params, "here")


# ---- covers


def test_the_template_is_that_of_the_alignment() -> None:
    assert np.array_equal(np.array(FACE), TEMPLATE)
    assert pytest.approx(float(np.hypot(*(TEMPLATE[1] - TEMPLATE[0]))), abs=0.01) == EYE_DISTANCE


def test_the_eye_mask_covers_both_eyes_and_nothing_of_the_mouth() -> None:
    out = _protected(EyeMask(), ALIGNED)
    black = (out == 0).all(dim=1)[0]
    rows, columns = (black.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    # 0.4 distances between the eyes are 14.1 pixels. Rows: 51.5 - 14.1 to 51.7 + 14.1; columns: 38.3 - 14.1 to
    # 73.5 + 14.1.
    assert (rows[0], rows[-1]) == (37, 66)
    assert (columns[0], columns[-1]) == (24, 88)
    assert int(black.sum()) == len(rows) * len(columns)
    assert torch.equal(out[..., 67:, :], ALIGNED[..., 67:, :])


def test_the_black_box_covers_all_landmarks() -> None:
    black = (_protected(BlackBox(margin=0), ALIGNED) == 0).all(dim=1)[0]
    rows, columns = (black.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (52, 92, 38, 74)


def test_narrow_aligned_pictures_lack_the_same_columns_on_both_sides() -> None:
    wide, narrow = (_protected(EyeMask(), images) for images in (ALIGNED, ALIGNED[..., 8:104]))
    assert torch.equal(wide[..., 8:104], narrow)


@given(margin=st.floats(0, 5), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_a_wider_cover_covers_what_a_narrower_one_does(margin: float, height: int, width: int) -> None:
    image = torch.ones(1, 3, height, width)
    narrow, wide = (_protected(EyeMask(margin=one), image) == 0 for one in (margin / 2, margin))
    assert bool((wide | ~narrow).all())
    if width <= height:  # A wider picture than an aligned one has more beside the face.
        assert bool((_protected(BlackBox(margin=5), image) == 0).all())


# ---- pixel relocation


def test_the_spiral_of_a_small_picture() -> None:
    # 0 1 2
    # 3 4 5   clockwise from the top left
    # 6 7 8
    assert spiral(3, 3).tolist() == [0, 1, 2, 5, 8, 7, 6, 3, 4]
    assert spiral(2, 4).tolist() == [0, 1, 2, 3, 7, 6, 5, 4]


def test_each_pixel_moves_along_the_spiral() -> None:
    picture = torch.arange(9).view(1, 1, 3, 3).expand(1, 3, 3, 3) / 9
    out = (_protected(PixelRelocation(steps=2), picture) * 9).round().long()[0, 0].flatten().tolist()
    order = spiral(3, 3).tolist()
    assert [out[order[(at + 2) % 9]] for at in range(9)] == order


@given(height=st.integers(1, 9), width=st.integers(1, 9), steps=st.integers(0, 200))
@settings(deadline=None, max_examples=50)
def test_relocation_loses_no_pixel_and_can_be_undone(height: int, width: int, steps: int) -> None:
    picture = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(steps))
    out = _protected(PixelRelocation(steps=steps), picture)
    assert torch.equal(out.flatten(2).sort(-1).values, picture.flatten(2).sort(-1).values)
    size = height * width
    assert torch.equal(_protected(PixelRelocation(steps=-steps % size), out), picture)


# ---- quantisation


def test_the_values_of_few_levels() -> None:
    picture = torch.tensor([0.0, 0.16, 0.17, 0.49, 0.51, 1.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    out = _protected(Quantisation(levels=4), picture)[0, 0, 0]
    assert torch.allclose(out, torch.tensor([0, 0, 1, 1, 2, 3]) / 3)


def test_grey_levels_are_those_of_the_brightness() -> None:
    colours = torch.eye(3).view(1, 3, 1, 3)
    out = _protected(Quantisation(levels=256, grey=True), colours)
    assert torch.allclose(out[0, :, 0], torch.tensor([[76, 150, 29]]).expand(3, 3) / 255, atol=1e-6)


@given(levels=st.integers(2, 256))
@settings(deadline=None, max_examples=30)
def test_there_are_no_more_colours_than_levels(levels: int) -> None:
    out = _protected(Quantisation(levels=levels), FACES)
    assert len(out.unique()) <= levels
    assert float((out - FACES).abs().max()) <= 0.5 / (levels - 1) + 1e-6


# ---- P3


def test_the_cosines_are_those_of_scipy() -> None:
    block = FACES[0, 0, :8, :8]
    assert torch.allclose(
        cosines() @ block @ cosines().T, torch.from_numpy(dctn(block.numpy(), norm="ortho")), atol=1e-5
    )
    assert torch.allclose(cosines() @ cosines().T, torch.eye(BLOCK), atol=1e-6)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 100])
def test_the_steps_are_those_of_a_jpeg_file(quality: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization  # type: ignore[attr-defined]  # of the JPEG plugin
    ours = steps_of(quality)
    assert [sorted(ours[k].flatten().tolist()) for k in (0, 1)] == [sorted(tables[k]) for k in (0, 1)]


def test_a_picture_without_edges_becomes_grey() -> None:
    assert torch.allclose(_protected(P3Public(), torch.full((1, 3, 16, 16), 0.9)), torch.tensor(128 / 255), atol=1e-5)


def test_a_large_coefficient_is_replaced_by_the_threshold_without_its_sign() -> None:
    wave = cosines()[1].expand(8, 8)  # one coefficient of brightness: the first horizontal frequency
    up, down = (0.5 + sign * 0.8 * wave.expand(1, 3, 8, 8) for sign in (1, -1))
    step = float(steps_of(50)[0, 0, 1])
    assert step == 11
    made = [_protected(P3Public(threshold=5, quality=50), picture) for picture in (up, down)]
    assert torch.equal(*made)
    expected = 128 / 255 + 5 * step / 255 * wave / 8**0.5
    assert torch.allclose(made[0][0, 0], expected, atol=1e-5)


def test_small_coefficients_stay() -> None:
    """With a threshold above all coefficients, only the means are missing."""
    picture = 0.5 + 0.2 * (FACES[..., :16, :16] - 0.5)
    public = public_part(picture, 2048, 100)
    ours, theirs = (
        one.unfold(2, 8, 8).unfold(3, 8, 8) - one.unfold(2, 8, 8).unfold(3, 8, 8).mean((-2, -1), keepdim=True)
        for one in (public, picture)
    )
    assert float((ours - theirs).abs().max()) < 0.02  # rounding to whole quantisation steps


@given(threshold=st.integers(1, 40), quality=st.integers(1, 100), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_no_public_coefficient_is_above_the_threshold(threshold: int, quality: int, height: int, width: int) -> None:
    out = _protected(P3Public(threshold=threshold, quality=quality), FACES[..., :height, :width])
    assert out.shape == FACES[..., :height, :width].shape
    flat = _protected(P3Public(threshold=threshold, quality=quality), FACES[:1, :1, :8, :8].expand(1, 3, 8, 8) * 0.1)
    grey = (flat[0, 0] - 128 / 255) * 255
    steps = steps_of(quality)[0]
    found = cosines() @ grey @ cosines().T / steps
    assert float(found.abs().max()) <= threshold + 0.01
    assert float(found[0, 0].abs()) < 0.01
