"""The cells of an experiment: the combinations of its axes, and why some make no sense."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from bench.api.hookspecs import Attack, Defense
from bench.core.content_keys import digest_of, joined_digest
from bench.core.domain import Cell, Component
from bench.core.errors import PluginError
from bench.core.memoize import remembered
from bench.planning.cell_stages import Paths
from bench.planning.graph import Graph
from bench.planning.instances import Client, Combination, Splits
from bench.suite.suite import Experiment

SUPPLIED: frozenset[str] = frozenset({"shallow", "full_gradients", "subjects", "training"})


class _Adversary(NamedTuple):
    """What a cell says of its attack, and of the one before it."""

    threat: str
    outputs: str
    leaky: bool


class ExperimentPlanner:
    """Turns the points of one experiment into cells.

    What decides about a point is asked of the few parties that it depends on, so that it is asked once for them.
    """

    def __init__(self, experiment: Experiment, graph: Graph) -> None:
        self.experiment = experiment
        self.instances = graph.instances
        self.splits = Splits(experiment, graph.instances)
        self.paths = Paths(experiment, graph, self.splits)
        self.requested = 0
        asked: list[object] = [experiment.name, experiment.table]
        asked += [experiment.kappa, experiment.fmr, experiment.threshold]
        asked += [graph.suite_seed, experiment.pairs, experiment.upload, experiment.split]
        asked += [list(experiment.noise_levels), experiment.auxiliary, list(experiment.figures)]
        self.digest = digest_of(asked)

    # ---- axes ----------------------------------------------------------------------------------------------------

    def points(self) -> Iterator[Combination]:
        """The combinations of the axes that differ in something that takes part in them."""
        e = self.experiment
        axes = (e.datasets, e.defenses, e.authorised, e.attacks, e.evaluated, range(e.repeats))
        seen: set[Combination] = set()
        for dataset, defense, authorised, attack, evaluated, repeat in itertools.product(*axes):
            self.requested += 1
            models = authorised if self.takes_models(defense, attack) else ()
            client = Client(dataset, models, self.with_own_parameters(defense, models), repeat)
            point = Combination(client, attack, evaluated if self.is_judged(attack) else None)
            if point not in seen:
                seen.add(point)
                yield point

    @remembered
    def takes_models(self, defense: Component, attack: Component) -> bool:
        """Whether authorised models take part; where they do not, a cell is the same for all of them."""
        return self.instances.knows_models(defense) or self.needs_model(attack)

    @remembered
    def needs_model(self, attack: Component) -> bool:
        """Whether features of an authorised model take part, whatever the defense."""
        return self.experiment.upload == "features" or self.instances.uses_features(attack.via or attack)

    @remembered
    def is_judged(self, attack: Component) -> bool:
        """Whether an evaluated model takes part; where it does not, a cell is the same for all of them."""
        return self.instances.of(attack).outputs != "attributes" or bool(self.experiment.noise_levels)

    @remembered
    def with_own_parameters(self, defense: Component, authorised: tuple[Component, ...]) -> Component:
        """The defense with the parameters that the suite gives it for these authorised models."""
        synthetic = any(self.instances.of(model).synthetic for model in authorised)
        return defense.on_stand_ins if defense.on_stand_ins and synthetic else defense

    # ---- cells ---------------------------------------------------------------------------------------------------

    def cell(self, point: Combination) -> Cell:
        """One cell, skipped with a reason or with its stages in the graph."""
        (dataset, authorised, defense, repeat), attack, evaluated = point
        adversary = self.adversary(attack)
        skip = self.reason_to_skip(point)
        called = self.instances.called
        models = "+".join(map(called, authorised))
        judge = called(evaluated) if evaluated else ""
        identity = (called(dataset), models, called(defense), called(attack), judge, str(repeat))
        return Cell(
            id=joined_digest(self.digest, *identity)[:16],
            experiment=self.experiment.name,
            table=self.experiment.table,
            dataset=dataset,
            authorised=authorised,
            defense=defense,
            attack=attack,
            evaluated=evaluated,
            repeat=repeat,
            pairs=self.experiment.pairs,
            kappa=self.experiment.kappa,
            threat=adversary.threat,
            upload=self.upload(authorised, skipped=skip is not None),
            outputs=adversary.outputs,
            leaky=adversary.leaky,
            skip=skip,
            stages=() if skip else self.paths.scores(point),
        )

    @remembered
    def adversary(self, attack: Component) -> _Adversary:
        """What cells say of an attack."""
        instance: Attack = self.instances.of(attack)
        first: Attack = self.instances.of(attack.via or attack)
        threat = f"{first.threat}; then: {instance.threat}" if attack.via else instance.threat
        return _Adversary(threat, instance.outputs, first.trains_on == "evaluated")

    @remembered
    def upload(self, authorised: tuple[Component, ...], *, skipped: bool) -> str:
        """What leaves the client, in words."""
        if self.experiment.upload == "images":
            return "images"
        splits = [self.experiment.split] if skipped else self.splits.uploaded(authorised)
        return f"features at {'+'.join(splits)}"

    # ---- reasons to skip -----------------------------------------------------------------------------------------

    def reason_to_skip(self, point: Combination) -> str | None:
        """Why the combination makes no sense: declared needs joined with declared capabilities; none if it does."""
        (dataset, authorised, defense, _), attack, evaluated = point
        return (
            self.unmet_needs(dataset, authorised, defense)
            or (self.wrong_size(evaluated, dataset) if evaluated else None)
            or self.impossible_attack(dataset, authorised, defense, attack)
            or (self.strange_features(authorised, attack, evaluated) if evaluated else None)
        )

    @remembered
    def wrong_size(self, model: Component, dataset: Component) -> str | None:
        """Why a model cannot see the images of a data set."""
        wanted, there = self.instances.of(model).input_size, self.instances.of(dataset).image_size
        if wanted == there:
            return None
        return f"{model.label} takes {_size(wanted)} images, {dataset.label} has {_size(there)}"

    @remembered
    def unmet_needs(self, dataset: Component, authorised: tuple[Component, ...], defense: Component) -> str | None:
        """Why a defense cannot work on the images of a data set for these models."""
        instance: Defense = self.instances.of(defense)
        if missing := sorted(instance.needs - SUPPLIED):
            return f"{defense.label} needs {', '.join(missing)}, which this version of bench cannot supply"
        for model in authorised:
            if reason := self.wrong_size(model, dataset) or self.missing_splits(defense, model):
                return reason
        try:
            instance.check_authorised(len(authorised))
        except ValueError as error:
            return f"{defense.label}: {error}"
        return None

    @remembered
    def missing_splits(self, defense: Component, model: Component) -> str | None:
        """Why a defense that needs a shallow model cannot use this one."""
        instance: Defense = self.instances.of(defense)
        if "shallow" not in instance.needs:
            return None
        splits = tuple(self.instances.of(model).splits)
        if not splits:
            return f"{defense.label} needs a shallow model, and {model.label} has no named split points"
        try:
            instance.splits(splits)
        except ValueError as error:
            return f"{defense.label} with {model.label}: {error}"
        except Exception as error:
            where = f"defense {defense.label} with {model.label}"
            raise PluginError(f"{where}: splits() failed with {type(error).__name__}: {error}") from error
        return None

    @remembered
    def impossible_attack(
        self, dataset: Component, authorised: tuple[Component, ...], defense: Component, attack: Component
    ) -> str | None:
        """Why the attack cannot work on what is uploaded."""
        return (
            self.unknown_faces(dataset, attack)
            or self.unsent(defense)
            or self.scored_people(dataset, defense, attack)
            or (self.missing_features(authorised, attack) if self.needs_model(attack) else None)
            or self.impossible_role(attack)
        )

    @remembered
    def unknown_faces(self, dataset: Component, attack: Component) -> str | None:
        """Why an attack knows nothing of such faces."""
        if self.instances.of(attack).synthetic and not self.instances.of(dataset).synthetic:
            return f"{attack.label} learnt from generated faces and knows nothing of those of {dataset.label}"
        return None

    @remembered
    def unsent(self, defense: Component) -> str | None:
        """Why a defense does not send what is uploaded."""
        sends, upload = self.instances.of(defense).sends, self.experiment.upload
        if sends & ({"image"} if upload == "images" else {"image", "feature"}):
            return None
        return f"{defense.label} sends only {', '.join(sorted(sends))}, and {upload} are uploaded here"

    @remembered
    def scored_people(self, dataset: Component, defense: Component, attack: Component) -> str | None:
        """Why what an attack or defense learns from is of another size, or shows people who are scored."""
        first = attack.via or attack
        auxiliary = self.experiment.auxiliary
        trains_on = self.instances.of(first).trains_on
        if auxiliary and trains_on not in ("nothing", "evaluated"):
            there, here = (self.instances.of(c).image_size for c in (auxiliary, dataset))
            if there != here:
                sizes = f"{_size(there)} images, {dataset.label} has {_size(here)}"
                return f"{first.label} learns from {auxiliary.label}, which has {sizes}"
        learning = []
        if trains_on in ("clean", "defense"):
            learning.append((first, auxiliary or dataset))
        if "training" in self.instances.of(defense).needs:
            learning.append((defense, dataset))
        pairs, most = self.experiment.pairs, self.instances.of(dataset).pairs_beside_auxiliary() if learning else None
        for learner, source in learning:
            if _same_data(source, dataset) and most is not None and pairs > most:
                return (
                    f"{learner.label} would learn from people of {dataset.label} who are scored: beside {most} pairs "
                    f"there are others, beside {pairs} there are not; ask for fewer pairs or name another "
                    "data set as auxiliary"
                )
        return None

    @remembered
    def missing_features(self, authorised: tuple[Component, ...], attack: Component) -> str | None:
        """Why the features that take part are not there."""
        if len(authorised) != 1:
            return f"features are those of one authorised model; {len(authorised)} are authorised"
        try:
            self.splits.uploaded(authorised)
            self.splits.attacked(authorised, attack.via or attack)
        except ValueError as error:
            return str(error)
        return None

    @remembered
    def impossible_role(self, attack: Component) -> str | None:
        """Why an attack cannot do what it declares."""
        instance: Attack = self.instances.of(attack)
        first = attack.via or attack
        if instance.trains_on != "nothing" and instance.outputs != "images":
            return f"{attack.label} outputs {instance.outputs} and learns; only attacks that output images can learn"
        looks = instance.outputs != "recognition" and "images" in self.instances.of(first).sees
        if looks and self.experiment.upload == "features":
            return f"{first.label} must see images, and features are uploaded here"
        return None

    @remembered
    def strange_features(
        self, authorised: tuple[Component, ...], attack: Component, evaluated: Component
    ) -> str | None:
        """Why the evaluated model cannot recognise what is uploaded: features are those of another model."""
        if self.experiment.upload == "images" or self.instances.of(attack).outputs == "images":
            return None
        if (authorised[0].name, authorised[0].params) == (evaluated.name, evaluated.params):
            return None
        return "features of one model mean nothing to another: reconstruct images first (paper, section 4.1.1)"


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _same_data(a: Component, b: Component) -> bool:
    """Whether two data sets show the same people: they are read from the same files."""
    return (a.name, a.weights) == (b.name, b.weights)
