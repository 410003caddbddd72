"""Networks as people really have them: checkpoints of trainers, ONNX files of exporters; see `kinds_of_input`.

Each kind is tried through the plugin. What happened is the comparison with the right values: the embeddings of the same
network by torch or by onnxruntime, for the pixels that the network was made for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_kinds as kinds
import pytest
import torch
from bench_facenets import MobileFace, OnnxModel, TorchModule
from bench_facenets.checks.selfcheck import probe_images
from bench_facenets.files import checkpoints
from bench_facenets.files.unwrapping import is_averaged
from bench_facenets.loading import build, factory
from bench_facenets.loading.splitting import embedding_difference
from kinds_of_input import KindOfInput, check, outcome
from onnx import TensorProto, external_data_helper, helper
from torch import Tensor, nn

from bench import BenchError

node = helper.make_node
IMAGES = (probe_images() * 255).round() / 255  # Whole numbers on the scale of 0 to 255.
SIGNED = (127.5, 127.5)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards and weights of the test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("BENCH_WEIGHTS", "BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)


def described(difference: float, notes: tuple[str, ...]) -> str:
    equal = "equal" if difference < 1e-4 else "nearly equal" if difference < 5e-3 else f"other by {difference:.1g}"
    return "; ".join([f"embeddings: {equal}", *notes])


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def by_onnxruntime(path: Path, mean: float, std: float, output: str | None) -> Tensor:
    """Return the embeddings of `IMAGES` that onnxruntime computes for the file, for pixels ``(x - mean) / std``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    x = (IMAGES * 255 - mean) / std
    if given.shape[1] == 1:
        x = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    if given.shape[-1] == 3:
        x = x.permute(0, 2, 3, 1)
    kind = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(double)": np.float64}.get(given.type)
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1
    images = [np.repeat(one[None].numpy().astype(kind or np.float32), batch, 0) for one in x]
    names = [output or session.get_outputs()[0].name]
    return torch.cat([torch.from_numpy(session.run(names, {given.name: one})[0]).float()[:1] for one in images])


def of_onnx(
    make: Callable[[], onnx.ModelProto],
    pixels: tuple[float, float] = SIGNED,
    output: str | None = None,
    save: Callable[[onnx.ModelProto, Path], Path] = kinds.saved,
    **params: Any,
) -> Callable[[Path], str]:
    """Return what happens to an ONNX network that takes pixels ``(x - mean) / std``."""

    def happened(folder: Path) -> str:
        path = save(make(), folder / "net.onnx")
        network, card = build.examine(OnnxModel(weights_file=str(path), **params))
        found = network(IMAGES)
        difference = embedding_difference(found, by_onnxruntime(path, *pixels, output))
        pixel = IMAGES.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad((network(pixel) * torch.linspace(-1, 1, 8)).sum(), pixel)
        assert all(bool(gradient[i].abs().max() > 0) for i in range(len(IMAGES)))
        return described(difference, card.warnings)

    return lambda folder: outcome(lambda: happened(folder), folder)


def as_external(model: onnx.ModelProto, path: Path) -> Path:
    """Save a network with its weights in a file of their own, as ``torch.onnx.export(external_data=True)`` does."""
    onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=100)
    return path


def outside(model: onnx.ModelProto, path: Path) -> Path:
    """Save a network whose weights are said to be in the parent folder."""
    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            external_data_helper.set_external_data(tensor, "../data.bin", 0, len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return kinds.saved(model, path)


def shared_weights() -> onnx.ModelProto:
    """Two equal convolutions, one of which gets its weights through an Identity, as the exporter of torch writes."""
    middle = [
        node("Identity", ["k1"], ["k2"]),
        node("Conv", ["a", "k1"], ["a1"], kernel_shape=[1, 1]),
        node("Conv", ["a1", "k2"], ["a2"], kernel_shape=[1, 1]),
        node("Relu", ["a2"], ["b"]),
    ]
    weights = np.random.default_rng(1).normal(size=(4, 4, 1, 1))
    return kinds.network(middle=middle, constants=[kinds.constant("k1", weights)])


def constant_nodes() -> onnx.ModelProto:
    """All weights are Constant nodes, none is an initializer."""
    model = kinds.network()
    made = [node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes = [*made, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    return model


def in_half_precision(*, inputs: bool) -> onnx.ModelProto:
    """A network in float16; with ``inputs`` its input too, else a Cast comes first."""
    before = (
        [node("Identity", ["x"], ["image"])] if inputs else [node("Cast", ["x"], ["image"], to=TensorProto.FLOAT16)]
    )
    after = [node("Cast", ["f"], ["e"], to=TensorProto.FLOAT)]
    element = TensorProto.FLOAT16 if inputs else TensorProto.FLOAT
    return kinds.network(before=before, after=after, element=element, weights=np.float16)


def of_functions() -> onnx.ModelProto:
    """A network with a function of its own, as the newer exporter of torch 2.1 to 2.5 writes."""
    model = kinds.network(middle=[helper.make_node("act", ["a"], ["b"], domain="local")])
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "act", ["u"], ["v"], [node("Elu", ["u"], ["v"])], opset))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def of_mxnet() -> onnx.ModelProto:
    """A network as MXNet exported ArcFace: opset 7, its own normalisation, weights among the inputs."""
    before = [node("Sub", ["x", "_minusscalar0_rhs"], ["y"]), node("Mul", ["y", "_mulscalar0_rhs"], ["image"])]
    statistics = {
        "gamma": np.ones(4),
        "beta": np.zeros(4),
        "moving_mean": [0.1, 0.0, -0.1, 0.2],
        "moving_var": np.ones(4),
    }
    middle = [
        node("BatchNormalization", ["a", *statistics], ["n"], epsilon=2e-5, spatial=1),
        node("PRelu", ["n", "slope"], ["p"]),
        node("Dropout", ["p"], ["b"], ratio=0.4),
    ]
    constants = [kinds.constant(name, value) for name, value in statistics.items()]
    constants += [kinds.constant("slope", np.full((4, 1, 1), 0.25))]
    constants += [kinds.constant("_minusscalar0_rhs", [127.5]), kinds.constant("_mulscalar0_rhs", [0.0078125])]
    model = kinds.network(before=before, middle=middle, constants=constants, opset=7)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def of_computed_view() -> onnx.ModelProto:
    """A network with ``x.view(x.size(0), -1)`` before its normalisation, so that ranks must be computed."""
    statistics = {"gamma": np.ones(8), "beta": np.zeros(8), "mean1": np.full(8, 0.1), "var1": np.ones(8)}
    after = [
        node("Shape", ["f"], ["size"]),
        node("Gather", ["size", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axis0"], ["n1"]),
        node("Concat", ["n1", "rest"], ["view"], axis=0),
        node("Reshape", ["f", "view"], ["flat"]),
        node("BatchNormalization", ["flat", *statistics], ["e"]),
    ]
    constants = [kinds.constant(name, value) for name, value in statistics.items()]
    constants += [kinds.constant("zero", 0, np.int64), kinds.constant("axis0", [0], np.int64)]
    return kinds.network(after=after, constants=[*constants, kinds.constant("rest", [-1], np.int64)])


def with_slopes(*shape: int) -> onnx.ModelProto:
    slopes = kinds.constant("slope", np.linspace(0.1, 0.4, int(np.prod(shape))).reshape(shape))
    return kinds.network(middle=[node("PRelu", ["a", "slope"], ["b"])], constants=[slopes])


def branch() -> onnx.NodeProto:
    output = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    graph = helper.make_graph([node("Relu", ["a"], ["t"])], "t", [], [output])
    return node("If", ["yes"], ["b"], then_branch=graph, else_branch=graph)


DROPPED = [
    node("Dropout", ["a", "ratio"], ["a1"]),
    node("Identity", ["a1"], ["a2"]),
    node("Relu", ["a2"], ["b"]),
]
SLOPES = [(1,), (4, 1, 1), (1, 4, 1, 1)]
GELU = [node("Gelu", ["a"], ["b"])]
SPLIT = [node("Split", ["a"], ["a1", "a2"], axis=1, num_outputs=2), node("Concat", ["a2", "a1"], ["b"], axis=1)]
TRANSPOSE = node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])
MEAN, STD = kinds.constant("mean", 127.5), kinds.constant("std", 128.0)
SCALED = [node("Sub", ["y", "mean"], ["z"]), node("Div", ["z", "std"], ["image"])]
FROM_BYTES = "the network normalises pixels itself, (x - 127.5) / 128: it gets values from 0 to 255"
UNSURE = (
    "before its first convolution the network computes ..., which does not tell what pixels it takes; it gets "
    "(x - 127.5) / 127.5 of pixels from 0 to 255: set mean = 0 and std = 1 if it takes 0 to 255, or mean = 0 and std = "
    "255 if it takes 0 to 1"
)
EQUAL = "embeddings: equal"
RGB = np.array(kinds.IMAGENET)
GREY = 'the network takes one channel: it gets grey images (channels = "grey", ITU-R 601)'
LOOPED = "a batch size of one is baked in: batches run image by image"


def onnx_kind(kind: str, expected: str, make: Callable[[], onnx.ModelProto], *args: Any, **more: Any) -> KindOfInput:
    return KindOfInput(kind=f"ONNX: {kind}", expected=expected, happened=of_onnx(make, *args, **more))


EXPORTED = [
    onnx_kind("plain, any batch size", EQUAL, kinds.network),
    onnx_kind("batch size of one", EQUAL, lambda: kinds.network(batch=1)),
    onnx_kind("batches of eight", EQUAL, lambda: kinds.network(batch=8)),
    onnx_kind("batches of eight in a reshape, too", EQUAL, lambda: kinds.network(batch=8, reshape=(8, -1))),
    onnx_kind(
        "batches of eight that nothing else can take",
        "refused: net.onnx: ...; it was exported for batches of 8 images: export it for any number of them, with ...",
        lambda: kinds.network(
            batch=8,
            after=[node("Add", ["f", "k"], ["g"]), node("Identity", ["g"], ["e"])],
            constants=[kinds.constant("k", np.random.default_rng(2).normal(size=(8, 8)))],
        ),
    ),
    onnx_kind("baked batch", f"{EQUAL}; {LOOPED}", lambda: kinds.network(batch=1, reshape=(1, -1))),
    *(
        onnx_kind(
            f"ends with F.normalize, opset {opset}",
            EQUAL,
            lambda opset=opset: kinds.network(
                after=kinds.normalised(opset), opset=opset, constants=[kinds.AXES] if opset >= 18 else []
            ),
        )
        for opset in (11, 13, 17, 18, 20, 23)
    ),
    onnx_kind(
        "ends with LpNormalization", EQUAL, lambda: kinds.network(after=[node("LpNormalization", ["f"], ["e"], axis=1)])
    ),
    onnx_kind("shared weights through Identity", EQUAL, shared_weights),
    onnx_kind("weights in Constant nodes", EQUAL, constant_nodes),
    onnx_kind(
        "Clip without a lower bound",
        EQUAL,
        lambda: kinds.network(middle=[node("Clip", ["a", "", "six"], ["b"])], constants=[kinds.constant("six", 0.6)]),
    ),
    onnx_kind(
        "Dropout and Identity", EQUAL, lambda: kinds.network(middle=DROPPED, constants=[kinds.constant("ratio", 0.4)])
    ),
    onnx_kind("GELU of opset 20", EQUAL, lambda: kinds.network(middle=GELU, opset=20)),
    onnx_kind("Split with num_outputs of opset 18", EQUAL, lambda: kinds.network(middle=SPLIT, opset=18)),
    onnx_kind("functions of its own", EQUAL, of_functions),
    onnx_kind("old opset 7 (MXNet)", EQUAL, lambda: kinds.network(opset=7)),
    onnx_kind("ArcFace by MXNet, opset 7", f"{EQUAL}; {FROM_BYTES}", of_mxnet, (0, 1)),
    onnx_kind("a computed view before a normalisation", EQUAL, of_computed_view),
    *(onnx_kind(f"PRelu with slopes {shape}", EQUAL, lambda shape=shape: with_slopes(*shape)) for shape in SLOPES),
    onnx_kind("external data", EQUAL, kinds.network, save=as_external),
    onnx_kind(
        "external data outside the folder",
        "refused: net.onnx: ...lies outside its folder...",
        kinds.network,
        save=outside,
    ),
    onnx_kind("half precision inside", "embeddings: ...equal", lambda: in_half_precision(inputs=False)),
    onnx_kind("half precision, input too", "embeddings: ...equal", lambda: in_half_precision(inputs=True)),
    onnx_kind(
        "embedding after another output",
        EQUAL,
        lambda: kinds.network(
            after=[node("ReduceL2", ["f"], ["norm"], axes=[1], keepdims=1), node("Div", ["f", "norm"], ["e"])],
            outputs=("norm", "e"),
        ),
        output="e",
    ),
    onnx_kind(
        "an operation that has no counterpart",
        "refused: net.onnx: the operation Det (opset 17) cannot be converted to torch; ...",
        lambda: kinds.network(
            after=[
                node("Reshape", ["f", "square"], ["m"]),
                node("Det", ["m"], ["det"]),
                node("Reshape", ["det", "row"], ["r"]),
                node("Mul", ["f", "r"], ["e"]),
            ],
            constants=[kinds.constant("square", [-1, 2, 2], np.int64), kinds.constant("row", [-1, 2], np.int64)],
        ),
    ),
    onnx_kind(
        "(x - 127.5) / 128 inside",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(**kinds.scaled(127.5, 128.0)),
        (0, 1),
    ),
    onnx_kind(
        "x / 255 inside",
        f"{EQUAL}; the network normalises pixels itself, (x - 0) / 255: it gets values from 0 to 255",
        lambda: kinds.network(before=[node("Div", ["x", "std"], ["image"])], constants=[kinds.constant("std", 255.0)]),
        (0, 1),
    ),
    onnx_kind(
        "ImageNet's statistics for 0 to 255 inside",
        f"{EQUAL}; the network normalises pixels itself, (x - [123.7, 116.3, 103.5]) / [58.4, 57.12, 57.38]: it gets "
        "values from 0 to 255",
        lambda: kinds.network(**kinds.scaled([123.7, 116.3, 103.5], [58.4, 57.12, 57.38])),
        (0, 1),
    ),
    onnx_kind(
        "ImageNet's statistics for 0 to 1 inside",
        f"{EQUAL}; the network normalises pixels itself, (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]: it gets "
        "values from 0 to 1",
        lambda: kinds.network(**kinds.scaled(*kinds.IMAGENET)),
        (0, 255),
    ),
    onnx_kind(
        "only a mean is subtracted (Caffe)",
        f"{EQUAL}; the network normalises pixels itself, (x - [103.9, 116.8, 123.7]) / 1: it gets values from 0 to 255",
        lambda: kinds.network(**kinds.scaled([103.9, 116.8, 123.7], [1.0] * 3)),
        (0, 1),
    ),
    onnx_kind(
        "an output that does not depend on images",
        "refused: net.onnx: expected embeddings, found that 'e' does not depend on the image",
        lambda: kinds.network(after=[node("Identity", ["k"], ["e"])], constants=[kinds.constant("k", np.ones((1, 8)))]),
    ),
    onnx_kind("Swish of opset 24", EQUAL, lambda: kinds.network(middle=[node("Swish", ["a"], ["b"])], opset=24)),
    onnx_kind(
        "control flow",
        "refused: net.onnx: expected a plain network, found the control flow of 'If'",
        lambda: kinds.network(middle=[branch()], constants=[kinds.constant("yes", True, np.bool_)]),
    ),
    onnx_kind(
        "2 x - 1 inside",
        f"{EQUAL}; the network normalises pixels itself, (x - 0.5) / 0.5: it gets values from 0 to 1",
        lambda: kinds.network(
            before=[node("Mul", ["x", "two"], ["y"]), node("Add", ["y", "minus"], ["image"])],
            constants=[kinds.constant("two", 2.0), kinds.constant("minus", -1.0)],
        ),
        (0, 255),
    ),
    onnx_kind(
        "a batch normalisation of bytes first",
        f"{EQUAL}; the network normalises pixels itself, (x - [120, 110, 100]) / [60, 61, 62]: it gets "
        "values from 0 to 255",
        lambda: kinds.network(**kinds.batch_normalised([120.0, 110.0, 100.0], [60.0, 61.0, 62.0])),
        (0, 1),
    ),
    onnx_kind(
        "a batch normalisation of normalised pixels first",
        f"{EQUAL}; {UNSURE}",
        lambda: kinds.network(**kinds.batch_normalised([0.1, 0.0, -0.1], [0.5, 0.5, 0.5])),
    ),
    onnx_kind(
        "a depthwise 1x1 convolution that normalises bytes",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(**kinds.convolved([1 / 128] * 3, [-127.5 / 128] * 3, group=3)),
        (0, 1),
    ),
    onnx_kind(
        "a 1x1 convolution that normalises bytes",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(**kinds.convolved(np.eye(3) / 128, [-127.5 / 128] * 3)),
        (0, 1),
    ),
    onnx_kind(
        "a 1x1 convolution that turns RGB into BGR and normalises 0 to 1",
        f"{EQUAL}; the network normalises pixels itself, (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]: it gets "
        "values from 0 to 1",
        lambda: kinds.network(**kinds.convolved(np.diag(1 / RGB[1])[::-1], (-RGB[0] / RGB[1])[::-1])),
        (0, 255),
    ),
    onnx_kind(
        "a 1x1 convolution that mixes colours",
        f"{EQUAL}; {UNSURE}",
        lambda: kinds.network(**kinds.convolved([[0.3, 0.6, 0.1], [-0.2, -0.3, 0.5], [0.6, -0.5, -0.1]], [0.0] * 3)),
    ),
    onnx_kind(
        "a 1x1 convolution that was learnt",
        EQUAL,
        lambda: kinds.network(
            before=[node("Conv", ["x", "k"], ["image"], kernel_shape=[1, 1])],
            constants=[kinds.constant("k", np.random.default_rng(3).normal(size=(6, 3, 1, 1)))],
            channels=6,
        ),
    ),
    onnx_kind(
        "a matrix product along channels that normalises bytes",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(
            before=[
                node("MatMul", ["x", "k"], ["y"]),
                node("Add", ["y", "bias"], ["z"]),
                node("Transpose", ["z"], ["image"], perm=[0, 3, 1, 2]),
            ],
            constants=[kinds.constant("k", np.eye(3) / 128), kinds.constant("bias", [-127.5 / 128] * 3)],
            shape=(112, 112, 3),
        ),
        (0, 1),
    ),
    onnx_kind(
        "a normalisation of each image",
        f"{EQUAL}; {UNSURE}",
        lambda: kinds.network(
            before=[node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3]), node("Sub", ["x", "y"], ["image"])]
        ),
    ),
    onnx_kind(
        "normalised twice by the suite",
        "embeddings: equal; the network normalises pixels itself, (x - 127.5) / 128, as for values from 0 to 255, "
        "but mean and std give it (x - 127.5) / 127.5 of pixels from 0 to 255: pixels are normalised twice; leave mean "
        "and std out",
        lambda: kinds.network(**kinds.scaled(127.5, 128.0)),
        mean=127.5,
        std=127.5,
    ),
    onnx_kind(
        "channels last, normalised inside",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(before=[TRANSPOSE, *SCALED], constants=[MEAN, STD], shape=(112, 112, 3)),
        (0, 1),
    ),
    onnx_kind(
        "bytes, channels last, normalised inside",
        f"{EQUAL}; {FROM_BYTES}",
        lambda: kinds.network(
            before=[node("Cast", ["x"], ["u"], to=1), node("Transpose", ["u"], ["y"], perm=[0, 3, 1, 2]), *SCALED],
            constants=[MEAN, STD],
            shape=(112, 112, 3),
            element=TensorProto.UINT8,
        ),
        (0, 1),
    ),
    onnx_kind("one grey channel", f"{EQUAL}; {GREY}", lambda: kinds.network(channels=1, shape=(1, 112, 112))),
    onnx_kind(
        "four channels",
        "refused: net.onnx: expected one input (n, 3, h, w) of float32, found [[None, 4, 112, 112]]: 4 "
        "channels; only ...",
        lambda: kinds.network(channels=4, shape=(4, 112, 112)),
    ),
]


# ---- checkpoints -----------------------------------------------------------------------------------------------------

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=3, scale=None, first=None):
        super().__init__()
        self.scale = scale
        self.first = {
            "conv1d": nn.Conv1d(3, 3, 1),
            "linear": nn.Linear(3, 3),
            "multiplied": nn.Parameter(torch.full((3, 1, 1), 1 / 128)),
        }.get(first)
        if isinstance(self.first, nn.Module):
            weight, bias = self.first.parameters()
            weight.data = torch.eye(3).reshape(weight.shape) / 128
            bias.data = torch.full((3,), -127.5 / 128)
        self.conv1 = nn.Conv2d(channels, 4, 4, stride=4)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 4, stride=4)
        self.fc = nn.Linear(6 * 49, 8)

    def forward(self, x):
        x = x if self.scale is None else (x - self.scale[0]) / self.scale[1]
        if isinstance(self.first, nn.Conv1d):
            x = self.first(x.flatten(2)).view(x.shape)
        elif isinstance(self.first, nn.Linear):
            x = self.first(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        elif self.first is not None:
            x = (x - 127.5) * self.first
        return self.fc(self.conv2(self.bn1(self.conv1(x)).relu()).flatten(1))
"""
State = dict[str, Tensor]


def net_of(folder: Path, seed: int, **arguments: Any) -> nn.Module:
    """Return a network of the factory with random weights and running statistics."""
    (folder / "nets.py").write_text(SOURCE)
    torch.manual_seed(seed)
    net: nn.Module = factory.call(f"{folder}/nets.py:Net", arguments)
    net.get_submodule("bn1").load_state_dict({"running_mean": torch.randn(4)}, strict=False)
    return net.eval()


def of_checkpoint(
    make: Callable[[State, State], Any],
    wanted: str = "raw",
    arguments: Mapping[str, Any] | None = None,
    pixels: tuple[float, float] = SIGNED,
    **params: Any,
) -> Callable[[Path], str]:
    """Return what happens to a checkpoint made of the state dicts of two networks, ``raw`` and ``average``."""

    def happened(folder: Path) -> str:
        nets = {"raw": net_of(folder, 1, **(arguments or {})), "average": net_of(folder, 2, **(arguments or {}))}
        torch.save(make(nets["raw"].state_dict(), nets["average"].state_dict()), folder / "net.pth")
        model = TorchModule(
            factory=f"{folder}/nets.py:Net", arguments=arguments or {}, weights_file=str(folder / "net.pth"), **params
        )
        network, card = build.examine(model)
        x = (IMAGES * 255 - pixels[0]) / pixels[1]
        if (arguments or {}).get("channels") == 1:
            x = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        with torch.no_grad():
            found = {name: embedding_difference(network(IMAGES), net(x)) for name, net in nets.items()}
        used = min(found, key=lambda name: found[name])
        assert used == wanted, (used, found)
        return described(found[used], card.warnings)

    return lambda folder: outcome(lambda: happened(folder), folder)


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def nested(state: State) -> dict[str, Any]:
    """The state dict as dictionaries in dictionaries."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        module, _, name = key.rpartition(".")
        found.setdefault(module, {})[name] = value
    return found


def parameters(state: State) -> State:
    """The state dict without running statistics, as the ``shadow`` of an averaging object is."""
    return {key: value for key, value in state.items() if "running" not in key and "num_batches" not in key}


HEAD = {"head.weight": torch.zeros(5, 8)}
BOTH = (
    "embeddings: equal; the file holds two networks, {raw} and its average over the training {average}: the average is "
    'used; weights_key = "{raw}" takes the other'
)
ASKED = "refused: net.pth: expected one network, found {}; set weights_key to the one that is meant"


def averaged(raw: str, average: str) -> str:
    return BOTH.format(raw=raw, average=average)


def kind(kind: str, expected: str, make: Callable[[State, State], Any], *args: Any, **more: Any) -> KindOfInput:
    return KindOfInput(kind=f"checkpoint: {kind}", expected=expected, happened=of_checkpoint(make, *args, **more))


CHECKPOINTS = [
    kind("plain", EQUAL, lambda r, a: r),
    kind(
        "state_dict_backbone (arcface_torch)",
        EQUAL,
        lambda r, a: {
            "epoch": 1,
            "state_dict_backbone": prefixed(r, "module."),
            "state_dict_softmax_fc": {"weight": torch.zeros(9, 8)},
        },
    ),
    kind("backbone_state_dict", EQUAL, lambda r, a: {"backbone_state_dict": r, "head_state_dict": HEAD}),
    kind(
        "model_dict beside an optimizer",
        EQUAL,
        lambda r, a: {
            "model_dict": r,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(4, 3, 4, 4)}}, "param_groups": []},
        },
    ),
    kind("ema alone", EQUAL, lambda r, a: {"ema": prefixed(r, "module."), "updates": 5}),
    kind("a name that nobody thought of", EQUAL, lambda r, a: {"my_weights": {"v2": r}}),
    kind(
        "Lightning",
        "embeddings: equal; left aside in the file: head.weight",
        lambda r, a: {"state_dict": {**prefixed(r, "model."), **HEAD}, "pytorch-lightning_version": "2.0", "epoch": 1},
    ),
    kind(
        "MagFace",
        "embeddings: equal; left aside in the file: fc.weight",
        lambda r, a: {
            "arch": "iresnet",
            "state_dict": {**prefixed(r, "features.module."), "fc.weight": torch.zeros(8, 9)},
        },
    ),
    kind(
        "AveragedModel of torch",
        "embeddings: equal; left aside in the file: n_averaged",
        lambda r, a: {"n_averaged": torch.tensor(3), **prefixed(r, "module.")},
    ),
    kind("compiled and wrapped", EQUAL, lambda r, a: {"model": prefixed(r, "_orig_mod.module.")}),
    kind("dictionaries in dictionaries", EQUAL, lambda r, a: {"params": nested(r)}),
    kind("a list with one network", EQUAL, lambda r, a: [r, {"lr": 0.1}]),
    kind(
        "state_dict and state_dict_ema (timm)",
        averaged("state_dict", "state_dict_ema"),
        lambda r, a: {"state_dict": r, "state_dict_ema": a},
        "average",
    ),
    kind(
        "the raw one by weights_key",
        EQUAL,
        lambda r, a: {"state_dict": r, "state_dict_ema": a},
        "raw",
        weights_key="state_dict",
    ),
    kind("model and model_ema", averaged("model", "model_ema"), lambda r, a: {"model": r, "model_ema": a}, "average"),
    kind(
        "model and ema of a wrapped network",
        averaged("model.module", "ema.module"),
        lambda r, a: {"model": prefixed(r, "module."), "ema": prefixed(a, "module.")},
        "average",
    ),
    kind(
        "params and params_ema (BasicSR)",
        averaged("params", "params_ema"),
        lambda r, a: {"params": r, "params_ema": a},
        "average",
    ),
    kind(
        "two prefixes in one state dict",
        averaged("state_dict.model", "state_dict.ema_model") + "; left aside ...",
        lambda r, a: {"state_dict": {**prefixed(r, "model."), **prefixed(a, "ema_model.")}},
        "average",
    ),
    kind("raw weights at the top, average below", averaged(".", "ema"), lambda r, a: {**r, "ema": a}, "average"),
    kind("the top level by weights_key", "embeddings: equal...", lambda r, a: {**r, "ema": a}, "raw", weights_key="."),
    kind("teacher and student", ASKED.format("student, teacher"), lambda r, a: {"student": r, "teacher": a}),
    kind(
        "the teacher by weights_key",
        EQUAL,
        lambda r, a: {"student": r, "teacher": {"backbone": a}},
        "average",
        weights_key="teacher",
    ),
    kind(
        "query and key encoders (MoCo)",
        ASKED.format("state_dict.module.encoder_q, state_dict.module.encoder_k"),
        lambda r, a: {"state_dict": {**prefixed(r, "module.encoder_q."), **prefixed(a, "module.encoder_k.")}},
    ),
    kind("a list of networks", ASKED.format("models.0, models.1"), lambda r, a: {"models": [r, a]}),
    kind("one of a list by weights_key", EQUAL, lambda r, a: {"models": [r, a]}, "average", weights_key="models.1"),
    kind("two averages", ASKED.format("model, ema, swa"), lambda r, a: {"model": r, "ema": a, "swa": a}),
    kind(
        "an average without names",
        "embeddings: equal; the file also holds 8 tensors under 'ema', perhaps an average ...",
        lambda r, a: {"model": r, "ema": {"decay": 0.9, "shadow_params": list(parameters(a).values())}},
    ),
    kind(
        "a weights_key that is not there",
        "refused: net.pth: weights_key = 'emma': expected a network of this file, found model, ema",
        lambda r, a: {"model": r, "ema": a},
        weights_key="emma",
    ),
    kind(
        "other shapes under a key",
        "refused: net.pth: expected exactly the weights of ...1 of another shape: fc.weight "
        "(9, 294) instead of (8, 294); its weights seem to be under 'nets.backbone'; ...",
        lambda r, a: {"nets": {"backbone": {**r, "fc.weight": torch.zeros(9, 294)}}},
    ),
    kind("no tensors", "refused: net.pth: expected a state dict, found no tensors (epoch)", lambda r, a: {"epoch": 1}),
    kind("one grey channel", f"{EQUAL}; {GREY}", lambda r, a: r, arguments={"channels": 1}),
    kind("one grey channel, asked for", f"{EQUAL}; {GREY}", lambda r, a: r, arguments={"channels": 1}, channels="grey"),
    kind(
        "one channel, rgb asked for",
        'refused: net.pth: ...found a first convolution of 1; set channels = "grey"',
        lambda r, a: r,
        arguments={"channels": 1},
        channels="rgb",
    ),
    kind(
        "three channels, grey asked for",
        "refused: net.pth: ...found a first convolution of 3; set channels = ...",
        lambda r, a: r,
        channels="grey",
    ),
    kind(
        "six channels",
        "refused: net.pth: ...found a first convolution of 6; only networks that take 3 ...",
        lambda r, a: r,
        arguments={"channels": 6},
    ),
    kind(
        "a torch module that normalises",
        f"{EQUAL}; {FROM_BYTES}",
        lambda r, a: r,
        arguments={"scale": [127.5, 128.0]},
        pixels=(0, 1),
    ),
    *(
        kind(
            f"a torch module that normalises: {first}",
            f"{EQUAL}; {FROM_BYTES}",
            lambda r, a: r,
            arguments={"first": first},
            pixels=(0, 1),
        )
        for first in ("conv1d", "linear", "multiplied")
    ),
    kind(
        "a torch module that takes 0 to 1",
        f"{EQUAL}; the network normalises pixels itself, (x - 0.5) / 0.25: it gets values from 0 to 1",
        lambda r, a: r,
        arguments={"scale": [0.5, 0.25]},
        pixels=(0, 255),
    ),
]


# ---- other files -----------------------------------------------------------------------------------------------------

EXPORT = "export the network to ONNX with the library that made it, and use the model onnx-model"
OTHERS = {
    "net.npz": "an archive of 1 numpy arrays (.npz); if their names are those of a torch module's weights, run ...",
    "net.bin": "values without names, as OpenVINO and ncnn keep them beside an .xml or .param file ...",
    "openvino.bin": f"the values of the OpenVINO network in openvino.xml; {EXPORT}",
    "openvino.xml": f"the structure of an OpenVINO network; {EXPORT}",
    "ncnn.bin": f"the values of the ncnn network in ncnn.param; {EXPORT}",
    "ncnn.param": f"the structure of an ncnn network; {EXPORT}",
    "net.caffemodel": f"the weights of a Caffe network; {EXPORT}",
    "net.pb": f"a TensorFlow graph; {EXPORT}",
    "net.gguf": f"a GGUF file, as llama.cpp reads; {EXPORT}",
    "net.engine": f"an engine of TensorRT, which runs on one kind of GPU only; {EXPORT}",
    "net.params": f"the parameters of an MXNet network; {EXPORT}",
}


def of_other_files(name: str, as_onnx: bool) -> Callable[[Path], str]:
    """Return what happens to a file of another kind that is given as a checkpoint or as an ONNX network."""

    def happened(folder: Path) -> str:
        np.savez(folder / "net.npz", w=np.zeros(3))
        starts = {
            "openvino.xml": b'<?xml version="1.0"?>\n<net name="a" version="11">',
            "ncnn.param": b"7767517\n2 2\nInput data 0 1 data\n",
            "net.caffemodel": b"\n\x05ResNet",
            "net.pb": b"\n\x1e\n\x05input\x12\x0bPlaceholder",
            "net.gguf": b"GGUF\x03\0\0\0",
            "net.engine": b"ftrt\0\0\0\0",
            "net.params": b"\x12\x01\0\0\0\0\0\0",
        }
        for other in OTHERS.keys() - {"net.npz"}:
            (folder / other).write_bytes(starts.get(other, np.arange(1, 99, dtype=np.float32).tobytes()))
        path = str(folder / name)
        model = OnnxModel(weights_file=path) if as_onnx else MobileFace(weights_file=path)
        build.examine(model)
        return "loaded"

    return lambda folder: outcome(lambda: happened(folder), folder)


FILES = [
    KindOfInput(
        kind=f"{name} as {'ONNX' if as_onnx else 'a checkpoint'}",
        expected=f"refused: {name}: expected ..., found {found}",
        happened=of_other_files(name, as_onnx),
    )
    for as_onnx in (False, True)
    for name, found in OTHERS.items()
]


@pytest.mark.parametrize("kind", FILES, ids=str)
def test_kinds_of_other_files(
    kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    check(kind, tmp_path, record_property)


def test_weights_of_torch_are_no_onnx_network(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BenchError, match=r"expected an ONNX network, found weights of torch without their network"):
        build.examine(OnnxModel(weights_file=str(tmp_path / "pytorch_model.bin")))


# ---- what a forward returns ------------------------------------------------------------------------------------------

RETURNS = """
import dataclasses
import typing
from collections import OrderedDict
from nets import Net

class Named(typing.NamedTuple):
    norm: object
    feature: object

@dataclasses.dataclass
class Result:
    embedding: object
    maps: object = None

def make(returned):
    class Wrapped(Net):
        def forward(self, x):
            e = super().forward(x)
            norm, logits, maps = e.norm(dim=1, keepdim=True), torch.cat([e, e], 1) ** 2, self.conv1(x)
            return eval(returned)
    return Wrapped()
"""
TAKEN = (
    "of the outputs of the network {} is used as the embeddings, and {} is not; if this is wrong, let the factory ..."
)
REFUSED = (
    "refused: net.pth: the network's forward: expected embeddings (n, d), alone, first in a tuple, or as the only "
)
REFUSED += "tensor of this shape, found {}; let the factory return a module whose forward returns the embeddings alone"


def of_forward(returned: str) -> Callable[[Path], str]:
    """Return what happens to a torch module whose forward returns an expression of the embeddings ``e``."""

    def happened(folder: Path) -> str:
        net = net_of(folder, 1)
        (folder / "wraps.py").write_text(RETURNS.replace("from nets import Net", SOURCE))
        torch.save(net.state_dict(), folder / "net.pth")
        arguments = {"returned": returned}
        model = TorchModule(
            factory=f"{folder}/wraps.py:make", arguments=arguments, weights_file=str(folder / "net.pth")
        )
        network, card = build.examine(model)
        with torch.no_grad():
            wanted = net((IMAGES * 255 - SIGNED[0]) / SIGNED[1])
        return described(embedding_difference(network(IMAGES), wanted), card.warnings)

    return lambda folder: outcome(lambda: happened(folder), folder)


RETURNED = [
    KindOfInput(kind=f"forward: {returned}", expected=expected, happened=of_forward(returned))
    for returned, expected in {
        "e": EQUAL,
        "(e,)": EQUAL,
        "[e, None]": EQUAL,
        "(e, norm)": f"{EQUAL}; {TAKEN.format('[0] (n, 8)', '[1] (n, 1)')}",
        "(norm, e)": f"{EQUAL}; {TAKEN.format('[1] (n, 8)', '[0] (n, 1)')}",
        "[e, logits, maps]": f"{EQUAL}; {TAKEN.format('[0] (n, 8)', '[1] (n, 16), [2] (n, 4, 28, 28)')}",
        "Named(norm, e)": f"{EQUAL}; {TAKEN.format('.feature (n, 8)', '.norm (n, 1)')}",
        "{'embedding': e}": EQUAL,
        "OrderedDict(maps=maps, pooled=e[:, :, None, None])": (
            EQUAL + "; " + TAKEN.format("['pooled'] (n, 8, 1, 1)", "['maps'] (n, 4, 28, 28)")
        ),
        "Result(e, [maps])": f"{EQUAL}; {TAKEN.format('.embedding (n, 8)', '.maps[0] (n, 4, 28, 28)')}",
        "{'logits': logits, 'embedding': e}": REFUSED.format("['logits'] (n, 16), ['embedding'] (n, 8)"),
        "(norm, e, logits)": REFUSED.format("[0] (n, 1), [1] (n, 8), [2] (n, 16)"),
        "({'a': e, 'b': logits}, e)": REFUSED.format("[0]['a'] (n, 8), [0]['b'] (n, 16), [1] (n, 8)"),
        "'embedding'": REFUSED.format("no tensor in str"),
    }.items()
]


@pytest.mark.parametrize("kind", RETURNED, ids=str)
def test_kinds_of_forwards(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path, record_property)


def with_statistics(raw: State, average: State) -> State:
    return {**raw, **parameters(average)}


def test_the_shadow_of_an_averaging_object_gets_the_statistics_of_the_network(tmp_path: Path) -> None:
    raw, average = net_of(tmp_path, 1), net_of(tmp_path, 2)
    torch.save({"net": raw.state_dict(), "ema": {"shadow": parameters(average.state_dict())}}, tmp_path / "net.pth")
    model = TorchModule(factory=f"{tmp_path}/nets.py:Net", weights_file=str(tmp_path / "net.pth"))
    network, card = build.examine(model)
    raw.load_state_dict(with_statistics(raw.state_dict(), average.state_dict()))
    with torch.no_grad():
        assert embedding_difference(network(IMAGES), raw((IMAGES * 255 - 127.5) / 127.5)) < 1e-6
    assert "the average is used" in card.warnings[0]
    assert card.warnings[1] == "ema.shadow has no running statistics of normalisation layers; those of net are used"


REAL = os.environ.get("BENCH_REAL", "")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder with a real network and real faces")
def test_the_average_of_a_real_network_is_used(tmp_path: Path) -> None:
    path = Path(REAL) / "weights" / "mobilefacenet-112x96.ckpt"
    average = checkpoints.load(path, "mobileface").net.state_dict()
    raw = {k: v + 0.3 * v.abs().mean() * torch.randn(v.shape) if v.ndim > 1 else v for k, v in average.items()}
    torch.save({"state_dict": prefixed(raw, "module."), "state_dict_ema": average}, tmp_path / "both.pth")
    found = {}
    for name, key in (("both.pth", ""), ("both.pth", "state_dict"), (str(path), "")):
        network, card = build.examine(MobileFace(weights_file=str(tmp_path / name), weights_key=key))
        with torch.no_grad():
            found[name, key] = network(IMAGES)
        assert ("the average is used" in " ".join(card.warnings)) is ((name, key) == ("both.pth", ""))
    assert embedding_difference(found["both.pth", ""], found[str(path), ""]) < 1e-6
    assert embedding_difference(found["both.pth", "state_dict"], found[str(path), ""]) > 0.05


@pytest.mark.parametrize("each", [*EXPORTED, *CHECKPOINTS], ids=str)
def test_kind(each: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(each, tmp_path / "input", record_property)


def test_the_table_has_enough_kinds() -> None:
    names = [each.kind for each in (*EXPORTED, *CHECKPOINTS)]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("state_dict_ema", "ema", "model_ema", "modelEMA", "ema.shadow", "swa.n", "avg")),
        *((name, False) for name in ("model", "schema", "optimizer.state.0.exp_avg", "teacher", "emanuel", "avgpool")),
    ],
)
def test_names_of_averages(name: str, expected: bool) -> None:
    assert is_averaged(name) is expected


@pytest.mark.parametrize("package", ["onnx", "onnx2torch", "onnxruntime"])
def test_a_missing_package_is_named_without_a_fingerprint_before(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `bench models check` does: nothing has read the file before."""
    path = kinds.saved(kinds.network(), tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BenchError, match=rf"{package} is missing; .*pip install 'face-privacy-bench\[onnx\]'"):
        build.examine(OnnxModel(weights_file=str(path)))
