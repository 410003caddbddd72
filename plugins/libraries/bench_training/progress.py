"""How far a training is, how fast it goes, and whether it still makes sense."""

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
    """Where a run stands: the phase and the number of steps already taken in it."""

    phase: int
    step: int


class Meter:
    """Losses and speed since the last line; the losses are looked at only when a line is due."""

    def __init__(self, config: TrainConfig, checkpoint: Path) -> None:
        self.config, self.checkpoint = config, checkpoint
        self.losses, self.since = list[Tensor](), time.monotonic()

    def check(self, position: Position) -> list[float]:
        """The losses since the last line that are numbers; `BenchError` when the training has diverged.

        Steps of fp16 may overflow now and then: they are skipped, and the scale of the gradients falls.
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
        """A line of progress; starts anew."""
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
