"""The plugin instances behind components: their declarations and digests. No weights are loaded; no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from bench.api.defense import Defense
from bench.api.hookspecs import Attack
from bench.core.content_keys import digest_of
from bench.core.domain import Component, Side
from bench.core.errors import PluginError, did_you_mean, error_text
from bench.core.memoize import remembered
from bench.registry.discovery import Registry
from bench.suite.suite import Experiment

Whose = Literal["scored", "calibration"]  # the scored people, or people of the calibration split


class Client(NamedTuple):
    """The client side of a cell: which faces are protected, by which defense, for which models.

    ``authorised`` is empty if no authorised model takes part in the cell, and ``surrogates`` if the defense needs none.
    ``repeat`` counts from 0. ``side`` says which pictures of a pair are protected. ``people`` says whose pictures are
    protected: those of the people who are scored, or those of people of the calibration split, on whom an adversary
    sets his threshold.
    """

    dataset: Component
    authorised: tuple[Component, ...]
    defense: Component
    repeat: int
    surrogates: tuple[Component, ...] = ()
    side: Side = "probe"
    people: Whose = "scored"


class Combination(NamedTuple):
    """One combination of the axes of an experiment. ``evaluated`` is None if nothing recognises; it is the defense
    itself where the recogniser of the defense does. ``strangers`` are the people on whom the adversary sets his
    threshold."""

    client: Client
    attack: Component
    evaluated: Component | None
    strangers: Whose = "scored"


class Instances:
    """Builds the plugin instance of every component once, and derives from it what the planner needs."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    @remembered
    def of(self, component: Component) -> Any:
        """Return the plugin instance of a component."""
        return self.registry.build(component)

    @remembered
    def digest(self, component: Component) -> str:
        """Return the digest of everything that decides what a component does, without its label."""
        return digest_of(component)

    @remembered
    def called(self, component: Component) -> str:
        """Return the digest of a component together with its label."""
        return digest_of([component, component.label])

    @remembered
    def knows_models(self, defense: Component) -> bool:
        """Return True if a defense uses the authorised models."""
        return bool(self.of(defense).needs & {"shallow", "full_gradients"})

    @remembered
    def sends_pictures(self, defense: Component) -> bool:
        """Return True if images or features leave the client, False if only a representation of its own does."""
        return bool(self.of(defense).sends & {"image", "feature"})

    @remembered
    def own_recogniser(self, defense: Component) -> Component | None:
        """Return the recogniser of a defense as what is evaluated: the defense itself, under a label of its own; None
        if it has none."""
        return replace(defense, label=f"{defense.label}'s recogniser") if self.of(defense).own_recogniser else None

    @remembered
    def side(self, defense: Component, chosen: Literal["auto", "probe", "gallery", "both"]) -> Side:
        """Return which pictures of a pair a defense protects if the experiment has chosen this; whether it can is
        checked elsewhere."""
        if chosen != "auto":
            return chosen
        if self.of(defense).own_recogniser:
            return "both"
        order: tuple[Side, ...] = ("probe", "both", "gallery")
        return next((side for side in order if side in self.of(defense).protects), "probe")

    @remembered
    def uses_features(self, attack: Component) -> bool:
        """Return True if an attack works on features of the shallow model."""
        return bool(self.of(attack).sees & {"features", "shallow_weights"})

    @remembered
    def can_judge(self, metric: Component, dataset: Component) -> bool:
        """Return True if a metric says something about the faces of a data set: one that learnt from generated faces
        says nothing about real ones."""
        return bool(self.of(dataset).synthetic) or not self.of(metric).synthetic

    @remembered
    def reads_representation(self, defense: Component, attack: Component) -> bool:
        """Return True if an attack gets a representation that the defense sends, which unprotected faces do not
        have."""
        return "representation" in self.of(defense).sends and "representation" in self.of(attack.via or attack).sees

    @remembered
    def is_insider(self, attack: Component) -> bool:
        """Return True if an attack, or that of its ``via``, uses the whole authorised models."""
        return any("full_model" in self.of(one).sees for one in (attack, attack.via) if one)


class Splits:
    """The split points whose features are uploaded and attacked in one experiment."""

    def __init__(self, experiment: Experiment, instances: Instances) -> None:
        self.experiment = experiment
        self.instances = instances

    @remembered
    def uploaded(self, authorised: tuple[Component, ...]) -> tuple[str, ...]:
        """Return the split points whose features leave the client; empty if it uploads images.

        Raise `ValueError` if the model lacks the split point of the experiment, or has none.
        """
        wanted = self.experiment.split
        if self.experiment.upload == "images":
            return ()
        model = authorised[0]
        available = tuple(self.instances.of(model).splits)
        if not available:
            raise ValueError(f"{model.label} has no named split points, so no features of it can be uploaded")
        if wanted in ("all", "last"):
            return available if wanted == "all" else available[-1:]
        if wanted not in available:
            raise ValueError(f"{model.label} has no split point {wanted!r}; {did_you_mean(wanted, available)}")
        return (wanted,)

    @remembered
    def matched(self, authorised: tuple[Component, ...], defense: Component) -> tuple[str, ...]:
        """Return the split points of the authorised model that a defense uses; empty if it works without the model, or
        if it cannot use this one."""
        instance: Defense = self.instances.of(defense)
        if "shallow" not in instance.needs:
            return ()
        available = tuple(self.instances.of(authorised[0]).splits)
        try:
            return tuple(split for split in instance.splits(available) if split in available)
        except ValueError:
            return ()  # Then the cell is skipped for this reason.

    def attacked(self, authorised: tuple[Component, ...], first: Component, defense: Component) -> tuple[str, ...]:
        """Return the split points whose features an attack on a defense works on; empty if it works on images only.

        Raise `ValueError` if it cannot get features that it can work with, and `PluginError` if its ``splits`` fails.
        """
        knows = type(self.instances.of(first)).splits_knowing is not Attack.splits_knowing
        return self._attacked(authorised, first, self.matched(authorised, defense) if knows and authorised else ())

    @remembered
    def _attacked(
        self, authorised: tuple[Component, ...], first: Component, matched: tuple[str, ...]
    ) -> tuple[str, ...]:
        if not self.instances.uses_features(first):
            return ()
        uploaded = self.uploaded(authorised)
        available = uploaded or tuple(self.instances.of(authorised[0]).splits)
        if not available:
            raise ValueError(f"{first.label} needs features, and {authorised[0].label} has no split points")
        attack: Attack = self.instances.of(first)
        where = f"attack {first.label}: splits()"
        try:
            chosen = tuple(attack.splits_knowing(available, uploaded, matched))
        except ValueError as error:
            raise ValueError(f"{first.label}: {error}") from None
        except Exception as error:
            raise PluginError(f"{where} failed with {error_text(error)}") from error
        if not chosen or not set(chosen) <= set(available):
            raise PluginError(f"{where}: expected some of {', '.join(available)}, got {chosen}")
        return chosen
