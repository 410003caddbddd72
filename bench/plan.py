"""Cells -> the stage graph, with content keys, reasons for skipping, and estimates. Pure: no torch.

The key of a stage is the sha256 of everything that decides its result: its kind, the plugins (distribution, version,
source digest, effective parameters, weights or data fingerprint), its options (batch size, dtype, device), its seed,
the host's own code and the numeric packages, and the keys of its inputs. Same key, same artifact.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from bench.errors import PluginError
from bench.hookspecs import Attack, Dataset, Defense, Model
from bench.plugins import Registry
from bench.provenance import runtime_digest
from bench.suite import Experiment, Suite
from bench.types import Cell, Component, Stage, StageKind

BATCH = 32  # images per plugin call; part of every key, because it decides the last bits
SUPPLIED: frozenset[str] = frozenset({"shallow", "full_gradients", "subjects", "training"})
_MFLOP_PER_S = 50_000.0  # one core, float32; only for estimates before anything was measured
_CALIBRATION_IMAGES = 500  # likewise


@dataclass
class Plan:
    """What a suite amounts to: its cells, the stages in an order in which inputs come first, and a digest of both."""

    suite: Suite
    device: str
    cells: list[Cell] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    requested: int = 0

    @property
    def digest(self) -> str:
        """Identifies the plan: two runs with the same digest have the same rows."""
        text = json.dumps([[c.id, c.skip, c.stages] for c in self.cells])
        return hashlib.sha256(text.encode()).hexdigest()

    def path_of(self, cell: Cell) -> list[str]:
        """Keys of every stage that a cell depends on, from its scores back to the faces."""
        seen: dict[str, None] = {}
        stack = list(cell.stages)
        while stack:
            key = stack.pop()
            if key not in seen:
                seen[key] = None
                stack.extend(self.stages[key].inputs.values())
        return list(seen)

    def uses(self) -> Counter[str]:
        """How many cells each stage serves, by key."""
        return Counter(key for cell in self.cells for key in self.path_of(cell))


@dataclass(frozen=True)
class _Point:
    """One combination of the axes."""

    dataset: Component
    authorised: tuple[Component, ...]
    defense: Component
    attack: Component
    evaluated: Component
    repeat: int

    @property
    def labels(self) -> tuple[str | int, ...]:
        """What tells a point from the others of its experiment: labels are unique on each axis."""
        axes = (self.dataset, *self.authorised, self.defense, self.attack, self.evaluated)
        return (*(c.label for c in axes), self.repeat)


def canonical(value: Any) -> Any:
    """A JSON-able form of parameters and components that is equal for equal meaning."""
    if isinstance(value, Component):
        return {
            "name": value.name,
            "params": canonical(value.params),
            "version": value.origin.version,
            "distribution": value.origin.distribution,
            "digest": value.origin.digest,
            "weights": value.weights,
        }
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [canonical(v) for v in value]
    if isinstance(value, Path | date):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise PluginError(
        f"a parameter has the value {value!r}; expected text, numbers, paths, dates, lists or tables of these, "
        "which mean the same in every process"
    )


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    text = json.dumps(canonical(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def scoped_seed(suite_seed: int, *scope: object) -> int:
    """The seed of a named scope: the first 8 bytes of the sha256 of the suite's seed and the scope's names."""
    text = "/".join(str(part) for part in (suite_seed, *scope))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_plan(suite: Suite, registry: Registry, device: str, costs: Mapping[str, float] | None = None) -> Plan:
    """Plan a suite for a device type (``cpu`` or ``cuda``). ``costs``: measured seconds per unit by cost name."""
    plan = Plan(suite=suite, device=device)
    builder = _Builder(plan, registry, costs or {})
    for experiment in suite.experiments:
        seen: set[tuple[str | int, ...]] = set()
        for point in _points(experiment):
            plan.requested += 1
            point = builder.without_ignored_axes(point)
            if point.labels not in seen:
                seen.add(point.labels)
                plan.cells.append(builder.cell(experiment, point))
    return plan


def _points(experiment: Experiment) -> Iterator[_Point]:
    axes = itertools.product(
        experiment.datasets,
        experiment.defenses,
        experiment.authorised,
        experiment.attacks,
        experiment.evaluated,
        range(experiment.repeats),
    )
    for dataset, defense, authorised, attack, evaluated, repeat in axes:
        yield _Point(dataset, authorised, defense, attack, evaluated, repeat)


class _Builder:
    """Adds the stages of cells to a plan, sharing those with equal keys."""

    def __init__(self, plan: Plan, registry: Registry, costs: Mapping[str, float]) -> None:
        self.plan = plan
        self.registry = registry
        self.costs = costs
        self._instances: dict[int, Any] = {}

    def instance(self, component: Component) -> Any:
        """The plugin's dataclass for a component (its declarations; nothing is loaded)."""
        if id(component) not in self._instances:
            cls = self.registry.find(component.kind, component.name, component.label).cls
            self._instances[id(component)] = cls(**component.params)
        return self._instances[id(component)]

    def without_ignored_axes(self, point: _Point) -> _Point:
        """A defense that knows no model is the same for every authorised set: keep one such point."""
        defense: Defense = self.instance(point.defense)
        if defense.needs & {"shallow", "full_gradients"}:
            return point
        return _Point(point.dataset, (), point.defense, point.attack, point.evaluated, point.repeat)

    def cell(self, experiment: Experiment, point: _Point) -> Cell:
        """One cell, skipped with a reason or with its stages in the graph."""
        attack: Attack = self.instance(point.attack)
        skip = self.reason_to_skip(point)
        identity: list[Any] = [experiment.name, experiment.table, experiment.kappa, experiment.fmr]
        identity += [self.plan.suite.seed, experiment.pairs, point.repeat]
        identity += [point.dataset, list(point.authorised), point.defense, point.attack, point.evaluated]
        identity += [c.label for c in (point.dataset, *point.authorised, point.defense, point.attack, point.evaluated)]
        return Cell(
            id=digest_of(identity)[:16],
            experiment=experiment.name,
            table=experiment.table,
            dataset=point.dataset,
            authorised=point.authorised,
            defense=point.defense,
            attack=point.attack,
            evaluated=point.evaluated,
            repeat=point.repeat,
            pairs=experiment.pairs,
            kappa=experiment.kappa,
            threat=attack.threat,
            skip=skip,
            stages=() if skip else self.score_stages(experiment, point),
        )

    def reason_to_skip(self, point: _Point) -> str | None:
        """Why the combination makes no sense: declared needs joined with declared capabilities; none if it does."""
        defense: Defense = self.instance(point.defense)
        attack: Attack = self.instance(point.attack)
        dataset: Dataset = self.instance(point.dataset)
        name = point.defense.label
        if missing := sorted(defense.needs - SUPPLIED):
            return f"{name} needs {', '.join(missing)}, which this version of bench cannot supply"
        for component in (*point.authorised, point.evaluated):
            size = self.instance(component).input_size
            if size != dataset.image_size:
                found = "x".join(map(str, dataset.image_size))
                return f"{component.label} takes {'x'.join(map(str, size))} images, {point.dataset.label} has {found}"
        if reason := self._missing_splits(point, defense):
            return reason
        try:
            defense.check_authorised(len(point.authorised))
        except ValueError as error:
            return f"{name}: {error}"
        if "images" in attack.sees and "image" not in defense.sends:
            return f"{point.attack.label} must see images, and {name} sends only {', '.join(sorted(defense.sends))}"
        if attack.outputs != "recognition":
            return f"{point.attack.label} outputs {attack.outputs}, which this version of bench cannot score"
        return None

    def _missing_splits(self, point: _Point, defense: Defense) -> str | None:
        if "shallow" not in defense.needs:
            return None
        for component in point.authorised:
            splits = tuple(self.instance(component).splits)
            if not splits:
                return f"{point.defense.label} needs a shallow model, and {component.label} has no named split points"
            try:
                defense.splits(splits)
            except ValueError as error:
                return f"{point.defense.label} with {component.label}: {error}"
            except Exception as error:
                where = f"defense {point.defense.label} with {component.label}"
                raise PluginError(f"{where}: splits() failed with {type(error).__name__}: {error}") from error
        return None

    def score_stages(self, experiment: Experiment, point: _Point) -> tuple[str, ...]:
        """The path of one cell through the stages; the keys of its score stages, verification first."""
        n = experiment.pairs
        dataset, evaluated = point.dataset, point.evaluated
        faces = self.faces(dataset, "evaluation", pairs=n)
        calibration = self.faces(dataset, "calibration")
        protected = self.protect(point, faces, n)
        clean_embeddings = self.embed(evaluated, faces, 2 * n)
        calibration_embeddings = self.embed(evaluated, calibration, _CALIBRATION_IMAGES)
        protected_embeddings = self.embed(evaluated, protected, n)
        verification = self.stage(
            "score",
            f"verification of {point.defense.label} by {evaluated.label} on {dataset.label}",
            "score:verification",
            options={"metric": "verification", "fmr": experiment.fmr},
            inputs={
                "faces": faces,
                "clean": clean_embeddings,
                "protected": protected_embeddings,
                "calibration_faces": calibration,
                "calibration": calibration_embeddings,
            },
            units=n,
            unit_cost=2e-4,
            size=n * 120,
        )
        images = self.stage(
            "score",
            f"image similarity of {point.defense.label} on {dataset.label}",
            "score:images",
            options={"metric": "images"},
            inputs={"faces": faces, "protected": protected},
            units=n,
            unit_cost=8e-3,
            size=n * 120 + 16 * 80_000,
        )
        floors = self.stage(
            "score",
            f"floors of the image metrics on {dataset.label}",
            "score:floors",
            options={"metric": "floors"},
            inputs={"faces": faces, "calibration_faces": calibration},
            seed=scoped_seed(self.plan.suite.seed, "floors", dataset.name),
            units=n,
            unit_cost=3e-2,
            size=n * 120,
        )
        return verification, images, floors

    def faces(self, dataset: Component, split: str, pairs: int | None = None) -> str:
        """The stage that makes a data set's images for a split."""
        images = 2 * pairs if pairs else _CALIBRATION_IMAGES
        h, w = self.instance(dataset).image_size
        return self.stage(
            "faces",
            f"{split} faces of {dataset.label}",
            f"faces:{dataset.name}",
            components={"dataset": (dataset,)},
            options={"split": split} | ({"pairs": pairs} if pairs else {}),
            seed=scoped_seed(self.plan.suite.seed, "faces", dataset.name),
            units=images,
            unit_cost=4e-3,
            size=images * 3 * h * w,
        )

    def embed(self, model: Component, images: str, count: int) -> str:
        """The stage that embeds the images of another stage, as they are and flipped."""
        instance: Model = self.instance(model)
        return self.stage(
            "embed",
            f"embeddings of {self.plan.stages[images].name} by {model.label}",
            f"embed:{model.name}",
            components={"model": (model,)},
            inputs={"images": images},
            units=count,
            unit_cost=2 * instance.mflops / _MFLOP_PER_S,
            size=count * instance.embedding_size * 8,
        )

    def protect(self, point: _Point, faces: str, count: int) -> str:
        """The stage in which the client protects the left images of the pairs (Equation 10 protects x1 only)."""
        defense: Defense = self.instance(point.defense)
        authorised = "+".join(c.label for c in point.authorised)
        scope = (point.defense.name, point.dataset.name, "+".join(c.name for c in point.authorised), point.repeat)
        components = {"defense": (point.defense,), "authorised": point.authorised}
        inputs = {"faces": faces}
        if "training" in defense.needs:
            inputs["state"] = self.stage(
                "fit_defense",
                f"{point.defense.label} fitted on {point.dataset.label}",
                f"fit_defense:{point.defense.name}",
                components=components,
                inputs={"faces": self.faces(point.dataset, "auxiliary")},
                seed=scoped_seed(self.plan.suite.seed, "fit_defense", *scope),
                units=_CALIBRATION_IMAGES,
                unit_cost=1e-2,
                size=1_000_000,
            )
        mflops = sum(self.instance(m).mflops for m in point.authorised)
        h, w = self.instance(point.dataset).image_size
        name = f"{point.dataset.label} protected by {point.defense.label}"
        return self.stage(
            "protect",
            f"{name} for {authorised}" if authorised else name,
            ":".join(("protect", point.defense.name, *(c.name for c in point.authorised))),
            components=components,
            inputs=inputs,
            seed=scoped_seed(self.plan.suite.seed, "protect", *scope),
            units=count,
            unit_cost=1e-3 + defense.passes() * mflops / _MFLOP_PER_S,
            size=count * 3 * h * w,
        )

    def stage(
        self,
        kind: StageKind,
        name: str,
        cost_name: str,
        *,
        components: Mapping[str, tuple[Component, ...]] | None = None,
        options: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        seed: int = 0,
        units: int,
        unit_cost: float,
        size: int,
    ) -> str:
        """Add a stage unless one with the same key is there; return its key."""
        components, inputs = dict(components or {}), dict(inputs or {})
        options = {"batch": BATCH, "dtype": "float32", "device": self.plan.device, **(options or {})}
        key = digest_of(
            {
                "kind": kind,
                "components": components,
                "options": options,
                "inputs": inputs,
                "seed": seed,
                "runtime": runtime_digest(),
            }
        )
        if key not in self.plan.stages:
            cost_name = f"{self.plan.device}:{cost_name}"
            self.plan.stages[key] = Stage(
                kind=kind,
                name=name,
                key=key,
                components=components,
                options=options,
                inputs=inputs,
                seed=seed,
                units=units,
                cost=units * self.costs.get(cost_name, unit_cost),
                cost_name=cost_name,
                size=size,
            )
        return key
