"""Measure how often the intervals of the area under the ROC curve of links contain the true area, and how often links
that say nothing are called beyond chance by it. A section of ``make statistics``.

As many pairs show one person as two. Link scores are normal, and those of one person are higher, so that the area is
the share in the head of a column. The rows are the interval of one cell, that of the area of chance, that of the
difference of two linkers of equal truth on the same pairs (``bench diff``), and the test against chance, whose number
is the share of runs in which nothing is found. Every person occurs in one pair (``once``), or in one pair of his own
and two with others, and the scores depend on the people (``again``). The interval from the pairs of one person alone,
as if those of two people were the whole population, is shown for comparison and has no bar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from simulated_links import against_chance, scores_of, with_areas
from simulation_bars import too_low

from bench.analysis.chance_tests import beyond_chance
from bench.analysis.compare.significance import difference
from bench.analysis.pooling import Floats, Pool, SampleScores, mean

AREAS = (0.5, 0.8, 0.95)
PAIRS = (60, 208)
BAR = 0.93
_PERSON = 0.2  # The share of the variance of scores that each person of a pair of two people explains.
_LINKERS = 0.5  # The correlation of the scores of two linkers.

Interval = tuple[float, float]
Links = tuple[pd.DataFrame, pd.DataFrame]  # What two linkers of equal truth say of the same pairs.


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is computed, by its name in `METHODS`, and whether people occur ``again``."""

    method: str
    again: bool = False

    @property
    def label(self) -> str:
        """The scene in words."""
        return f"{self.method}, people {'again' if self.again else 'once'}"

    @property
    def barred(self) -> bool:
        """Whether its coverage has a bar."""
        return self.method != "one cell, from pairs of one person alone"


def links(area: float, pairs: int, again: bool, rng: np.random.Generator) -> Links:
    """Return simulated rows of links with this area."""
    number = np.arange(pairs)
    same, left = number % 2 == 0, number // 2 if again else number
    right = np.where(same, left, (left + 1) % (pairs // 2) if again else left + pairs)
    people = left.max() + right.max() + 1
    step = 2**0.5 * NormalDist().inv_cdf(area)
    effect, common = rng.standard_normal(people), rng.standard_normal((2, pairs))
    made = []
    for _ in range(2):
        noise = np.sqrt(_LINKERS) * common + np.sqrt(1 - _LINKERS) * rng.standard_normal((2, pairs))
        stranger = right[rng.permutation(pairs)]
        score = step * same + _of_people(effect, left, right, noise[0], again)
        chance = _of_people(effect, left, np.where(stranger == left, left + 1, stranger), noise[1], again)
        rows = {"left_subject": left, "right_subject": right, "same": same, "score": score, "permuted": chance}
        made.append(with_areas(pd.DataFrame(rows | {"left_id": number, "right_id": number})))
    return made[0], made[1]


def _of_people(effect: Floats, left: NDArray[np.int64], right: NDArray[np.int64], noise: Floats, again: bool) -> Floats:
    """Return scores ``(n,)`` of variance 1, in which people count if they occur ``again``."""
    if not again:
        return noise
    both = np.where(left == right, 2**0.5 * effect[left], effect[left] + effect[right])
    return np.sqrt(_PERSON) * both + np.sqrt(1 - 2 * _PERSON) * noise


def _interval(scores: SampleScores, truth: float) -> bool:
    found = mean(Pool([scores]), share=False)
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def _one_cell(of: Links, area: float) -> bool:
    return _interval(scores_of("link-auc", of[0]), area)


def _alone(of: Links, area: float) -> bool:
    return _interval(replace(scores_of("link-auc", of[0]), pulls=None), area)


def _chance(of: Links, area: float) -> bool:
    return _interval(scores_of("link-auc-chance", of[0]), 0.5)


def _difference(of: Links, area: float) -> bool:
    every = np.arange(len(of[0]))
    found = difference(scores_of("link-auc", of[0]), scores_of("link-auc", of[1]), (every, every), share=False)
    return found is not None and found.low is not None and found.high is not None and found.low <= 0 <= found.high


def _nothing_found(of: Links, area: float) -> bool:
    return not beyond_chance([against_chance("link-auc", of[0])])[0].beyond


METHODS: Mapping[str, Callable[[Links, float], bool]] = {
    "one cell": _one_cell,
    "area of chance": _chance,
    "difference": _difference,
    "not beyond chance": _nothing_found,
    "one cell, from pairs of one person alone": _alone,
}
SCENES = tuple(Scene(method=method, again=again) for method in METHODS for again in (False, True))


def coverage(scene: Scene, area: float, pairs: int, repeats: int, seed: int = 0) -> float:
    """Return the share of simulated runs in which the interval contains the truth, or nothing is found."""
    rng = np.random.default_rng([seed, pairs, round(1000 * area), scene.again])
    method = METHODS[scene.method]
    return sum(method(links(area, pairs, scene.again, rng), area) for _ in range(repeats)) / repeats


def area_lines(repeats: int, pairs: Sequence[int] = PAIRS) -> tuple[list[str], bool]:
    """Return the table of coverage as lines, and whether every coverage meets the bar."""
    lines = [f"Coverage of the area of links in {repeats:,} runs, in per cent (bar: {100 * BAR:.0f})", ""]
    columns = [(n, area) for n in pairs for area in AREAS]
    lines.append(f"{'':<56}" + "".join(f"{f'{n}: {area:g}':>10}" for n, area in columns) + "  pairs: area")
    met = True
    for scene in SCENES:
        # Beyond chance is what should be found of larger areas.
        asked = [(n, area) for n, area in columns if area == AREAS[0] or scene.method != "not beyond chance"]
        found = {at: coverage(scene, at[1], at[0], repeats) for at in asked}
        low = {at for at, share in found.items() if scene.barred and too_low(share, repeats, BAR)}
        met = met and not low
        shown = (f"{100 * found[at]:>9.1f}{'!' if at in low else ' '}" if at in found else " " * 10 for at in columns)
        lines.append(f"{scene.label:<56}" + "".join(shown))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines, met
