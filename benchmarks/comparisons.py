"""Measure how often ``bench diff`` raises a false alarm for two equal runs, and how often it sees a change.

A part of ``make statistics`` (`benchmarks/inference.py`). The p-values, their correction and the detectable differences
are those of the functions that the command calls, `bench.analysis.compare.significance`, from scores whose truth is
known:

- A run has a number of settings, each with four primary tests: utility (a share of .95) and leakage (a share of .03)
  of two recognisers, appearance and one attribute (normal scores). So 3, 12 and 24 settings are 12, 48 and 96 tests.
- Two runs agree in part: their scores of the same sample have a correlation, as if the same defense had been drawn
  again with another seed. Scores of a person are correlated too.
- Half of the pairs are genuine. With ``twice``, every person is in two pairs.
- A change of x points lowers the utility, or raises the leakage, of the first setting only: the case in which a
  correction for many tests costs most.

An alarm is false if any test of two equal runs is significant; the bar is 5 %. The power at the detectable difference,
which every test prints, should be about 80 %; the bar is 70 %.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from simulation_bars import too_low, too_many

from bench.analysis.compare.significance import LEVEL, ComparedPools, Corrected, Difference, corrected, in_common
from bench.analysis.pooling import SampleScores

SETTINGS = (3, 12, 24)
PEOPLE = (104, 208)
AGREEMENTS = (0.0, 0.5, 0.9)
CHANGES = (0.05, 0.1)
Question = Literal["utility", "leakage", "appearance", "attributes"]
QUESTIONS: tuple[Question, ...] = ("utility", "leakage", "appearance", "attributes")
SHARES = {"utility": 0.95, "leakage": 0.03}
SEEN = 0.7  # The lowest accepted power at the detectable difference.
_RECOGNISERS = 2
_SHARED, _WITHIN = 0.7, 0.1  # What recognisers share, and the correlation of scores within people.
_PER_FAMILY = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two runs of a number of ``settings`` on a number of ``people``.

    ``agreement`` is the correlation of the scores of a sample in both runs. ``twice``: every person is in two pairs.
    """

    settings: int
    people: int
    agreement: float = 0.5
    twice: bool = False


def _normals(
    people: tuple[NDArray[np.int64], NDArray[np.int64]], agreement: float, models: int, rng: np.random.Generator
) -> Floats:
    """Return standard normal scores of models in both runs, ``(models, 2, n)``, correlated within people, between
    models and between runs."""
    left, right = people
    effect = rng.standard_normal(int(max(left.max(), right.max())) + 1)
    common = np.where(left == right, effect[left], (effect[left] + effect[right]) / np.sqrt(2))

    def drawn(*shape: int) -> Floats:
        """Draw scores that agree between the two runs in part."""
        once = rng.standard_normal((*shape, 1, len(left)))
        again = rng.standard_normal((*shape, 2, len(left)))
        return np.asarray(np.sqrt(agreement) * once + np.sqrt(1 - agreement) * again)

    own = np.sqrt(_SHARED) * drawn(1) + np.sqrt(1 - _SHARED) * drawn(models)
    return np.asarray(np.sqrt(_WITHIN) * common + np.sqrt(1 - _WITHIN) * own)


def _people(scene: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the left and the right person of each pair, ``(n,)`` each."""
    n = scene.people
    person = np.repeat(np.arange(n // 2), 2) if scene.twice else np.arange(n)
    genuine = np.arange(n) % 4 < 2 if scene.twice else np.arange(n) % 2 == 0
    return person, np.where(genuine, person, person + n)


def compared(scene: Scene, question: Question, rng: np.random.Generator, change: float = 0.0) -> Difference:
    """Return the difference that ``bench diff`` finds for one question about one setting."""
    share = SHARES.get(question)
    left, right = _people(scene)
    people = (left, right) if question == "utility" else (left, left)
    at = np.arange(scene.people)
    pools = ComparedPools(share=share is not None)
    for sides in _normals(people, scene.agreement, _RECOGNISERS if share is not None else 1, rng):
        if share is not None:
            after = share + (-change if question == "utility" else change)
            limits = [[NormalDist().inv_cdf(s)] for s in (share, after)]
            sides = (sides < limits).astype(np.float64)
        before, later = (SampleScores(side, people[0], "set", people[1]) for side in sides)
        pools.add(in_common(before, later, (at, at)))
    found = pools.difference()
    assert found is not None, "every sample has a score"
    return found


def differences(scene: Scene, rng: np.random.Generator) -> list[Difference]:
    """Return the differences of all primary tests of two equal runs."""
    return [compared(scene, question, rng) for _ in range(scene.settings) for question in QUESTIONS]


def alarms(scene: Scene, repeats: int, seed: int = 0) -> float:
    """Return the share of pairs of equal runs in which any test is significant."""
    rng = _generator(scene, seed)
    return sum(any(map(_significant, corrected(differences(scene, rng)))) for _ in range(repeats)) / repeats


def power(scene: Scene, change: float, changed: Question, repeats: int, seed: int = 0) -> float:
    """Return the share of pairs of runs in which a true ``change`` of the first setting is significant in the
    ``changed`` question. The other tests are drawn anew every `_PER_FAMILY` repeats."""
    rng, found = _generator(scene, seed + round(1000 * change)), 0
    others: list[Difference] = []
    for repeat in range(repeats):
        if repeat % _PER_FAMILY == 0:
            others = differences(scene, rng)[1:]
        found += _significant(corrected([compared(scene, changed, rng, change), *others])[0])
    return found / repeats


def detectable_of(scene: Scene, changed: Question, repeats: int, seed: int = 1) -> float:
    """Return the median of the detectable differences that the tests of a question print for equal runs."""
    rng, seen = _generator(scene, seed), []
    for _ in range(repeats):
        results = corrected(differences(scene, rng))
        seen += [one.detectable or 1.0 for one in results[QUESTIONS.index(changed) :: len(QUESTIONS)]]
    return float(np.median(seen))


def _generator(scene: Scene, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, scene.people, scene.settings, round(100 * scene.agreement), scene.twice])


def _significant(result: Corrected) -> bool:
    return result.p is not None and result.p < LEVEL


def comparison_lines(repeats: int) -> tuple[list[str], bool]:
    """Return the tables of false alarms and of power as lines, and whether every bar is met."""
    repeats = max(100, repeats // 5)
    lines = [f"Equal runs that differ significantly in {repeats:,} repeats, in per cent (bar: {100 * LEVEL:.0f})", ""]
    lines.append(f"{'':<44}" + "".join(f"{4 * k:>8}" for k in SETTINGS) + "  primary tests")
    met = True

    def add(line: str) -> None:
        lines.append(line)
        print(line, file=sys.stderr, flush=True)

    for people in PEOPLE:
        for agreement, twice in [*((a, False) for a in AGREEMENTS), (0.5, True)]:
            scenes = [Scene(settings=k, people=people, agreement=agreement, twice=twice) for k in SETTINGS]
            found = [alarms(scene, repeats) for scene in scenes]
            wrong = [too_many(share, repeats, LEVEL) for share in found]
            met = met and not any(wrong)
            shown = "".join(f"{100 * f:>7.1f}{'!' if x else ' '}" for f, x in zip(found, wrong, strict=True))
            add(f"{_about(people, twice) + f'agreement {agreement:g}':<44}{shown}")
    lines += ["", f"Power at changes of {', '.join(f'{100 * c:g}' for c in CHANGES)} points, and at the detectable one"]
    lines.append(f"{'':<44}" + "".join(f"{4 * k:>24}" for k in SETTINGS) + "  primary tests")
    changes: tuple[Question, ...] = ("leakage", "utility")
    for changed in changes:
        for people in PEOPLE:
            for agreement in AGREEMENTS[1:]:
                shown = ""
                for k in SETTINGS:
                    scene = Scene(settings=k, people=people, agreement=agreement)
                    seen = detectable_of(scene, changed, 10)
                    found = [power(scene, change, changed, repeats) for change in (*CHANGES, seen)]
                    low = too_low(found[-1], repeats, SEEN)
                    met = met and not low
                    parts = " ".join(f"{100 * f:.0f}" for f in found[:-1])
                    shown += f"{f'{parts}; {100 * found[-1]:.0f} at {100 * seen:.1f}':>23}{'!' if low else ' '}"
                add(f"{f'{changed:<9}' + _about(people, False) + f'agreement {agreement:g}':<44}{shown}")
    return lines, met


def _about(people: int, twice: bool) -> str:
    return f"{people} pairs of {people // 2} people, " if twice else f"{people} people, "
