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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from bench import DataError
from bench_facenets.checks.selfcheck import TOLERANCE, probe_images
from bench_facenets.files import onnx_files
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.preprocess import Preprocess
from bench_facenets.loading.splitting import embedding_difference, embeddings_in

AGREEMENT = 1e-3  # The largest difference of normalised embeddings between onnx2torch and onnxruntime.


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A converted network: frozen, in evaluation mode. ``looped``: a batch size of one is baked in. ``difference``: the
    largest difference from onnxruntime, of normalised embeddings."""

    net: nn.Module
    where: str
    size: tuple[int, int] | None
    looped: bool
    normalises: bool
    difference: float


def load(path: Path, pixels: Pixels) -> Converted:
    """Convert a file and compare the result with onnxruntime on three images.

    The images are preprocessed with ``pixels``, except for the size if the file sets one. Raises DataError if the file
    cannot be converted, or if the embeddings differ.
    """
    file = onnx_files.read(path)
    net = _convert(file)
    h, w = file.size or (pixels.height, pixels.width)
    prepared = Preprocess(Pixels(height=h, width=w, mean=pixels.mean, std=pixels.std, channels=pixels.channels))
    x = prepared(probe_images())
    with torch.no_grad():
        single = torch.cat([_run(net, one, file.where) for one in torch.split(x, 1)])
        difference = embedding_difference(single, _onnxruntime(file, x))
        if difference > AGREEMENT:
            raise DataError(
                f"{file.where}: expected the embeddings that onnxruntime gives, found a difference of {difference:.2g} "
                "after the conversion to torch; it cannot be used here: export it with another opset, or use the "
                "original torch module as a torch-module"
            )
        looped = _is_baked(net, x, single)
    return Converted(
        net=net,
        where=file.where,
        size=file.size,
        looped=looped,
        normalises=file.normalises,
        difference=difference,
    )


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


def _convert(file: onnx_files.OnnxFile) -> nn.Module:
    try:
        import onnx2torch
    except ImportError:
        raise DataError(f"{file.where}: the package onnx2torch is missing; {onnx_files.REMEDY}") from None
    give_plain_names(file.proto)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net: nn.Module = onnx2torch.convert(file.proto)
    except Exception as error:  # Each operation has its own converter, which can raise any exception.
        raise DataError(
            f"{file.where}: cannot be converted to torch: {type(error).__name__}: {onnx_files.first_line(error)}; "
            "export it with plain operations (opset 11 to 17)"
        ) from None
    return net.eval().requires_grad_(False)


def _run(net: nn.Module, x: Tensor, where: str) -> Tensor:
    try:
        return embeddings_in(_quiet(net, x))
    except Exception as error:
        raise DataError(f"{where}: fails on an image: {type(error).__name__}: {onnx_files.first_line(error)}") from None


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
    try:
        import onnxruntime
    except ImportError:
        raise DataError(f"{file.where}: the package onnxruntime is missing; {onnx_files.REMEDY}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        content = file.proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [session.run(None, {name: one.numpy()})[0] for one in torch.split(x, 1)]
    except Exception as error:
        raise DataError(f"{file.where}: onnxruntime cannot run it: {onnx_files.first_line(error)}") from None
    return torch.cat([embeddings_in(torch.from_numpy(output)) for output in outputs])
