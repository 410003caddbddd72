"""Operations of ONNX that onnx2torch does not convert as they are, written as those of opset 17 that it converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper, shape_inference

from bench import DataError

NEWEST = 17  # The newest opset whose operations onnx2torch converts.
_IRRELEVANT = {("Cast", "saturate"), ("CastLike", "saturate"), ("Cast", "round_mode")}  # For casts to 8-bit floats.


class _Graph:
    """A graph with the constants and the shapes of its values (None: unknown sides), to which constants are added."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {
            value.name: [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.HasField("shape")
        }
        self.made = 0

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of a constant, or None."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def add(self, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.made += 1
        tensor = numpy_helper.from_array(value, f"bench.constant.{self.made}")
        self.graph.initializer.append(tensor)
        self.constants[tensor.name] = tensor
        return tensor.name

    def new(self) -> str:
        """Return a new name of a value."""
        self.made += 1
        return f"bench.value.{self.made}"


def is_convertible(op: str, version: int) -> bool:
    """Return whether an operation of a version up to 17 can be converted to torch, as it is or in another form."""
    from onnx2torch.node_converters import get_converter

    if op in _ONLY_IN_OTHER_FORM or op in ("Dropout", "Identity", "Constant"):
        return True
    try:
        get_converter(operation_type=op, version=version)
    except NotImplementedError:
        return False
    return True


def lower(proto: Any, where: str) -> None:
    """Write all operations in the form that onnx2torch converts, those of newer opsets as in opset 17.

    Constants must have been folded. Raises DataError for a use of an operation that has no such form.
    """
    version = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    graph = _Graph(shape_inference.infer_shapes(proto).graph)
    graph.graph = proto.graph
    nodes: list[Any] = []
    for node in proto.graph.node:
        rewrite = _FORMS.get(node.op_type) or (_reduced if node.op_type.startswith("Reduce") else None)
        made = rewrite(node, graph) if rewrite else None
        nodes += [node] if made is None else made
    if version > NEWEST:
        for node in nodes:
            _as_before(node, version, where)
        for entry in proto.opset_import:
            entry.version = NEWEST if entry.domain in ("", "ai.onnx") else entry.version
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _as_before(node: Any, version: int, where: str) -> None:
    """Leave out attributes that opset 17 does not know and that change nothing. Raises DataError for others."""
    old, new = defs.get_schema(node.op_type, NEWEST, ""), defs.get_schema(node.op_type, version, "")
    for attribute in [each for each in node.attribute if each.name not in old.attributes]:
        value, name = helper.get_attribute_value(attribute), attribute.name
        default = new.attributes[name].default_value if name in new.attributes else None
        is_default = default is not None and default.name and value == helper.get_attribute_value(default)
        ones = name == "dilations" and set(value) == {1}
        if not (is_default or ones or (node.op_type, name) in _IRRELEVANT):
            raise DataError(
                f"{where}: the operation {node.op_type} with {name} = {value!r} (opset {version}) cannot be converted "
                "to torch; export the network with an opset up to 17"
            )
        node.attribute.remove(attribute)
    if len(node.input) > old.max_input:
        raise DataError(
            f"{where}: the operation {node.op_type} with {len(node.input)} inputs (opset {version}) cannot be "
            "converted to torch; export the network with an opset up to 17"
        )


# ---- other forms of operations ---------------------------------------------------------------------------------------


def _attribute(node: Any, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _without(node: Any, *names: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _reduced(node: Any, graph: _Graph) -> list[Any] | None:
    """Axes that are an input (opset 18) become an attribute; those of ReduceSum are an input since opset 13."""
    if len(node.input) < 2 or node.op_type == "ReduceSum" or (axes := graph.constant(node.input[1])) is None:
        _without(node, *([] if node.op_type == "ReduceSum" else ["noop_with_empty_axes"]))
        return None
    del node.input[1:]
    if axes.size:
        node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes.ravel()]))
    elif _attribute(node, "noop_with_empty_axes", 0):
        return [helper.make_node("Identity", node.input, node.output, node.name)]
    _without(node, "noop_with_empty_axes")
    return None


def _reshape(node: Any, graph: _Graph) -> None:
    """With ``allowzero``, a 0 means an empty side; without a 0 the attribute changes nothing."""
    shape = graph.constant(node.input[1])
    if shape is None or not (shape == 0).any():
        _without(node, "allowzero")


def _clip(node: Any, graph: _Graph) -> list[Any] | None:
    """A bound that is left out or computed: a maximum and a minimum."""
    if len(node.input) < 2 or all(name in graph.constants for name in node.input[1:]):
        return None
    low, high = (*node.input[1:], "", "")[:2]
    middle = graph.new() if low and high else node.output[0]
    nodes = [helper.make_node("Max", [node.input[0], low], [middle], node.name)] if low else []
    if high:
        start = middle if low else node.input[0]
        nodes.append(helper.make_node("Min", [start, high], node.output, f"{node.name}.min"))
    return nodes


def _split(node: Any, graph: _Graph) -> None:
    """A number of outputs (opset 18), of which the last may be smaller, becomes their sizes."""
    axis, number = _attribute(node, "axis", 0), _attribute(node, "num_outputs", None)
    _without(node, "num_outputs")
    sizes = [(graph.shapes.get(name) or [None])[axis if name in graph.shapes else 0] for name in node.output]
    if number is not None and len(node.input) == 1 and all(size is not None for size in sizes):
        node.input.append(graph.add(np.array(sizes, np.int64)))


def _size(node: Any, graph: _Graph) -> list[Any]:
    """The number of values is the product of the sides."""
    shape = graph.new()
    return [
        helper.make_node("Shape", node.input, [shape], f"{node.name}.shape"),
        helper.make_node("ReduceProd", [shape], node.output, node.name, axes=[0], keepdims=0),
    ]


def _swish(node: Any, graph: _Graph) -> list[Any]:
    scaled, gate, alpha = graph.new(), graph.new(), graph.add(np.array(_attribute(node, "alpha", 1.0), np.float32))
    return [
        helper.make_node("Mul", [node.input[0], alpha], [scaled], f"{node.name}.scaled"),
        helper.make_node("Sigmoid", [scaled], [gate], f"{node.name}.gate"),
        helper.make_node("Mul", [node.input[0], gate], node.output, node.name),
    ]


def _pad(node: Any, graph: _Graph) -> None:
    """Pads of some axes only (opset 18) become those of all axes."""
    if len(node.input) < 4:
        return
    pads, axes, shape = graph.constant(node.input[1]), graph.constant(node.input[3]), graph.shapes.get(node.input[0])
    if pads is None or axes is None or shape is None:
        return
    whole = np.zeros((2, len(shape)), np.int64)
    whole[:, axes.ravel()] = pads.reshape(2, -1)
    node.input[1] = graph.add(whole.ravel())
    del node.input[3:]
    if not node.input[2]:
        del node.input[2:]


def _resize(node: Any, graph: _Graph) -> None:
    """Antialiasing has no effect when a map grows, and all axes in order are the default."""
    axes = _attribute(node, "axes", None)
    if (
        axes is not None
        and list(axes) == list(range(len(axes)))
        and len(axes) == len(graph.shapes.get(node.input[0], []))
    ):
        _without(node, "axes")


def _lp_normalization(node: Any, graph: _Graph) -> list[Any]:
    length = graph.new()
    op, axis = f"ReduceL{_attribute(node, 'p', 2)}", _attribute(node, "axis", -1)
    return [
        helper.make_node(op, node.input, [length], f"{node.name}.length", axes=[axis], keepdims=1),
        helper.make_node("Div", [node.input[0], length], node.output, node.name),
    ]


def _global_max_pool(node: Any, graph: _Graph) -> list[Any]:
    return [helper.make_node("ReduceMax", node.input, node.output, node.name, axes=[2, 3], keepdims=1)]


_Rewrite = Callable[[Any, _Graph], list[Any] | None]
_ONLY_IN_OTHER_FORM: Mapping[str, _Rewrite] = {
    "LpNormalization": _lp_normalization,
    "GlobalMaxPool": _global_max_pool,
    "Size": _size,
    "Swish": _swish,
}
_FORMS: Mapping[str, _Rewrite] = {
    **_ONLY_IN_OTHER_FORM,
    "Reshape": _reshape,
    "Clip": _clip,
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
}
