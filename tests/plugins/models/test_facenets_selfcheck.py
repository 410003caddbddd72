"""The self-check finds the usual mistakes and names the remedy; the sanity test detects wrong pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from bench_facenets.checks.sanity import PairImages, judge
from bench_facenets.checks.selfcheck import card_of, probe_images, self_check
from bench_facenets.checks.separation import auc_difference_error, separation
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.splitting import SplitNetwork
from facenets_toys import Small
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from bench import DataError

SPLITS = {"stem": "stem", "stage": "stage"}


def network_of(net: nn.Module, splits: dict[str, str] = SPLITS) -> SplitNetwork:
    return SplitNetwork(net, Pixels(), splits)


def test_a_sound_network_passes() -> None:
    network = network_of(Small())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    card = card_of(network)
    self_check(network, card, "net.pth")
    assert set(card.shapes) == set(SPLITS)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Wrong(Small):
    """A network whose embeddings ``spoil`` changes."""

    def __init__(self, spoil: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, x: Tensor) -> Tensor:
        return self.spoil(super().forward(x))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda e: e * float("nan"), "expected finite embeddings, found NaN"),
        (lambda e: e * 0, "expected embeddings with a length, found zeros"),
        (lambda e: e[:1], r"expected embeddings of shape \(3, 8\) for 3 images, found \(1, 8\).*batch size"),
        (lambda e: e.reshape(1, 8), "works for one image, but fails for a batch of 3"),
        (lambda e: e - e.mean(0) * 0.5, "alone and in a batch.*looks at the whole batch"),
        (lambda e: functional.dropout(e, 0.5), "a difference of .*|the same embeddings again"),
        (lambda e: e.detach(), "gradients of the embedding that reach the pixels, found none"),
        (lambda e: e.detach() * torch.ones(8, requires_grad=True), "gradients .*found none"),
        (lambda e: torch.ones_like(e) + e * 1e-12, "differ for different images, found the same"),
    ],
)
def test_each_mistake_has_its_message(spoil: Callable[[Tensor], Tensor], says: str) -> None:
    good = network_of(Small())
    torch.manual_seed(0)
    with pytest.raises(DataError, match=says) as caught:
        self_check(network_of(Wrong(spoil)), card_of(good), "net.pth")
    assert str(caught.value).startswith("net.pth: ")
    assert "\n" not in str(caught.value)


def test_dropout_that_ignores_eval_is_found() -> None:
    network = network_of(Wrong(lambda e: functional.dropout(e, 0.01)))
    card = card_of(network)

    def check_often() -> None:
        for _ in range(20):  # a value in a hundred is dropped
            self_check(network, card, "net.pth")

    with pytest.raises(DataError, match="a difference of"):
        check_often()


def test_a_split_with_a_connection_round_it_is_refused() -> None:
    network = network_of(Small(), {"stem": "stem", "branch": "branch"})
    with pytest.raises(DataError, match=r"split point branch: .*'branch'.* goes round it; name the end of"):
        self_check(network, card_of(network), "net.pth")


def test_a_card_of_another_network_is_refused() -> None:
    network = network_of(Small())
    card = card_of(network)
    wrong = dataclasses.replace(card, embedding_size=9)
    with pytest.raises(DataError, match=r"expected embeddings of shape \(1, 9\)"):
        self_check(network, wrong, "net.pth")
    split = dataclasses.replace(card.splits["stage"], shape=(6, 14, 14))
    wrong = dataclasses.replace(card, splits={"stem": card.splits["stem"], "stage": split})
    with pytest.raises(DataError, match=r"split point stage: declared \(6, 14, 14\), found \(6, 28, 28\)"):
        self_check(network, wrong, "net.pth")
    wrong = dataclasses.replace(card, splits=dict(reversed(card.splits.items())))
    with pytest.raises(DataError, match="in the order"):
        self_check(network, wrong, "net.pth")


def test_probe_images_are_always_the_same() -> None:
    assert torch.equal(probe_images(), probe_images())
    assert probe_images(1).shape == (1, 3, 112, 112)
    assert 0 <= probe_images().min() < probe_images().max() <= 1


# ---- how well scores separate ----------------------------------------------------------------------------------------


def test_figures_of_a_case_worked_by_hand() -> None:
    scores = np.array([0.9, 0.6, 0.3, 0.4, 0.1, 0.0])
    same = np.array([True, True, True, False, False, False])
    found = separation(scores, same)
    assert found.genuine_mean == pytest.approx(0.6)
    assert found.impostor_mean == pytest.approx(0.5 / 3)
    assert found.auc == pytest.approx(8 / 9)  # .3 loses against .4 alone
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.fmr == pytest.approx(1 / 3)
    assert (scores > found.threshold).tolist() in ([1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0])


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans()), min_size=2, max_size=40))
def test_auc_and_accuracy_agree_with_their_definitions(pairs: list[tuple[float, bool]]) -> None:
    scores, same = np.array([s for s, _ in pairs]), np.array([k for _, k in pairs])
    if same.all() or not same.any():
        with pytest.raises(ValueError, match="genuine and impostor"):
            separation(scores, same)
        return
    found = separation(scores, same)
    genuine, impostor = scores[same], scores[~same]
    wins = [(g > i) + (g == i) / 2 for g in genuine for i in impostor]
    assert found.auc == pytest.approx(np.mean(wins))
    best = max(((genuine > t).mean() + (impostor <= t).mean()) / 2 for t in [-1.0, *scores])
    assert found.accuracy == pytest.approx(best)
    assert ((genuine > found.threshold).mean() + (impostor <= found.threshold).mean()) / 2 == pytest.approx(best)


def test_the_error_of_a_difference_on_the_same_pairs_is_smaller() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(400) % 2 == 0
    scores = same + rng.normal(size=400)
    near = scores + rng.normal(size=400) * 0.1
    paired = auc_difference_error(scores, near, same)
    assert 0 < paired < separation(scores, same).auc_error / 3


# ---- wrong pixels ----------------------------------------------------------------------------------------------------


class Colours(nn.Module):
    """Knows people by the colour of their faces: means of the channels, in the order and range it was made for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.mean((2, 3)) * torch.tensor([3.0, 2.0, 1.0]))


def people(grey: bool = False, noise: float = 25.0) -> PairImages:
    """Forty people of two images, and pairs of them."""
    rng = np.random.default_rng(0)
    colours = rng.uniform(30, 225, (40, 1, 1 if grey else 3, 1, 1)).repeat(3 if grey else 1, axis=2)
    images = np.broadcast_to(colours, (40, 2, 3, 1, 1)) + rng.normal(0, noise, (40, 2, 1, 1, 1))
    images = np.broadcast_to(images.clip(0, 255).astype(np.uint8), (40, 2, 3, 112, 112)).reshape(80, 3, 112, 112)
    first = np.arange(0, 80, 2)
    left, right = np.concatenate([first, first]), np.concatenate([first + 1, np.roll(first, 2) + 1])
    return PairImages(images=images, left=left, right=right, same=np.arange(80) < 40)


@pytest.mark.slow
def test_right_pixels_have_no_better_alternative() -> None:
    result = judge(SplitNetwork(Colours(), Pixels(), {}), people())
    assert result.separation.separates
    assert not result.grey


@pytest.mark.slow
def test_wrong_pixels_are_told_with_what_separates_better() -> None:
    raw = Pixels(mean=(0.0,) * 3, std=(1.0,) * 3)
    result = judge(SplitNetwork(Colours(), raw, {}), people())
    assert result.better is not None
    assert "std = 127.5" in result.better.setting or "pixel_range = 1" in result.better.setting
    assert result.better.separation.auc > result.separation.auc + 0.02


@pytest.mark.slow
def test_the_order_of_channels_of_grey_faces_is_not_asked_for() -> None:
    result = judge(SplitNetwork(Colours(), Pixels(mean=(0.0,) * 3, std=(1.0,) * 3), {}), people(grey=True))
    assert result.grey
    assert result.better is None or "bgr" not in result.better.setting


@pytest.mark.slow
def test_a_network_that_recognises_nobody_does_not_separate() -> None:
    torch.manual_seed(0)
    data = people()
    strangers = np.random.default_rng(1).permutation(data.right)
    result = judge(SplitNetwork(Colours(), Pixels(), {}), dataclasses.replace(data, right=strangers))
    assert not result.separation.separates


def test_screening_takes_as_many_pairs_of_either_kind() -> None:
    few = people().first(16)
    assert few.same.sum() == 8 == (~few.same).sum()
    assert len(few.images) <= 32
    assert max(few.left.max(), few.right.max()) < len(few.images)
