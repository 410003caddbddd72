"""Measure how often ``bench judge`` finds more than chance in the best of several preprocessings although no network
recognises anybody, and how often it sees that some photos are recognised. A section of ``make statistics``.

Every photo is a hit with the probability of chance, after each of ten preprocessings; these hits are independent, or
mostly the same ones. Something is found if the interval of the best lies above chance, or if chance alone makes it as
large in at most 5 % of cases. Both are computed by the functions that the verdict uses. Without the correction for the
choice, the interval is that of any single share; this row has no bar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from simulation_bars import alarm_table

from bench.judging.choice import ERROR, best_interval, by_chance, effective_photos
from bench.metrics.clustering import pair_interval

WAYS = 10
PHOTOS = (20, 40, 100)
_COMMON = 0.8  # The share of photos whose hits are the same after all preprocessings, where they are alike.


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Photos, ``each`` of one person, that are hits by ``chance``: the same ones after all preprocessings for a share
    ``alike`` of them. ``skewed``: a quarter of the photos show one person. A network recognises a share ``leak`` of the
    people after one preprocessing, with all their photos. ``by``: what decides, ``interval``, ``chance``, or
    ``uncorrected``."""

    by: str
    chance: float | None = None  # By default, that of rank 1: one of all photos.
    alike: float = 0.0
    each: int = 1
    skewed: bool = False
    leak: float = 0.0

    @property
    def label(self) -> str:
        """The scene in words."""
        chance = "rank 1" if self.chance is None else f"{100 * self.chance:g} %"
        hits = "hits mostly alike" if self.alike else "hits independent"
        several = (
            ", a quarter of one person" if self.skewed else f", {self.each} photos of each" if self.each > 1 else ""
        )
        leak = f", {100 * self.leak:g} % recognised" if self.leak else ""
        return f"{self.by}: {chance}, {hits}{several}{leak}"

    @property
    def barred(self) -> bool:
        """True if an alarm is false, and the choice is corrected for."""
        return not self.leak and self.by != "uncorrected"


SCENES = (
    *(Scene(by=by, alike=alike) for by in ("chance", "interval", "uncorrected") for alike in (0.0, _COMMON)),
    *(Scene(by=by, chance=chance) for by in ("chance", "interval") for chance in (0.01, 0.1)),
    *(Scene(by=by, chance=0.05, each=2) for by in ("chance", "interval")),
    *(Scene(by=by, chance=chance, skewed=True) for by in ("chance", "interval") for chance in (0.01, 0.05)),
    *(Scene(by="chance", alike=_COMMON, leak=leak) for leak in (0.1, 0.2, 0.4)),
    *(Scene(by="chance", alike=_COMMON, each=2, leak=leak) for leak in (0.2, 0.4)),
)


def found(scene: Scene, photos: int, rng: np.random.Generator) -> bool:
    """Return whether the best of ten preprocessings is found to be more than chance."""
    chance, person = 1 / photos if scene.chance is None else scene.chance, np.arange(photos) // scene.each
    if scene.skewed:
        person = np.maximum(0, person - photos // 4)
    n = person[-1] + 1  # All photos of a person are hits, or none.
    common, own = rng.random(n) < chance, rng.random((WAYS, n)) < chance
    hits = np.where(rng.random((WAYS, n)) < scene.alike, common, own)
    hits[0] |= rng.random(n) < scene.leak
    best = hits[:, person][hits[:, person].sum(axis=1).argmax()].astype(np.float64)
    size = float(best.mean()), effective_photos(person)
    if scene.by == "chance":
        return by_chance(*size, chance, WAYS) <= ERROR
    interval = best_interval(*size, WAYS) if scene.by == "interval" else pair_interval(best, person, share=True)
    return interval is not None and interval[0] > chance


def alarms(scene: Scene, photos: int, repeats: int, seed: int = 0) -> float:
    """Return the share of judgements in which the best preprocessing is found to be more than chance."""
    rng = np.random.default_rng([seed, photos, *scene.by.encode(), round(100 * scene.alike), scene.each])
    return sum(found(scene, photos, rng) for _ in range(repeats)) / repeats


def choice_lines(repeats: int) -> tuple[list[str], bool]:
    """Return the table of false alarms and of power as lines, and whether every false alarm meets the bar."""
    lines = [f"The best of {WAYS} preprocessings beyond chance in {repeats:,} judgements, in per cent", ""]
    table, met = alarm_table(
        SCENES, PHOTOS, "photos", lambda scene, n: alarms(scene, n, repeats), runs=repeats, bar=ERROR
    )
    return [*lines, *table], met
