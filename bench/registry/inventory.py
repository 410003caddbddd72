"""The inventory of data sets, training sets and models: what was found where, and what is missing. No torch.

It is what ``bench data`` and ``bench models`` show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.api.datasets import Dataset, TrainingSet
from bench.api.types import Check, DataStatus
from bench.core.errors import BenchError, MissingDataError, PluginError, SuiteError, error_text
from bench.registry.components import build_component
from bench.registry.discovery import Registry


@dataclass(frozen=True, kw_only=True)
class InventoryEntry:
    """A data set, training set or model, and whether its files were found.

    ``problem`` says why its files cannot be used although they exist; it is None if they can be used or are missing.
    """

    kind: str
    name: str
    status: DataStatus
    license: str
    stand_in: str | None = None
    fingerprint: str | None = None
    problem: str | None = None


def entries(registry: Registry, kinds: Iterable[str]) -> Iterator[InventoryEntry]:
    """Yield every component of some kinds with its default parameters, except those that need parameters."""
    for kind in kinds:
        for name in registry.names(kind):
            try:
                instance = build_component(kind, name, {}, name, registry)
            except SuiteError:
                continue  # Some of its parameters have no default, so that only a suite can name it.
            except PluginError as error:
                yield InventoryEntry(kind=kind, name=name, status=DataStatus(), license="", problem=str(error))
                continue
            yield _entry(kind, name, instance)


def _entry(kind: str, name: str, instance: Any) -> InventoryEntry:
    bare = InventoryEntry(
        kind=kind, name=name, status=DataStatus(), license="", stand_in=getattr(instance, "stand_in", None)
    )
    try:
        status = instance.status()
        if status.missing:
            return replace(bare, status=status)
        return replace(bare, status=status, license=instance.license, fingerprint=instance.fingerprint())
    except MissingDataError as error:
        return replace(bare, status=DataStatus(missing=str(error)))
    except BenchError as error:
        return replace(bare, problem=str(error))
    except Exception as error:  # Foreign code may raise anything; the other components are still listed.
        return replace(bare, problem=error_text(error))


def verify(
    registry: Registry, names: Sequence[str], against: Sequence[str], params: Mapping[str, Any]
) -> Iterator[tuple[str, Check]]:
    """Verify data sets and compare them with training sets; yield each check with the name of its data set.

    ``names`` are the data sets, by default all whose files exist; ``against`` the training sets, by default all whose
    files exist; ``params`` the parameters of every data set. Generated sets are used only if they are named.
    """
    found = {e.name: e for e in entries(registry, ["training_set"])}
    there = [n for n, e in found.items() if not e.status.missing and e.status.layout != "generated"]
    training: dict[str, TrainingSet] = {
        name: build_component("training_set", name, {}, "--against", registry) for name in against or there
    }
    if not names:
        sets = [e for e in entries(registry, ["dataset"]) if not e.status.missing]
        names = [e.name for e in sets if e.status.layout != "generated"]
        if not names:
            yield "data sets", Check("found", True, "none but generated ones; bench data status says what is missing")
    for name in names:
        registry.find("dataset", name, name)  # A name that no data set has ends the command.
        try:
            dataset: Dataset = build_component("dataset", name, params, name, registry)
        except PluginError as error:
            yield name, Check("declarations", False, str(error))
            continue
        try:
            for check in dataset.verify(training):
                yield name, check
        except BenchError as error:
            yield name, Check("readable", False, str(error))
