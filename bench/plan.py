"""A suite -> its cells and the stage graph behind them, with reasons for skipping. Pure: no torch."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bench.errors import PluginError
from bench.graph import Graph, Instances, Point, uses_features
from bench.hookspecs import Attack, Dataset, Defense
from bench.keys import digest_of
from bench.limits import Limits
from bench.plugins import Registry
from bench.suite import Experiment, Suite
from bench.types import Cell, Component, Stage

SUPPLIED: frozenset[str] = frozenset({"shallow", "full_gradients", "subjects", "training"})


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


def make_plan(
    suite: Suite,
    registry: Registry,
    device: str,
    costs: Mapping[str, float] | None = None,
    timeout_s: float | None = None,
) -> Plan:
    """Plan a suite for a device type (``cpu`` or ``cuda``). ``costs``: measured seconds per unit by cost name;
    ``timeout_s``: the time limit of every stage, whatever the suite and plugins say."""
    plan = Plan(suite=suite, device=device)
    limits = Limits(timeout_s=timeout_s, stage_timeout_s=suite.stage_timeout_s, stage_memory_mb=suite.stage_memory_mb)
    planner = _Planner(plan, registry, costs or {}, limits)
    for experiment in suite.experiments:
        seen: set[tuple[str | int, ...]] = set()
        for point in _points(experiment):
            plan.requested += 1
            point = planner.with_own_parameters(planner.without_ignored_axes(experiment, point))
            if point.labels not in seen:
                seen.add(point.labels)
                plan.cells.append(planner.cell(experiment, point))
    return plan


def _points(experiment: Experiment) -> Iterator[Point]:
    axes = itertools.product(
        experiment.datasets,
        experiment.defenses,
        experiment.authorised,
        experiment.attacks,
        experiment.evaluated,
        range(experiment.repeats),
    )
    for dataset, defense, authorised, attack, evaluated, repeat in axes:
        yield Point(dataset, authorised, defense, attack, evaluated, repeat)


class _Planner:
    """Turns the points of experiments into cells."""

    def __init__(self, plan: Plan, registry: Registry, costs: Mapping[str, float], limits: Limits) -> None:
        self.plan = plan
        self.instances = Instances(registry)
        self.graph = Graph(
            plan.stages, self.instances, suite=plan.suite, device=plan.device, costs=costs, limits=limits
        )

    def needs_model(self, experiment: Experiment, point: Point) -> bool:
        """Whether features of an authorised model take part, whatever the defense."""
        first: Attack = self.instances.of(point.attack.via or point.attack)
        return experiment.upload == "features" or uses_features(first)

    def without_ignored_axes(self, experiment: Experiment, point: Point) -> Point:
        """What no model takes part in is the same for every authorised set, and what no model evaluates for every
        evaluated one: keep one such point."""
        if not self.instances.knows_models(point.defense) and not self.needs_model(experiment, point):
            point = replace(point, authorised=())
        attack: Attack = self.instances.of(point.attack)
        if attack.outputs == "attributes" and not experiment.noise_levels:
            point = replace(point, evaluated=None)
        return point

    def with_own_parameters(self, point: Point) -> Point:
        """A defense with the parameters that the suite gives it for these authorised models."""
        other = point.defense.on_stand_ins
        synthetic = any(self.instances.of(model).synthetic for model in point.authorised)
        return replace(point, defense=other) if other and synthetic else point

    def cell(self, experiment: Experiment, point: Point) -> Cell:
        """One cell, skipped with a reason or with its stages in the graph."""
        attack: Attack = self.instances.of(point.attack)
        first: Attack = self.instances.of(point.attack.via or point.attack)
        skip = self.reason_to_skip(experiment, point)
        identity: list[object] = [experiment.name, experiment.table, experiment.kappa, experiment.fmr]
        identity += [experiment.threshold]
        identity += [self.plan.suite.seed, experiment.pairs, point.repeat, experiment.upload, experiment.split]
        identity += [list(experiment.noise_levels), experiment.auxiliary, list(experiment.figures)]
        identity += [point.dataset, list(point.authorised), point.defense, point.attack, point.evaluated]
        threats = [first.threat, attack.threat] if point.attack.via else [attack.threat]
        return Cell(
            id=digest_of([*identity, *point.labels])[:16],
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
            threat="; then: ".join(threats),
            upload=self._upload(experiment, point, skip),
            outputs=attack.outputs,
            leaky=first.trains_on == "evaluated",
            skip=skip,
            stages=() if skip else self.graph.scores(experiment, point),
        )

    def _upload(self, experiment: Experiment, point: Point, skip: str | None) -> str:
        if experiment.upload == "images":
            return "images"
        splits = [experiment.split] if skip else self.instances.uploaded(experiment, point)
        return f"features at {'+'.join(splits)}"

    def reason_to_skip(self, experiment: Experiment, point: Point) -> str | None:
        """Why the combination makes no sense: declared needs joined with declared capabilities; none if it does."""
        defense: Defense = self.instances.of(point.defense)
        dataset: Dataset = self.instances.of(point.dataset)
        name = point.defense.label
        if missing := sorted(defense.needs - SUPPLIED):
            return f"{name} needs {', '.join(missing)}, which this version of bench cannot supply"
        for component in (*point.authorised, *([point.evaluated] if point.evaluated else [])):
            size = self.instances.of(component).input_size
            if size != dataset.image_size:
                found = "x".join(map(str, dataset.image_size))
                return f"{component.label} takes {'x'.join(map(str, size))} images, {point.dataset.label} has {found}"
        if reason := self._missing_splits(point, defense):
            return reason
        try:
            defense.check_authorised(len(point.authorised))
        except ValueError as error:
            return f"{name}: {error}"
        return self._impossible_attack(experiment, point, defense)

    def _impossible_attack(self, experiment: Experiment, point: Point, defense: Defense) -> str | None:
        """Why the attack cannot work on what is uploaded."""
        attack: Attack = self.instances.of(point.attack)
        first: Attack = self.instances.of(point.attack.via or point.attack)
        label = (point.attack.via or point.attack).label
        sent = ", ".join(sorted(defense.sends))
        if attack.synthetic and not self.instances.of(point.dataset).synthetic:
            return (
                f"{point.attack.label} learnt from generated faces and knows nothing of those of {point.dataset.label}"
            )
        if experiment.upload == "images" and "image" not in defense.sends:
            return f"{point.defense.label} sends only {sent}, and images are uploaded here"
        if experiment.upload == "features" and not defense.sends & {"image", "feature"}:
            return f"{point.defense.label} sends only {sent}, and features are uploaded here"
        if experiment.auxiliary and first.trains_on not in ("nothing", "evaluated"):
            there, here = (self.instances.of(c).image_size for c in (experiment.auxiliary, point.dataset))
            if there != here:
                sizes = f"{'x'.join(map(str, there))} images, {point.dataset.label} has {'x'.join(map(str, here))}"
                return f"{label} learns from {experiment.auxiliary.label}, which has {sizes}"
        if reason := self._scored_people(experiment, point, first, defense):
            return reason
        if self.needs_model(experiment, point):
            if len(point.authorised) != 1:
                return f"features are those of one authorised model; {len(point.authorised)} are authorised"
            try:
                self.instances.uploaded(experiment, point)
                self.instances.attacked(experiment, point)
            except ValueError as error:
                return str(error)
        if attack.trains_on != "nothing" and attack.outputs != "images":
            return (
                f"{point.attack.label} outputs {attack.outputs} and learns; only attacks that output images can learn"
            )
        recognises = attack.outputs == "recognition" or (attack.outputs == "attributes" and experiment.noise_levels)
        if experiment.upload == "features" and recognises:
            if (point.authorised[0].name, point.authorised[0].params) != _identity_of(point.evaluated):
                return "features of one model mean nothing to another: reconstruct images first (paper, section 4.1.1)"
            if attack.outputs == "recognition":
                return None
        if experiment.upload == "features" and "images" in first.sees:
            return f"{label} must see images, and features are uploaded here"
        return None

    def _scored_people(self, experiment: Experiment, point: Point, first: Attack, defense: Defense) -> str | None:
        """Why an attack or defense that learns would learn from people who are scored; none if it does not."""
        learning = []
        if first.trains_on in ("clean", "defense"):
            learning.append(((point.attack.via or point.attack).label, experiment.auxiliary or point.dataset))
        if "training" in defense.needs:
            learning.append((point.defense.label, point.dataset))
        most = self.instances.of(point.dataset).pairs_beside_auxiliary() if learning else None
        for label, source in learning:
            if _same_data(source, point.dataset) and most is not None and experiment.pairs > most:
                return (
                    f"{label} would learn from people of {point.dataset.label} who are scored: beside {most} pairs "
                    f"there are others, beside {experiment.pairs} there are not; ask for fewer pairs or name another "
                    "data set as auxiliary"
                )
        return None

    def _missing_splits(self, point: Point, defense: Defense) -> str | None:
        if "shallow" not in defense.needs:
            return None
        for component in point.authorised:
            splits = tuple(self.instances.of(component).splits)
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


def _same_data(a: Component, b: Component) -> bool:
    """Whether two data sets show the same people: they are read from the same files."""
    return (a.name, a.weights) == (b.name, b.weights)


def _identity_of(model: Component | None) -> tuple[str, object] | None:
    return (model.name, model.params) if model else None
