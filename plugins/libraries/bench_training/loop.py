"""The training loop of every network: phases, margins, warm restarts, precision, several processes, checkpoints.

The result is a pure function of recipe, data and number of processes on one machine: batches and flips follow from
(seed, phase, position), so a run that was stopped continues from its last checkpoint to the same weights. To continue,
call `train` again with the same arguments.

With several processes each processes its share of the same batches, and gradients are averaged. Batch normalisation and
the spread-out regulariser are computed over each process's share of a batch; running statistics are those of the first
process.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench import SuiteError

from .checkpoints import read_checkpoint, write_checkpoint
from .config import Phase, RunOptions, TrainConfig
from .data import TrainData, threads
from .losses import logits, pair_loss, spread
from .progress import Meter, Position, Progress
from .ranks import Ranks
from .sampling import ahead, grouped, shuffled, stream
from .schedules import learning_rate, margin_share

_CLASS_STD = 0.05  # The standard deviation of the initial class matrix of normalised losses.
_MEAN_IMAGES = 4  # The images per person from which a class mean is computed.
_TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner(nn.Module):
    """A network and its class matrix `(identities, d)`, which is None for a loss of pairs; its forward pass returns the
    loss of images and labels."""

    def __init__(self, config: TrainConfig, net: nn.Module, classes: nn.Parameter | None) -> None:
        super().__init__()
        self.config, self.net, self.classes = config, net, classes

    def forward(self, images: Tensor, labels: Tensor, margin: float, spreading: float) -> Tensor:
        """Return the loss, a scalar, of float images `(n, 3, h, w)` in [0, 1] and int64 labels `(n,)`."""
        precision = self.config.precision
        with torch.autocast(images.device.type, _TYPES[precision], enabled=precision != "float32"):
            embeddings = self.net(images).float()
        loss = self._loss(embeddings, labels, margin)
        return loss + spreading * spread(embeddings, labels) if spreading else loss

    def _loss(self, embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
        loss, scale = self.config.loss, self.config.scale
        if self.classes is None:
            return pair_loss(loss, embeddings, labels, scale=scale, margin=margin)
        return F.cross_entropy(logits(loss, embeddings, self.classes, labels, scale=scale, margin=margin), labels)

    @property
    def class_matrix(self) -> Tensor | None:
        """The class matrix without gradients; None for a loss of pairs."""
        return None if self.classes is None else self.classes.detach()

    def parameters_in_order(self) -> list[nn.Parameter]:
        """Return the network's parameters, then the class matrix."""
        return [*self.net.parameters(), *([] if self.classes is None else [self.classes])]


@dataclass
class State:
    """The state that changes during a run. ``worlds``: the numbers of processes that it has used so far."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    position: Position
    worlds: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The constants of a run; ``names`` are the digests that identify its checkpoint."""

    config: TrainConfig
    data: TrainData
    build: Callable[[], nn.Module]
    ranks: Ranks
    options: RunOptions
    checkpoint: Path
    names: dict[str, str]

    def identities(self, phase: int) -> int:
        """Return the number of people of a phase."""
        return self.config.phases[phase].identities or self.data.identities


def decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Return the optimizer's groups: matrices and kernels have weight decay; normalisation parameters, slopes and
    biases do not."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _resized(images: Tensor, size: int) -> Tensor:
    """Resize uint8 `(n, 3, h, w)` to uint8 `(n, 3, size, size)`, on the CPU: GPUs do not resize integers."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return images


def _scaled(images: Tensor, device: torch.device) -> Tensor:
    """Convert uint8 `(n, 3, h, w)` to float in [0, 1], channels last, on a device."""
    return (images.to(device, non_blocking=True).float() / 255).contiguous(memory_format=torch.channels_last)


def _first_classes(run: Run, identities: int) -> Tensor | None:
    """Return the random class matrix `(identities, d)` with which a training begins; None for a loss of pairs."""
    if run.config.of_pairs:
        return None
    size = run.config.embedding_size
    std = size**-0.5 if run.config.loss == "softmax" else _CLASS_STD
    return torch.randn((identities, size), generator=stream(run.config.seed, 2)) * std


def _mean_classes(run: Run, net: nn.Module, phase: Phase, identities: int, length: float) -> Tensor:
    """Return class vectors `(identities, d)`: each person's mean normalised embedding, scaled to L2 norm `length`."""
    starts = np.searchsorted(run.data.labels, np.arange(identities + 1))
    net.eval()
    means = torch.empty(identities, run.config.embedding_size)
    with torch.no_grad():
        for first in range(0, identities, 32):
            people = range(first, min(first + 32, identities))
            rows = [np.linspace(starts[i], starts[i + 1] - 1, _MEAN_IMAGES).astype(np.int64) for i in people]
            images = _resized(run.data.batch(np.concatenate(rows)), phase.size)
            embeddings = F.normalize(net(_scaled(images, run.ranks.device))).cpu()
            means[first : first + len(people)] = embeddings.view(len(people), _MEAN_IMAGES, -1).mean(1)
    net.train()
    return F.normalize(means) * length


def _state(run: Run, net: nn.Module, classes: Tensor | None, position: Position, worlds: list[int]) -> State:
    """Return a state with a new optimizer, on the run's device."""
    config, device = run.config, run.ranks.device
    net = net.to(memory_format=torch.channels_last).to(device).train()
    learner = Learner(config, net, None if classes is None else nn.Parameter(classes.to(device)))
    groups = decay_groups(learner.parameters_in_order(), config.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    return State(learner, optimizer, scaler, position, worlds)


def _begin_phase(run: Run, state: State | None, phase: int) -> State:
    """Return the state at step 0 of a phase: a new one, or the last one with a new optimizer and, if the people change,
    a new class matrix."""
    wanted = run.identities(phase)
    if state is None:
        return _state(run, run.build(), _first_classes(run, wanted), Position(phase, 0), [])
    net, classes = state.learner.net, state.learner.class_matrix
    if classes is not None and len(classes) != wanted:
        length = float(classes.norm(dim=1).mean())
        classes = _mean_classes(run, net, run.config.phases[phase], wanted, length)
    begun = _state(run, net, classes, Position(phase, 0), state.worlds)
    begun.scaler.load_state_dict(state.scaler.state_dict())
    return begun


def _batches(run: Run, position: Position) -> Generator[tuple[Tensor, Tensor]]:
    """Yield this process's share of every batch of the phase from `position` on: uint8 images, of which some are
    mirrored, and labels."""
    config, seed = run.config, run.config.seed
    starts = np.searchsorted(run.data.labels, np.arange(run.identities(position.phase) + 1))

    def make(step: int) -> tuple[Tensor, Tensor]:
        if config.per_person:
            rows = grouped(step, config.batch, config.per_person, starts, seed, 1, position.phase)
        else:
            rows = shuffled(step * config.batch, (step + 1) * config.batch, int(starts[-1]), seed, 1, position.phase)
        mirrored = torch.rand(len(rows), generator=stream(seed, 3, position.phase, step)) < 0.5
        share = run.ranks.share(np.arange(len(rows)))
        rows, mirrored = rows[share], mirrored[share]
        images = run.data.batch(rows)
        images[mirrored] = images[mirrored].flip(3)
        images = _resized(images, config.phases[position.phase].size)
        labels = torch.from_numpy(run.data.labels[rows])
        if run.ranks.device.type == "cuda":
            return images.pin_memory(), labels.pin_memory()
        return images, labels

    return ahead(make, range(position.step, config.steps(position.phase)), threads(run.options, run.ranks))


def _step(run: Run, state: State, forward: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Train on one batch and return its loss."""
    config, position, device = run.config, state.position, run.ranks.device
    phase = config.phases[position.phase]
    done = position.step / config.steps(position.phase)
    # Dropout uses the global random state, which is seeded here so that a step does not depend on earlier steps.
    torch.manual_seed(stream(config.seed, 4, position.phase, position.step, run.ranks.rank).initial_seed())
    scaled = _scaled(images, device)
    margin = config.margin_at(margin_share(phase, done))
    loss: Tensor = forward(scaled, labels.to(device, non_blocking=True), margin, phase.spread)
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(state.learner.parameters_in_order(), config.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(phase, done)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.position = Position(position.phase, position.step + 1)
    return loss.detach()


def _save(run: Run, state: State) -> None:
    """Write a checkpoint, in the first process only."""
    if run.ranks.first:
        content = {
            "phase": state.position.phase,
            "step": state.position.step,
            "worlds": state.worlds,
            "net": state.learner.net.state_dict(),
            "classes": state.learner.class_matrix,
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
        }
        write_checkpoint(run.checkpoint, run.names, content)


def _load(run: Run) -> State | None:
    """Return the state of the last checkpoint, or None. Raises DataError."""
    content = read_checkpoint(run.checkpoint, run.names)
    if content is None:
        return None
    net = run.build()
    net.load_state_dict(content["net"])
    position = Position(content["phase"], content["step"])
    state = _state(run, net, content["classes"], position, list(content["worlds"]))
    state.optimizer.load_state_dict(content["optimizer"])
    state.scaler.load_state_dict(content["scaler"])
    return state


def _check(run: Run) -> None:
    """Raise SuiteError if the recipe does not suit the data or the number of processes."""
    config, world = run.config, run.ranks.world
    for i, phase in enumerate(config.phases):
        if phase.identities > run.data.identities:
            raise SuiteError(
                f"phases[{i}].identities: expected at most the {run.data.identities} people of the data, found "
                f"{phase.identities}"
            )
    if config.batch % world or config.batch < 2 * world:
        raise SuiteError(
            f"batch: expected a multiple of the {world} processes, two images each at least, found {config.batch}"
        )
    if config.per_person and config.batch // world % config.per_person:
        raise SuiteError(
            f"batch: expected a share of each of the {world} processes that is a multiple of per_person = "
            f"{config.per_person}, found {config.batch // world}"
        )


def _start(run: Run, show: Progress) -> State:
    """Return the state of the last checkpoint, or the initial state."""
    _check(run)
    state = _load(run)
    if state is None:
        state = _begin_phase(run, None, 0)
    else:
        at = state.position
        show(f"{run.config.name} continues from {run.checkpoint}: phase {at.phase + 1}, step {at.step}")
    if run.ranks.world not in state.worlds:
        state.worlds.append(run.ranks.world)
    return state


def train(
    config: TrainConfig,
    data: TrainData,
    build: Callable[[], nn.Module],
    out_dir: Path,
    *,
    fingerprint: str,
    ranks: Ranks | None = None,
    options: RunOptions | None = None,
    stop_after: int | None = None,
    validate: Callable[[nn.Module, int], None] | None = None,
    progress: Progress = print,
) -> State | None:
    """Train to the end of the recipe, from the checkpoint in `out_dir` if it exists.

    Args:
        config: the recipe.
        data: images and labels; every phase uses a prefix of its people.
        build: makes the network with its initial weights, the same every time: images `(n, 3, s, s)` RGB in [0, 1] to
            embeddings `(n, embedding_size)`.
        out_dir: the folder of `<name>.checkpoint.pt`; it belongs to a recipe and to data of a `fingerprint`.
        ranks: this process among others; without it, a single process on the CPU.
        options: workers, and how often to log, store and validate.
        stop_after: stop, with a checkpoint, after so many steps of this call (for tests and time slices).
        validate: called in the first process with the network in evaluation mode and the size of the phase's images,
            after each phase and as often as the options set.
        progress: called in the first process with a line of text.

    Returns:
        The last state, its network in evaluation mode, or None when `stop_after` ended the call.

    Raises:
        DataError: the checkpoint is damaged or belongs to another recipe or other data.
        SuiteError: data or processes do not suit the recipe.
        BenchError: the training has diverged.
    """
    run = Run(
        config=config,
        data=data,
        build=build,
        ranks=ranks or Ranks(),
        options=options or RunOptions(),
        checkpoint=out_dir / f"{config.name}.checkpoint.pt",
        names={"recipe": config.digest, "data": fingerprint},
    )
    show = progress if run.ranks.first else (lambda _: None)
    state = _start(run, show)
    check = functools.partial(_validate, run, validate)
    left = math.inf if stop_after is None else stop_after
    while True:
        with run.ranks.together():
            left = _phase(run, state, left, check, show)
        if left < 0:
            return None
        check(state)
        if state.position.phase + 1 == len(config.phases):
            _save(run, state)
            state.learner.net.eval()
            return state
        state = _begin_phase(run, state, state.position.phase + 1)


def _phase(run: Run, state: State, left: float, check: Callable[[State], None], show: Progress) -> float:
    """Train the rest of a phase, but at most ``left`` steps; return how many of these are left, or -1 if the training
    was stopped."""
    forward: nn.Module = state.learner
    if run.ranks.world > 1:
        forward = DistributedDataParallel(
            state.learner, device_ids=[run.ranks.local] if run.ranks.device.type == "cuda" else None
        )
    options, meter, steps = run.options, Meter(run.config, run.checkpoint), run.config.steps(state.position.phase)
    with contextlib.closing(_batches(run, state.position)) as batches:
        for images, labels in batches:
            if left <= 0:
                _save(run, state)
                return -1
            meter.losses.append(_step(run, state, forward, images, labels))
            left -= 1
            step = state.position.step
            if step % options.checkpoint_every == 0:
                meter.check(state.position)
                _save(run, state)
            if step % options.log_every == 0 or step == steps:
                show(meter.line(state.position))
            if options.validate_every and step % options.validate_every == 0 and step < steps:
                check(state)
    return left


def _validate(run: Run, validate: Callable[[nn.Module, int], None] | None, state: State) -> None:
    if validate is not None and run.ranks.first:
        net = state.learner.net
        net.eval()
        validate(net, run.config.phases[state.position.phase].size)
        net.train()
