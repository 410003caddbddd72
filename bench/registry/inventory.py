"""What data sets and models are there, and what is missing: ``bench data`` and ``bench models``. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.api.hookspecs import Dataset, TrainingSet
from bench.api.types import Check, DataStatus
from bench.core.errors import BenchError, MissingDataError, SuiteError
from bench.registry.components import build_component
from bench.registry.discovery import Registry


@dataclass(frozen=True, kw_only=True)
class InventoryEntry:
    """A data set, training set or model with what was found of it; ``problem`` when it is there and cannot be used."""

    kind: str
    name: str
    status: DataStatus
    license: str
    stand_in: str | None = None
    fingerprint: str | None = None
    problem: str | None = None


def entries(registry: Registry, kinds: Iterable[str]) -> Iterator[InventoryEntry]:
    """Every component of some kinds, with its default parameters; those that need parameters are left out."""
    for kind in kinds:
        for name in registry.names(kind):
            try:
                instance = build_component(kind, name, {}, name, registry)
            except SuiteError:
                continue  # it exists only with parameters that a suite gives
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
    except Exception as error:  # a stranger's code, in a listing of everything
        return replace(bare, problem=f"{type(error).__name__}: {error}")


def verify(
    registry: Registry, names: Sequence[str], against: Sequence[str], params: Mapping[str, Any]
) -> Iterator[tuple[str, Check]]:
    """Verify data sets (all that are there, unless some are named), and what they share with training sets."""
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
        dataset: Dataset = build_component("dataset", name, params, name, registry)
        try:
            for check in dataset.verify(training):
                yield name, check
        except BenchError as error:
            yield name, Check("readable", False, str(error))
