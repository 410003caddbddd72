"""Networks that make faces: pictures of any size, losses by hand, degradations."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from bench_blocks import permute_blocks
from bench_learners.rearrangement import find, nothing_rearranged
from bench_translation.degradations import degraded
from bench_translation.losses import PictureLoss
from bench_translation.networks import EmbeddingDecoder, Translator, embedding_decoder_of, initialised, translator_of
from bench_translation.public_networks import public_network
from torch import Tensor

from bench import ContractError


def faces(n: int = 40, side: tuple[int, int] = (24, 24), seed: int = 0) -> Tensor:
    """Smooth random pictures in [0, 1]."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=side, mode="bilinear", align_corners=True)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_registers_nothing_and_imports_without_torch() -> None:
    code = "import sys, bench_translation, bench_translation.public_networks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(24, 24), (25, 23), (17, 40)])
def test_pictures_keep_their_size_and_start_as_they_are(side: tuple[int, int]) -> None:
    images = faces(2, side)
    network = Translator(nothing_rearranged(images.mean(0)), 8)
    initialised(network, [network.out], generator())
    torch.testing.assert_close(network(images), images)


def test_a_translator_comes_back_from_its_state() -> None:
    images = faces(30)
    network = Translator(find(permute_blocks(images, 8, 1), images, (permute_blocks(images, 8, 1), images)), 8)
    state = {f"start.{name}": value.clone() for name, value in network.state_dict().items()}
    again = translator_of({**state, "other.x": torch.zeros(1)}, 8, "attack x", "start.")
    torch.testing.assert_close(again(images), network.eval()(images))


def test_a_state_of_another_network_is_refused() -> None:
    with pytest.raises(ContractError, match="attack x: what was learnt does not fit this decoder"):
        translator_of({"front.block": torch.tensor(1.0)}, 8, "attack x")
    with pytest.raises(ContractError, match="attack x: what was learnt does not fit embeddings of length 5"):
        embedding_decoder_of({"mean_face": torch.zeros(3, 24, 24)}, 5, 8, "attack x")


@pytest.mark.parametrize("side", [(24, 16), (112, 112), (30, 30)])
def test_an_embedding_becomes_the_mean_face_at_first(side: tuple[int, int]) -> None:
    mean = faces(1, side)[0]
    network = EmbeddingDecoder(12, mean, 8)
    initialised(network, [network.out], generator())
    torch.testing.assert_close(network(torch.rand(2, 12)), mean.expand(2, -1, -1, -1))


# ---- losses and degradations -----------------------------------------------------------------------------------------


def test_the_loss_of_pixels_is_20_times_the_mean_square() -> None:
    wanted = torch.zeros(2, 3, 4, 4)
    made = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.5)])
    torch.testing.assert_close(PictureLoss()(made, wanted), torch.tensor([0.2, 5.0]))


def test_features_count_relative_to_the_wanted_ones_and_embeddings_by_their_cosine() -> None:
    def seen(images: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
        return (images,), (images[:, :2, 0, 0],)

    wanted, made = torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    wanted[0, 0], made[0, 1] = 1, 1
    # pixels: 20 * 2/3; features: .5 * (2/3) / (1/3); orthogonal embeddings: 1
    torch.testing.assert_close(PictureLoss(seen)(made, wanted), torch.tensor([20 * 2 / 3 + 1 + 1]))
    torch.testing.assert_close(PictureLoss(seen)(wanted, wanted), torch.zeros(1))


def test_a_network_that_is_not_installed_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"network: no model 'zoo-resnett' is installed; .*zoo-resnet.*'none'"):
        public_network("zoo-resnett")
    assert public_network("none") is None
    assert public_network("zoo-resnet") is not None


@pytest.mark.parametrize("side", [(24, 16), (112, 112)])
def test_degraded_faces_are_pictures_of_the_same_size_and_follow_from_the_generator(side: tuple[int, int]) -> None:
    images = faces(8, side)
    made = degraded(images, generator())
    assert made.shape == images.shape
    torch.testing.assert_close(made * 255, (made * 255).round(), atol=1e-3, rtol=0)
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.equal(made, degraded(images, generator()))
    assert (made - images).square().mean((1, 2, 3)).min() > 0
