"""The cells of an experiment: the combinations of its axes, with the reasons why some of them are skipped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from bench.api.defense import Defense
from bench.api.hookspecs import Attack, Model
from bench.core.content_keys import digest_of, joined_digest
from bench.core.domain import Cell, Component, Side
from bench.core.errors import PluginError, error_text
from bench.core.memoize import remembered
from bench.planning import bounds
from bench.planning.cell_stages import CellStages
from bench.planning.defense_reasons import DefenseReasons
from bench.planning.graph import Graph
from bench.planning.instances import Client, Combination, Splits
from bench.planning.learners import Learners, same_files
from bench.planning.strangers import AdversaryThreshold, Strangers
from bench.suite.suite import Experiment


class _Adversary(NamedTuple):
    """The fields of a cell that depend on its attack alone, and on the attack of its ``via``."""

    threat: str
    outputs: str
    embeds: bool
    adapts: bool
    insider: bool
    budget: str | None
    knowledge: int
    leaky: bool


class ExperimentPlanner:
    """Turns the combinations of one experiment's axes into cells.

    Every decision is a cached method of the few components that it depends on, so that it is made once for them and not
    once per combination.
    """

    def __init__(self, experiment: Experiment, graph: Graph) -> None:
        self.experiment = experiment
        self.suite_version = graph.suite_version
        self.instances = graph.instances
        self.splits = Splits(experiment, graph.instances)
        self.learners = Learners(experiment, graph.instances, graph.people)
        self.reasons = DefenseReasons(experiment, graph.instances)
        self.strangers = Strangers(experiment, graph.instances)
        self.cell_stages = CellStages(experiment, graph, self.splits, self.learners, self.strangers)
        self.adversaries = self.cell_stages.adversary.adversaries
        self.requested = 0
        settings: list[object] = [experiment.name, experiment.table]
        settings += [experiment.kappa, experiment.fmr, experiment.threshold]
        settings += [graph.suite_seed, experiment.pairs, experiment.upload, experiment.split]
        settings += [list(experiment.noise_levels), experiment.auxiliary, list(experiment.figures)]
        if experiment.surrogates or experiment.protects != "auto":  # Without them, ids are those of earlier versions.
            settings += [experiment.surrogates, experiment.protects]
        if experiment.adversary_threshold != "scored":
            settings += [experiment.adversary_threshold, experiment.adversary_people]
        self.digest = digest_of(settings)  # It is part of the id of every cell of the experiment.

    # ---- axes ----------------------------------------------------------------------------------------------------

    def combinations(self) -> Iterator[Combination]:
        """Yield the combinations of the axes; those that differ only in models that do not take part are merged."""
        e = self.experiment
        axes = (e.datasets, e.defenses, e.authorised, e.attacks)
        combined = (
            (*point, evaluated, repeat)
            for point in itertools.product(*axes)
            for evaluated in self.recognisers(point[1])
            for repeat in range(e.repeats)
        )
        seen: set[Combination] = set()
        for dataset, defense, authorised, attack, evaluated, repeat in combined:
            self.requested += 1
            models = authorised if self.takes_models(defense, attack) else ()
            own = self.with_own_parameters(defense, models)
            surrogates = e.surrogates if "surrogates" in self.instances.of(own).needs else ()
            side = self.instances.side(own, e.protects)
            client = Client(dataset, models, own, repeat, surrogates, side)
            strangers = self.adversary_threshold(client, attack).people or "scored"
            combination = Combination(client, attack, evaluated if self.takes_evaluated(attack) else None, strangers)
            if combination not in seen:
                seen.add(combination)
                yield combination

    @remembered
    def recognisers(self, defense: Component) -> tuple[Component, ...]:
        """Return what recognises what a defense sends: the evaluated models, and its own recogniser if it has one."""
        own = self.instances.own_recogniser(defense)
        return self.experiment.evaluated if own is None else (*self.experiment.evaluated, own)

    @remembered
    def takes_models(self, defense: Component, attack: Component) -> bool:
        """Return True if authorised models take part; otherwise the cell is the same for all of them."""
        return self.instances.knows_models(defense) or self.needs_model(attack) or self.instances.is_insider(attack)

    @remembered
    def needs_model(self, attack: Component) -> bool:
        """Return True if the upload or the attack uses features of an authorised model, whatever the defense."""
        return self.experiment.upload == "features" or self.instances.uses_features(attack.via or attack)

    @remembered
    def takes_evaluated(self, attack: Component) -> bool:
        """Return True if an evaluated model takes part; otherwise the cell is the same for all of them."""
        needed = self.instances.of(attack).outputs != "attributes" or self.adversaries.recognises(attack)
        return needed or bool(self.experiment.noise_levels)

    @remembered
    def with_own_parameters(self, defense: Component, authorised: tuple[Component, ...]) -> Component:
        """Return the defense for these models: its ``on_stand_ins`` if one of them was trained on synthetic faces."""
        synthetic = any(self.instances.of(model).synthetic for model in authorised)
        return defense.on_stand_ins if defense.on_stand_ins and synthetic else defense

    # ---- cells ---------------------------------------------------------------------------------------------------

    def cell(self, combination: Combination) -> Cell:
        """Return the cell of a combination: skipped with a reason, or with its stages added to the graph."""
        client, attack, evaluated, _ = combination
        dataset, authorised, defense, repeat = client[:4]
        threshold = self.adversary_threshold(client, attack)
        adversary = self.adversary(attack)
        skip = self.reason_to_skip(combination)
        called = self.instances.called
        models = "+".join(map(called, authorised))
        recogniser = called(evaluated) if evaluated else ""
        identity = (called(dataset), models, called(defense), called(attack), recogniser, str(repeat))
        splits = self.uploaded_splits(authorised, skipped=skip is not None)
        instance: Defense = self.instances.of(defense)
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
            suite_version=self.suite_version,
            pairs=self.experiment.pairs,
            kappa=self.experiment.kappa,
            threat=adversary.threat,
            upload=self.upload(defense, splits),
            surrogates=client.surrogates,
            goal=instance.goal,
            protects=client.side,
            bound=self.bound(defense, attack, client.side),
            control=instance.control,
            splits=splits,
            outputs=adversary.outputs,
            embeds=adversary.embeds,
            adapts=adversary.adapts,
            insider=adversary.insider,
            budget=adversary.budget,
            knowledge=adversary.knowledge,
            leaky=adversary.leaky,
            learner_overlap=None if skip else self.learners.learner_overlap(dataset, defense, attack),
            training_overlap=None if skip else self.training_overlap(dataset, client, evaluated),
            adversary_threshold=None if skip else threshold.people,
            threshold_note=None if skip else threshold.note,
            skip=skip,
            stages=() if skip else self.cell_stages.scores(combination),
        )

    def adversary_threshold(self, client: Client, attack: Component) -> AdversaryThreshold:
        """Return on whose pictures the adversary sets his threshold."""
        return self.strangers.threshold(client.dataset, client.defense, attack)

    @remembered
    def adversary(self, attack: Component) -> _Adversary:
        """Return the fields of cells that depend on the attack alone."""
        instance: Attack = self.instances.of(attack)
        first: Attack = self.instances.of(attack.via or attack)
        threat = f"{first.threat}; then: {instance.threat}" if attack.via else instance.threat
        leaky = "evaluated" in (first.trains_on, instance.trains_on)
        embeds, budget = self.adversaries.embeds(attack), self.adversaries.budget(attack)
        insider = self.instances.is_insider(attack)
        adapts = embeds and instance.trains_on != "nothing"
        known = self.adversaries.knowledge(attack)
        return _Adversary(threat, instance.outputs, embeds, adapts, insider, budget, known, leaky)

    @remembered
    def training_overlap(self, dataset: Component, client: Client, evaluated: Component | None) -> str | None:
        """Return whether networks of a cell were trained on scored people (see `Learners.training_overlap`)."""
        recognisers = () if evaluated is None or evaluated.kind == "defense" else (evaluated,)
        models = dict.fromkeys((*client.authorised, *client.surrogates, *recognisers))
        return self.learners.training_overlap(dataset, tuple(models))

    def upload(self, defense: Component, splits: tuple[str, ...]) -> str:
        """Return what leaves the client, as text."""
        if splits:
            return f"features at {'+'.join(splits)}"
        return "images" if self.instances.sends_pictures(defense) else "a representation"

    @remembered
    def bound(self, defense: Component, attack: Component, side: Side) -> str | None:
        """Return the formal guarantee of all that an attack receives of a face, as JSON; None if there is none."""
        found = bounds.declared(self.instances.of(defense), defense.label)
        if found is None:
            return None
        first: Attack = self.instances.of(attack.via or attack)
        return bounds.recorded(found, bounds.received(found, first, side, leaky=self.adversary(attack).leaky))

    @remembered
    def uploaded_splits(self, authorised: tuple[Component, ...], *, skipped: bool) -> tuple[str, ...]:
        """Return the split points whose features leave the client; an empty tuple if images do."""
        if self.experiment.upload == "images":
            return ()
        return (self.experiment.split,) if skipped else tuple(self.splits.uploaded(authorised))

    # ---- reasons to skip -----------------------------------------------------------------------------------------

    def reason_to_skip(self, combination: Combination) -> str | None:
        """Return why a combination cannot be measured, by what its components declare; None if it can."""
        client, attack, evaluated, _ = combination
        dataset, authorised, defense, _ = client[:4]
        reason = (
            self.reasons.contradiction(client)
            or self.unmet_needs(dataset, authorised, defense)
            or self.impossible_attack(dataset, authorised, defense, attack)
            or self.reasons.unreadable(defense, attack, evaluated)
            or self.unadaptable(attack, evaluated)
            or self.unlinkable(client, attack)
            or self.too_few_photos(dataset, attack)
            or self.without_originals(defense, attack)
            or self.without_further_pictures(defense, attack)
        )
        if reason or evaluated is None or evaluated.kind == "defense":
            return reason
        return (
            self.wrong_size(evaluated, dataset)
            or self.foreign_features(authorised, attack, evaluated)
            or self.learnt_from_generated_only(dataset, evaluated)
        )

    @remembered
    def unadaptable(self, attack: Component, evaluated: Component | None) -> str | None:
        """Return why an attack cannot embed pictures beside the recogniser of a defense; None if it can."""
        if evaluated is None or evaluated.kind != "defense":
            return None
        uses_model = self.adversaries.embeds(attack) or self.adversaries.recognises(attack)
        if self.instances.of(attack).outputs != "links" and not uses_model:
            return None
        return f"{attack.label} embeds pictures with an evaluated model, and {evaluated.label} is no such model"

    @remembered
    def without_originals(self, defense: Component, attack: Component) -> str | None:
        """Return why an attack on a representation, which unprotected faces do not have, needs one of them; None if it
        does not."""
        if self.instances.sends_pictures(defense):
            return None
        first: Attack = self.instances.of(attack.via or attack)
        label = (attack.via or attack).label
        if first.trains_on in ("clean", "evaluated"):
            return (
                f"{label} learns from unprotected faces, which have no such representation as {defense.label} sends; "
                "declare trains_on = 'defense'"
            )
        return None

    @remembered
    def without_further_pictures(self, defense: Component, attack: Component) -> str | None:
        """Return why a defense cannot protect the faces that an attack learns from; None if it can."""
        first: Attack = self.instances.of(attack.via or attack)
        learns = first.trains_on == "defense" or self.adversaries.queries(attack.via or attack)
        if "enrolment" not in self.instances.of(defense).needs or not learns:
            return None
        return (
            f"{(attack.via or attack).label} learns from pictures of other people that {defense.label} has protected, "
            "for which it needs further pictures of each of them, and data sets have these of scored people only; name "
            "an attack that does not learn from the defense"
        )

    @remembered
    def too_few_photos(self, dataset: Component, attack: Component) -> str | None:
        """Return why an attack cannot receive several photos of each person; None if it can."""
        first: Attack = self.instances.of(attack.via or attack)
        there: int = self.instances.of(dataset).further_pictures(self.experiment.pairs)
        if first.uploads_of == "photo" or there >= first.uploads - 1:
            return None
        return (
            f"{(attack.via or attack).label} receives {first.uploads} uploads of each person, and {dataset.label} has "
            f"{there} further pictures of each beside those of its pairs; declare fewer uploads, or those of one photo"
        )

    @remembered
    def unlinkable(self, client: Client, attack: Component) -> str | None:
        """Return why there are no pairs of two uploads to link; None if there are."""
        if self.instances.of(attack).outputs != "links" or client.side != "gallery":
            return None
        return (
            f"{attack.label} links two uploads, and only the gallery is protected here; set protects of the experiment "
            "to probe or both, with a defense that protects these"
        )

    @remembered
    def wrong_size(self, model: Component, dataset: Component) -> str | None:
        """Return why a model cannot take the images of a data set; None if it can."""
        wanted, there = self.instances.of(model).input_size, self.instances.of(dataset).image_size
        if wanted == there:
            return None
        return f"{model.label} takes {_size(wanted)} images, {dataset.label} has {_size(there)}"

    @remembered
    def unmet_needs(self, dataset: Component, authorised: tuple[Component, ...], defense: Component) -> str | None:
        """Return why a defense cannot protect the images of a data set for these models; None if it can."""
        instance: Defense = self.instances.of(defense)
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
        """Return why a defense that needs a shallow model cannot use that of this model; None if it can."""
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
            raise PluginError(f"{where}: splits() failed with {error_text(error)}") from error
        return None

    @remembered
    def impossible_attack(
        self, dataset: Component, authorised: tuple[Component, ...], defense: Component, attack: Component
    ) -> str | None:
        """Return why the attack cannot work on what is uploaded; None if it can."""
        return (
            self.unknown_faces(dataset, attack)
            or self.unsent(defense)
            or self.unusable_training_faces(dataset, defense, attack)
            or (self.missing_features(authorised, defense, attack) if self.needs_model(attack) else None)
            or self.impossible_role(attack)
        )

    @remembered
    def unknown_faces(self, dataset: Component, attack: Component) -> str | None:
        """Return why an attack that learnt from generated faces cannot work on real ones; None if it can."""
        if self.instances.of(attack).synthetic and not self.instances.of(dataset).synthetic:
            return f"{attack.label} learnt from generated faces and knows nothing of those of {dataset.label}"
        return None

    @remembered
    def learnt_from_generated_only(self, dataset: Component, evaluated: Component) -> str | None:
        """Return why a model that learnt from generated faces cannot judge real ones; None if it can.

        A stand-in for a model whose weights are missing may: the report marks it. A model that stands in for none is
        there only as a held-out recogniser, and a real face that it does not match would look protected.
        """
        model: Model = self.instances.of(evaluated)
        if model.synthetic and model.stands_in_for is None and not self.instances.of(dataset).synthetic:
            return (
                f"{evaluated.label} learnt from generated faces and cannot judge what is left of those of "
                f"{dataset.label}; evaluate a network of your own that learnt from other people than the authorised one"
            )
        return None

    @remembered
    def unsent(self, defense: Component) -> str | None:
        """Return why a defense cannot be used: it does not send what is uploaded. None if it does."""
        sends, upload = self.instances.of(defense).sends, self.experiment.upload
        if sends & ({"image", "representation"} if upload == "images" else {"image", "feature"}):
            return None
        return f"{defense.label} sends only {', '.join(sorted(sends))}, and {upload} are uploaded here"

    @remembered
    def unusable_training_faces(self, dataset: Component, defense: Component, attack: Component) -> str | None:
        """Return why an attack or a defense may not learn from its faces; None if it may.

        The faces may have another size, or show people who are scored.
        """
        first = attack.via or attack
        auxiliary = self.experiment.auxiliary
        trains_on = self.instances.of(first).trains_on
        if auxiliary and trains_on not in ("nothing", "evaluated"):
            there, here = (self.instances.of(c).image_size for c in (auxiliary, dataset))
            if there != here:
                sizes = f"{_size(there)} images, {dataset.label} has {_size(here)}"
                return f"{first.label} learns from {auxiliary.label}, which has {sizes}"
        learners = self.learners.in_cell(dataset, defense, attack)
        pairs, most = self.experiment.pairs, self.instances.of(dataset).pairs_beside_auxiliary() if learners else None
        for learner, source, learnt in learners:
            if same_files(source, dataset) and most is not None and pairs > most:
                return (
                    f"{learner.label} would learn from people of {dataset.label} who are scored: beside {most} pairs "
                    f"there are others, beside {pairs} there are not; request fewer pairs or name another "
                    "data set as auxiliary"
                )
            if self.learners.nobody_left(source, learnt):
                apart = f"; the other half is for the {'attack' if learnt.half == 'defense' else 'defense'}"
                return (
                    f"{learner.label} would learn from {source.label}, where nobody is left whom the {pairs} pairs of "
                    f"{dataset.label} do not show{apart if learnt.half else ''}; request fewer pairs or name another "
                    "data set as auxiliary"
                )
        return None

    @remembered
    def missing_features(self, authorised: tuple[Component, ...], defense: Component, attack: Component) -> str | None:
        """Return why features that are needed do not exist; None if they do."""
        if len(authorised) != 1:
            return f"features are those of one authorised model; {len(authorised)} are authorised"
        try:
            self.splits.uploaded(authorised)
            self.splits.attacked(authorised, attack.via or attack, defense)
        except ValueError as error:
            return str(error)
        return None

    @remembered
    def impossible_role(self, attack: Component) -> str | None:
        """Return why the declarations of an attack contradict each other or the upload; None if they do not."""
        instance: Attack = self.instances.of(attack)
        first = attack.via or attack
        if reason := self.adversaries.contradiction(attack):
            return reason
        if attack.via and (reason := self.adversaries.contradiction(attack.via)):
            return reason
        fed = instance.outputs == "recognition" and not self.adversaries.embeds(attack)  # to the evaluated model
        unseen = {"uploads"} if attack.via else {"features", "representation", "uploads"}
        more = sorted(self.instances.of(first).sees & unseen)
        if more and instance.outputs == "attributes" and self.experiment.noise_levels:
            return (
                f"{first.label} sees {', '.join(more)}, and Equation 9 adds noise to images that models look at; "
                "leave out noise_levels of the experiment"
            )
        looks = not fed and "images" in self.instances.of(first).sees
        if looks and self.experiment.upload == "features":
            return f"{first.label} must see images, and features are uploaded here"
        return None

    @remembered
    def foreign_features(
        self, authorised: tuple[Component, ...], attack: Component, evaluated: Component
    ) -> str | None:
        """Return why a model cannot recognise the upload: it consists of features of another model. None if it can."""
        if self.experiment.upload == "images" or self.instances.of(attack).outputs == "images":
            return None
        if self.adversaries.embeds_uploads(attack):
            return None
        if (authorised[0].name, authorised[0].params) == (evaluated.name, evaluated.params):
            return None
        return "features of one model mean nothing to another: reconstruct images first (paper, section 4.1.1)"


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
