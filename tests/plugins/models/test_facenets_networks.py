"""The full-size networks: parameter counts, key names and shapes of the public code, and what the units compute.

The key names are written down here from the public definitions that `bench_facenets.files.known_checkpoints` names as
sources; they are not derived from our networks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bench_facenets.files import known_checkpoints
from bench_facenets.files.known_checkpoints import ARCHITECTURES, LAYOUTS, SPLITS, Layout
from bench_facenets.networks import build, initialise
from torch import Tensor, nn

NAMES = sorted(LAYOUTS)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- golden facts -----------------------------------------------------------------------------------------------------

PARAMETERS = {  # at the published embedding size
    "robfr-mobileface": 1_200_512,
    "xiaoccer-mobileface-112x112": 1_200_512,
    "xiaoccer-mobileface": 999_552,
    "foamliu-mobileface": 999_936,
    "robfr-ir50": 43_574_976,
    "robfr-ir50-casia": 43_574_976,
    "face-evolve-ir50": 43_574_976,
    "adaface-ir50": 43_585_600,
    "cvlface-ir50": 43_585_600,
    "insightface-iresnet50": 43_590_848,
    "robfr-ir-se50": 43_797_696,
    "face-evolve-ir-se50": 43_797_696,
    "robfr-mobilenet": 3_748_160,
    "robfr-mobilenet-stride1": 3_781_952,
    "robfr-resnet50": 40_290_880,
    "robfr-resnet50-casia": 40_290_880,
    "face-evolve-resnet50": 40_290_880,
}


def norm(*paths: str) -> list[str]:
    return [f"{path}.{name}" for path in paths for name in NORM]


def weight(*paths: str) -> list[str]:
    return [f"{path}.weight" for path in paths]


def mobileface_keys() -> Iterable[str]:
    for block in ("conv1", "dw_conv1", "conv2"):
        yield from [*weight(f"{block}.conv", f"{block}.prelu"), *norm(f"{block}.bn")]
    for block in ("linear7", "linear1"):
        yield from [*weight(f"{block}.conv"), *norm(f"{block}.bn")]
    for i in range(15):
        at = f"blocks.{i}.conv"
        yield from weight(*(f"{at}.{j}" for j in (0, 2, 3, 5, 6)))
        yield from norm(*(f"{at}.{j}" for j in (1, 4, 7)))


def foamliu_keys() -> Iterable[str]:
    for block in ("conv1", "conv2"):
        yield from [*weight(f"{block}.0"), *norm(f"{block}.1")]
    yield from [*weight("dw_conv.depthwise", "dw_conv.pointwise"), *norm("dw_conv.bn1", "dw_conv.bn2")]
    for i in range(15):
        at = f"features.{i}.conv"
        yield from weight(f"{at}.0.0", f"{at}.1.0", f"{at}.2")
        yield from norm(f"{at}.0.1", f"{at}.1.1", f"{at}.3")
    yield from [*weight("gdconv.depthwise"), *norm("gdconv.bn"), "conv3.weight", "conv3.bias", *norm("bn")]


def ir_keys(*, squeeze: bool = False, middle: bool = False, affine: bool = True) -> Iterable[str]:
    yield from [*weight("input_layer.0", "input_layer.2"), *norm("input_layer.1")]
    for i in range(24):
        at = f"body.{i}.res_layer"
        if middle:  # BN, conv, BN, PReLU, conv, BN
            yield from [*norm(f"{at}.0", f"{at}.2", f"{at}.5"), *weight(f"{at}.1", f"{at}.3", f"{at}.4")]
        else:  # BN, conv, PReLU, conv, BN
            yield from [*norm(f"{at}.0", f"{at}.4"), *weight(f"{at}.1", f"{at}.2", f"{at}.3")]
        if squeeze:
            yield from weight(f"{at}.5.fc1", f"{at}.5.fc2")
        if i in (3, 7, 21):  # where the channels change
            yield from [*weight(f"body.{i}.shortcut_layer.0"), *norm(f"body.{i}.shortcut_layer.1")]
    yield from [*norm("output_layer.0"), "output_layer.3.weight", "output_layer.3.bias"]
    yield from (key for key in norm("output_layer.4") if affine or not key.endswith(("weight", "bias")))


def iresnet_keys() -> Iterable[str]:
    yield from [*weight("conv1", "prelu"), *norm("bn1")]
    for stage, count in enumerate((3, 4, 14, 3), start=1):
        for i in range(count):
            at = f"layer{stage}.{i}"
            yield from [
                *norm(f"{at}.bn1", f"{at}.bn2", f"{at}.bn3"),
                *weight(f"{at}.conv1", f"{at}.prelu", f"{at}.conv2"),
            ]
        yield from [*weight(f"layer{stage}.0.downsample.0"), *norm(f"layer{stage}.0.downsample.1")]
    yield from [*norm("bn2"), "fc.weight", "fc.bias", *norm("features")]


def mobilenet_keys() -> Iterable[str]:
    yield from [*weight("model.0.0"), *norm("model.0.1")]
    for i in range(1, 14):
        yield from [*weight(f"model.{i}.0", f"model.{i}.3"), *norm(f"model.{i}.1", f"model.{i}.4")]
    yield from ["linear7.weight", "fc.weight", "fc.bias"]


def resnet_keys() -> Iterable[str]:
    yield from [*weight("conv1"), *norm("bn1")]
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for i in range(count):
            at = f"layer{stage}.{i}"
            yield from [*weight(*(f"{at}.conv{j}" for j in (1, 2, 3))), *norm(*(f"{at}.bn{j}" for j in (1, 2, 3)))]
        yield from [*weight(f"layer{stage}.0.downsample.0"), *norm(f"layer{stage}.0.downsample.1")]
    yield from [*norm("bn_o1"), "fc.weight", "fc.bias", *norm("bn_o2")]


KEYS = {
    "robfr-mobileface": set(mobileface_keys()),
    "xiaoccer-mobileface": set(mobileface_keys()),
    "foamliu-mobileface": set(foamliu_keys()),
    "robfr-ir50": set(ir_keys()),
    "adaface-ir50": set(ir_keys(middle=True, affine=False)),
    "insightface-iresnet50": set(iresnet_keys()),
    "robfr-ir-se50": set(ir_keys(squeeze=True)),
    "robfr-mobilenet": set(mobilenet_keys()),
    "robfr-mobilenet-stride1": set(mobilenet_keys()),
    "robfr-resnet50": set(resnet_keys()),
}
SHAPES = {  # one tensor of each kind that decides the numbers
    "robfr-mobileface": {
        "linear7.conv.weight": (512, 1, 7, 7),
        "linear1.conv.weight": (512, 512, 1, 1),
        "blocks.5.conv.3.weight": (256, 1, 3, 3),
        "blocks.12.conv.0.weight": (512, 128, 1, 1),
    },
    "xiaoccer-mobileface": {"linear7.conv.weight": (512, 1, 7, 6), "linear1.conv.weight": (128, 512, 1, 1)},
    "foamliu-mobileface": {"conv3.weight": (128, 512, 1, 1), "dw_conv.pointwise.weight": (64, 64, 1, 1)},
    "robfr-ir50": {
        "input_layer.0.weight": (64, 3, 3, 3),
        "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
        "body.21.res_layer.3.weight": (512, 512, 3, 3),
        "output_layer.3.weight": (512, 25088),
    },
    "adaface-ir50": {"body.3.res_layer.2.weight": (128,), "output_layer.4.running_mean": (512,)},
    "insightface-iresnet50": {"layer1.0.downsample.0.weight": (64, 64, 1, 1), "fc.weight": (512, 25088)},
    "robfr-ir-se50": {"body.23.res_layer.5.fc1.weight": (32, 512, 1, 1)},
    "robfr-mobilenet": {"linear7.weight": (1024, 1, 4, 4), "fc.weight": (512, 1024)},
    "robfr-mobilenet-stride1": {"linear7.weight": (1024, 1, 7, 7)},
    "robfr-resnet50": {
        "conv1.weight": (64, 3, 7, 7),
        "fc.weight": (512, 32768),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    assert sum(p.numel() for p in LAYOUTS[name].build().parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(KEYS))
def test_keys_and_shapes_are_those_of_the_public_code(name: str) -> None:
    tensors = LAYOUTS[name].tensors()
    assert set(tensors) == KEYS[name]
    assert {key: tensors[key] for key in SHAPES[name]} == SHAPES[name]


def flops(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return 2 * module.weight[0].numel() * output[0].numel()
    return 2 * module.weight.numel() if isinstance(module, nn.Linear) else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stage_shapes_output_and_cost(name: str) -> None:
    """Every split point is called once per forward and gives the declared map; checked without values."""
    layout = LAYOUTS[name]
    net = layout.build()
    points = {**layout.splits, **layout.units}
    maps: dict[str, list[tuple[int, ...]]] = {point: [] for point in points}
    total = 0

    def count(module: nn.Module, _args: Any, output: Tensor) -> None:
        nonlocal total
        total += flops(module, output)

    for module in net.modules():
        module.register_forward_hook(count)
    for point, path in points.items():
        net.get_submodule(path).register_forward_hook(
            lambda _m, _a, out, at=point: maps[at].append(tuple(out.shape[1:]))
        )
    out = net(torch.zeros(1, 3, layout.pixels.height, layout.pixels.width, device="meta"))
    assert out.shape == (1, layout.embedding_size)
    assert {point: [layout.shapes[point]] for point in points} == maps
    assert list(layout.splits) == list(SPLITS)
    assert total / 1e6 == pytest.approx(layout.mflops, abs=0.06)


def test_the_fifth_unit_of_the_paper_is_where_the_table_says() -> None:
    """Shape, and parameters up to and with the unit, of each of RobFR's networks."""
    expected = {
        "robfr-mobileface": ("blocks.2", (64, 28, 28), 58_000),
        "robfr-ir50": ("body.3", (128, 28, 28), 454_000),
        "robfr-resnet50": ("layer1.0", (256, 28, 28), 85_000),
        "robfr-mobilenet": ("model.4", (256, 14, 14), 65_000),
    }
    for name, (path, shape, cumulative) in expected.items():
        layout = LAYOUTS[name]
        net = layout.build()
        order = [p for p, _ in net.named_modules()]
        done = set(order[: order.index(path)]) | {p for p in order if p.startswith(f"{path}.")}
        params = sum(p.numel() for key, p in net.named_parameters() if key.rpartition(".")[0] in done)
        assert layout.shapes[path] == shape
        assert params == pytest.approx(cumulative, rel=0.02)


# --- what the units compute -------------------------------------------------------------------------------------------


def filled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights, slopes and statistics all drawn, so that a wrong order or epsilon shows."""
    net = net.to_empty(device="cpu").eval()
    initialise(net, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    if tensor is not None:
                        tensor.uniform_(0.2, 1.0, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0.1, 0.5, generator=generator)
    return net


def bn(state: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    mean, var = state[f"{at}.running_mean"], state[f"{at}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{at}.weight"], state[f"{at}.bias"], eps=1e-5)


def unit(name: str, path: str) -> tuple[nn.Module, dict[str, Tensor]]:
    module = filled(LAYOUTS[name].build().get_submodule(path))
    return module, module.state_dict()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("path", ["body.0", "body.1", "body.3"])
@pytest.mark.parametrize("name", ["robfr-ir50", "robfr-ir-se50", "adaface-ir50"])
def test_the_ir_unit_computes_what_the_public_one_does(name: str, path: str) -> None:
    net, state = unit(name, path)
    stride = 1 if path == "body.1" else 2
    x = draw(2, 64, 12, 12)
    y = F.conv2d(bn(state, "res_layer.0", x), state["res_layer.1.weight"], padding=1)
    i = 2
    if name == "adaface-ir50":
        y, i = bn(state, "res_layer.2", y), 3
    y = F.prelu(y, state[f"res_layer.{i}.weight"])
    y = F.conv2d(y, state[f"res_layer.{i + 1}.weight"], stride=stride, padding=1)
    y = bn(state, f"res_layer.{i + 2}", y)
    if name == "robfr-ir-se50":
        hidden = F.conv2d(F.adaptive_avg_pool2d(y, 1), state["res_layer.5.fc1.weight"]).relu()
        y = y * F.conv2d(hidden, state["res_layer.5.fc2.weight"]).sigmoid()
    if path == "body.3":
        y = y + bn(state, "shortcut_layer.1", F.conv2d(x, state["shortcut_layer.0.weight"], stride=2))
    else:
        y = y + x[..., ::stride, ::stride]
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", ["layer1.0", "layer1.1"])
def test_the_iresnet_unit_computes_what_the_public_one_does(path: str) -> None:
    net, state = unit("insightface-iresnet50", path)
    stride = 2 if path == "layer1.0" else 1
    x = draw(2, 64, 12, 12)
    y = bn(state, "bn2", F.conv2d(bn(state, "bn1", x), state["conv1.weight"], padding=1))
    y = F.conv2d(F.prelu(y, state["prelu.weight"]), state["conv2.weight"], stride=stride, padding=1)
    shortcut = bn(state, "downsample.1", F.conv2d(x, state["downsample.0.weight"], stride=2)) if stride == 2 else x
    torch.testing.assert_close(net(x), bn(state, "bn3", y) + shortcut, rtol=1e-4, atol=1e-4)


def test_the_layers_of_foamliu_compute_what_the_public_ones_do() -> None:
    """ReLU6 everywhere but in the second layer, which is separable and has plain ReLU."""
    net, state = unit("foamliu-mobileface", "dw_conv")
    x = 40 * draw(1, 64, 8, 8)
    y = bn(state, "bn1", F.conv2d(x, state["depthwise.weight"], padding=1, groups=64)).relu()
    y = bn(state, "bn2", F.conv2d(y, state["pointwise.weight"])).relu()
    assert y.max() > 6
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-3)
    net, state = unit("foamliu-mobileface", "features.1")
    x = draw(1, 64, 8, 8)
    y = F.relu6(bn(state, "conv.0.1", F.conv2d(x, state["conv.0.0.weight"])))
    y = F.relu6(bn(state, "conv.1.1", F.conv2d(y, state["conv.1.0.weight"], padding=1, groups=128)))
    y = x + bn(state, "conv.3", F.conv2d(y, state["conv.2.weight"]))
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_resnet50_computes_what_torchvision_does() -> None:
    """The trunk has torchvision's key names, and gives torchvision's map."""
    from torchvision.models import resnet50

    net = filled(LAYOUTS["robfr-resnet50"].build())
    with torch.device("meta"):
        trunk = resnet50(weights=None).eval()
    trunk.fc = nn.Identity()
    state = {key: value for key, value in net.state_dict().items() if key in trunk.state_dict()}
    trunk.load_state_dict(state, strict=True, assign=True)
    x = draw(1, 3, 64, 64)
    seen: list[Tensor] = []
    trunk.layer4.register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        trunk(x)
        for name, module in net.named_children():
            x = module(x)
            if name == "layer4":
                break
    torch.testing.assert_close(x, seen[0])


@pytest.mark.parametrize("name", ["xiaoccer-mobileface", "foamliu-mobileface", "robfr-mobilenet"])
def test_forward_is_batch_invariant_and_its_gradient_reaches_the_pixels(name: str) -> None:
    layout = LAYOUTS[name]
    net = filled(layout.build())
    x = draw(2, 3, layout.pixels.height, layout.pixels.width).requires_grad_()
    out = net(x)
    torch.testing.assert_close(net(x[:1]), out[:1], rtol=1e-3, atol=1e-4)
    (first,) = torch.autograd.grad(out.square().mean(), x, retain_graph=True)
    (again,) = torch.autograd.grad(out.square().mean(), x)  # nothing was changed in place
    assert first.abs().amax(dim=(1, 2, 3)).min() > 0
    assert torch.equal(first, again)


# --- building and recognising -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mobileface", "mobilenet"])
def test_build_is_deterministic_under_its_seed_alone(architecture: str) -> None:
    state = torch.random.get_rng_state()
    first, same, other = (build(architecture, 64, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert all(bool(torch.isfinite(value.float()).all()) for value in first.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_default_layout_of_an_architecture_is_robfrs(architecture: str) -> None:
    layout = known_checkpoints.default(architecture)
    assert (layout.architecture, layout.name) == (architecture, f"robfr-{architecture}")
    assert layout.build(96)(torch.zeros(2, 3, 112, 112, device="meta")).shape == (2, 96)


def test_an_unknown_name_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        build("resnet-50")
    with pytest.raises(ValueError, match="unknown layout"):
        known_checkpoints.find("vgg")
    assert known_checkpoints.find("ir50").name == known_checkpoints.find("robfr-ir50").name


def same_keys(layout: Layout) -> set[str]:
    return {other.name for other in LAYOUTS.values() if other.tensors() == layout.tensors()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, 96])
def test_guess_takes_the_first_of_those_with_the_same_keys(name: str, size: int | None) -> None:
    layout = LAYOUTS[name]
    guessed = known_checkpoints.guess(layout.tensors(size))
    assert guessed is not None
    assert guessed.name in same_keys(layout)
    assert {guessed.name, *(other.name for other in known_checkpoints.alternatives(guessed))} == same_keys(layout)
    assert guessed is next(other for other in LAYOUTS.values() if other.name in same_keys(layout))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Backbone_IR_50_Epoch_11_Batch_160116_Time_2019-11-09-09-42_checkpoint.pth", "robfr-ir50"),
        ("Backbone_IR_50_Epoch_16_Batch_14128_Time_2020-08-20-09-55_checkpoint.pth", "robfr-ir50-casia"),
        ("CASIA-Softmax.pth", "robfr-ir50-casia"),
        ("backbone_ir50_ms1m_epoch120.pth", "face-evolve-ir50"),
        ("mine.pth", "robfr-ir50"),
    ],
)
def test_the_published_file_name_decides_between_equal_keys(file: str, name: str) -> None:
    guessed = known_checkpoints.guess(LAYOUTS["robfr-ir50"].tensors(), file)
    assert guessed is LAYOUTS[name]


def test_counters_may_be_missing_and_any_other_key_may_not() -> None:
    tensors = dict(LAYOUTS["robfr-mobilenet"].tensors())
    old = {key: shape for key, shape in tensors.items() if not key.endswith("num_batches_tracked")}
    assert known_checkpoints.guess(old) is LAYOUTS["robfr-mobilenet"]
    del old["linear7.weight"]
    assert known_checkpoints.guess(old) is None
    nearest, share = known_checkpoints.nearest(old)
    assert nearest is LAYOUTS["robfr-mobilenet"]
    assert 0.98 < share < 1
    assert known_checkpoints.guess({}) is None
    assert known_checkpoints.nearest({})[1] == 0


def test_pixels_are_the_published_ones() -> None:
    pixels = {name: str(layout.pixels) for name, layout in LAYOUTS.items()}
    assert pixels["robfr-mobileface"] == "112x112 bgr, (x - 127.5) / 128"
    assert pixels["xiaoccer-mobileface"] == "112x96 rgb, (x - 127.5) / 128"
    assert pixels["foamliu-mobileface"] == "112x112 rgb, (x - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]"
    assert pixels["robfr-ir50"] == pixels["adaface-ir50"] == "112x112 bgr, (x - 127.5) / 127.5"
    assert pixels["robfr-ir50-casia"] == pixels["insightface-iresnet50"] == "112x112 rgb, (x - 127.5) / 127.5"
    assert pixels["robfr-ir-se50"] == pixels["robfr-resnet50-casia"] == "112x112 rgb, (x - 127.5) / 128"
    assert pixels["robfr-mobilenet"] == pixels["robfr-resnet50"] == "112x112 bgr, (x - 127.5) / 128"


def test_layouts_are_declarations_without_torch() -> None:
    code = "import sys; from bench_facenets.files import known_checkpoints; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
