"""Measure how often intervals contain the true value where random defenses or learners were repeated, by simulation.

A part of ``make statistics`` (`benchmarks/inference.py`). A score is a normal score, or a decision on whether it is
below a threshold. It is the sum of an effect of the people, an effect of the sample, an effect of the repeat that all
samples share (what one seed of a learner or one seed of a defense does to all of them), and random noise of every
sample in every repeat. The true value is the mean over people and over repeats. The columns are the shares of the
variance of a single score that the effect of the repeat makes up: with 104 people, .01 is about as much as the sampling
of people. The rows are the kind of interval, the kind of score, the design of the samples and the number of repeats:

- ``one setting``: the mean over the repeats of one setting
- ``models``: three models that see the same repeats, pooled
- ``difference``: two settings with repeats of their own on the same people, as in claims
- ``draws``: quantiles of the verdict's bootstrap draws
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from simulation_bars import too_low

from bench.analysis.pooling import Pool, SampleScores, difference_of, drawn_means, mean

REPEATS = (3, 5)
SPREADS = (0.0, 0.003, 0.01, 0.03, 0.1)
SHARES = (0.5, 0.1, None)
BAR = 0.93
_PEOPLE, _SAMPLE = 0.2, 0.2  # The shares of the variance of a score of the people and of the sample.

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table. ``share`` is the true share of decisions, None for normal scores with a mean of zero.
    ``twice``: every person occurs in two samples, and otherwise in one."""

    interval: str
    share: float | None
    repeats: int
    people: int = 104
    twice: bool = False

    def __str__(self) -> str:
        score = "mean" if self.share is None else f"share {self.share:g}"
        samples = 2 * self.people if self.twice else self.people
        about = f"{self.interval:<12} {self.repeats} repeats  {score:<10} {self.people:>4} people"
        return f"{about} {samples:>4} samples"


def simulated(case: Case, spread: float, rng: np.random.Generator, settings: int, *, shared: bool) -> list[Floats]:
    """Return the scores ``(repeats, n)`` of some settings on the same people; ``shared``: they share their repeats."""
    person = np.repeat(np.arange(case.people), 2 if case.twice else 1)
    kept = np.sqrt(_PEOPLE) * rng.standard_normal(case.people)[person]
    kept = kept + np.sqrt(_SAMPLE) * rng.standard_normal(len(person))
    common = rng.standard_normal((case.repeats, 1))
    found = []
    for _ in range(settings):
        effect = common if shared else rng.standard_normal((case.repeats, 1))
        fresh = rng.standard_normal((case.repeats, len(person)))
        normal = kept + np.sqrt(spread) * effect + np.sqrt(1 - _PEOPLE - _SAMPLE - spread) * fresh
        found.append(normal if case.share is None else (normal < NormalDist().inv_cdf(case.share)).astype(np.float64))
    return found


def pooled(case: Case, settings: Sequence[Floats], *, apart: bool = False) -> Pool:
    """Return the pool of settings with their repeats; ``apart``: as if each repeat were a setting of its own."""
    person = np.repeat(np.arange(case.people), 2 if case.twice else 1)
    every = tuple(range(case.repeats))
    parts = [(r, values) for setting in settings for r, values in enumerate(setting)]
    if apart:
        return Pool(SampleScores(values, person) for _, values in parts)
    return Pool(SampleScores(values, person, repeat=r, repeats=every) for r, values in parts)


def _mean(case: Case, spread: float, rng: np.random.Generator) -> tuple[Interval | None, float]:
    return _of(case, pooled(case, simulated(case, spread, rng, 1, shared=True)))


def _models(case: Case, spread: float, rng: np.random.Generator) -> tuple[Interval | None, float]:
    return _of(case, pooled(case, simulated(case, spread, rng, 3, shared=True)))


def _of(case: Case, pool: Pool) -> tuple[Interval | None, float]:
    found = mean(pool, share=case.share is not None)
    ends = None if found.low is None or found.high is None else (found.low, found.high)
    return ends, case.share or 0.0


def _difference(case: Case, spread: float, rng: np.random.Generator) -> tuple[Interval | None, float]:
    before, after = (pooled(case, [s]) for s in simulated(case, spread, rng, 2, shared=False))
    found = difference_of(before, after)
    return (None if found is None else found.interval()), 0.0


def _draws(case: Case, spread: float, rng: np.random.Generator) -> tuple[Interval | None, float]:
    drawn = drawn_means([pooled(case, simulated(case, spread, rng, 1, shared=True))])
    low, high = np.quantile(drawn[:, 0], [0.025, 0.975])
    return (float(low), float(high)), case.share or 0.0


METHODS: Mapping[str, Callable[[Case, float, np.random.Generator], tuple[Interval | None, float]]] = {
    "one setting": _mean,
    "models": _models,
    "difference": _difference,
    "draws": _draws,
}


def cases() -> Iterator[Case]:
    """Yield the rows of the table."""
    for repeats in REPEATS:
        for share in SHARES:
            for interval in METHODS:
                for people, twice in ((104, False), (52, True), (24, True)):
                    yield Case(interval=interval, share=share, repeats=repeats, people=people, twice=twice)


def coverage(case: Case, spread: float, runs: int, seed: int = 0) -> float:
    """Return the share of simulated 95 % intervals that contain the true value; a missing interval contains none."""
    rng = np.random.default_rng([seed, case.people, case.repeats, case.twice, round(10_000 * spread)])
    hits = 0
    for _ in range(runs):
        found, truth = METHODS[case.interval](case, spread, rng)
        hits += found is not None and found[0] <= truth <= found[1]
    return hits / runs


def repeat_lines(runs: int) -> tuple[list[str], bool]:
    """Return the table of coverage with repeats as lines, and whether every coverage meets the bar."""
    lines = [f"Coverage of 95 % intervals with repeats, in {runs:,} runs, in per cent (bar: {100 * BAR:.0f})", ""]
    lines.append(f"{'':<58}" + "".join(f"{s:>7g}" for s in SPREADS) + "  variance between repeats")
    met = True
    for case in cases():
        found = [coverage(case, s, runs) for s in SPREADS]
        low = [too_low(share, runs, BAR) for share in found]
        met = met and not any(low)
        shown = "".join(f"{100 * f:>6.1f}{'!' if x else ' '}" for f, x in zip(found, low, strict=True))
        lines.append(f"{case!s:<58}{shown}")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines, met
