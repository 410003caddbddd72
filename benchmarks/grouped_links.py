"""Measure how often links are called a leak of identity although a linker sees nothing but known groups of people, and
how often it is seen that a linker recognises people. A section of ``make statistics``.

Half of the pairs of uploads show one person, and the others two people of random groups, as in the bundled protocol.
Every linker sees noise, and some also see groups of equal size: two genders, and four ages. One recognises a share of
the people as well. Which pairs are behind the chance level, their scores and the decision are those of the functions
that the report calls: where too few pairs of different people share all groups, chance is measured on those that share
some, and a linker that sees the others is called one that recognises people. These rows have no bar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from simulated_links import against_chance, with_areas
from simulation_bars import alarm_table

from bench.analysis.chance_tests import LEVEL, AgainstChance, beyond_chance
from bench.analysis.pooling import Floats
from bench.metrics.recognition import threshold_at_fmr
from bench.stages.partners import other_pairs

PAIRS = (208, 416, 832)
ATTACKERS = 4
GROUPS = {"gender": 2, "age": 4, "appearance": 4}  # How many groups each attribute makes.
VIEWS = (0.0, 1.0, 3.0)  # What a linker sees of the groups, in standard deviations of its scores.
LEAKS = (0.05, 0.1, 0.2)  # Shares of people whom the first attacker recognises.
_COMMON = 0.7  # The correlation of attackers.
_CALIBRATION = 60  # people whom the adversary sets the threshold on, each with each other
FMR = 0.01


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Simulated linkers that see ``groups`` by ``view`` standard deviations of their scores. The data set labels the
    ``known`` attributes, and the first linker recognises a share ``leak`` of the people."""

    groups: Sequence[str] = ("gender",)
    known: Sequence[str] = ("gender",)
    view: float = 1.0
    leak: float = 0.0

    @property
    def label(self) -> str:
        """The scene in words."""
        seen = f"{' and '.join(self.groups)} seen by {self.view:g} deviations" if self.view else "nothing seen"
        known = f"{' and '.join(self.known)} known" if self.known else "no group known"
        return f"{seen}, {known}" + (f", leak {100 * self.leak:.0f} points" if self.leak else "")

    @property
    def barred(self) -> bool:
        """True if an alarm is false: nobody is recognised, and everything that is seen is known."""
        return not self.leak and tuple(self.groups) == tuple(self.known)


SCENES = (
    *(Scene(view=view) for view in VIEWS),
    *(Scene(leak=leak) for leak in LEAKS),
    *(Scene(groups=of, known=of, view=view) for of in (tuple(GROUPS)[:2], tuple(GROUPS)) for view in VIEWS[1:]),
    *(Scene(groups=tuple(GROUPS), known=tuple(GROUPS), leak=leak) for leak in LEAKS),
    Scene(known=()),
)


def family(rng: np.random.Generator, pairs: int, scene: Scene) -> Iterator[AgainstChance]:
    """Yield the comparisons of the links of each attacker with chance: the share that is linked, and the area."""
    same, left = np.arange(pairs) % 2 == 0, np.arange(pairs)
    right = np.where(same, left, left + pairs)
    groups = {name: rng.integers(0, number, 2 * pairs) for name, number in GROUPS.items()}
    order = rng.permutation(pairs)
    partner = alike = other_pairs(left, right, order)
    if scene.known:
        known = np.stack([groups[name] for name in scene.known], axis=1)
        alike = other_pairs(left, right, order, (known[left], known[right]))
    labels = {name: dict(enumerate(map(str, groups[name].tolist()))) for name in scene.known}
    common = rng.standard_normal((3, pairs))
    recognised = same & (rng.random(pairs) < scene.leak)

    def seen(first: Any, second: Any, noise: Floats) -> Floats:
        shared = sum((groups[name][first] == groups[name][second]).astype(np.float64) for name in scene.groups)
        return scene.view * shared + noise

    first, second = np.triu_indices(_CALIBRATION, 1)
    for attacker in range(ATTACKERS):
        noise = np.sqrt(_COMMON) * common + np.sqrt(1 - _COMMON) * rng.standard_normal((3, pairs))
        score = seen(left, right, noise[0])
        if attacker == 0:
            score = np.where(recognised, score + 6, score)
        table = pd.DataFrame(
            {
                "left_subject": left,
                "right_subject": right,
                "same": same,
                "score": score,
                "permuted": seen(left, right[partner], noise[1]),
                "alike": seen(left, right[alike], noise[2]) if scene.known else np.nan,
                "alike_subject": right[alike] if scene.known else np.nan,
                "kappa": threshold_at_fmr(seen(first, second, rng.standard_normal(len(first))), FMR),
            }
        )
        yield from (against_chance(name, with_areas(table), labels) for name in ("link-match", "link-auc"))


def alarms(pairs: int, repeats: int, scene: Scene, seed: int = 0) -> float:
    """Return the share of runs in which links are called beyond chance."""
    known = [len(scene.groups), len(scene.known)]
    rng = np.random.default_rng([seed, pairs, round(100 * scene.view), round(100 * scene.leak), *known])
    runs = (beyond_chance(list(family(rng, pairs, scene))) for _ in range(repeats))
    return sum(any(test.beyond for test in tests) for tests in runs) / repeats


def link_lines(repeats: int, pairs: Sequence[int] = PAIRS) -> tuple[list[str], bool]:
    """Return the table of false alarms and of power as lines, and whether every false alarm meets the bar."""
    repeats = max(100, repeats // 5)
    lines = [f"Links of {ATTACKERS} attackers beyond chance in {repeats:,} runs, in per cent", ""]
    table, met = alarm_table(
        SCENES, pairs, "pairs", lambda scene, n: alarms(n, repeats, scene), runs=repeats, bar=LEVEL
    )
    return [*lines, *table], met
