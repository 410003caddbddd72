"""The progress of a training: position, speed, remaining time, and whether it has diverged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench import BenchError

from .config import TrainConfig
from .schedules import learning_rate

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Position:
    """The position of a run: the phase and the number of steps already made in it."""

    phase: int
    step: int


class Meter:
    """Losses and speed since the last line of progress; losses are read from the device only for a line."""

    def __init__(self, config: TrainConfig, checkpoint: Path) -> None:
        self.config, self.checkpoint = config, checkpoint
        self.losses, self.since = list[Tensor](), time.monotonic()

    def check(self, position: Position) -> list[float]:
        """Return the finite losses since the last line. Raises BenchError if the training has diverged.

        Steps in fp16 may overflow occasionally: such a step is skipped, and the scale of the gradients is reduced.
        """
        values = torch.stack(self.losses).tolist() if self.losses else []
        finite = [value for value in values if math.isfinite(value)]
        if len(finite) < len(values) and (self.config.precision != "fp16" or not finite):
            raise BenchError(
                f"{self.config.name}: the loss is no number any more in phase {position.phase + 1}, step "
                f"{position.step}; lower the phase's lr, lengthen its warmup or ramp the margin more slowly "
                f"(the last checkpoint is kept: {self.checkpoint})"
            )
        return finite

    def line(self, position: Position) -> str:
        """Return a line of progress, and start a new measurement. Raises BenchError if the training has diverged."""
        config, finite = self.config, self.check(position)
        steps, phase = config.steps(position.phase), config.phases[position.phase]
        per_step = (time.monotonic() - self.since) / len(self.losses)
        self.losses, self.since = [], time.monotonic()
        later = enumerate(config.phases[position.phase + 1 :], position.phase + 1)
        left = steps - position.step + sum(config.steps(i) * (p.size / phase.size) ** 2 for i, p in later)
        return (
            f"{config.name} phase {position.phase + 1}/{len(config.phases)} step {position.step}/{steps} "
            f"size {phase.size} loss {sum(finite) / len(finite):.3f} "
            f"lr {learning_rate(phase, position.step / steps):.4f} {config.batch / per_step:.0f} images/s "
            f"eta {_duration(per_step * left)}"
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
