"""ONNX networks as torch modules with gradients: converted by onnx2torch, and compared with onnxruntime.

torch.fx writes the names of nodes into Python source that it executes, so they are first replaced by plain identifiers.
"""

from __future__ import annotations

import contextlib
import functools
import io
import keyword
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from bench import DataError
from bench_facenets.checks.selfcheck import TOLERANCE, probe_images
from bench_facenets.files import onnx_files
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.normalisation import Start, check_channels, pixels_for, start_of
from bench_facenets.loading.outputs import embeddings_in
from bench_facenets.loading.preprocess import Preprocess
from bench_facenets.loading.splitting import embedding_difference

AGREEMENT = 1e-3  # The largest difference of normalised embeddings between onnx2torch and onnxruntime.
HALF_AGREEMENT = 1e-2  # The same for a network in half precision, which is run in single precision here.


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A converted network: frozen, in evaluation mode. ``looped``: a batch size of one is baked in. ``pixels``: what it
    gets unless the suite says otherwise; ``start``: what it does to them before its first convolution;
    ``difference``: the largest difference from onnxruntime, of normalised embeddings; ``output``: the output that is
    used; ``others``: those that could hold embeddings as well."""

    net: nn.Module
    where: str
    size: tuple[int, int] | None
    pixels: Pixels
    start: Start
    looped: bool
    difference: float
    output: str
    others: tuple[str, ...]


def load(path: Path, pixels: Callable[[Pixels], Pixels]) -> Converted:
    """Convert a file and compare the result with onnxruntime on three images.

    The images are preprocessed with ``pixels`` of those that the file asks for. Raises DataError if the file cannot be
    converted, or if the embeddings differ.
    """
    file = onnx_files.read(path)
    proto = _prepared(file)
    net = _convert(proto, file)
    wanted = pixels(Pixels())
    h, w = file.size or (wanted.height, wanted.width)
    start = start_of(net, file.channels, (h, w))
    start = replace(start, channels=start.channels or file.channels)
    own = _own_pixels(file, start, Pixels(height=h, width=w))
    check_channels(start, pixels(own))
    x = Preprocess(replace(pixels(own), height=h, width=w))(probe_images())
    if not file.element.startswith("float"):
        x = x.round()
    with torch.no_grad():
        single = torch.cat([_run(net, one, file, proto) for one in torch.split(x, 1)])
        difference = embedding_difference(single, _onnxruntime(file, x))
        if difference > (HALF_AGREEMENT if _is_half(file) else AGREEMENT):
            raise DataError(
                f"{file.where}: expected the embeddings that onnxruntime gives, found a difference of {difference:.2g} "
                "after the conversion to torch; it cannot be used here: export it with another opset, or use the "
                f"original torch module as a torch-module{_hint(file)}"
            )
        looped = _is_baked(net, x, single)
    return Converted(
        net=net,
        where=file.where,
        size=file.size,
        pixels=own,
        start=start,
        looped=looped,
        difference=difference,
        output=file.output,
        others=file.others,
    )


def _own_pixels(file: onnx_files.OnnxFile, start: Start, default: Pixels) -> Pixels:
    """Return the pixels that a file asks for; an input of whole numbers takes pixels from 0 to 255."""
    found = pixels_for(start, default)
    return found if file.element.startswith("float") else replace(found, mean=(0.0,) * 3, std=(1.0,) * 3)


def _is_half(file: onnx_files.OnnxFile) -> bool:
    return any(tensor.data_type in (10, 16) for tensor in file.proto.graph.initializer) or file.element == "float16"


def give_plain_names(proto: Any) -> None:
    """Give every node a unique name that is a plain identifier."""
    taken = {value.name for value in proto.graph.input}
    for node in proto.graph.node:
        plain = re.sub(r"\W+", "_", node.name or node.op_type, flags=re.ASCII).strip("_")[:80] or "node"
        plain = f"n{plain}" if plain[0].isdigit() or keyword.iskeyword(plain) or plain in _attributes() else plain
        node.name = next(name for name in _numbered(plain) if name not in taken)
        node.domain = ""
        taken.add(node.name)


@functools.cache
def _attributes() -> frozenset[str]:
    """Return the names of attributes that a converted module has in any case."""
    return frozenset({*dir(fx.GraphModule), *dir(fx.GraphModule({}, fx.Graph())), "initializers"})


def _numbered(name: str) -> Iterator[str]:
    yield name
    i = 1
    while True:
        yield f"{name}_{i}"
        i += 1


def _prepared(file: onnx_files.OnnxFile) -> Any:
    """Return the network with operations that onnx2torch converts. Raises DataError."""
    onnx_files.library("onnx2torch", file.where)
    from bench_facenets.loading import onnx_graphs

    proto = onnx_graphs.prepared(file)
    give_plain_names(proto)
    return proto


def _convert(proto: Any, file: onnx_files.OnnxFile) -> nn.Module:
    onnx2torch = onnx_files.library("onnx2torch", file.where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: nn.Module = onnx2torch.convert(proto)
    except Exception as error:  # Each operation has its own converter, which can raise any exception.
        raise DataError(
            f"{file.where}: {_culprit(proto)} cannot be converted to torch: {type(error).__name__}: "
            f"{onnx_files.first_line(error)}; export the network with other operations, or use its torch module as a "
            "torch-module"
        ) from None
    return net.eval().requires_grad_(False)


def _culprit(proto: Any) -> str:
    """Return the first operation that onnx2torch does not convert, with the name of its node."""
    from onnx import shape_inference
    from onnx2torch.node_converters import get_converter
    from onnx2torch.onnx_graph import OnnxGraph

    with contextlib.suppress(Exception):  # The error of the whole conversion is reported in any case.
        graph = OnnxGraph(shape_inference.infer_shapes(proto).graph)
        version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        for node in graph.nodes.values():
            try:
                get_converter(operation_type=node.operation_type, version=version)(node, graph)
            except Exception:
                return f"the operation {node.operation_type} (node {node.name!r})"
    return "it"


class _Steps(fx.Interpreter):
    """Runs a converted network and remembers at which node it is."""

    at = ""

    def run_node(self, n: fx.Node) -> Any:
        self.at = str(n.target)
        return super().run_node(n)


def _run(net: nn.Module, x: Tensor, file: onnx_files.OnnxFile, proto: Any) -> Tensor:
    try:
        return embeddings_in(_quiet(net, x))
    except Exception as error:
        steps = _Steps(net) if isinstance(net, fx.GraphModule) else None
        if steps is not None:
            with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
                steps.run(x)
        op = next((node.op_type for node in proto.graph.node if steps is not None and node.name == steps.at), "")
        place = f"its operation {op} (node {steps.at!r}) fails" if steps is not None and op else "fails"
        raise DataError(
            f"{file.where}: {place} on an image: {type(error).__name__}: {onnx_files.first_line(error)}{_hint(file)}"
        ) from None


def _hint(file: onnx_files.OnnxFile) -> str:
    """Return what to do with a network that was exported for batches of several images and cannot take one."""
    if file.batch == 1:
        return ""
    return (
        f"; it was exported for batches of {file.batch} images: export it for any number of them, with "
        'dynamic_axes={"input": {0: "n"}} in torch.onnx.export'
    )


def _quiet(net: nn.Module, x: Tensor) -> Any:
    """Run a forward pass without output on stderr: torch.fx prints errors that are raised as well."""
    with contextlib.redirect_stderr(io.StringIO()):
        return net(x)


def _is_baked(net: nn.Module, x: Tensor, single: Tensor) -> bool:
    """Return whether a batch gives other embeddings than its single images."""
    try:
        batch = embeddings_in(_quiet(net, x))
    except Exception:  # A reshape to one row can raise any exception for several rows.
        return True
    return embedding_difference(batch, single) > TOLERANCE


def _onnxruntime(file: onnx_files.OnnxFile, x: Tensor) -> Tensor:
    """Return the embeddings ``(n, d)`` that onnxruntime computes, image by image. Raises DataError."""
    onnxruntime = onnx_files.library("onnxruntime", file.where)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    images = (x.permute(0, 2, 3, 1) if file.channels_last else x).numpy().astype(file.element)
    try:
        content = file.proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        batches = [np.repeat(one[None], file.batch, axis=0) for one in images]
        outputs = [session.run([file.output], {name: batch})[0] for batch in batches]
    except Exception as error:
        raise DataError(f"{file.where}: onnxruntime cannot run it: {onnx_files.first_line(error)}") from None
    return torch.cat([embeddings_in(torch.from_numpy(output).float())[:1] for output in outputs])
