"""Measure how often the verdict and the ladder raise a false alarm, and how often they see a leak, by simulation.

A part of ``make statistics`` (`benchmarks/inference.py`). Every decision is made by the function that the report calls,
`bench.analysis.chance_tests.beyond_chance`, from scores whose truth is known:

- Originals and what the attacks end with are embeddings, by two held-out recognisers that agree in part. Without a leak
  both are independent of each other. What attacks end with has a common direction, and attackers may be correlated.
- The threshold is that of an adversary, set for a false match rate of 1 % on impostors of the same kind.
- A leak of x points means that the first attack reveals the original of a share x of the people, and the others
  nothing: the case in which a correction for many attacks costs most.
- "all channels" has as many attackers in each of recognition, linkage and attributes, and a leak in one channel only.
  Links are scored, permuted and given thresholds by the functions of the stage that scores them.
- Half of the pairs are genuine. With ``twice``, every person is in two pairs.
- With ``repeats``, every attack was repeated on the same people, and the common direction differs between repeats.

The columns are the numbers of attackers. An alarm is false if any comparison of the family is called beyond chance; the
bar is 5 %.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from simulated_links import against_chance, with_areas
from simulation_bars import too_many

from bench.analysis.chance_tests import LEVEL, AgainstChance, ChanceTest, beyond_chance
from bench.analysis.pooling import Pool, SampleScores
from bench.metrics import permuted_baseline
from bench.metrics.impostors import people_groups
from bench.metrics.linkage import thresholds_without
from bench.stages.partners import other_pairs

ATTACKERS = (1, 3, 6, 12)
PEOPLE = (104, 208)
REPEATS = 3
LEAKS = (0.05, 0.1)
CHANNEL_LEAKS = (("recognition", 0.1), ("linkage", 0.1), ("attributes", 0.3))
CORRELATIONS = (0.0, 0.9)
_DIMENSIONS, _RECOGNISERS, _CLASSES = 24, 2, (7, 6, 2)
_SHARED, _HUB = 0.7, 0.15  # What recognisers share, and the common direction of what attacks end with.
_HUB_SPREAD = 0.5  # By how much of itself the common direction varies between repeats.

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Simulated attacks by a number of ``attackers`` on a number of ``people``.

    ``correlation`` is that between attackers, ``leak`` the share of people whose original the first of them reveals,
    and ``channel`` the only one that leaks where all channels are tested together. ``twice``: every person is in two
    pairs. ``repeats``: how often every attack was drawn.
    """

    people: int
    attackers: int
    correlation: float = 0.0
    leak: float = 0.0
    channel: str = "recognition"
    twice: bool = False
    repeats: int = 1


def _unit(vectors: Floats) -> Floats:
    found: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def _embeddings(n: int, rng: np.random.Generator) -> Floats:
    """Return random embeddings ``(n, recognisers, dimensions)`` of unit length."""
    common, own = rng.standard_normal((n, 1, _DIMENSIONS)), rng.standard_normal((n, _RECOGNISERS, _DIMENSIONS))
    return _unit(np.sqrt(_SHARED) * common + np.sqrt(1 - _SHARED) * own)


@cache
def threshold() -> float:
    """Return the threshold of the adversary, from impostors that are not scored."""
    rng = np.random.default_rng(0)
    ends, originals = _unit(_embeddings(1500, rng) + _HUB), _embeddings(1500, rng)
    return float(np.quantile(np.einsum("ik,jk->ij", ends[:, 0], originals[:, 0]), 0.99))


def attacks(scene: Scene, rng: np.random.Generator, *names: str) -> Iterator[dict[str, AgainstChance]]:
    """Yield the comparisons of identity of each attack, by name: ``photo``, ``other photo`` and ``rank 1``."""
    n = scene.people
    person = np.repeat(np.arange(n // 2), 2) if scene.twice else np.arange(n)
    genuine = np.arange(n) % 4 < 2 if scene.twice else np.arange(n) % 2 == 0
    other = np.where(genuine, person, person + n)
    originals, common = _embeddings(n, rng), _embeddings(n, rng)
    enrolled = _unit(originals + 0.3 * _embeddings(n, rng))
    stranger = person[:, None] != person[None]
    revealed = rng.random(n) < scene.leak
    commons = [common, *(_embeddings(n, rng) for _ in range(scene.repeats - 1))]
    hubs = _HUB * (1 + _HUB_SPREAD * rng.standard_normal(scene.repeats)) if scene.repeats > 1 else [_HUB]
    every = tuple(range(scene.repeats))
    for attacker in range(scene.attackers):
        pools: dict[str, tuple[Pool, Pool]] = {name: (Pool(), Pool()) for name in names}
        for repeat in every:
            mixed = np.sqrt(scene.correlation) * commons[repeat]
            ends = _unit(mixed + np.sqrt(1 - scene.correlation) * _embeddings(n, rng) + hubs[repeat])
            if attacker == 0:
                ends = np.where(revealed[:, None, None], originals, ends)
            for r, (name, sides) in itertools.product(range(_RECOGNISERS), pools.items()):
                gallery = enrolled if name == "other photo" else originals
                found = np.einsum("ik,jk->ij", ends[:, r], gallery[:, r])  # Small, so that threads would only disturb.
                kept = genuine if name == "other photo" else np.ones(n, np.bool_)
                for pool, scores in zip(sides, _decisions(name, found, stranger), strict=True):
                    pool.add(SampleScores(scores[kept], person[kept], "set", other[kept], repeat, every))
        yield {name: AgainstChance(found=found, chance=chance) for name, (found, chance) in pools.items()}


def _decisions(name: str, similarity: Floats, stranger: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return whether each probe finds its person, and the same by chance, ``(n,)`` each."""
    own = np.diagonal(similarity)
    if name == "rank 1":
        first = np.where(stranger, similarity, -1).max(axis=1) < own
        return first.astype(np.float64), 1 / (1 + stranger.sum(axis=1))
    return (own > threshold()).astype(np.float64), _share(similarity > threshold(), stranger)


def _share(matched: NDArray[np.bool_], stranger: NDArray[np.bool_]) -> Floats:
    """Return the share of strangers whom each probe matches."""
    found: Floats = (matched & stranger).sum(axis=1) / stranger.sum(axis=1)
    return found


def verdict(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of all attacks on one defense, as the verdict makes them."""
    return beyond_chance([found["photo"] for found in attacks(scene, rng, "photo")])


def links(scene: Scene, rng: np.random.Generator) -> Iterator[AgainstChance]:
    """Yield the comparisons of links of each attack: the share of linked pairs, and the area under the ROC curve."""
    n = scene.people
    person = np.repeat(np.arange(n // 2), 2) if scene.twice else np.arange(n)
    same = np.arange(n) % 4 < 2 if scene.twice else np.arange(n) % 2 == 0
    other = np.where(same, person, person + n)
    known, group = people_groups(person, other)
    of_left, of_right = (np.searchsorted(known, side) for side in (person, other))
    partner = other_pairs(person, other, rng.permutation(n))
    there = partner >= 0
    common = _embeddings(2 * n, rng)[:, 0]
    revealed = same & (rng.random(n) < scene.leak)
    for attacker in range(scene.attackers):
        mixed = np.sqrt(scene.correlation) * common
        ends = _unit(mixed + np.sqrt(1 - scene.correlation) * _embeddings(2 * n, rng)[:, 0] + _HUB)
        left, right = ends[:n], ends[n:]
        if attacker == 0:
            right = np.where(revealed[:, None], left, right)
        score, permuted = (left * right).sum(axis=1), np.where(there, (left * right[partner]).sum(axis=1), np.nan)
        seen = (
            np.concatenate([score[~same], permuted[there]]),
            np.concatenate([of_left[~same], of_left[there]]),
            np.concatenate([of_right[~same], of_right[partner[there]]]),
        )
        kappa = thresholds_without(*seen, group, fmr=0.01).kappa[group[of_left]]
        rows = {"left_subject": person, "right_subject": other, "same": same, "score": score, "permuted": permuted}
        table = with_areas(pd.DataFrame(rows | {"kappa": kappa}))
        yield from (against_chance(name, table) for name in ("link-match", "link-auc"))


def channels(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of the verdict over all channels: matches, links and attributes of as many attackers each."""
    quiet = replace(scene, leak=0.0)
    of = {name: scene if name == scene.channel else quiet for name in ("recognition", "linkage", "attributes")}
    matches = [found["photo"] for found in attacks(of["recognition"], rng, "photo")]
    return beyond_chance([*matches, *links(of["linkage"], rng), *described(of["attributes"], rng)])


def identity(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of the rung of identity."""
    return beyond_chance([c for found in attacks(scene, rng, "photo", "other photo", "rank 1") for c in found.values()])


def attributes(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of the rung of attributes: answers that prefer some classes, but do not depend on the face."""
    return beyond_chance(list(described(scene, rng)))


def described(scene: Scene, rng: np.random.Generator) -> Iterator[AgainstChance]:
    """Yield the comparisons of attributes; the first attack knows the truth for the people whom it reveals."""
    people = np.arange(scene.people)
    revealed = rng.random(scene.people) < scene.leak
    for classes in _CLASSES:
        truth = rng.dirichlet(np.linspace(0.2, 2, classes), size=scene.people)
        common = rng.dirichlet(np.linspace(2, 0.2, classes), size=scene.people)
        for attacker in range(scene.attackers):
            answers = rng.dirichlet(np.linspace(2, 0.2, classes), size=scene.people)
            answers = scene.correlation * common + (1 - scene.correlation) * answers
            if attacker == 0:
                answers = np.where(revealed[:, None], truth, answers)
            values = (_unit(answers) * _unit(truth)).sum(axis=1)
            sides = (SampleScores(v, people, "set") for v in (values, permuted_baseline(answers, truth, people)))
            found, chance = (Pool([side]) for side in sides)
            yield AgainstChance(found=found, chance=chance, share=False)


def pixels(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of the rung of pixels: pictures as similar to the original as those without the face are."""
    return beyond_chance(_similarities(scene, rng, 1))


def pixel_safe(scene: Scene, rng: np.random.Generator) -> list[ChanceTest]:
    """Return the tests of whether pictures are less similar to the original than those without the face are."""
    return beyond_chance(_similarities(scene, rng, -1))


def _similarities(scene: Scene, rng: np.random.Generator, sign: int) -> list[AgainstChance]:
    people = np.arange(scene.people)
    chance = Pool([SampleScores(rng.normal(0.4, 0.1, scene.people), people, "set, without the face")])
    common = rng.standard_normal(scene.people)
    family = []
    for _ in range(scene.attackers):
        noise = np.sqrt(scene.correlation) * common
        noise = noise + np.sqrt(1 - scene.correlation) * rng.standard_normal(scene.people)
        found = Pool([SampleScores(0.4 + 0.05 * noise, people, "set")])
        family.append(AgainstChance(found=found, chance=chance, sign=sign, share=False))
    return family


RULES = {
    "verdict: leaks": verdict,
    "verdict: all channels": channels,
    "ladder: identity": identity,
    "ladder: attributes": attributes,
    "ladder: pixels": pixels,
    "ladder: pixel-safe": pixel_safe,
}


def alarms(rule: str, scene: Scene, repeats: int, seed: int = 0) -> float:
    """Return the share of simulated runs in which a rule calls anything beyond chance."""
    parts = [seed, scene.people, scene.attackers, round(100 * scene.correlation), round(100 * scene.leak), scene.twice]
    parts += [len(scene.channel)] if scene.channel != "recognition" else []
    rng = np.random.default_rng([*parts, scene.repeats] if scene.repeats > 1 else parts)
    return sum(any(test.beyond for test in RULES[rule](scene, rng)) for _ in range(repeats)) / repeats


def alarm_lines(repeats: int, attackers: Sequence[int] = ATTACKERS) -> tuple[list[str], bool]:
    """Return the table of false alarms and of power as lines, and whether every false alarm meets the bar."""
    repeats = max(100, repeats // 5)
    lines = [f"Runs with an alarm in {repeats:,} repeats, in per cent (bar without a leak: {100 * LEVEL:.0f})", ""]
    lines.append(f"{'':<66}" + "".join(f"{k:>7}" for k in attackers) + "  attackers")
    met = True
    for rule in RULES:
        for people in PEOPLE:
            of_verdict = rule == "verdict: leaks"
            leaks = (0.0, *LEAKS) if of_verdict else (0.0,)
            shapes = [Scene(people=people, attackers=1, correlation=c, leak=x) for x in leaks for c in CORRELATIONS]
            shapes.append(Scene(people=people, attackers=1, twice=True))
            if of_verdict:
                shapes += [Scene(people=people, attackers=1, leak=x, repeats=REPEATS) for x in leaks]
            if rule == "verdict: all channels":
                shapes += [Scene(people=people, attackers=1, leak=x, channel=name) for name, x in CHANNEL_LEAKS]
            for shape in shapes:
                scenes = [replace(shape, attackers=k) for k in attackers]
                found = [alarms(rule, scene, repeats) for scene in scenes]
                wrong = [not shape.leak and too_many(share, repeats, LEVEL) for share in found]
                met = met and not any(wrong)
                about = f"leak {100 * shape.leak:>2.0f} points" if shape.leak else "no leak"
                who = f"{people} pairs of {people // 2} people" if shape.twice else f"{people} people"
                who += f", {shape.repeats} repeats" if shape.repeats > 1 else ""
                about += f", {shape.channel}" if shape.leak and not of_verdict else ""
                label = f"{rule:<24}{who:<24}r {shape.correlation:<4g}{about}"
                lines.append(
                    f"{label:<66}"
                    + "".join(f"{100 * f:>6.1f}{'!' if x else ' '}" for f, x in zip(found, wrong, strict=True))
                )
                print(lines[-1], file=sys.stderr, flush=True)
    return lines, met
