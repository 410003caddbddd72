"""Simplification of ONNX graphs to the operations that onnx2torch can convert; it uses the package onnx only.

Weights behind Constant, Identity and Cast nodes become plain weights, half precision becomes single precision, and
newer operations are written as those of opset 17, the newest one that onnx2torch knows. The result is always compared
with onnxruntime's result for the original file (`onnx_model`), so that a mistake here is an error, not a wrong number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bench import DataError
from bench_facenets.files import onnx_files
from bench_facenets.loading import onnx_operations

ROUNDS = 5  # Functions are replaced by their bodies, whose functions are replaced in the next round.
MAX_FOLDED = 1 << 26  # The limit for the values of a constant that is computed in advance.
_REAL = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_FOLDED = ("CastLike", "DequantizeLinear")
_NEVER_FOLDED = ("NonMaxSuppression", "RoiAlign", "LRN", "LayerNormalization", "BatchNormalization")


def prepared(file: onnx_files.OnnxFile) -> Any:
    """Return the network of a file with one float32 input ``(n, c, h, w)``, one output, and operations up to opset 17.

    The input of a network that takes whole numbers has their values as floats. Raises DataError, which names the
    operations that cannot be converted.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    _keep_output(proto.graph, file.output)
    _in_single_precision(proto.graph)
    _with_plain_input(proto.graph, file)
    if file.batch > 1:
        _with_any_batch(proto.graph, file.batch)
    fold(proto)
    for _ in range(ROUNDS):
        functions = {("", op) for op in _unknown(proto) if _is_function(op, opset(proto))}
        if not functions:
            break
        proto = _with_types(proto)
        proto = onnx.inliner.inline_selected_functions(proto, sorted(functions), inline_schema_functions=True)
        if len(proto.graph.node) > onnx_files.MAX_OPERATIONS:
            raise DataError(
                f"{file.where}: expected at most {onnx_files.MAX_OPERATIONS} operations, found {len(proto.graph.node)}"
            )
        fold(proto)
    if unknown := _unknown(proto):
        if opset(proto) < onnx_operations.NEWEST and not _unknown(newer := _upgraded(proto, file.where)):
            proto = newer
            fold(proto)
        else:
            raise DataError(
                f"{file.where}: the operation {' and '.join(unknown)} (opset {opset(proto)}) cannot be converted to "
                "torch; export the network with other operations, or use its torch module as a torch-module"
            )
    if not any(proto.graph.output[0].name in node.output for node in proto.graph.node):
        raise DataError(f"{file.where}: expected embeddings, found that {file.output!r} does not depend on the image")
    onnx_operations.lower(proto, file.where)
    fold(proto)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)  # onnx2torch needs some ranks.


def opset(proto: Any) -> int:
    """Return the version of ONNX's own operations that a network uses."""
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _unknown(proto: Any) -> list[str]:
    """Return the operations for which onnx2torch has no converter and `onnx_operations` no other form."""
    version = min(opset(proto), onnx_operations.NEWEST)
    found = dict.fromkeys(node.op_type for node in proto.graph.node)
    return [op for op in found if not onnx_operations.is_convertible(op, version)]


def _is_function(op: str, version: int) -> bool:
    """Return whether ONNX defines an operation by others."""
    try:
        schema: Any = defs.get_schema(op, version, "")
    except defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _with_types(proto: Any) -> Any:
    """Return a network that states the types of all values, on which the bodies of some functions depend."""
    stated = {value.name for value in (*proto.graph.input, *proto.graph.value_info)}
    for tensor in proto.graph.initializer:
        if tensor.name not in stated:
            proto.graph.value_info.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return onnx.shape_inference.infer_shapes(proto)


def _upgraded(proto: Any, where: str) -> Any:
    """Return a network of an old opset with the operations of opset 17. Raises DataError."""
    try:
        return onnx.version_converter.convert_version(proto, onnx_operations.NEWEST)
    except Exception as error:  # The converter of versions is a library in C++ and has no error class of its own.
        raise DataError(
            f"{where}: the operations of opset {opset(proto)} cannot be brought to opset {onnx_operations.NEWEST}: "
            f"{onnx_files.first_line(error)}; export the network again"
        ) from None


# ---- input, output and precision -------------------------------------------------------------------------------------


def _keep_output(graph: Any, name: str) -> None:
    """Leave out all outputs but one, and the nodes that only the others need."""
    kept = [value for value in graph.output if value.name == name]
    del graph.output[:]
    graph.output.extend(kept)
    wanted, nodes = {name}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            nodes.append(node)
    nodes.reverse()
    del graph.node[:]
    graph.node.extend(nodes)


def _in_single_precision(graph: Any) -> None:
    """Convert half, brain and double precision to single precision: weights, casts, and the types of values."""
    attributes = [(node, attribute) for node in graph.node for attribute in node.attribute]
    tensors = [*graph.initializer, *(a.t for _, a in attributes if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_type in _REAL:
            tensor.CopyFrom(numpy_helper.from_array(_array(tensor).astype(np.float32), tensor.name))
    for node, attribute in attributes:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _REAL:
            attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _REAL:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _with_plain_input(graph: Any, file: onnx_files.OnnxFile) -> None:
    """Make the input float32 ``(n, c, h, w)``: casts of whole numbers are left out, channels are brought first."""
    given = onnx_files.inputs_of(graph)[0]
    name = given.name
    if given.type.tensor_type.elem_type != TensorProto.FLOAT:
        given.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] == name:
                node.op_type = "Identity"
                del node.attribute[:]
    if file.channels_last:
        dims = list(given.type.tensor_type.shape.dim)
        inner = f"{name}.channels_last"
        for node in graph.node:
            node.input[:] = [inner if each == name else each for each in node.input]
        graph.node.insert(0, helper.make_node("Transpose", [name], [inner], "channels_last", perm=[0, 2, 3, 1]))
        del given.type.tensor_type.shape.dim[:]
        given.type.tensor_type.shape.dim.extend([dims[0], dims[3], dims[1], dims[2]])


def _with_any_batch(graph: Any, batch: int) -> None:
    """Let a network that was exported for batches of this size take any: the sizes of the input, of the output and of
    all values are left open, and a shape that starts with it starts with the size of what is reshaped."""
    for value in (*onnx_files.inputs_of(graph), *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.value_info[:]
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    constants = [(tensor.name, tensor) for tensor in graph.initializer]
    constants += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for name, tensor in constants:
        sizes = numpy_helper.to_array(tensor)
        if name in shapes and sizes.ndim == 1 and len(sizes) and sizes[0] == batch:
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, *sizes[1:]], sizes.dtype), tensor.name))


# ---- constants -------------------------------------------------------------------------------------------------------


def fold(proto: Any) -> None:
    """Replace by constants what does not depend on the input, and leave out nodes that do nothing."""
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        while node.input and not node.input[-1]:
            del node.input[-1]  # An optional input that is left out.
        made = _computed(node, constants, proto)
        if made is not None:
            constants |= {tensor.name: tensor for tensor in made}
        elif _does_nothing(node, constants):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for output in graph.output:
        output.name = renamed.get(output.name, output.name)
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)
    dropped = {value.name for value in graph.input} - used
    inputs = [value for value in graph.input if value.name not in dropped or value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)


def _does_nothing(node: Any, constants: Mapping[str, Any]) -> bool:
    """Return whether the first output of a node equals its first input when the network is not being trained."""
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(node.output[1:]):
        return False
    training = constants.get(node.input[2]) if len(node.input) > 2 else None
    return len(node.input) < 3 or (training is not None and not _array(training).any())


def _computed(node: Any, constants: Mapping[str, Any], proto: Any) -> list[Any] | None:
    """Return the outputs of a node whose inputs are all constant, or None."""
    if node.op_type == "Constant":
        return [_constant(node)] if node.attribute else None
    inputs = [name for name in node.input if name]
    if not inputs or any(name not in constants for name in inputs) or not _is_foldable(node.op_type):
        return None
    if node.op_type == "Identity":
        named = onnx.TensorProto()
        named.CopyFrom(constants[inputs[0]])
        named.name = node.output[0]
        return [named]
    arrays = {name: _array(constants[name]) for name in inputs}
    if _size(node.op_type, [arrays[name] for name in inputs]) > MAX_FOLDED:
        return None
    outputs = [name for name in node.output if name]
    values = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in inputs]
    results = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    alone = helper.make_model(
        helper.make_graph([node], "constant", values, results), opset_imports=[helper.make_opsetid("", opset(proto))]
    )
    try:
        found = ReferenceEvaluator(alone).run(None, arrays)
        return [numpy_helper.from_array(np.asarray(v), name) for name, v in zip(outputs, found, strict=True)]
    except Exception:  # What the reference cannot compute stays a node, which torch computes.
        return None


def _is_foldable(op: str) -> bool:
    """Return whether an operation is computed in advance: one of arithmetic that is fast, and not random."""
    return op in _FOLDED or (op not in _NEVER_FOLDED and onnx_operations.is_convertible(op, onnx_operations.NEWEST))


def _constant(node: Any) -> Any:
    """Return the tensor of a Constant node under the name of its output."""
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        return tensor
    kind = np.float32 if "float" in attribute.name else np.int64
    return numpy_helper.from_array(np.asarray(value, dtype=kind), node.output[0])


def _array(tensor: Any) -> NDArray[Any]:
    return numpy_helper.to_array(tensor)


def _size(op: str, arrays: Iterable[NDArray[Any]]) -> float:
    """Return an upper bound of the number of values that an operation on constants makes."""
    first, *others = arrays
    if op in ("ConstantOfShape", "Expand", "Tile", "Resize", "Pad", "Range", "OneHot", "EyeLike", "Upsample"):
        shape = first if op == "ConstantOfShape" else others[0] if others else first
        small = shape.size <= 8 and op in ("ConstantOfShape", "Expand", "Tile")
        largest = math.prod(max(1, abs(int(side))) for side in shape.ravel()) if small else math.inf
        return largest * (first.size if op == "Tile" else 1)
    if op in ("MatMul", "Gemm", "Conv", "Einsum"):
        return math.inf
    try:
        return math.prod(np.broadcast_shapes(*(array.shape for array in (first, *others))))
    except ValueError:
        return float(sum(array.size for array in (first, *others)))
