"""The people of data sets and training sets as their plugins name them, read once for all experiments. No torch."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from bench.api.datasets import Dataset, TrainingSet
from bench.api.hookspecs import Model
from bench.core.domain import Component
from bench.core.errors import BenchError, DataError, PluginError, SuiteError, error_text
from bench.core.memoize import remembered
from bench.core.people import Allowed, Half, is_local, learnable, person_key
from bench.planning.instances import Instances
from bench.registry.components import build_component


class People(NamedTuple):
    """The keys of some people (`bench.core.people.person_key`), and those of them that are names, not numbers, and can
    be compared with other sets. Both are empty where people are not known."""

    keys: frozenset[str]
    named: frozenset[str]


class KnownPeople:
    """Returns the people of data sets and training sets.

    Methods about data sets raise `PluginError` if the plugin fails.
    """

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    @remembered
    def scored(self, dataset: Component, pairs: int) -> People:
        """Return the people whom the first ``pairs`` pairs of a data set show."""
        instance: Dataset = self.instances.of(dataset)
        names = _called(lambda: instance.people(pairs), f"data set {dataset.label}: people()")
        return _people(names, dataset.weights or "")

    @remembered
    def learnt(self, source: Component, half: Half | None = None) -> People:
        """Return the people whom the auxiliary faces of a data set show, or of one half of its people.

        With ``half``, this need not be half of the people returned without it: the data set chooses other people in
        place of those who belong to the other half.
        """
        files = source.weights or ""
        return _people(self.auxiliary(source, learnable((), files, half)), files)

    def auxiliary(self, source: Component, allowed: Allowed) -> Collection[str]:
        """Return the names of the people whom the auxiliary faces of a data set show if only some are allowed."""
        instance: Dataset = self.instances.of(source)
        return _called(lambda: instance.auxiliary_people(allowed), f"data set {source.label}: auxiliary_people()")

    @remembered
    def trained_on(self, model: Component) -> People:
        """Return the people of the training set that a network declares; nobody if it is not registered, if its
        parameters are wrong, or if its files are missing or damaged: the run does not need them. Raises PluginError if
        the plugin fails."""
        instance: Model = self.instances.of(model)
        name, registry = instance.trained_on, self.instances.registry
        if name not in registry.names("training_set"):
            return _people((), "")
        try:
            found: TrainingSet = build_component("training_set", name, instance.trained_on_parameters, name, registry)
            return _people(_called(found.people, f"training set {name}: people()"), "")
        except (DataError, SuiteError):  # SuiteError: the declared parameters do not suit the training set.
            return _people((), "")


def _people(names: Collection[str], files: str) -> People:
    keys = frozenset(person_key(name, files) for name in names)
    local = set(filter(is_local, keys))
    return People(keys, keys - local if local else keys)


def _called(method: Callable[[], Collection[str]], what: str) -> Collection[str]:
    """Return the names that a method of a plugin returns; ``what`` names it in the message of an error."""
    try:
        return method()
    except BenchError:
        raise
    except Exception as error:
        raise PluginError(f"{what} failed with {error_text(error)}") from error
