"""Learning rates and margins as functions of the share of a phase that is done."""

from __future__ import annotations

import math

from .config import Phase


def half_cosine(done: float, peak: float, end: float, warmup: float) -> float:
    """Return a learning rate: a linear warm-up from 0 to `peak`, then half a cosine to `end`; `done` and `warmup` are
    shares of the whole."""
    if done < warmup:
        return peak * done / warmup
    t = (done - warmup) / max(1 - warmup, 1e-9)
    return end + (peak - end) * (1 + math.cos(math.pi * t)) / 2


def learning_rate(phase: Phase, done: float) -> float:
    """Return the learning rate at the share `done` (0-1) of the phase."""
    return half_cosine(done, phase.lr, phase.lr_end, phase.warmup)


def margin_share(phase: Phase, done: float) -> float:
    """Return the share of the full margin at the share `done` (0-1) of the phase: a ramp from `margin_from` to
    `margin`."""
    t = min(done / phase.ramp, 1.0) if phase.ramp > 0 else 1.0
    return phase.margin_from + t * (phase.margin - phase.margin_from)
