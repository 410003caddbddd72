"""Any torch module as a network with split points."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from bench_facenets.checks.selfcheck import card_of, probe_images
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.splitting import SplitNetwork, auto_splits, is_cut, ordered_splits
from facenets_toys import Small
from torch import Tensor, nn

from bench import ContractError, DataError

SPLITS = {"first": "stem", "second": "stage", "third": "last"}


@pytest.fixture
def network() -> SplitNetwork:
    return SplitNetwork(Small().eval(), Pixels(), SPLITS)


@pytest.fixture
def called(network: SplitNetwork) -> Iterator[Counter[str]]:
    """How often each module of the network has been called."""
    counter: Counter[str] = Counter()
    handles = [
        module.register_forward_pre_hook(lambda _m, _a, path=path: counter.update([path]))
        for path, module in network.net.named_modules()
        if path
    ]
    yield counter
    for handle in handles:
        handle.remove()


def by_hand(net: Small, images: Tensor) -> list[Tensor]:
    x = images * 2 - 1
    first = net.stem(x)
    second = net.stage(first)
    return [first, second, net.last(second + net.branch(second))]


def test_features_are_the_outputs_of_the_modules(network: SplitNetwork) -> None:
    images = probe_images()
    expected = by_hand(network.net, images)
    found = network.features(images, ["third", "first", "second"])
    for ours, theirs in zip(found, [expected[2], expected[0], expected[1]], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nothing_beyond_the_deepest_wanted_split_runs(network: SplitNetwork, called: Counter[str]) -> None:
    network.features(probe_images(), ["first"])
    assert set(called) == {"stem"}
    called.clear()
    network.features(probe_images(), ["second", "first"])
    assert set(called) == {"stem", "stage", "stage.0", "stage.1", "stage.2"}
    assert set(called.values()) == {1}


def test_a_map_that_is_changed_in_place_later_is_kept_as_it_was(network: SplitNetwork) -> None:
    network = SplitNetwork(network.net, Pixels(), {"norm": "stage.1", "end": "stage"})
    norm, end = network.features(probe_images(), ["norm", "end"])
    assert norm.min() < 0 <= end.min()
    torch.testing.assert_close(norm.relu(), end)


def test_the_forward_goes_on_from_a_map(network: SplitNetwork) -> None:
    images = probe_images()
    embeddings = network(images)
    for split in SPLITS:
        maps = network.features(images, [split])[0]
        before = maps.clone()
        torch.testing.assert_close(network.from_features(maps, split), embeddings)
        assert torch.equal(maps, before)


def test_gradients_go_through_the_shallow_and_the_deep_part(network: SplitNetwork) -> None:
    pixels = probe_images().requires_grad_(True)
    maps = network.features(pixels, ["second"])[0]
    (shallow,) = torch.autograd.grad(maps.sum(), pixels)
    assert shallow.abs().sum() > 0
    leaf = maps.detach().requires_grad_(True)
    (deep,) = torch.autograd.grad(network.from_features(leaf, "second").sum(), leaf)
    assert deep.abs().sum() > 0
    assert all(not p.requires_grad for p in network.parameters())


def test_no_hook_is_left_behind_and_copies_work(network: SplitNetwork) -> None:
    twin = copy.deepcopy(network)
    images = probe_images()
    for one in (network, twin):
        one.from_features(one.features(images, ["first"])[0], "first")
        assert not any(m._forward_hooks for m in one.modules())
    nn.init.zeros_(twin.net.stem.weight)
    assert not torch.equal(network.features(images, ["first"])[0], twin.features(images, ["first"])[0])


def test_hooks_are_removed_after_an_error(network: SplitNetwork) -> None:
    with pytest.raises(RuntimeError):
        network.from_features(torch.zeros(1, 99, 5, 5), "third")
    assert not any(m._forward_hooks for m in network.modules())


def test_the_network_stays_in_evaluation_mode(network: SplitNetwork) -> None:
    assert not network.train().training
    assert not any(m.training for m in network.modules())


class Looped(nn.Module):
    """Gives one embedding whatever the batch, as a network with a baked batch size does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)).sum(0, keepdim=True)


def test_a_baked_batch_is_run_image_by_image_with_its_gradients() -> None:
    network = SplitNetwork(Looped(), Pixels(), {"map": "conv"}, looped=True)
    pixels = probe_images().requires_grad_(True)
    found = network(pixels)
    assert found.shape == (3, 2)
    torch.testing.assert_close(found[1:2], network(pixels[1:2]))
    (gradient,) = torch.autograd.grad(found[1].sum(), pixels)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2]].abs().sum() == 0
    maps = network.features(pixels, ["map"])[0]
    torch.testing.assert_close(network.from_features(maps, "map"), found)


class Tokens(nn.Module):
    """A transformer's shape of things: patches, a token more, and one block."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, stride=16)
        self.block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        out = self.block(tokens).flatten(1)
        return out, out.norm(dim=1, keepdim=True)


def test_tokens_are_maps_of_one_column_and_the_first_of_a_tuple_is_the_embedding() -> None:
    network = SplitNetwork(Tokens(), Pixels(), {"tokens": "block"})
    images = probe_images()
    maps = network.features(images, ["tokens"])[0]
    assert maps.shape == (3, 8, 49, 1)
    torch.testing.assert_close(network.from_features(maps, "tokens"), network(images))
    assert network(images).shape == (3, 8 * 49)


class Dict(Small):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        embedding = super().forward(x)
        return {"embedding": embedding, "logits": 2 * embedding}


def test_other_outputs_are_refused() -> None:
    with pytest.raises(
        ContractError,
        match=r"expected embeddings \(n, d\).*found \['embedding'\] \(n, 8\), \['logits'\] \(n, 8\).*factory",
    ):
        SplitNetwork(Dict(), Pixels(), {})(probe_images())
    with pytest.raises(ContractError, match=r"module head: expected a map .*found shape \(3, 8\)"):
        SplitNetwork(Small(), Pixels(), {"embedding": "head"}).features(probe_images(), ["embedding"])


def test_unknown_names_are_refused_with_a_hint(network: SplitNetwork) -> None:
    with pytest.raises(DataError, match=r"no module 'stag'; did you mean 'stage'\?"):
        SplitNetwork(Small(), Pixels(), {"x": "stag"})
    with pytest.raises(ContractError, match=r"no split point 'frist'; did you mean 'first'\?"):
        network.features(probe_images(), ["frist"])


class Shared(Small):
    """Calls its stem's activation twice."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.PReLU(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stage(self.act(self.stem(x))))
        return self.head(self.last(x).flatten(1))


@pytest.mark.parametrize(("module", "count"), [("act", 2), ("unused", 0)])
def test_split_modules_are_called_once(module: str, count: int) -> None:
    network = SplitNetwork(Shared(), Pixels(), {"stem": "stem", "bad": module})
    with pytest.raises(DataError, match=rf"split point 'bad': .*'{module}' is called {count} times"):
        ordered_splits(network, probe_images())


def test_splits_are_ordered_from_shallow_to_deep() -> None:
    network = SplitNetwork(Small(), Pixels(), {"z": "stem", "a": "last", "m": "stage"})
    assert list(ordered_splits(network, probe_images())) == ["z", "m", "a"]


def test_a_connection_that_goes_round_a_module_is_noticed(network: SplitNetwork) -> None:
    images = probe_images()
    embeddings = network(images)
    assert is_cut(network, "stage", images, embeddings)
    assert is_cut(network, "last", images, embeddings)
    assert not is_cut(network, "branch", images, embeddings)


def test_split_points_are_found_where_none_are_named() -> None:
    network = SplitNetwork(Small(), Pixels(), {})
    found = auto_splits(network, probe_images())
    assert found == {"56x56": "stem", "28x28": "stage", "7x7": "last"}


class Expands(Small):
    """Ends with an expansion at the resolution of its last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(6, 10, 1)
        self.head = nn.Linear(490, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.expand(self.last(self.stage(self.stem(x)))).flatten(1))


def test_the_end_of_the_trunk_has_a_name_of_its_own() -> None:
    found = auto_splits(SplitNetwork(Expands(), Pixels(), {}), probe_images())
    assert found == {"56x56": "stem", "28x28": "stage", "7x7": "last", "trunk": "expand"}


def test_a_network_without_maps_has_no_split_points() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 112 * 112, 4))
    assert auto_splits(SplitNetwork(flat, Pixels(), {}), probe_images()) == {}


def test_the_card_counts_what_a_client_holds() -> None:
    network = SplitNetwork(Small(), Pixels(), {"stem": "stem", "stage": "stage", "last": "last"})
    card = card_of(network)
    stem, stage = 4 * 27 + 4, 6 * 36 + 6 + 12
    assert card.splits["stem"].parameters == stem
    assert card.splits["stage"].parameters == stem + stage
    assert card.parameters == sum(p.numel() for p in network.net.parameters())
    assert card.splits["stem"].shape == (4, 56, 56)
    assert card.splits["stem"].mflops == pytest.approx(2 * 27 * 4 * 56 * 56 / 1e6, abs=0.01)
    assert card.embedding_size == 8
