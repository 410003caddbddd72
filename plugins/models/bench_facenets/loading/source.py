"""Networks as their files define them: a public checkpoint, an ONNX file, or a torch module made by a factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bench import DataError
from bench_facenets.files import checkpoints
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading import onnx_model, torch_module
from bench_facenets.loading.normalisation import AS_IT_IS, Start, pixels_for, start_of


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network as its file defines it: the module, its pixels unless the suite says otherwise, and its split points.

    If ``splits`` is empty, split points are searched in the network. ``layout`` describes the format that was
    recognised in the file; ``looped``: batches are run image by image; ``start``: what the network does to pixels
    before its first convolution; ``warnings`` are notes for the user.
    """

    net: nn.Module
    pixels: Pixels
    splits: Mapping[str, str]
    layout: str
    license: str
    looped: bool = False
    start: Start = AS_IT_IS
    warnings: tuple[str, ...] = ()


def from_checkpoint(path: Path, architecture: str, weights_key: str = "") -> Source:
    """Return a network of this package with the weights of a public checkpoint; ``weights_key`` decides if it holds
    several networks."""
    loaded = checkpoints.load(path, architecture, weights_key=weights_key)
    layout = loaded.layout
    ambiguous = (loaded.ambiguous,) if loaded.ambiguous else ()
    return Source(
        net=loaded.net,
        pixels=layout.pixels,
        splits=layout.splits,
        layout=layout.name,
        license=layout.license,
        start=Start(channels=3),
        warnings=(*loaded.notes, *ambiguous, *checkpoints.left_aside(loaded.ignored)),
    )


def from_factory(
    factory: str, arguments: Mapping[str, Any], path: Path, wanted: Pixels, license: str, weights_key: str = ""
) -> Source:
    """Return the module that a factory makes, with the weights of a file. ``wanted``: the pixels that the suite asks
    for, of which only the size counts; ``weights_key`` decides if the file holds several networks."""
    net, notes = torch_module.load(factory, arguments, path, weights_key)
    net.eval()
    start = start_of(net, 3, (wanted.height, wanted.width))
    return Source(
        net=net,
        pixels=pixels_for(start, Pixels()),
        splits={},
        layout=f"torch module {factory}",
        license=license,
        start=start,
        warnings=notes,
    )


def from_onnx(path: Path, pixels: Callable[[Pixels], Pixels], size: tuple[int, int] | None, license: str) -> Source:
    """Return the network of an ONNX file, or the recognition network of a pack.

    ``pixels`` returns the pixels that the suite asks for, from those that the file asks for; ``size`` is the suite's
    ``net_input_size``. Raises DataError if the file has another input size.
    """
    found = onnx_model.load(path, pixels)
    if found.size and size and found.size != size:
        raise DataError(
            f"{found.where}: its input is {found.size[0]}x{found.size[1]}, net_input_size says {list(size)}; leave "
            "net_input_size out"
        )
    notes = ["a batch size of one is baked in: batches run image by image"] if found.looped else []
    if found.others:
        others = ", ".join(found.others)
        notes.append(
            f"of several outputs {found.output} is used as the embeddings, and {others} is not; if this is wrong, "
            "export the network with the right output alone"
        )
    return Source(
        net=found.net,
        pixels=found.pixels,
        splits={},
        layout=f"ONNX {found.where.rpartition('!')[2]}" if "!" in found.where else "ONNX",
        license=license,
        looped=found.looped,
        start=found.start,
        warnings=tuple(notes),
    )
