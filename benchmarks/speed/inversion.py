"""White-box inversion: images x iterations per second of processor time, with all splits of zoo-mobileface

Every variant makes the same iterations of Adam on the same 16 faces with the same loss, on one thread.

- ``bench``: the attack ``inversion``, called as the host calls it
- ``plain``: Equations 2 to 4 of the paper, written plainly with autograd and the Adam of torch
- ``network``: forward and backward pass of the network as the host hands it out, without loss and steps
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from bench_inversion import Inversion
from bench_inversion.objective import total_variation
from torch import Tensor

from bench import Capabilities, Context, Network, Received, folded, registered
from speed import Bar, Case, Variant

BATCH, STEPS = 16, 4
TV_WEIGHT = 1000.0


def cases() -> Iterator[Case]:
    """Yield the case of the bundled network."""
    torch.set_num_threads(1)
    network: Network = registered("model")["zoo-mobileface"]().load()
    faces = torch.rand(BATCH, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    quick = folded(network, lambda net: net.features(faces[:1], net.splits))
    variants = {"bench": ours(quick, faces), "plain": plain(network, faces), "network": passes(quick, faces)}
    bars = [Bar("bench", "plain", 1.5), Bar("bench", "network", 0.7)]
    yield Case("zoo-mobileface, all splits", "images x iterations", variants, bars)


def ours(network: Network, faces: Tensor) -> Variant:
    """Return the attack of bench."""
    attack = Inversion(steps=STEPS, tv_weight=TV_WEIGHT)
    capabilities = Capabilities.of_attack(attack.sees, {"model": (network, network.splits)}, image_size=(112, 112))
    with torch.no_grad():
        maps = network.features(faces, network.splits)
    received = Received(features=dict(zip(network.splits, maps, strict=True)))

    def run() -> float:
        ids = [str(i) for i in range(BATCH)]
        ctx = Context(device=torch.device("cpu"), seed=1, capabilities=capabilities, sample_ids=ids)
        attack.reconstruct(received, ctx)
        return BATCH * STEPS

    return run


def plain(network: Network, faces: Tensor) -> Variant:
    """Return the descent as one writes it down."""
    with torch.no_grad():
        targets = network.features(faces, network.splits)

    def run() -> float:
        images = torch.full_like(faces, 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([images], lr=0.1)
        for _ in range(STEPS):
            found = network.features(images, network.splits)
            distances = [
                (f - z).flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1) for f, z in zip(found, targets, strict=True)
            ]
            loss = torch.stack(distances).mean(dim=0) + TV_WEIGHT * total_variation(images, 2, "mean")
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            with torch.no_grad():
                images.clamp_(0, 1)
        return BATCH * STEPS

    return run


def passes(network: Network, faces: Tensor) -> Variant:
    """Return the passes of the network alone."""

    def run() -> float:
        for _ in range(STEPS):
            images = faces.clone().requires_grad_()
            maps = network.features(images, network.splits)
            torch.autograd.grad(maps, images, [m.detach() for m in maps])
        return BATCH * STEPS

    return run
