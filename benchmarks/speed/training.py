"""Training: pictures per second of processor time, fine-tuning zoo-mobileface, and training the decoder of RecFace

Fine-tuning goes through `bench_training`, as ``bench train`` does, from the bundled weights, on 1,600 pictures of 200
people, 32 pictures a step. 200 steps are 6,400 pictures: they take less than a minute from 107 pictures per second on.

- ``bench``: the loop of `bench_training`; the training of ``recface``
- ``plain``: the same steps as one writes them down with torch, without checkpoints, with its own PReLU
- ``passes``: forward and backward passes of the decoder alone, without the choice of faces, checks and Adam
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_recface import RecFace
from bench_recface.network import new_decoder
from bench_training.config import Phase, RunOptions, TrainConfig
from bench_training.data import MappedData
from bench_training.loop import train
from bench_zoo.networks import PReLU
from torch import nn

from bench import Capabilities, Context, Received, registered
from speed import Bar, Case, Variant

PICTURES, PEOPLE, BATCH, STEPS = 1600, 200, 32, 4
SHAPES = {"stage1": (32, 28, 28), "stage2": (64, 14, 14), "stage3": (96, 7, 7), "stage4": (256, 7, 7)}


def cases() -> Iterator[Case]:
    """Yield the case of fine-tuning, and that of RecFace."""
    torch.set_num_threads(1)
    variants = {"bench": fine_tuning(), "plain": plain()}
    yield Case("fine-tuning zoo-mobileface", "pictures", variants, [Bar("bench", "plain", 1.2)], rounds=5)
    variants = {"bench": recface(), "passes": decoder_passes()}
    yield Case("RecFace on four stages of zoo-mobileface", "pictures", variants, [Bar("bench", "passes", 0.8)])


def network() -> Any:
    """Return the bundled network, in training mode."""
    return registered("model")["zoo-mobileface"]().load().network.requires_grad_(True).train()


def pictures() -> MappedData:
    """Return pictures of noise: speed does not depend on what they show."""
    images = np.random.default_rng(0).integers(0, 256, (PICTURES, 112, 112, 3), np.uint8)
    return MappedData(images=images, labels=np.repeat(np.arange(PEOPLE), PICTURES // PEOPLE).astype(np.int64))


def fine_tuning() -> Variant:
    """Return some steps of the trainer of bench."""
    data, phase = pictures(), Phase(images=BATCH * STEPS, lr=0.01, margin=1.0)
    config = TrainConfig(
        name="fine-tuned", architecture="mobileface", loss="arcface", seed=0, margin=0.3, batch=BATCH, phases=(phase,)
    )

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            options = RunOptions(workers=1)
            train(config, data, network, Path(folder), fingerprint="", options=options, progress=lambda _: None)
        return BATCH * STEPS

    return run


def plain() -> Variant:
    """Return the same steps, written plainly."""
    data, net = pictures(), network().to(memory_format=torch.contiguous_format)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, PReLU):
                setattr(module, name, nn.PReLU())
    classes = nn.Parameter(torch.randn(PEOPLE, 128) * 0.05)
    optimizer = torch.optim.SGD([*net.parameters(), classes], lr=0.01, momentum=0.9, nesterov=True)

    def run() -> float:
        for _ in range(STEPS):
            rows = np.random.default_rng(0).permutation(PICTURES)[:BATCH]
            images = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2).float().contiguous() / 255
            labels = torch.from_numpy(data.labels[rows])
            cosine = F.linear(F.normalize(net(images)), F.normalize(classes)).clamp(-0.999, 0.999)
            shifted = torch.cos(torch.arccos(cosine) + 0.3 * F.one_hot(labels, PEOPLE))
            optimizer.zero_grad()
            F.cross_entropy(24 * shifted, labels).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
        return BATCH * STEPS

    return run


class Examples:
    """Faces with features of noise, which are all at hand."""

    def __init__(self, n: int = 64) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (n, 3, 112, 112), np.uint8)
        self.subjects = np.arange(n)
        self.maps = {split: torch.randn(n, *shape) for split, shape in SHAPES.items()}

    def received(self, rows: Any) -> Received:
        """Return the features of some faces."""
        return Received(features={split: maps[rows] for split, maps in self.maps.items()})


def recface() -> Variant:
    """Return a short training of the decoder."""
    attack, examples = RecFace(steps=8 * STEPS), Examples()
    capabilities = Capabilities.of_attack(attack.sees, {}, image_size=(112, 112))

    def run() -> float:
        attack.fit(examples, Context(device=torch.device("cpu"), seed=1, capabilities=capabilities))
        return attack.steps * attack.batch_size

    return run


def decoder_passes() -> Variant:
    """Return forward and backward passes of the decoder."""
    attack, faces = RecFace(), torch.rand(8, 3, 112, 112)
    decoder = new_decoder(list(SHAPES.values()), (112, 112), attack.channels, attack.blocks, torch.Generator())
    maps = [torch.randn(8, *shape).contiguous(memory_format=torch.channels_last) for shape in SHAPES.values()]

    def run() -> float:
        for _ in range(8 * STEPS):
            decoder.zero_grad()
            F.mse_loss(decoder(maps), faces).backward()
        return 8 * STEPS * len(faces)

    return run
