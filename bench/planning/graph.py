"""The stage graph: stages with their content keys, seeds and cost estimates. No torch.

The key of a stage is the sha256 of everything that decides its result: its kind, the plugins (distribution, version,
source digest, effective parameters, weights or data fingerprint), its options (batch size, dtype, device), its seed,
the host's own code and the numeric packages, and the keys of its inputs. Same key, same artifact.

This module adds the stages that depend on no experiment; `bench.planning.cell_stages` adds those of cells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from bench.api.hookspecs import Model
from bench.core.content_keys import digest_of, joined_digest, scoped_seed
from bench.core.domain import Component, ComponentRole, Side, Stage, StageKind
from bench.core.errors import MissingDataError
from bench.core.memoize import remembered
from bench.core.people import Half
from bench.core.provenance import runtime_digest
from bench.metrics.lpips import find_vgg
from bench.metrics.vocabulary import IMAGE_METRICS
from bench.planning.instances import Instances
from bench.planning.known_people import KnownPeople
from bench.registry.components import default_component
from bench.suite.limits import Limits
from bench.suite.suite import Suite

BATCH = 32  # images per plugin call; it is part of every key, because it changes the last bits of results
CALIBRATION_IMAGES = 500  # an estimate, for costs and sizes only
STRANGERS = "strangers"  # the split of people of the calibration split who are protected like scored people
_MFLOP_PER_S = 50_000.0  # an estimate: one core, float32

_NOTHING: Mapping[str, Any] = {}
_NO_COMPONENTS: Mapping[ComponentRole, tuple[Component, ...]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What stages that differ only in their inputs have in common. ``digest`` covers all that decides their results."""

    components: Mapping[ComponentRole, tuple[Component, ...]]
    options: Mapping[str, Any]
    digest: str
    cost_name: str
    factor: float
    time_limit_s: float
    memory_limit_mb: float | None


class LearntFaces(NamedTuple):
    """Which auxiliary faces of a data set somebody learns from; by default all that it returns.

    ``without``: the data set whose people, shown by its first ``pairs`` pairs, are left out by name; ``half``: whose
    half of the people it is, where a defense and an adversary learn; ``most``: the largest number of faces, or None.
    """

    without: Component | None = None
    pairs: int = 0
    half: Half | None = None
    most: int | None = None


class Graph:
    """Collects the stages of a plan; stages with equal keys are one. Most methods add a stage and return its key."""

    def __init__(
        self,
        stages: dict[str, Stage],
        instances: Instances,
        *,
        suite: Suite,
        device: str,
        costs: Mapping[str, float],
        limits: Limits,
    ) -> None:
        self.stages = stages
        self.instances = instances
        self.people = KnownPeople(instances)
        self.suite_seed = suite.seed
        self.suite_version = suite.version
        self.device = device
        self.common: dict[str, Any] = {"batch": BATCH, "dtype": "float32", "device": device}  # options of every stage
        if suite.deterministic:
            self.common["deterministic"] = True
        self.check_defenses = suite.check_defenses
        # An option of stages in which attacks work on what was sent; a stage that is checked keeps the key it had.
        self.checks_attacks: Mapping[str, Any] = {} if suite.check_attacks else {"check": False}
        self.costs = costs
        self.limits = limits
        self.lpips = find_vgg().sha256

    def name(self, key: str) -> str:
        """Return the display name of a stage."""
        return self.stages[key].name

    def split(self, key: str) -> str:
        """Return the split of a data set that a stage loads."""
        return str(self.stages[key].options["split"])

    @cached_property
    def image_metrics(self) -> tuple[Component, ...]:
        """The image metrics that every experiment computes, without one whose weights are missing."""
        found = []
        for name in IMAGE_METRICS:
            with contextlib.suppress(MissingDataError):
                found.append(default_component("metric", name, self.instances.registry))
        return tuple(found)

    # ---- stages of any experiment --------------------------------------------------------------------------------

    @remembered
    def faces(self, dataset: Component, split: str, pairs: int | None = None) -> str:
        """Add the stage that loads the faces of a data set: those of the split ``evaluation``, ``calibration``,
        ``auxiliary`` or ``further``."""
        options = {"split": split} | ({"pairs": pairs} if pairs else {})
        return self._faces(dataset, f"{split} faces of {dataset.label}", options, 2 * pairs if pairs else None)

    @remembered
    def strangers(self, dataset: Component, most: int, people: int) -> str:
        """Add the stage that chooses pictures of at most ``most`` people of the calibration split, two of each, as
        pairs like those that are scored; the split has so many that ``people`` are chosen."""
        h, w = self.instances.of(dataset).image_size
        return self.stage(
            "faces",
            f"{people} calibration people of {dataset.label}",
            "faces:strangers",
            components={"dataset": (dataset,)},
            options={"split": STRANGERS, "people": most},
            inputs={"calibration_faces": self.faces(dataset, "calibration")},
            units=2 * people,
            unit_cost=1e-3,
            size=2 * people * 3 * h * w,
        )

    @remembered
    def auxiliary(self, source: Component, learnt: LearntFaces) -> str:
        """Add the stage that loads the auxiliary faces of the data set ``source`` that somebody learns from."""
        name = f"auxiliary faces of {source.label}"
        options: dict[str, Any] = {"split": "auxiliary"}
        if learnt.half:
            name += f" for the {learnt.half}"
            options |= {"half": learnt.half}
        if learnt.most:
            name += f", at most {learnt.most}"
            options |= {"most": learnt.most}
        if learnt.without is None:
            return self._faces(source, name, options)
        name += f" without the scored people of {learnt.without.label}"
        return self._faces(source, name, options | {"pairs": learnt.pairs}, scored=(learnt.without,))

    def _faces(
        self,
        dataset: Component,
        name: str,
        options: Mapping[str, Any],
        images: int | None = None,
        scored: tuple[Component, ...] = (),
    ) -> str:
        """Add a stage that loads faces; ``scored`` is the data set whose scored people are left out."""
        images = images or CALIBRATION_IMAGES
        h, w = self.instances.of(dataset).image_size
        components: dict[ComponentRole, tuple[Component, ...]] = {"dataset": (dataset,)}
        return self.stage(
            "faces",
            name,
            f"faces:{dataset.name}",
            components=components | ({"scored": scored} if scored else {}),
            options=options,
            seed=self.seed("faces", dataset.name),
            units=images,
            unit_cost=4e-3,
            size=images * 3 * h * w,
        )

    @remembered
    def embed(self, model: Component, images: str, count: int) -> str:
        """Add the stage in which a model embeds the images of another stage, as they are and mirrored."""
        instance: Model = self.instances.of(model)
        return self.stage(
            "embed",
            f"embeddings of {self.name(images)} by {model.label}",
            f"embed:{model.name}",
            components={"model": (model,)},
            inputs={"images": images},
            units=count,
            unit_cost=2 * forward_cost(instance.mflops),
            size=count * instance.embedding_size * 8,
        )

    @remembered
    def embed_features(self, model: Component, features: str, split: str, count: int) -> str:
        """Add the stage in which the server part of a model embeds the features that were uploaded at a split point."""
        instance: Model = self.instances.of(model)
        return self.stage(
            "embed",
            f"embeddings of the features of {self.name(features)} by {model.label}",
            f"embed:{model.name}",
            components={"model": (model,)},
            options={"split": split},
            inputs={"images": features},
            units=count,
            unit_cost=forward_cost(instance.mflops),
            size=count * instance.embedding_size * 8,
        )

    @remembered
    def estimate(self, attack: Component, images: str, count: int) -> str:
        """Add the stage in which an attack estimates the attributes of the images of another stage."""
        return self.stage(
            "attack",
            f"estimates by {attack.name} of {self.name(images)}",
            f"attack:{attack.name}",
            components={"attack": (attack,)},
            options=self.checks_attacks,
            inputs={"images": images},
            seed=self.seed("attack", attack.name),
            units=count,
            unit_cost=1e-2,
            size=count * 1000,
        )

    @remembered
    def baselines(self, dataset: Component, faces: str, count: int, side: Side = "probe") -> str:
        """Add the score with one row per face on the protected side of pairs: the image metrics of baseline images that
        show nothing of the face."""
        return self.stage(
            "score",
            f"baselines of the image metrics on {dataset.label}",
            "score:baselines",
            components={"metric": self.image_metrics},
            options={"metric": "baselines"} | ({} if side == "probe" else {"protects": side}),
            inputs={"faces": faces, "calibration_faces": self.faces(dataset, "calibration")},
            seed=self.seed("floors", dataset.name),  # An old name, kept so that the numbers stay.
            units=count,
            unit_cost=3e-2,
            size=count * 120,
        )

    # ---- any stage -----------------------------------------------------------------------------------------------

    @remembered
    def seed(self, *scope: str | int) -> int:
        """Return the seed of a scope, such as ``("protect", defense, data set ...)``, derived from the suite's seed."""
        return scoped_seed(self.suite_seed, *scope)

    def stage(
        self,
        kind: StageKind,
        name: str,
        cost_name: str,
        *,
        components: Mapping[ComponentRole, tuple[Component, ...]] = _NO_COMPONENTS,
        options: Mapping[str, Any] = _NOTHING,
        inputs: Mapping[str, str] = _NOTHING,
        seed: int = 0,
        units: int,
        unit_cost: float,
        size: int,
    ) -> str:
        """Add a stage unless the graph has one with the same key; return the key. Options must be hashable."""
        work = self._work(kind, cost_name, tuple(components.items()), tuple(options.items()))
        key = _key(work, seed, inputs)
        if key not in self.stages:
            self.stages[key] = Stage(
                kind=kind,
                name=name,
                key=key,
                components=work.components,
                options=work.options,
                inputs=inputs,
                seed=seed,
                units=units,
                declared=units * unit_cost,
                cost=units * unit_cost * work.factor,
                cost_name=work.cost_name,
                size=size,
                time_limit_s=work.time_limit_s,
                memory_limit_mb=work.memory_limit_mb,
            )
        return key

    def again(self, stage: Stage, inputs: Mapping[str, str]) -> Stage:
        """Return a stage with other inputs and everything else the same; its key differs if its inputs do."""
        work = self._work(stage.kind, "", tuple(stage.components.items()), tuple(stage.options.items()))
        return replace(stage, key=_key(work, stage.seed, inputs), inputs=inputs)

    @remembered
    def _work(
        self,
        kind: StageKind,
        cost_name: str,
        components: tuple[tuple[ComponentRole, tuple[Component, ...]], ...],
        options: tuple[tuple[str, Any], ...],
    ) -> _Work:
        cost_name = f"{self.device}:{cost_name}"
        everything = {**self.common, **dict(options)}
        content = {
            "kind": kind,
            "components": {role: [self.instances.digest(c) for c in group] for role, group in components},
            "options": everything,
            "runtime": runtime_digest(scores=kind == "score"),
        }
        plugins = {c.label: self.instances.of(c) for _, group in components for c in group}
        return _Work(
            components=dict(components),
            options=everything,
            digest=digest_of(content),
            cost_name=cost_name,
            factor=self.costs.get(cost_name, 1.0),
            time_limit_s=self.limits.time_s(kind, plugins),
            memory_limit_mb=self.limits.memory_mb(kind),
        )


def _key(work: _Work, seed: int, inputs: Mapping[str, str]) -> str:
    return joined_digest(work.digest, str(seed), *(f"{role}:{inputs[role]}" for role in sorted(inputs)))


def forward_cost(mflops: float) -> float:
    """Return the estimated seconds of a forward pass on one core, from its million floating-point operations."""
    return mflops / _MFLOP_PER_S
