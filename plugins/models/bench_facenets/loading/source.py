"""Networks as their files define them: a public checkpoint, an ONNX file, or a torch module made by a factory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench import DataError
from bench_facenets.files import checkpoints
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading import onnx_model, torch_module


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network as its file defines it: the module, its pixels unless the suite says otherwise, and its split points.

    If ``splits`` is empty, split points are searched in the network. ``layout`` describes the format that was
    recognised in the file; ``looped``: batches are run image by image; ``warnings`` are notes for the user.
    """

    net: nn.Module
    pixels: Pixels
    splits: Mapping[str, str]
    layout: str
    license: str
    looped: bool = False
    warnings: tuple[str, ...] = ()


def from_checkpoint(path: Path, architecture: str) -> Source:
    """Return a network of this package with the weights of a public checkpoint."""
    loaded = checkpoints.load(path, architecture)
    layout = loaded.layout
    ignored = (f"left aside in the file: {', '.join(loaded.ignored)}",) if loaded.ignored else ()
    ambiguous = (loaded.ambiguous,) if loaded.ambiguous else ()
    return Source(
        net=loaded.net,
        pixels=layout.pixels,
        splits=layout.splits,
        layout=layout.name,
        license=layout.license,
        warnings=(*ambiguous, *ignored),
    )


def from_factory(factory: str, arguments: Mapping[str, Any], path: Path, license: str) -> Source:
    """Return the module that a factory makes, with the weights of a file."""
    net = torch_module.load(factory, arguments, path)
    return Source(net=net, pixels=Pixels(), splits={}, layout=f"torch module {factory}", license=license)


def from_onnx(path: Path, wanted: Pixels, size: tuple[int, int] | None, license: str) -> Source:
    """Return the network of an ONNX file, or the recognition network of a pack.

    ``wanted`` are the pixels requested by the suite, ``size`` is its ``net_input_size``. Raises DataError if the file
    has another input size.
    """
    found = onnx_model.load(path, wanted)
    if found.size and size and found.size != size:
        raise DataError(
            f"{found.where}: its input is {found.size[0]}x{found.size[1]}, net_input_size says {list(size)}; leave "
            "net_input_size out"
        )
    h, w = found.size or (wanted.height, wanted.width)
    notes = []
    if found.normalises and any(wanted.mean):
        notes.append("arithmetic comes before its first convolution: if it normalises pixels, set mean = 0, std = 1")
    if found.looped:
        notes.append("a batch size of one is baked in: batches run image by image")
    return Source(
        net=found.net,
        pixels=Pixels(height=h, width=w),
        splits={},
        layout=f"ONNX {found.where.rpartition('!')[2]}" if "!" in found.where else "ONNX",
        license=license,
        looped=found.looped,
        warnings=tuple(notes),
    )
