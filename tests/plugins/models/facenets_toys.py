"""Tiny networks for the tests of `bench_facenets`: torch modules, ONNX files, and a model of FaceNet over a module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, dims=8, sides=(7, 7)):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.stage = nn.Conv2d(width, 2 * width, 3, stride=4, padding=1)
        self.head = nn.Linear(2 * width * sides[0] * sides[1], dims)

    def forward(self, x):
        return self.head(torch.relu(self.stage(torch.relu(self.stem(x)))).flatten(1))

def make(width=4, dims=8, sides=(7, 7)):
    return Net(width, dims, sides)

def fails():
    raise RuntimeError("no such layer")

def number():
    return 3

constant = 7
"""


class Small(nn.Module):
    """A stem at 56x56, a residual stage at 28x28, and a head; every module counts its calls."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.stage = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 6, 3, stride=4, padding=1)
        self.head = nn.Linear(6 * 49, 8)
        self.unused = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(self.stem(x))
        x = x + self.branch(x)
        return self.head(functional.relu(self.last(x)).flatten(1))


def weights_file(net: nn.Module, path: Path) -> Path:
    """Write the state dict of a module as a checkpoint, and return the path."""
    torch.save(net.state_dict(), path)
    return path


def onnx_bytes(
    *,
    reshape: tuple[int, ...] = (0, -1),
    batch: int | str = "n",
    dims: int = 8,
    side: int = 112,
    domain: str = "",
    node_name: str = "first",
    seed: int = 0,
) -> bytes:
    """Return a network of two convolutions in ONNX; with the ``reshape`` of ``(1, -1)`` its batch is baked in."""
    rng = np.random.default_rng(seed)
    grid = side // 4 // 4

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], node_name, strides=[4, 4], kernel_shape=[4, 4], domain=domain),
        helper.make_node("Relu", ["a"], ["b"], "act.1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "/body/Conv", strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Reshape", ["c", "shape"], ["d"], "forward"),
        helper.make_node("MatMul", ["d", "w3"], ["e"], "class"),
    ]
    tensors = [
        weight("w1", 4, 3, 4, 4),
        weight("w2", 6, 4, 4, 4),
        numpy_helper.from_array(np.array(reshape, dtype=np.int64), "shape"),
        weight("w3", 6 * grid * grid, dims),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [batch, dims])],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def mobileface_onnx(net: nn.Module, side: tuple[int, int] = (112, 96)) -> bytes:
    """Return a MobileFaceNet of the plugin as ONNX with a batch size of one baked into its last reshape."""
    traced = torch.fx.symbolic_trace(net)
    modules = dict(traced.named_modules())
    nodes: list[onnx.NodeProto] = []
    tensors = [numpy_helper.from_array(np.array([1, -1], dtype=np.int64), "row")]

    def tensor(value: Tensor) -> str:
        tensors.append(numpy_helper.from_array(value.detach().numpy(), f"w{len(tensors)}"))
        return tensors[-1].name

    def emit(op: str, inputs: list[str], output: str, **attributes: object) -> None:
        nodes.append(helper.make_node(op, inputs, [output], f"/{output.replace('_', '/')}/{op}", **attributes))

    for node in traced.graph.nodes:
        inputs = [arg.name for arg in node.args if isinstance(arg, torch.fx.Node)]
        module = modules.get(str(node.target))
        match module:
            case nn.Conv2d():
                pads = [*module.padding, *module.padding]  # type: ignore[misc]
                attributes = {"group": module.groups, "strides": module.stride, "kernel_shape": module.kernel_size}
                emit("Conv", [*inputs, tensor(module.weight)], node.name, pads=pads, **attributes)
            case nn.BatchNorm2d():
                values = (module.weight, module.bias, module.running_mean, module.running_var)
                names = [tensor(value) for value in values if value is not None]
                emit("BatchNormalization", [*inputs, *names], node.name, epsilon=module.eps)
            case nn.PReLU():
                emit("PRelu", [*inputs, tensor(module.weight.reshape(-1, 1, 1))], node.name)
            case nn.Flatten():
                emit("Reshape", [*inputs, "row"], node.name)
            case _ if node.op == "call_function":
                emit("Add", inputs, node.name)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *side])
    end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 128])
    first = next(node.name for node in traced.graph.nodes if node.op == "placeholder")
    assert first == "input_1", first
    for onnx_node in nodes:
        onnx_node.input[:] = ["input" if name == first else name for name in onnx_node.input]
    graph = helper.make_graph(nodes, "mobileface", [image], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
