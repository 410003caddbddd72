"""The people of data sets and training sets as their plugins name them, read once for all experiments. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection

from bench.api.hookspecs import Dataset, TrainingSet
from bench.core.domain import Component
from bench.core.errors import BenchError, PluginError
from bench.core.memoize import remembered
from bench.core.people import Allowed, everyone, person_key
from bench.planning.instances import Instances
from bench.registry.components import build_component


class KnownPeople:
    """Returns the keys of people (`bench.core.people.person_key`); an empty set where they are not known.

    Methods about data sets raise `PluginError` if the plugin fails.
    """

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    @remembered
    def scored(self, dataset: Component, pairs: int) -> frozenset[str]:
        """Return the people whom the first ``pairs`` pairs of a data set show."""
        instance: Dataset = self.instances.of(dataset)
        return _keys(dataset, _called(lambda: instance.people(pairs), f"data set {dataset.label}: people()"))

    @remembered
    def learnt(self, source: Component) -> frozenset[str]:
        """Return the people whom all auxiliary faces of a data set show."""
        return _keys(source, self.auxiliary(source, everyone))

    def auxiliary(self, source: Component, allowed: Allowed) -> Collection[str]:
        """Return the names of the people whom the auxiliary faces of a data set show if only some are allowed."""
        instance: Dataset = self.instances.of(source)
        return _called(lambda: instance.auxiliary_people(allowed), f"data set {source.label}: auxiliary_people()")

    @remembered
    def trained_on(self, name: str) -> frozenset[str]:
        """Return the people of the training set that is registered under a name; nobody if it cannot be read."""
        try:
            found: TrainingSet = build_component("training_set", name, {}, name, self.instances.registry)
            return frozenset(person_key(n, "") for n in _called(found.people, f"training set {name}: people()"))
        except BenchError:  # Its files are missing or damaged; the run does not need them.
            return frozenset()


def _keys(component: Component, names: Collection[str]) -> frozenset[str]:
    return frozenset(person_key(name, component.weights or "") for name in names)


def _called(method: Callable[[], Collection[str]], what: str) -> Collection[str]:
    """Return the names that a method of a plugin returns; ``what`` names it in the message of an error."""
    try:
        return method()
    except BenchError:
        raise
    except Exception as error:
        raise PluginError(f"{what} failed with {type(error).__name__}: {error}") from error
