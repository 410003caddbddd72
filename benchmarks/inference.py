"""Measure how often the intervals of bench contain the true value, by simulating scores whose truth is known.

    python benchmarks/inference.py [--repeats 2000] [--json]      (make statistics)

Every 95 % interval is computed by the functions that the report calls (`bench.analysis.pooling`), and should contain
the true value in about 95 % of the repeats. The scores of a person are correlated: the columns are correlations of 0
to .3, and the rows are the kind of interval, the kind of score, and the number of people and of samples. The exit code
is 1 if a coverage is below 93 % by more than the noise of the simulation (2.6 standard errors).

The kinds of interval are those of one cell, of a pool of three models on the same pairs, of the difference of two runs
on the same pairs or on other people (``bench diff``), and the quantiles of the draws that the verdict uses.

The samples are simulated in four designs:

- ``once``: every person occurs in one pair, as in the synthetic protocols
- ``one person``: samples show one person, such as images; decisions follow a beta-binomial distribution, so that the
  correlation is that of the decisions themselves
- ``left person``: impostor pairs whose scores depend on their left person only, and whose right people repeat too
- ``both people``: pairs, half of them genuine, whose scores depend on both people; decisions are normal scores above a
  threshold, and the correlation is that of the normal scores of two pairs that share a person

With the default of 2,000 repeats everything takes about an hour and a half of one core. The script says
first how long its sections take, and prints each line on stderr as soon as it is measured.

`SECTIONS` holds the parts of the printed report; a further part is a function of the number of repeats that returns
its lines and whether its bars are met.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulation_bars import too_low

from bench.analysis.compare.significance import difference
from bench.analysis.pooling import Pool, SampleScores, drawn_means, mean

CORRELATIONS = (0.0, 0.05, 0.1, 0.2, 0.3)
SIZES = ((24, 200), (50, 104), (200, 600))  # people and samples
SHARES = (0.5, 0.1, 0.02)
BAR = 0.93
_PER_DESIGN = 25  # Repeats with the same pairs of people.

Floats = NDArray[np.float64]
People = tuple[NDArray[np.int64], NDArray[np.int64]]
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table: the kind of ``interval``, the ``design`` of the samples, and the kind of score.

    ``share`` is the true share of decisions, None for normal scores with a mean of zero.
    """

    interval: str
    design: str
    share: float | None
    people: int
    samples: int

    def __str__(self) -> str:
        score = "mean" if self.share is None else f"share {self.share:g}"
        return f"{self.interval:<11} {self.design:<12} {score:<10} {self.people:>4} people {self.samples:>4} samples"


# ---- simulated samples -----------------------------------------------------------------------------------------------


def people_of(case: Case, rng: np.random.Generator) -> People:
    """Return the left and the right person of each sample, ``(n,)`` each."""
    n = case.samples
    if case.design == "once":
        return np.arange(n), np.arange(n) + n
    left = rng.integers(case.people, size=n)
    if case.design == "one person":
        return left, left
    right = (left + rng.integers(1, case.people, size=n)) % case.people
    genuine = (np.arange(n) % 2 == 0) & (case.design == "both people")
    return left, np.where(genuine, left, right)


def scores(case: Case, people: People, correlation: float, rng: np.random.Generator) -> Floats:
    """Return scores ``(n,)`` with the true mean of the case and a correlation within people."""
    left, right = people
    n = len(left)
    if case.design == "one person" and case.share is not None:
        chances = np.full(case.people, case.share)
        if correlation:
            strength = (1 - correlation) / correlation
            chances = rng.beta(case.share * strength, (1 - case.share) * strength, size=case.people)
        return (rng.random(n) < chances[left]).astype(np.float64)
    effect = rng.standard_normal(int(max(left.max(), right.max())) + 1)
    shown = np.where(left == right, 1, 2) if case.design == "both people" else np.ones(n)
    common = effect[left] + np.where(shown == 2, effect[right], 0.0)
    normal = np.sqrt(correlation) * common + np.sqrt(1 - correlation * shown) * rng.standard_normal(n)
    return normal if case.share is None else (normal < NormalDist().inv_cdf(case.share)).astype(np.float64)


# ---- intervals -------------------------------------------------------------------------------------------------------


def _mean(case: Case, values: Floats, people: People, rng: np.random.Generator) -> tuple[Interval | None, float]:
    pool = Pool([SampleScores(values, people[0], others=people[1])])
    found = mean(pool, share=case.share is not None)
    low, high = found.low, found.high
    return (None if low is None or high is None else (low, high)), case.share or 0.0


def _models(case: Case, values: Floats, people: People, rng: np.random.Generator) -> tuple[Interval | None, float]:
    """Pool the scores of three models, which agree on two thirds of the samples, over the same pairs."""
    parts = [values]
    for _ in range(2):
        other = scores(case, people, 0.0, rng)
        parts.append(np.where(rng.random(len(values)) < 2 / 3, values, other))
    found = mean(Pool(SampleScores(part, people[0], others=people[1]) for part in parts), share=case.share is not None)
    low, high = found.low, found.high
    return (None if low is None or high is None else (low, high)), case.share or 0.0


def _difference(case: Case, values: Floats, people: People, rng: np.random.Generator) -> tuple[Interval | None, float]:
    """Compare two runs of equal truth on the same pairs, as ``bench diff`` does."""
    parts = [SampleScores(v, people[0], others=people[1]) for v in (values, scores(case, people, 0.1, rng))]
    return _compared(parts, np.arange(len(values)), case), 0.0


def _unpaired(case: Case, values: Floats, people: People, rng: np.random.Generator) -> tuple[Interval | None, float]:
    """Compare two runs of equal truth on other people."""
    parts = [SampleScores(values, people[0], "before", people[1])]
    parts.append(SampleScores(scores(case, people, 0.1, rng), people[0], "after", people[1]))
    return _compared(parts, np.arange(0), case), 0.0


def _compared(parts: Sequence[SampleScores], at: NDArray[np.int64], case: Case) -> Interval | None:
    found = difference(parts[0], parts[1], (at, at), share=case.share is not None)
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _draws(case: Case, values: Floats, people: People, rng: np.random.Generator) -> tuple[Interval | None, float]:
    drawn = drawn_means([Pool([SampleScores(values, people[0], others=people[1])])])
    low, high = np.quantile(drawn[:, 0], [0.025, 0.975])
    return (float(low), float(high)), case.share or 0.0


METHODS: Mapping[str, Callable[..., tuple[Interval | None, float]]] = {
    "one cell": _mean,
    "pool": _models,
    "difference": _difference,
    "unpaired": _unpaired,
    "draws": _draws,
}


def cases(sizes: Sequence[tuple[int, int]] = SIZES, shares: Sequence[float | None] = (*SHARES, None)) -> Iterator[Case]:
    """Yield the rows of the table of coverage."""
    for people, samples in sizes:
        for share in shares:
            for design in ("once", "one person", "left person", "both people"):
                shown = 2 * samples if design == "once" else people
                yield Case(interval="one cell", design=design, share=share, people=shown, samples=samples)
            for interval in ("pool", "difference", "unpaired", "draws"):
                yield Case(interval=interval, design="both people", share=share, people=people, samples=samples)


def coverage(case: Case, correlation: float, repeats: int, seed: int = 0) -> float:
    """Return the share of simulated 95 % intervals that contain the true value; a missing interval contains none."""
    rng = np.random.default_rng([seed, case.people, case.samples, round(1000 * correlation)])
    method, hits = METHODS[case.interval], 0
    people = people_of(case, rng)
    for repeat in range(repeats):
        if repeat % _PER_DESIGN == 0:
            people = people_of(case, rng)
        found, truth = method(case, scores(case, people, correlation, rng), people, rng)
        hits += found is not None and found[0] <= truth <= found[1]
    return hits / repeats


# ---- the printed report ----------------------------------------------------------------------------------------------


def coverage_lines(repeats: int) -> tuple[list[str], bool]:
    """Return the table of coverage as lines, and whether every coverage meets the bar."""
    lines = [f"Coverage of 95 % intervals in {repeats:,} repeats, in per cent (bar: {100 * BAR:.0f})", ""]
    lines.append(f"{'':<54}" + "".join(f"{c:>7g}" for c in CORRELATIONS) + "  correlation within people")
    met = True
    for case in cases():
        columns = CORRELATIONS if case.design != "once" else CORRELATIONS[:1]
        found = [coverage(case, c, repeats) for c in columns]
        low = [too_low(share, repeats, BAR) for share in found]
        met = met and not any(low)
        lines.append(
            f"{case!s:<54}" + "".join(f"{100 * f:>6.1f}{'!' if x else ' '}" for f, x in zip(found, low, strict=True))
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return lines, met


def _lines_of(module: str, function: str) -> Callable[[int], tuple[list[str], bool]]:
    """Return a function of a module beside this script, which is imported when it is called."""

    def lines(repeats: int) -> tuple[list[str], bool]:
        found: tuple[list[str], bool] = getattr(importlib.import_module(module), function)(repeats)
        return found

    return lines


SECTIONS: Mapping[str, Callable[[int], tuple[list[str], bool]]] = {
    "coverage": coverage_lines,
    "repeats": _lines_of("repeated_draws", "repeat_lines"),
    "alarms": _lines_of("false_alarms", "alarm_lines"),
    "comparisons": _lines_of("comparisons", "comparison_lines"),
    "groups": _lines_of("group_gaps", "gap_lines"),
    "links": _lines_of("grouped_links", "link_lines"),
    "areas": _lines_of("link_areas", "area_lines"),
    "choice": _lines_of("best_of_ways", "choice_lines"),
}
# Measured seconds of one core per repeat; of those with a floor of repeats, per repeat beyond it.
SECONDS: Mapping[str, float] = {
    "coverage": 0.33,
    "repeats": 0.4,
    "alarms": 1.1 / 5,
    "comparisons": 7.5 / 5,
    "groups": 2.5 / 5,
    "links": 0.8 / 5,
    "areas": 0.13,
    "choice": 0.06,
}
FLOOR = 500  # The fewest repeats of some.


def estimated_minutes(sections: Sequence[str], repeats: int) -> int:
    """Return about how many minutes of one core some sections take."""
    floors = {"alarms": FLOOR, "comparisons": FLOOR, "groups": FLOOR}
    seconds = sum(SECONDS[name] * max(repeats, floors.get(name, 0)) for name in sections)
    return max(1, round(seconds / 60))


def main() -> int:
    """Print every section; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="simulated data sets per number (default 2000)")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS), help="sections to print")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    given = parser.parse_args()
    minutes = estimated_minutes(given.only, given.repeats)
    print(f"{', '.join(given.only)}: about {minutes} min of one core", file=sys.stderr, flush=True)
    found: dict[str, Any] = {}
    for name in given.only:
        lines, met = SECTIONS[name](given.repeats)
        found[name] = {"met": met, "lines": lines}
        if not given.json:
            print("\n".join([*lines, "", "every bar is met" if met else "a bar is missed (!)", ""]))
    if given.json:
        print(json.dumps(found, indent=2))
    return 0 if all(part["met"] for part in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
