"""The plugins behind components: what they declare, and the digests of what they are. Nothing is loaded; no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.api.hookspecs import Attack
from bench.core.content_keys import digest_of
from bench.core.domain import Component
from bench.core.errors import PluginError, did_you_mean
from bench.core.memoize import remembered
from bench.registry.discovery import Registry
from bench.suite.suite import Experiment


class Client(NamedTuple):
    """Who protects which faces, for which models. ``authorised`` is empty where no model takes part."""

    dataset: Component
    authorised: tuple[Component, ...]
    defense: Component
    repeat: int


class Combination(NamedTuple):
    """One combination of the axes. ``evaluated`` is none where no model is asked."""

    client: Client
    attack: Component
    evaluated: Component | None


class Instances:
    """The plugins' dataclasses of components, each made once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    @remembered
    def of(self, component: Component) -> Any:
        """The instance of a component."""
        return self.registry.build(component)

    @remembered
    def digest(self, component: Component) -> str:
        """The digest of what a component does, whatever it is called."""
        return digest_of(component)

    @remembered
    def called(self, component: Component) -> str:
        """The digest of a component and of what it is called."""
        return digest_of([component, component.label])

    @remembered
    def knows_models(self, defense: Component) -> bool:
        """Whether a defense depends on the authorised models."""
        return bool(self.of(defense).needs & {"shallow", "full_gradients"})

    @remembered
    def uses_features(self, attack: Component) -> bool:
        """Whether an attack works on features of the shallow model."""
        return bool(self.of(attack).sees & {"features", "shallow_weights"})


class Splits:
    """The split points whose features are uploaded and attacked in one experiment."""

    def __init__(self, experiment: Experiment, instances: Instances) -> None:
        self.experiment = experiment
        self.instances = instances

    @remembered
    def uploaded(self, authorised: tuple[Component, ...]) -> tuple[str, ...]:
        """The splits whose features leave the client: none when images do. `ValueError` for a name that is missing."""
        asked = self.experiment.split
        if self.experiment.upload == "images":
            return ()
        model = authorised[0]
        available = tuple(self.instances.of(model).splits)
        if not available:
            raise ValueError(f"{model.label} has no named split points, so no features of it can be uploaded")
        if asked in ("all", "last"):
            return available if asked == "all" else available[-1:]
        if asked not in available:
            raise ValueError(f"{model.label} has no split point {asked!r}; {did_you_mean(asked, available)}")
        return (asked,)

    @remembered
    def attacked(self, authorised: tuple[Component, ...], first: Component) -> tuple[str, ...]:
        """The splits whose features the (first) attack works on. `ValueError` when it cannot have them."""
        if not self.instances.uses_features(first):
            return ()
        uploaded = self.uploaded(authorised)
        available = uploaded or tuple(self.instances.of(authorised[0]).splits)
        if not available:
            raise ValueError(f"{first.label} needs features, and {authorised[0].label} has no split points")
        attack: Attack = self.instances.of(first)
        where = f"attack {first.label}: splits()"
        try:
            chosen = tuple(attack.splits(available, uploaded))
        except ValueError as error:
            raise ValueError(f"{first.label}: {error}") from None
        except Exception as error:
            raise PluginError(f"{where} failed with {type(error).__name__}: {error}") from error
        if not chosen or not set(chosen) <= set(available):
            raise PluginError(f"{where}: expected some of {', '.join(available)}, got {chosen}")
        return chosen
