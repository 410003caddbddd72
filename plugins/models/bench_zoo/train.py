"""One training loop for every network: phases, margins, warm restarts, checkpoints.

    train(config, data, out_dir)

The run is a pure function of the configuration and the data on one machine: batches and flips follow from
(seed, phase, step), so a run that was stopped continues from its last checkpoint to the same weights. Calling
`train` again with the same arguments is how to continue.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import Phase, TrainConfig
from .data import TrainData
from .losses import logits, spread
from .networks import EMBEDDING_SIZE, FaceNetwork, build

FAST_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Variables that, set before the process starts, let glibc keep freed memory: about 10 % faster training."""

_CLASS_STD = 0.05  # of the initial class matrix of normalised losses
_MEAN_PICTURES = 4  # pictures per person behind a class mean

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Position:
    """Where a run stands: the phase and the number of steps already taken in it."""

    phase: int
    step: int


@dataclass
class State:
    """Everything that changes during a run."""

    net: FaceNetwork
    classes: nn.Parameter  # (identities of the phase, 128)
    optimizer: torch.optim.Optimizer
    position: Position


def _seed(*parts: int) -> torch.Generator:
    """A generator for one named purpose; equal parts give equal numbers."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def _optimizer(config: TrainConfig, net: FaceNetwork, classes: nn.Parameter) -> torch.optim.Optimizer:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": [*decayed, classes], "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0)


def _resized(images: Tensor, size: int) -> Tensor:
    """uint8 `(n, 3, h, w)` to float `(n, 3, size, size)` in [0, 1], channels last."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)


def _rows(config: TrainConfig, position: Position, n: int) -> NDArray[np.int64]:
    """Indices of one batch: positions in an endless row of shuffled passes over the first `n` pictures."""
    first, last = position.step * config.batch, (position.step + 1) * config.batch
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = torch.randperm(n, generator=_seed(config.seed, 1, position.phase, epoch))
        parts.append(order[max(first - epoch * n, 0) : last - epoch * n])
    rows: NDArray[np.int64] = torch.cat(parts).numpy()
    return rows


def learning_rate(phase: Phase, done: float) -> float:
    """Linear warm-up, then half a cosine from `lr` to `lr_end`; `done` is the share of the phase, 0-1."""
    if done < phase.warmup:
        return phase.lr * done / phase.warmup
    t = (done - phase.warmup) / max(1 - phase.warmup, 1e-9)
    return phase.lr_end + (phase.lr - phase.lr_end) * (1 + math.cos(math.pi * t)) / 2


def margin_share(phase: Phase, done: float) -> float:
    """Share of the full margin at `done` (0-1) of the phase: a ramp from `margin_from` to `margin`."""
    t = min(done / phase.ramp, 1.0) if phase.ramp > 0 else 1.0
    return phase.margin_from + t * (phase.margin - phase.margin_from)


def _first_classes(config: TrainConfig, identities: int) -> Tensor:
    std = EMBEDDING_SIZE**-0.5 if config.loss == "softmax" else _CLASS_STD
    return torch.randn((identities, EMBEDDING_SIZE), generator=_seed(config.seed, 2)) * std


def _mean_classes(net: FaceNetwork, data: TrainData, phase: Phase, length: float) -> Tensor:
    """Class vectors `(identities, 128)`: each person's mean normalised embedding, scaled to L2 norm `length`."""
    starts = np.searchsorted(data.labels, np.arange(phase.identities + 1))
    net.eval()
    means = torch.empty(phase.identities, EMBEDDING_SIZE)
    with torch.no_grad():
        for first in range(0, phase.identities, 32):
            people = range(first, min(first + 32, phase.identities))
            rows = [np.linspace(starts[i], starts[i + 1] - 1, _MEAN_PICTURES).astype(np.int64) for i in people]
            embeddings = F.normalize(net(_resized(data.batch(np.concatenate(rows)), phase.size)))
            means[first : first + len(people)] = embeddings.view(len(people), _MEAN_PICTURES, -1).mean(1)
    net.train()
    return F.normalize(means) * length


def _begin_phase(config: TrainConfig, data: TrainData, state: State | None, phase: int) -> State:
    """State at step 0 of a phase: a fresh one, or the last with a restarted optimizer and class matrix."""
    wanted = config.phases[phase].identities
    if state is None:
        net = build(config.architecture, config.seed).train()
        classes = nn.Parameter(_first_classes(config, wanted))
    else:
        net, classes = state.net, state.classes
        if len(classes) != wanted:
            length = float(classes.detach().norm(dim=1).mean())
            classes = nn.Parameter(_mean_classes(net, data, config.phases[phase], length))
    return State(net, classes, _optimizer(config, net, classes), Position(phase, 0))


def _step(config: TrainConfig, data: TrainData, state: State) -> float:
    """One batch forwards, backwards and applied; returns its loss."""
    phase, position = config.phases[state.position.phase], state.position
    done = position.step / config.steps(position.phase)
    rows = _rows(config, position, data.prefix(phase.identities))
    pictures = data.batch(rows)
    mirrored = torch.rand(len(rows), generator=_seed(config.seed, 3, position.phase, position.step)) < 0.5
    pictures[mirrored] = pictures[mirrored].flip(3)
    images = _resized(pictures, phase.size)
    labels = torch.from_numpy(data.labels[rows])
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        embeddings = state.net(images).float()
    scores = logits(
        config.loss,
        embeddings,
        state.classes,
        labels,
        scale=config.scale,
        margin=config.margin_at(margin_share(phase, done)),
    )
    loss = F.cross_entropy(scores, labels)
    if phase.spread:
        loss = loss + phase.spread * spread(embeddings, labels)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([*state.net.parameters(), state.classes], config.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(phase, done)
    state.optimizer.step()
    state.position = Position(position.phase, position.step + 1)
    return loss.item()


def _save(path: Path, config: TrainConfig, state: State) -> None:
    """Write a checkpoint beside its place, then rename it."""
    content = {
        "config": config.digest,
        "phase": state.position.phase,
        "step": state.position.step,
        "net": state.net.state_dict(),
        "classes": state.classes.detach(),
        "optimizer": state.optimizer.state_dict(),
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    torch.save(content, beside)
    os.replace(beside, path)


def _load(path: Path, config: TrainConfig) -> State:
    """Read a checkpoint without unpickling objects. Raises ValueError when it is of another configuration."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["config"] != config.digest:
        raise ValueError(
            f"{path} belongs to recipe {content['config']}, expected {config.digest}: delete it to start anew"
        )
    net = build(config.architecture, config.seed).train()
    net.load_state_dict(content["net"])
    classes = nn.Parameter(content["classes"])
    optimizer = _optimizer(config, net, classes)
    optimizer.load_state_dict(content["optimizer"])
    return State(net, classes, optimizer, Position(content["phase"], content["step"]))


def _line(config: TrainConfig, state: State, losses: list[float], rate: float) -> str:
    position = state.position
    steps = config.steps(position.phase)
    phase = config.phases[position.phase]
    return (
        f"{config.name} phase {position.phase + 1}/{len(config.phases)} step {position.step}/{steps} "
        f"size {phase.size} loss {sum(losses) / len(losses):.3f} "
        f"lr {learning_rate(phase, position.step / steps):.4f} {rate:.0f} img/s"
    )


def train(
    config: TrainConfig,
    data: TrainData,
    out_dir: Path,
    *,
    checkpoint_every: int = 200,
    stop_after: int | None = None,
    on_phase: Callable[[int, FaceNetwork], None] | None = None,
    progress: Progress = print,
) -> FaceNetwork | None:
    """Train to the end of the recipe, from the checkpoint in `out_dir` if there is one.

    Args:
        config: the recipe.
        data: pictures and labels; every phase uses a prefix of its people.
        out_dir: where `<name>.checkpoint.pt` is kept.
        checkpoint_every: steps between checkpoints.
        stop_after: stop, with a checkpoint, after so many steps of this call (for tests and time slices).
        on_phase: called with the number of a phase (from 0) and the network when that phase has ended.
        progress: called with a line of text every 50 steps.

    Returns:
        The trained network in evaluation mode, or None when `stop_after` ended the call.

    Raises:
        ValueError: the checkpoint belongs to another recipe.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / f"{config.name}.checkpoint.pt"
    state = _load(path, config) if path.exists() else _begin_phase(config, data, None, 0)
    taken, losses, since = 0, [], time.monotonic()
    while True:
        while state.position.step < config.steps(state.position.phase):
            if stop_after is not None and taken >= stop_after:
                _save(path, config, state)
                return None
            losses.append(_step(config, data, state))
            taken += 1
            if len(losses) == 50:
                rate = len(losses) * config.batch / (time.monotonic() - since)
                progress(_line(config, state, losses, rate))
                losses, since = [], time.monotonic()
            if taken % checkpoint_every == 0:
                _save(path, config, state)
        if on_phase is not None:
            on_phase(state.position.phase, state.net)
            state.net.train()
        if state.position.phase + 1 == len(config.phases):
            _save(path, config, state)
            return state.net.eval()
        state = _begin_phase(config, data, state, state.position.phase + 1)
