"""Training of the built-in network (``bench train suites/attributes.toml``), from recipe to weights and card.

The result is a pure function of recipe, seed and data on one machine: batches, flips and noise follow from
(seed, step), so an interrupted training continues from its checkpoint to the same weights. Faces, sampling,
checkpoints and files come from `bench_training`; the loop does not, because this network has several heads and losses.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval, Le
from bench_training.checkpoints import read_checkpoint, write_checkpoint
from bench_training.data import TrainData, prepare
from bench_training.export import half_weights, write_model
from bench_training.jobs import about
from bench_training.loop import decay_groups
from bench_training.ranks import require_one_process
from bench_training.sampling import shuffled, stream
from bench_training.schedules import half_cosine
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import Context, ContractError, instantiate
from bench_attributes.builtin import from_half
from bench_attributes.classes import CLASSES, COMMAND
from bench_attributes.evaluate import measure, summary
from bench_attributes.network import INPUT_SIZE, AttributeNetwork, age_loss, build

if TYPE_CHECKING:
    from bench import TrainingJob

_EVERY = 100  # The number of steps between two lines of progress, and between two checkpoints.


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The recipe of a training. Together with data and seed it decides the result. Its budget is counted in images.

    The first ``small_share`` of the ``images`` are ``small_size`` pixels wide, which is cheaper. The learning rate
    rises during ``warmup`` (a share of the run) to ``lr``, then falls along half a cosine to 0. Half of the images are
    mirrored; ``noise_share`` of the images get Gaussian noise with a standard deviation drawn up to ``noise_sigma``.
    The optimizer is AdamW; ``clip`` bounds the L2 norm of the gradient.
    """

    images: Annotated[int, Ge(1)]
    batch: Annotated[int, Ge(2)] = 128
    small_share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    small_size: Annotated[int, Ge(32), Le(INPUT_SIZE)] = 64
    lr: Annotated[float, Gt(0)] = 2e-3
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Ge(0)] = 0.05
    clip: Annotated[float, Gt(0)] = 5.0
    noise_share: Annotated[float, Interval(ge=0, le=1)] = 0.0
    noise_sigma: Annotated[float, Interval(ge=0, le=1)] = 0.3

    @property
    def steps(self) -> int:
        """The number of batches."""
        return -(-self.images // self.batch)

    def size(self, step: int) -> int:
        """Return the side of the images of a step, in pixels."""
        return self.small_size if step < self.small_share * self.steps else INPUT_SIZE

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return half_cosine((step + 1) / self.steps, self.lr, 0.0, self.warmup)


@dataclass
class State:
    """The state that changes during a training; ``seconds`` is processor time."""

    net: AttributeNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def train_attributes(job: TrainingJob, weights_dir: Path) -> Mapping[str, Any]:
    """Train with the recipe of a job, evaluate on its ``validate_on`` sets, and write weights and card; return the
    card."""
    require_one_process(job.name)
    recipe: Recipe = instantiate(Recipe, job.recipe, job.where)
    targets = encode(job.data.attributes(np.arange(len(job.data.labels()))), job.name)
    data = prepare(job.data, job.work, progress=job.log)
    digest = hashlib.sha256(repr((recipe, job.seed, job.data.fingerprint())).encode()).hexdigest()[:16]
    state = fit(recipe, job.seed, data, targets, job.work / f"{job.name}.checkpoint.pt", digest, job.log)
    halved = half_weights(state.net)
    rounded = from_half(halved)
    evaluation = {}
    for label, dataset in job.validate_on.items():
        faces, _ = dataset.evaluation(job.validation_pairs, Context(device=torch.device("cpu"), seed=0, plugin=label))
        for sigma in (0.0, 0.3):
            evaluation[f"{label}, noise {sigma}" if sigma else label] = measure(rounded, faces, sigma)
    for label, measured in evaluation.items():
        job.log(f"{job.name} on {label}: {summary(measured)}")
    return write_model(halved, _card(job, recipe, digest, state, evaluation), weights_dir)


def encode(labels: Mapping[str, NDArray[Any]], who: str) -> dict[str, Tensor]:
    """Convert labels to the network's targets: ages in years, class numbers.

    Raises ContractError for a missing attribute and for a label without a class.
    """
    targets = {}
    for name in ("age", *CLASSES):
        if name not in labels:
            raise ContractError(f"{who}: the training set has no labels for {name}")
        if name == "age":
            targets[name] = torch.from_numpy(np.asarray(labels[name], np.float32))
            continue
        known = list(CLASSES[name])
        if unknown := set(map(str, np.unique(labels[name]))) - set(known):
            raise ContractError(f"{who}: {name}: expected labels of {known}, got {sorted(unknown)}")
        targets[name] = torch.tensor([known.index(str(label)) for label in labels[name]])
    return targets


def fit(
    recipe: Recipe,
    seed: int,
    data: TrainData,
    targets: Mapping[str, Tensor],
    checkpoint: Path,
    digest: str,
    log: Callable[[str], None],
    stop_after: int | None = None,
) -> State:
    """Train to the end of the recipe, from the checkpoint if it exists; it must belong to the run named ``digest``.

    ``stop_after`` ends the call, with a checkpoint, after so many steps (for tests). Raises DataError if the
    checkpoint is damaged or belongs to another run.
    """
    state = _start(recipe, seed)
    _load(checkpoint, digest, state)
    balance = {name: _balance(targets[name], len(names)) for name, names in CLASSES.items()}
    first, losses, since = state.step, [], time.process_time()
    while state.step < recipe.steps:
        if stop_after is not None and state.step - first >= stop_after:
            break
        losses.append(_step(recipe, seed, data, targets, balance, state))
        if state.step % _EVERY == 0 or state.step == recipe.steps:
            took, since = time.process_time() - since, time.process_time()
            state.seconds += took
            _save(checkpoint, digest, state)
            log(_line(recipe, state, losses, len(losses) * recipe.batch / max(took, 1e-9)))
            losses = []
    if losses:
        _save(checkpoint, digest, state)
    state.net.eval()
    return state


def _step(
    recipe: Recipe,
    seed: int,
    data: TrainData,
    targets: Mapping[str, Tensor],
    balance: Mapping[str, Tensor],
    state: State,
) -> dict[str, float]:
    """Train on one batch and return the loss of each attribute."""
    rows = _rows(recipe, seed, state.step, len(data.labels))
    images = _augmented(recipe, seed, state.step, data.batch(rows))
    found = state.net(images)
    losses = {"age": age_loss(found["age"], targets["age"][rows])}
    for name, weight in balance.items():
        losses[name] = F.cross_entropy(found[name], targets[name][rows], weight=weight)
    state.optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = recipe.rate(state.step)
    state.optimizer.step()
    state.step += 1
    return {name: loss.item() for name, loss in losses.items()}


def _rows(recipe: Recipe, seed: int, step: int, n: int) -> NDArray[np.int64]:
    """Return the indices of one batch out of ``n`` images, in ascending order."""
    return np.sort(shuffled(step * recipe.batch, (step + 1) * recipe.batch, n, seed, 1))


def _augmented(recipe: Recipe, seed: int, step: int, images: Tensor) -> Tensor:
    """Convert uint8 ``(n, 3, h, w)`` to float in [0, 1] at the step's size; mirror some images, add noise to some."""
    draws, n = stream(seed, 2, step), len(images)
    mirrored = torch.rand(n, generator=draws) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    size = recipe.size(step)
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    out = images.float() / 255
    noisy = (torch.rand(n, generator=draws) < recipe.noise_share).nonzero()[:, 0]
    if len(noisy):
        sigma = recipe.noise_sigma * torch.rand((len(noisy), 1, 1, 1), generator=draws)
        noise = torch.randn((len(noisy), *out.shape[1:]), generator=draws)
        out[noisy] = (out[noisy] + sigma * noise).clamp(0, 1)
    return out


def _balance(target: Tensor, classes: int) -> Tensor:
    """Return class weights ``(classes,)`` with mean 1 over the images: every class has the same total weight."""
    counts = torch.bincount(target, minlength=classes).clamp(min=1).float()
    return len(target) / (classes * counts)


def _start(recipe: Recipe, seed: int) -> State:
    net = build(seed).train()
    groups = decay_groups(list(net.parameters()), recipe.weight_decay)
    return State(net, torch.optim.AdamW(groups, lr=recipe.lr))


def _save(path: Path, digest: str, state: State) -> None:
    content = {
        "step": state.step,
        "seconds": state.seconds,
        "net": state.net.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    write_checkpoint(path, {"run": digest}, content)


def _load(path: Path, digest: str, state: State) -> None:
    """Load a state from a checkpoint, if it exists."""
    content = read_checkpoint(path, {"run": digest})
    if content is not None:
        state.net.load_state_dict(content["net"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.seconds = content["step"], content["seconds"]


def _line(recipe: Recipe, state: State, losses: list[dict[str, float]], speed: float) -> str:
    means = " ".join(f"{name} {sum(loss[name] for loss in losses) / len(losses):.3f}" for name in losses[0])
    return f"step {state.step}/{recipe.steps} size {recipe.size(state.step - 1)} losses {means} {speed:.0f} images/s"


def _card(job: TrainingJob, recipe: Recipe, digest: str, state: State, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model card as plain data (without the file's digest): all that is needed to judge and to reproduce
    the weights."""
    labels = job.data.labels()
    return {
        "name": "attributes",
        "input": f"float (n, 3, {INPUT_SIZE}, {INPUT_SIZE}), RGB, [0, 1]",
        "output": "age in years, and logits per attribute in the order of its classes",
        "classes": {name: list(names) for name, names in CLASSES.items()},
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "data": about(job.data, job.data.fingerprint(), len(labels), int(labels[-1]) + 1),
        "recipe": asdict(recipe),
        "run_digest": digest,
        "seed": job.seed,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seconds": round(state.seconds),
        "seconds_of": "one thread's processor time, without drawing the faces",
        "weights_precision": "float16; evaluated after rounding",
        "evaluation": evaluation,
        "evaluation_people": "identities that were not trained on",
        "command": COMMAND,
    }
