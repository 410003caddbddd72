"""Why a defense cannot take part in a cell, by what it declares about its goal, needs and uploads. No torch."""

from __future__ import annotations

from bench.api.datasets import Dataset
from bench.api.defense import Defense
from bench.api.hookspecs import Attack
from bench.core.domain import Component
from bench.core.memoize import remembered
from bench.planning.instances import Client, Instances
from bench.suite.suite import Experiment


class DefenseReasons:
    """Gives the reasons to skip the cells of one experiment in which the declarations of a defense contradict each
    other, or in which something is missing that it needs. Each names the declaration, and what to do."""

    def __init__(self, experiment: Experiment, instances: Instances) -> None:
        self.experiment = experiment
        self.instances = instances

    def contradiction(self, client: Client) -> str | None:
        """Return why what a client declares contradicts itself or the experiment; None if it does not."""
        return (
            self.unsupported_goal(client.defense)
            or self.unsupported_side(client.defense)
            or self.missing_input(client.dataset, client.defense)
        )

    @remembered
    def unsupported_goal(self, defense: Component) -> str | None:
        """Return why a defense cannot have its goal; None if it can."""
        return contradiction_of(defense.label, self.instances.of(defense))

    @remembered
    def unsupported_side(self, defense: Component) -> str | None:
        """Return why a defense cannot protect the side of pairs that the experiment requests; None if it can."""
        instance: Defense = self.instances.of(defense)
        side = self.instances.side(defense, self.experiment.protects)
        supported = ", ".join(sorted(instance.protects)) or "nothing"
        if side not in instance.protects:
            if instance.own_recogniser and self.experiment.protects == "auto":
                return (
                    f"{defense.label} has a recogniser of its own, which matches protected with protected pictures, "
                    f"and declares that it protects {supported}; declare 'both' in its protects"
                )
            return (
                f"the experiment protects {side}, and {defense.label} declares that it protects {supported}; set "
                "protects of the experiment to one of these"
            )
        if side != "both" and instance.own_recogniser:
            return (
                f"{defense.label} has a recogniser of its own, which matches protected with protected pictures; set "
                'protects = "both" in the experiment'
            )
        if side != "probe" and self.experiment.upload == "features":
            return "features are uploaded for probes only; set upload of the experiment to images, or protects to probe"
        return None

    @remembered
    def missing_input(self, dataset: Component, defense: Component) -> str | None:
        """Return what a defense needs that the experiment or the data set lacks; None if nothing is missing."""
        needs = self.instances.of(defense).needs
        if "surrogates" in needs and not self.experiment.surrogates:
            return (
                f"{defense.label} needs surrogate models, and the experiment names none; add surrogates = [...], with "
                "models other than the evaluated ones"
            )
        source: Dataset = self.instances.of(dataset)
        if "enrolment" in needs and source.further_pictures(self.experiment.pairs) < 1:
            return (
                f"{defense.label} needs further pictures of the scored people (enrolment), and {dataset.label} has "
                "none beside those of its pairs; choose a data set with more pictures per person, or fewer pairs"
            )
        return None

    @remembered
    def unreadable(self, defense: Component, attack: Component, evaluated: Component | None) -> str | None:
        """Return why nobody can read what is sent: an attack that must see images, or a recogniser that does not fit.
        None if somebody can."""
        instance: Attack = self.instances.of(attack)
        first = attack.via or attack
        if evaluated is not None and evaluated.kind == "defense":
            if instance.outputs == "recognition":
                return None
            return f"{evaluated.label} recognises only what {defense.label} sends, not what {attack.label} makes of it"
        sees, sends = self.instances.of(first).sees, self.instances.of(defense).sends
        if self.instances.sends_pictures(defense):
            if "representation" in sees and "representation" not in sends and not sees & {"images", "features"}:
                return f"{first.label} works on a representation, and {defense.label} sends none"
            return None
        if "representation" in sees:
            return None
        return (
            f"{defense.label} sends a representation and no image; {first.label} does not declare 'representation' in "
            "its sees"
        )


def contradiction_of(label: str, instance: Defense) -> str | None:
    """Return which declarations of a defense contradict each other, and what to do; None if none do."""
    if "own_recognizer" in instance.needs:
        return (
            f"{label} declares 'own_recognizer' in its needs; define recogniser() and declare "
            "own_recogniser = True instead"
        )
    if instance.goal == "template" and not instance.own_recogniser:
        return (
            f"{label} has the goal 'template', whose pictures its own recogniser matches; define "
            "recogniser() and declare own_recogniser = True, or declare another goal"
        )
    if instance.own_recogniser and type(instance).recogniser is Defense.recogniser:
        return f"{label} declares own_recogniser and has no recogniser(); define it, or do not declare it"
    if "representation" in instance.sends and type(instance).representation is Defense.representation:
        return (
            f"{label} declares that it sends a representation and has no representation(); define it, so "
            "that it returns the shapes of the tensors by name"
        )
    if "labels" in instance.needs and "training" not in instance.needs:
        return (
            f"{label} declares 'labels' in its needs and not 'training', so that fit(), which gets them, "
            "is not called; declare both"
        )
    if instance.own_recogniser and instance.recogniser_size < 1:
        return (
            f"{label} declares own_recogniser; declare the length of its embeddings as recogniser_size, "
            f"which is {instance.recogniser_size}"
        )
    if instance.goal == "appearance" and "image" not in instance.sends:
        return (
            f"{label} has the goal 'appearance' and sends no image that people could look at; declare "
            "'image' in its sends, or another goal"
        )
    return None
