"""Building the network of a declared model: read the file, make the module, find the split points, check them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from bench import BenchError, DataError
from bench_facenets.checks.selfcheck import card_of, probe_images, self_check
from bench_facenets.files.card import Card
from bench_facenets.loading.normalisation import check_channels, notes
from bench_facenets.loading.outputs import note_on
from bench_facenets.loading.splitting import SplitNetwork, auto_splits, ordered_splits

if TYPE_CHECKING:
    from bench_facenets.loading.source import Source
    from bench_facenets.parameters import NetworkParameters

NO_SPLITS = (
    "no split points were found: no module is called once, gives a map (n, c, h, w) and has no connection that goes "
    "round it; name some in split_points, or what needs a shallow model is skipped"
)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Context manager that converts an error of a network's code to a BenchError that names the file ``where``."""
    try:
        yield
    except BenchError as error:
        raise error if where in str(error) else type(error)(f"{where}: {error}") from None
    except Exception as error:
        raise DataError(f"{where}: the network failed with {type(error).__name__}: {error}") from None


def build(model: NetworkParameters, modules: Mapping[str, str] | None = None) -> tuple[SplitNetwork, Source]:
    """Return the network of a model, not yet checked. ``modules`` are its splits if they are already known."""
    with naming(str(model.weights())):
        source = model.source()
        wanted = modules or model.wanted_splits() or source.splits
        pixels = model.pixels(source.pixels)
        check_channels(source.start, pixels)
        source = replace(source, warnings=(*notes(source.start, source.pixels, pixels), *source.warnings))
        network = SplitNetwork(source.net, pixels, wanted, looped=source.looped)
        if not modules and (found := _note_on_outputs(network)):
            source = replace(source, warnings=(*source.warnings, found))
        if not network.splits:
            network.splits = auto_splits(network, probe_images())
            if not network.splits:
                source = replace(source, warnings=(*source.warnings, NO_SPLITS))
        elif not modules:
            network.splits = ordered_splits(network, probe_images())
        return network, source


def _note_on_outputs(network: SplitNetwork) -> str | None:
    """Return the note on what a network returns beside the embeddings, from a forward pass of one image."""
    with torch.no_grad():
        return note_on(network.net(network.preprocess(probe_images(1))), 1)


def examine(model: NetworkParameters) -> tuple[SplitNetwork, Card]:
    """Return the network of a model and its card, after the self-check."""
    network, source = build(model)
    where = str(model.weights())
    with naming(where):
        card = card_of(network, layout=source.layout, license=source.license, warnings=source.warnings)
        self_check(network, card, where)
    return network, card


def load(model: NetworkParameters, card: Card) -> SplitNetwork:
    """Return the network of a model whose card is known. Raises DataError if the network does not agree with it."""
    network, _ = build(model, {name: split.module for name, split in card.splits.items()})
    where = str(model.weights())
    with naming(where):
        self_check(network, card, where)
    return network
