"""What decides a training run, as frozen dataclasses that a TOML table fills.

The budget is counted in pictures, never in seconds, so a configuration gives the same run on a fast and on a slow
machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from .losses import LOSSES, Loss, neutral_margin


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with its own picture size, people and cosine learning-rate schedule."""

    images: int
    """Pictures seen in this phase, rounded up to whole batches."""
    identities: int
    """The first so many people of the data. When it grows, the class matrix restarts from class means."""
    size: int = 112
    """Side of the pictures in pixels; smaller than the data's means resized."""
    lr: float = 0.1
    """Learning rate at the start, after the warm-up."""
    lr_end: float = 0.0
    """Learning rate at the end of the half cosine."""
    warmup: float = 0.02
    """Share of the phase during which the learning rate rises linearly from 0."""
    margin: float = 0.0
    """Share of the loss's margin at the end of the ramp, 0-1 (0: no margin)."""
    margin_from: float = 0.0
    """Share of the loss's margin at the start of the phase."""
    ramp: float = 0.3
    """Share of the phase over which the margin moves from `margin_from` to `margin`."""
    spread: float = 0.0
    """Weight of the spread-out regulariser (`losses.spread`) in the loss."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One network's whole recipe; `digest` names it."""

    name: str
    architecture: str
    loss: Loss
    seed: int
    phases: tuple[Phase, ...]
    margin: float = 0.0
    """The loss's full margin (radians for ArcFace, cosine for CosFace, factor for SphereFace)."""
    scale: float = 24.0
    """Factor on the cosines of normalised losses."""
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """On matrices and kernels; not on normalisation parameters or PReLU slopes."""
    clip: float = 5.0
    """Largest L2 norm of the whole gradient."""
    bf16: bool = False
    """Compute the network in bfloat16 (weights stay float32): twice as fast on processors that have it."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"{self.name}: expected a loss of {sorted(LOSSES)}, got {self.loss!r}")
        if not self.phases:
            raise ValueError(f"{self.name}: expected at least one phase, got none")
        if self.margin < neutral_margin(self.loss):
            raise ValueError(
                f"{self.name}: expected a margin of at least {neutral_margin(self.loss)} for {self.loss}, "
                f"got {self.margin}"
            )

    def steps(self, phase: int) -> int:
        """Number of batches of a phase."""
        return -(-self.phases[phase].images // self.batch)

    @property
    def total_steps(self) -> int:
        """Number of batches of all phases."""
        return sum(self.steps(i) for i in range(len(self.phases)))

    def margin_at(self, share: float) -> float:
        """The margin for a share 0-1 of the way from the neutral margin to the full one."""
        neutral = neutral_margin(self.loss)
        return neutral + share * (self.margin - neutral)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain data, for a model card."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any field."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]
