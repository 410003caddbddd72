"""From a declared model to a network with split points: the file is read, the module made, the splits found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from bench import BenchError, DataError
from bench_facenets.checks.selfcheck import card_of, probe_images, self_check
from bench_facenets.files import checkpoints
from bench_facenets.files.card import Card
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading import onnx_model, torch_module
from bench_facenets.loading.splitting import SplitNetwork, auto_splits, ordered_splits

if TYPE_CHECKING:
    from bench_facenets import FaceNet, NamedNet, TorchModule

NO_SPLITS = (
    "no split points were found: no module is called once, gives a map (n, c, h, w) and has no connection that goes "
    "round it; name some in split_points, or what needs a shallow model is skipped"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a file gives: the module, what its pixels are unless the suite says otherwise, and what is known of it.
    Empty ``splits`` are found in the network."""

    net: nn.Module
    pixels: Pixels
    splits: Mapping[str, str]
    layout: str
    license: str
    looped: bool = False
    warnings: tuple[str, ...] = ()


def named(model: NamedNet) -> Source:
    """A network of ours with a public checkpoint, or an ONNX file under the name of one."""
    path = model.weights()
    if path.suffix.lower() == ".onnx":
        return onnx(model, license="unknown")
    loaded = checkpoints.load(path, model.architecture)
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


def factory(model: TorchModule) -> Source:
    """A module that a suite names."""
    net = torch_module.load(model.factory, model.keywords(), model.weights())
    return Source(net=net, pixels=Pixels(), splits={}, layout=f"torch module {model.factory}", license=model.license)


def onnx(model: FaceNet, license: str) -> Source:
    """An ONNX file, or the recognition network of a pack."""
    asked = model.pixels(Pixels())
    found = onnx_model.load(model.weights(), asked)
    if found.size and model.net_input_size and found.size != model.net_input_size:
        raise DataError(
            f"{found.where}: its input is {found.size[0]}x{found.size[1]}, net_input_size says "
            f"{list(model.net_input_size)}; leave net_input_size out"
        )
    h, w = found.size or (asked.height, asked.width)
    notes = []
    if found.normalises and any(asked.mean):
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


@contextmanager
def naming(where: str) -> Iterator[None]:
    """One `BenchError` that names the file, whatever the code of a stranger's network raises."""
    try:
        yield
    except BenchError as error:
        raise error if where in str(error) else type(error)(f"{where}: {error}") from None
    except Exception as error:
        raise DataError(f"{where}: the network failed with {type(error).__name__}: {error}") from None


def build(model: FaceNet, modules: Mapping[str, str] | None = None) -> tuple[SplitNetwork, Source]:
    """The network of a model, not yet checked. ``modules`` are its splits where they are known already."""
    with naming(str(model.weights())):
        source = model.source()
        wanted = modules or model.wanted_splits() or source.splits
        network = SplitNetwork(source.net, model.pixels(source.pixels), wanted, looped=source.looped)
        if not network.splits:
            network.splits = auto_splits(network, probe_images())
            if not network.splits:
                source = replace(source, warnings=(*source.warnings, NO_SPLITS))
        elif not modules:
            network.splits = ordered_splits(network, probe_images())
        return network, source


def examine(model: FaceNet) -> tuple[SplitNetwork, Card]:
    """The network of a model and its card, after the self-check."""
    network, source = build(model)
    where = str(model.weights())
    with naming(where):
        card = card_of(network, layout=source.layout, license=source.license, warnings=source.warnings)
        self_check(network, card, where)
    return network, card


def load(model: FaceNet, card: Card) -> SplitNetwork:
    """The network of a model whose card is known; `DataError` when the card is not its own."""
    network, _ = build(model, {name: split.module for name, split in card.splits.items()})
    where = str(model.weights())
    with naming(where):
        self_check(network, card, where)
    return network
