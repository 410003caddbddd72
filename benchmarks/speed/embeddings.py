"""Embeddings: pictures per second of processor time, each with its mirror image, by bundled networks

- ``bench``: two passes of the network as the host hands it out, over 32 pictures and their mirror images
- ``plain``: the same with the network as its plugin loads it
- ``one pass``: one pass over the pictures and their mirror images together, which does not pay on a processor
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench import folded, registered
from speed import Bar, Case, Variant

BATCH = 32


def cases() -> Iterator[Case]:
    """Yield a case for each architecture of the paper's stand-ins."""
    torch.set_num_threads(1)
    faces = torch.rand(BATCH, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    for name in ("zoo-mobileface", "zoo-ir-arcface", "zoo-resnet", "zoo-mobilenet"):
        network: Any = registered("model")[name]().load()
        quick: Any = folded(network, lambda net: [net(faces[:1])])
        variants = {"bench": two(quick, faces), "plain": two(network, faces), "one pass": one(quick, faces)}
        yield Case(name, "pictures", variants, [Bar("bench", "plain", 1.1)])


def two(network: Any, faces: Tensor) -> Variant:
    """Return both passes, one after the other."""

    @torch.inference_mode()
    def run() -> float:
        network(faces)
        network(faces.flip(-1))
        return BATCH

    return run


def one(network: Any, faces: Tensor) -> Variant:
    """Return one pass over both."""

    @torch.inference_mode()
    def run() -> float:
        network(torch.cat([faces, faces.flip(-1)]))
        return BATCH

    return run
