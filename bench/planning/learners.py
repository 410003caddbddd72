"""Whose faces the defenses and attacks of an experiment learn from, and whether these people are scored. No torch.

Before anything runs, the people from whom a defense or an attack would learn are compared by name with those whom the
pairs of the cell show, also across data sets. Scored people are left out of the auxiliary faces. If a defense and an
attack of one experiment learn, each gets its own half of the people (`bench.core.people.half_of`). The defense gets its
half in all cells of the experiment, so that all its attacks meet the same defense.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.api.hookspecs import Model
from bench.core.domain import Component
from bench.core.memoize import remembered
from bench.core.people import GENERATED, NONE_BY_NAME, OTHERS_UNKNOWN, UNKNOWN, WITHIN, Half, learnable
from bench.core.text import plural
from bench.planning.graph import LearntFaces
from bench.planning.instances import Instances
from bench.planning.known_people import KnownPeople
from bench.suite.suite import Experiment


class Learner(NamedTuple):
    """A defense or an attack that learns from auxiliary faces, the data set that these come from, and which faces."""

    component: Component
    source: Component
    learnt: LearntFaces


class Overlap(NamedTuple):
    """How many people of auxiliary faces are scored, and in words what is known of the others (see `Learners`)."""

    shared: int
    words: str


class Learners:
    """Decides for one experiment who learns from which auxiliary faces, and compares people by name."""

    def __init__(self, experiment: Experiment, instances: Instances, people: KnownPeople) -> None:
        self.experiment = experiment
        self.instances = instances
        self.people = people

    # ---- who learns ----------------------------------------------------------------------------------------------

    def defense_learns(self, defense: Component) -> bool:
        """Return True if a defense learns from auxiliary faces, or takes its targets from them."""
        return bool({"training", "targets"} & self.instances.of(defense).needs)

    def attack_learns(self, attack: Component) -> bool:
        """Return True if an attack, or the one of its ``via``, learns from auxiliary faces."""
        return self.instances.of(attack.via or attack).trains_on in ("clean", "defense")

    @remembered
    def in_cell(self, dataset: Component, defense: Component, attack: Component) -> tuple[Learner, ...]:
        """Return the learners of a cell."""
        found = []
        if self.attack_learns(attack):
            first, source = attack.via or attack, self.experiment.auxiliary or dataset
            found.append(Learner(first, source, self.of_attack(dataset, defense)))
        if self.defense_learns(defense):
            found.append(Learner(defense, dataset, self.of_defense(dataset)))
        return tuple(found)

    @remembered
    def of_attack(self, dataset: Component, defense: Component) -> LearntFaces:
        """Return from which auxiliary faces attacks on a defense learn."""
        half: Half | None = "attack" if self.defense_learns(defense) else None
        return self._learnt(self.experiment.auxiliary or dataset, dataset, half)

    @remembered
    def of_defense(self, dataset: Component) -> LearntFaces:
        """Return from which auxiliary faces defenses learn: from their half if an attack of the experiment learns."""
        half: Half | None = "defense" if any(map(self.attack_learns, self.experiment.attacks)) else None
        return self._learnt(dataset, dataset, half)

    def _learnt(self, source: Component, dataset: Component, half: Half | None) -> LearntFaces:
        if not self.overlap(source, dataset, half).shared:
            return LearntFaces(half=half)
        return LearntFaces(without=dataset, pairs=self.experiment.pairs, half=half)

    # ---- are they scored -----------------------------------------------------------------------------------------

    @remembered
    def overlap(self, source: Component, dataset: Component, half: Half | None = None) -> Overlap:
        """Return how many people of the auxiliary faces of ``source``, or of one ``half`` of its people, are scored on
        ``dataset``, as far as names tell.

        The words are `NONE_BY_NAME` if all names are known; `GENERATED` if one data set shows generated people and the
        other does not; `WITHIN` if names are unknown and both are one data set, which keeps these people apart;
        otherwise `UNKNOWN`.
        """
        if self.instances.of(source).synthetic != self.instances.of(dataset).synthetic:
            return Overlap(0, GENERATED)
        learnt, scored = self.people.learnt(source, half), self.people.scored(dataset, self.experiment.pairs)
        shared, within = len(learnt.keys & scored.keys), same_files(source, dataset)
        if learnt.keys and scored.keys and (within or (learnt.named, scored.named) == (learnt.keys, scored.keys)):
            return Overlap(shared, NONE_BY_NAME)
        return Overlap(shared, WITHIN if within else UNKNOWN)

    @remembered
    def nobody_left(self, source: Component, learnt: LearntFaces) -> bool:
        """Return True if auxiliary faces without the scored people, or of one half of the people, show nobody."""
        if learnt == LearntFaces() or not self.people.learnt(source).keys:
            return False
        scored = frozenset[str]() if learnt.without is None else self.people.scored(learnt.without, learnt.pairs).keys
        return not self.people.auxiliary(source, learnable(scored, source.weights or "", learnt.half))

    @remembered
    def learner_overlap(self, dataset: Component, defense: Component, attack: Component) -> str | None:
        """Return the column ``learner_overlap`` of a cell: by learner, if there are several that differ, how many
        people were left out because they are scored, and what is known of the others. None without a learner."""
        found = {}
        for learner in self.in_cell(dataset, defense, attack):
            shared, words = self.overlap(learner.source, dataset, learner.learnt.half)
            left_out = f"{plural(shared, 'person', 'people')} left out"
            if shared and words != NONE_BY_NAME:
                left_out += f", {OTHERS_UNKNOWN}"
            found[learner.component.label] = left_out if shared else words
        if len(set(found.values())) < 2:
            return next(iter(found.values()), None)
        return "; ".join(f"{label}: {words}" for label, words in found.items())

    # ---- networks ------------------------------------------------------------------------------------------------

    @remembered
    def training_overlap(self, dataset: Component, models: tuple[Component, ...]) -> str | None:
        """Return the column ``training_overlap`` of a cell with these networks: which of them were trained on how many
        of the scored people, and whether this is unknown of others. None if the people of no network, or those of the
        data set, are known by name."""
        counts = {model: self.trained_on_scored(model, dataset) for model in models}
        known = {model: count for model, count in counts.items() if count is not None}
        if not known:
            return None
        shared = [
            f"{model.label}: {plural(count, 'person', 'people')} of {self.instances.of(model).trained_on}"
            for model, count in known.items()
            if count
        ]
        others = [OTHERS_UNKNOWN] if any(self.alike(model, dataset) for model in models if model not in known) else []
        return "; ".join([*(shared or [NONE_BY_NAME]), *others])

    def alike(self, model: Component, dataset: Component) -> bool:
        """Return True if the people of a network and of a data set are both real, or both generated."""
        return bool(self.instances.of(model).synthetic == self.instances.of(dataset).synthetic)

    @remembered
    def trained_on_scored(self, model: Component, dataset: Component) -> int | None:
        """Return how many of the scored people a network was trained on; None if the names of either are unknown."""
        instance: Model = self.instances.of(model)
        if not instance.trained_on or not self.alike(model, dataset):
            return None
        trained = self.people.trained_on(model).named
        scored = self.people.scored(dataset, self.experiment.pairs).named
        return len(trained & scored) if trained and scored else None


def same_files(a: Component, b: Component) -> bool:
    """Return True if two data sets are read from the same files, so that they show the same people."""
    return (a.name, a.weights) == (b.name, b.weights)
