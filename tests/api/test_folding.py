"""Folded copies of networks: they compute the same, and what cannot be folded stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from bench_facenets.networks.ir import iresnet
from bench_facenets.networks.mobileface import mobileface
from bench_zoo.loading import SplitNetwork
from bench_zoo.networks import build
from torch import Tensor, nn

from bench import Capabilities, Context, folded
from bench.api.folding import Affine, QuickPReLU


def unsettled(net: nn.Module, side: int = 32, seed: int = 1) -> Any:
    """Return a network in evaluation mode with random statistics and slopes, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for values in (module.running_var, module.weight):
                values.data.copy_(0.5 + torch.rand(values.shape, generator=generator))
            for values in (module.running_mean, module.bias):
                values.data.copy_(0.3 * torch.randn(values.shape, generator=generator))
        if isinstance(module, nn.PReLU):
            module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator))  # also negative slopes
    return net.double().eval().requires_grad_(False)


def pictures(n: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def whole(images: Tensor) -> Any:
    return lambda net: [net(images)]


def kinds(net: nn.Module) -> set[str]:
    return {type(module).__name__ for module in net.modules()}


def gradient(net: Any, images: Tensor) -> Tensor:
    """Return the gradient with respect to pixels of a sum that weighs each output differently."""
    images = images.clone().requires_grad_()
    out = net(images)
    (found,) = torch.autograd.grad((out * torch.linspace(-1, 1, out[0].numel()).view(out[0].shape)).sum(), images)
    return found


def assert_same(made: Any, net: Any, images: Tensor) -> None:
    torch.testing.assert_close(made(images), net(images), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient(made, images), gradient(net, images), rtol=1e-7, atol=1e-9)


def test_a_mobileface_has_no_normalisation_left_and_computes_the_same() -> None:
    net, images = unsettled(mobileface(8, last_map=(2, 2))), pictures()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = folded(net, whole(images))
    assert {"BatchNorm2d", "PReLU"} & kinds(net) == {"BatchNorm2d", "PReLU"}
    assert {"BatchNorm2d", "PReLU", "Affine"} & kinds(made) == set()
    assert_same(made, net, pictures(3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_normalisation_before_a_padded_convolution_becomes_a_multiplication() -> None:
    net = unsettled(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)))
    made = folded(net, whole(pictures()))
    assert [type(module) for module in made] == [Affine, nn.Conv2d, nn.Identity]
    assert_same(made, net, pictures(3))


@pytest.mark.parametrize("name", ["mobileface", "ir", "mobilenet", "resnet", "vgg", "squeezenet"])
def test_networks_of_the_zoo_compute_the_same(name: str) -> None:
    net = SplitNetwork(unsettled(build(name)), [f"stage{i}" for i in range(5)])
    images = pictures(1, 112, 112)
    made = folded(net, lambda one: [one(images), *one.features(images, net.splits)])
    assert made is not net
    assert "BatchNorm2d" not in kinds(made)
    assert_same(made, net, images)
    (maps,) = net.features(images, ["stage2"])
    torch.testing.assert_close(made.from_features(maps, "stage2"), net(images))


class Branches(nn.Module):
    """A convolution whose output is used twice, once by a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.norm(x) + x.relu()


class Shared(nn.Module):
    """A convolution that is called twice, and followed by a normalisation only once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(x)))


class Maps(nn.Module):
    """Returns the output of the convolution itself as a feature."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def features(self, x: Tensor, _splits: Sequence[str]) -> list[Tensor]:
        maps = self.conv(x)
        self.norm(maps)
        return [maps]


@pytest.mark.parametrize("kind", [Branches, Shared])
def test_a_convolution_that_is_used_otherwise_too_is_not_folded(kind: type[nn.Module]) -> None:
    net = unsettled(kind())
    made = folded(net, whole(pictures()))
    assert isinstance(made.norm, Affine)
    assert_same(made, net, pictures(3))


def test_a_feature_before_the_normalisation_is_kept() -> None:
    net = unsettled(Maps())
    made = folded(net, lambda one: [one(pictures()), *one.features(pictures(), ["conv"])])
    assert isinstance(made.norm, Affine)
    torch.testing.assert_close(made.features(pictures(), ["conv"]), net.features(pictures(), ["conv"]))


class Views(nn.Module):
    """Relies on the memory order of its map: in another, a view of it is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).view(len(x), -1)


def test_a_network_that_needs_its_memory_order_keeps_it() -> None:
    net = unsettled(Views())
    made = folded(net, whole(pictures()))
    assert isinstance(made.norm, nn.Identity)
    assert_same(made, net, pictures(3))


class Counts(nn.Module):
    """Computes something else at each call, so that no copy can be checked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x) * self.calls


def test_a_network_that_no_copy_equals_is_returned_itself() -> None:
    net = unsettled(Counts())
    assert folded(net, whole(pictures())) is net


def test_a_folded_network_and_its_copy_are_not_folded_again() -> None:
    import copy

    made = folded(unsettled(Branches()), whole(pictures()))
    again = copy.deepcopy(made)
    assert folded(made, whole(pictures())) is made
    assert folded(again, whole(pictures())) is again


def test_an_error_of_the_network_is_left_to_its_use() -> None:
    net = unsettled(Branches())
    assert folded(net, whole(torch.rand(1, 5, 8, 8, dtype=torch.float64))) is net


def test_a_layer_that_others_watch_is_not_replaced() -> None:
    net = unsettled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU()))
    net[1].register_forward_hook(lambda _module, _args, out: out + 1)
    made = folded(net, whole(pictures()))
    assert [type(module) for module in made] == [nn.Conv2d, nn.BatchNorm2d, QuickPReLU]
    assert_same(made, net, pictures(3))


@pytest.mark.parametrize("slopes", [[0.25], [0.25, 0.0, 1.5, -0.5]])
@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 4, 3, 5)])
def test_the_gradient_of_prelu_is_that_of_torch(slopes: list[float], shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x.view(-1)[0] = 0
    weight = torch.tensor(slopes, dtype=torch.float64)
    quick, plain = QuickPReLU(weight), lambda values: torch.prelu(values, weight)
    assert torch.equal(quick(x), plain(x))
    torch.testing.assert_close(gradient(quick, x), gradient(plain, x), rtol=1e-12, atol=1e-15)


def test_the_shallow_model_of_a_context_is_folded_for_all_its_splits() -> None:
    net = SplitNetwork(unsettled(build("mobileface")), [f"stage{i}" for i in range(5)])
    models: Any = {"net": (net, net.splits)}
    capabilities = Capabilities.of_defense(frozenset({"shallow"}), models)
    ctx = Context(device=torch.device("cpu"), seed=1, capabilities=capabilities)
    images = pictures(1, 112, 112)
    found = ctx.shallow("net").features(images, ["stage1", "stage4"])
    torch.testing.assert_close(found, net.features(images, ["stage1", "stage4"]))
    assert "BatchNorm2d" not in kinds(ctx.shallow("net")._network.network.stages)  # type: ignore[attr-defined]
    assert ctx.shallow("net") is ctx.shallow("net")


def test_an_iresnet_computes_the_same() -> None:
    net = unsettled(iresnet(4, units=(1, 1, 1, 1)))
    images = pictures(1, 112, 112)
    assert_same(folded(net, whole(images)), net, images)
