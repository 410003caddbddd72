"""ONNX files as people export them: a small network with other first and last operations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Nodes = Sequence[onnx.NodeProto]
node = helper.make_node


def constant(name: str, value: Any, kind: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


def network(
    *,
    before: Nodes = (),
    middle: Nodes = (),
    after: Nodes = (),
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    batch: int | str = "n",
    shape: Sequence[int | str] = (3, 112, 112),
    element: int = TensorProto.FLOAT,
    channels: int = 3,
    outputs: Sequence[str] = ("e",),
    reshape: Sequence[int] = (0, -1),
    weights: Any = np.float32,
    seed: int = 0,
) -> onnx.ModelProto:
    """Return two convolutions and a matrix product: ``x`` -> ``before`` -> ``image`` -> ... -> ``f`` -> ``after``.

    ``before`` makes ``image`` of ``x``; ``middle`` makes ``b`` of ``a``, by default a Relu; ``after`` makes ``e`` of
    the embedding ``f`` ``(n, 8)``.
    """
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values: NDArray[Any] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(weights), name)

    sides = {"e": "d", "norm": 1}
    nodes = [
        *(before or [node("Identity", ["x"], ["image"])]),
        node("Conv", ["image", "w1"], ["a"], "/stem/Conv", strides=[4, 4], kernel_shape=[4, 4]),
        *(middle or [node("Relu", ["a"], ["b"])]),
        node("Conv", ["b", "w2"], ["c"], "/body/Conv", strides=[4, 4], kernel_shape=[4, 4]),
        node("Reshape", ["c", "shape"], ["d"]),
        node("MatMul", ["d", "w3"], ["f"]),
        *(after or [node("Identity", ["f"], ["e"])]),
    ]
    tensors = [
        *(weight("w1", 4, channels, 4, 4), weight("w2", 6, 4, 4, 4), weight("w3", 6 * 49, 8)),
        constant("shape", reshape, np.int64),
        *constants,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, [batch, *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", sides[name]]) for name in outputs],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def normalised(opset: int) -> list[onnx.NodeProto]:
    """``F.normalize`` as torch exports it: ReduceL2, Clip, Expand, Div."""
    axes = ["f"] if opset < 18 else ["f", "axes"]
    attribute = {"axes": [-1]} if opset < 18 else {}
    return [
        node("ReduceL2", axes, ["length"], keepdims=1, **attribute),
        node("Constant", [], ["least"], value=constant("", 1e-12)),
        node("Clip", ["length", "least", ""], ["bounded"]),
        node("Shape", ["f"], ["size"]),
        node("Expand", ["bounded", "size"], ["wide"]),
        node("Div", ["f", "wide"], ["e"]),
    ]


AXES = constant("axes", [-1], np.int64)
PER_CHANNEL = (1, 3, 1, 1)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def scaled(mean: Any, std: Any, shape: Sequence[int] = PER_CHANNEL) -> dict[str, Any]:
    """``(x - mean) / std`` as the first operations, of one number or three."""
    sides = shape if np.ndim(mean) else ()
    return {
        "before": [node("Sub", ["x", "mean"], ["y"]), node("Div", ["y", "std"], ["image"])],
        "constants": [constant("mean", np.reshape(mean, sides)), constant("std", np.reshape(std, sides))],
    }


def batch_normalised(mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """A batch normalisation as the first operation."""
    values = {"g": [1.0] * 3, "h": [0.0] * 3, "m": mean, "v": [s * s for s in std]}
    return {
        "before": [node("BatchNormalization", ["x", *values], ["image"], epsilon=0.0)],
        "constants": [constant(name, value) for name, value in values.items()],
    }


def convolved(matrix: Any, bias: Any, group: int = 1) -> dict[str, Any]:
    """A 1x1 convolution as the first operation; ``matrix`` ``(3, 3)``, or ``(3,)`` with a group for each channel."""
    kernel = np.reshape(matrix, (3, -1, 1, 1))
    return {
        "before": [node("Conv", ["x", "k", "bias"], ["image"], kernel_shape=[1, 1], group=group)],
        "constants": [constant("k", kernel), constant("bias", bias)],
    }
