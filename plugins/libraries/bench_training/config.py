"""Recipes: the parameters that decide a training run, as frozen dataclasses that are read from a TOML table.

The budget is counted in images, never in seconds, so a recipe gives the same result on a fast and on a slow machine.
`RunOptions` are the parameters that may differ between two runs with the same result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Interval, Lt

from bench import SuiteError, instantiate

from .losses import PAIR_LOSSES, Loss, neutral_margin

if TYPE_CHECKING:
    from bench import TrainingJob

Precision = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of training with its own image size, people and cosine learning-rate schedule."""

    images: Annotated[int, Ge(1)]
    """Images seen in this phase, rounded up to whole batches."""
    identities: Annotated[int, Ge(0)] = 0
    """The number of people, from the first on; 0 for all. If it grows, a class matrix restarts from class means."""
    size: Annotated[int, Ge(16)] = 112
    """Side of the images in pixels; images of another size are resized."""
    lr: Annotated[float, Gt(0)] = 0.1
    """Learning rate at the start, after the warm-up."""
    lr_end: Annotated[float, Ge(0)] = 0.0
    """Learning rate at the end of the half cosine; the same as `lr` for a constant one."""
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.02
    """Share of the phase during which the learning rate rises linearly from 0."""
    margin: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of the loss's margin at the end of the ramp, 0-1 (0: no margin)."""
    margin_from: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of the loss's margin at the start of the phase."""
    ramp: Annotated[float, Interval(ge=0, le=1)] = 0.3
    """Share of the phase over which the margin moves from `margin_from` to `margin`."""
    spread: Annotated[float, Ge(0)] = 0.0
    """Weight of the spread-out regulariser (`losses.spread`) in the loss."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The whole recipe of a network; `digest` identifies it."""

    name: str
    architecture: str
    loss: Loss
    seed: int
    phases: tuple[Phase, ...]
    embedding_size: Annotated[int, Ge(2)] = 128
    margin: float = 0.0
    """The loss's full margin (radians for ArcFace, cosine for CosFace and triplet, factor for SphereFace)."""
    scale: Annotated[float, Gt(0)] = 24.0
    """Factor on the cosines of normalised losses and of losses of pairs."""
    batch: Annotated[int, Ge(2)] = 128
    """The images of one step, over all processes together."""
    per_person: Annotated[int, Ge(0)] = 0
    """The images of each person in a batch, for losses of pairs; 0 draws images without regard to the person."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    """Weight decay of matrices and kernels; normalisation parameters and PReLU slopes have none."""
    clip: Annotated[float, Gt(0)] = 5.0
    """Largest L2 norm of the whole gradient."""
    precision: Precision = "float32"
    """Precision of the network's computations; weights, class matrix and loss stay float32. With `fp16`, gradients are
    scaled."""

    def __post_init__(self) -> None:
        """Check phases and margin. Raises ValueError."""
        if not self.phases:
            raise ValueError(f"{self.name}: expected at least one phase, got none")
        if self.margin < neutral_margin(self.loss):
            raise ValueError(
                f"{self.name}: expected a margin of at least {neutral_margin(self.loss)} for {self.loss}, "
                f"got {self.margin}"
            )
        if self.of_pairs and self.per_person < 2:
            raise ValueError(f"{self.name}: expected per_person of at least 2 for {self.loss}, got {self.per_person}")
        if self.per_person and self.batch % self.per_person:
            raise ValueError(
                f"{self.name}: expected a batch that is a multiple of per_person = {self.per_person}, got {self.batch}"
            )

    @property
    def of_pairs(self) -> bool:
        """True for a loss that compares pairs of embeddings and has no class matrix."""
        return self.loss in PAIR_LOSSES

    def steps(self, phase: int) -> int:
        """Return the number of batches of a phase."""
        return -(-self.phases[phase].images // self.batch)

    @property
    def total_steps(self) -> int:
        """The number of batches of all phases."""
        return sum(self.steps(i) for i in range(len(self.phases)))

    def margin_at(self, share: float) -> float:
        """Return the margin at a share 0-1 of the way from the neutral margin to the full one."""
        neutral = neutral_margin(self.loss)
        return neutral + share * (self.margin - neutral)

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, for a model card."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """A digest of all fields: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of the execution. They do not change the weights, so they may change when a run is resumed."""

    workers: Annotated[int, Ge(0)] = 0
    """Threads of each process that prepare batches; 0 for one per core, up to 8."""
    draw_up_to_gb: Annotated[float, Ge(0)] = 4.0
    """Data of at most so many decoded gigabytes are drawn once into a file; larger data are decoded for every batch."""
    log_every: Annotated[int, Ge(1)] = 50
    """Steps between two lines of progress."""
    checkpoint_every: Annotated[int, Ge(1)] = 200
    """Steps between two checkpoints."""
    validate_every: Annotated[int, Ge(0)] = 0
    """Steps between two validations, in addition to the one after every phase; 0 for none."""


_C = TypeVar("_C", bound=TrainConfig)


def read_recipe(
    cls: type[_C], job: TrainingJob, fixed: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[_C, RunOptions]:
    """Read and check the recipe of a job. Raises SuiteError, which names the TOML path of an error.

    ``fixed`` are values that the recipe may not set, ``defaults`` values that it may set.
    """
    fixed = {"name": job.name, "seed": job.seed, **fixed}
    for key in fixed:
        if key in job.recipe:
            raise SuiteError(f"{job.where}.{key}: {job.name} fixes it as {fixed[key]!r}; remove it from the recipe")
    recipe = {**(defaults or {}), **job.recipe}
    if "bf16" in recipe:
        raise SuiteError(f'{job.where}.bf16: expected precision = "bf16" in its place')
    phases = recipe.pop("phases", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise SuiteError(f"{job.where}.phases: expected tables, written [[recipe.phases]], found {phases!r}")
    made = [instantiate(Phase, phase, f"{job.where}.phases[{i}]") for i, phase in enumerate(phases)]
    names = {field.name for field in fields(RunOptions)}
    options: RunOptions = instantiate(RunOptions, {k: v for k, v in recipe.items() if k in names}, job.where)
    recipe = {k: v for k, v in recipe.items() if k not in names}
    config: _C = instantiate(cls, {**recipe, **fixed, "phases": made}, job.where)
    return config, options
