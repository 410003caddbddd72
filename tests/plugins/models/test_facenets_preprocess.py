"""What a network's pixels are, from suite parameters to tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench_facenets.files.pixels import Pixels, with_parameters
from bench_facenets.loading.preprocess import Preprocess, resized
from PIL import Image

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture
def faces() -> torch.Tensor:
    """Two images in which every value is another one."""
    return torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def test_insightface_networks_get_rgb_from_minus_one_to_one(faces: torch.Tensor) -> None:
    x = Preprocess(Pixels())(faces)
    torch.testing.assert_close(x, faces * 2 - 1)


def test_a_96_wide_network_sees_columns_8_to_104(faces: torch.Tensor) -> None:
    pixels = Pixels(width=96, mean=(127.5,) * 3, std=(128.0,) * 3)
    torch.testing.assert_close(Preprocess(pixels)(faces), (faces[..., 8:104] * 255 - 127.5) / 128)


def test_mean_and_std_are_in_the_networks_own_order_of_channels(faces: torch.Tensor) -> None:
    pixels = Pixels(mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 3.0), channels="bgr")
    x = Preprocess(pixels)(faces)
    torch.testing.assert_close(x[:, 0], faces[:, 2] * 255 - 10)
    torch.testing.assert_close(x[:, 2], (faces[:, 0] * 255 - 30) / 3)


def test_imagenet_statistics_are_those_of_torchvision(faces: torch.Tensor) -> None:
    from torchvision.transforms.functional import normalize

    x = Preprocess(with_parameters(Pixels(), **IMAGENET, pixel_range=1))(faces)
    expected = normalize(faces, list(IMAGENET["mean"]), list(IMAGENET["std"]))
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(160, 160), (224, 224), (112, 128)])
def test_larger_networks_get_the_face_resized(faces: torch.Tensor, size: tuple[int, int]) -> None:
    x = resized(faces, *size)
    assert x.shape == (2, 3, *size)
    assert x.mean().item() == pytest.approx(faces.mean().item(), abs=0.01)


def test_larger_faces_are_shrunk_as_image_libraries_do() -> None:
    array = np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8)
    image = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
    pil = np.asarray(Image.fromarray(array).resize((112, 112), Image.Resampling.BILINEAR))
    ours = resized(image, 112, 112)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - pil).max() < 1.5


def test_gradients_reach_every_pixel_that_is_seen(faces: torch.Tensor) -> None:
    x = faces.requires_grad_(True)
    Preprocess(Pixels(width=96))(x).sum().backward()
    assert x.grad is not None
    assert (x.grad[..., 8:104] > 0).all()
    assert (x.grad[..., :8] == 0).all()


def test_raw_pixels_and_pixels_in_0_1_can_be_said() -> None:
    faces = torch.full((1, 3, 112, 112), 0.5)
    raw = with_parameters(Pixels(), mean=0.0, std=1.0)
    assert Preprocess(raw)(faces).unique().item() == 127.5
    unit = with_parameters(Pixels(), mean=0.0, std=1.0, pixel_range=1)
    assert Preprocess(unit)(faces).unique().item() == 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (IMAGENET, "set pixel_range = 1"),
        ({"mean": 0.5, "std": 0.5}, "set pixel_range = 1"),
        ({"std": (0.229, 0.224, 0.225)}, "set pixel_range = 1"),
        ({"mean": 127.5, "pixel_range": 1}, "set pixel_range = 255"),
        ({"std": 128.0, "pixel_range": 1}, "set pixel_range = 255"),
        ({"mean": (1.0, 2.0)}, "one number or three, got 2"),
        ({"std": 0.0}, "above 0"),
        ({"size": (8, 112)}, "between 16 and 1024"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_parameters(Pixels(), **given)  # type: ignore[arg-type]


def test_what_a_suite_does_not_say_stays_as_the_layout_says() -> None:
    layout = Pixels(width=96, std=(128.0,) * 3, channels="bgr")
    assert with_parameters(layout) == layout
    assert with_parameters(layout, channels="rgb").std == (128.0,) * 3
    assert str(layout) == "112x96 bgr, (x - 127.5) / 128"
