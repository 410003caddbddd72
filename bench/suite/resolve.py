"""The second pass over a suite: each distinct reference becomes one `Component`, with its effective parameters.

A plugin is looked up, its parameters are checked, and its data or weights are identified by their digest. Where files
are missing, ``data`` of the suite decides whether a stand-in takes their place. No torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from bench.api.hookspecs import Attack
from bench.core.domain import Component, DataMode
from bench.core.errors import MissingDataError, SuiteError
from bench.registry.components import (
    effective_parameters,
    fingerprint,
    foreign_code,
    instantiate,
    origin_of,
    parameter_names,
    require_trust,
)
from bench.registry.declarations import check_declarations
from bench.registry.discovery import Registry
from bench.suite.expand import FullReference


class Resolver:
    """Makes components of references: the same object for all references that request the same component.

    Components whose parameters name code outside the installed plugins are only made if ``trust`` is True.
    """

    def __init__(self, registry: Registry, data: DataMode = "auto", *, trust: bool = False) -> None:
        self.registry = registry
        self.data = data
        self.trust = trust
        self._components: dict[str, Component] = {}
        self._missing: dict[str, None] = {}  # what ``data = "real"`` lacks, each once, in the order of the suite

    def resolve(self, references: Iterable[FullReference]) -> None:
        """Resolve references. With ``data = "real"``, raise one `MissingDataError` that lists all missing files.

        Without trust, first raise one `UntrustedError` that lists all code outside the installed plugins.
        """
        references = list(references)
        if not self.trust:
            require_trust("the suite", itertools.chain.from_iterable(map(self._foreign_code, references)))
        for reference in references:
            try:
                self.component(reference)
            except MissingDataError:
                if not self._missing:
                    raise
        if self._missing:
            lines = "\n".join(f"  {message}" for message in self._missing)
            raise MissingDataError(
                f'the suite requires real data (data = "real"), and these are missing:\n{lines}\n'
                "Put them there, or let stand-ins take their place with: --data auto"
            )

    def _foreign_code(self, reference: FullReference) -> Iterator[str]:
        """Yield which code outside the installed plugins a reference and those inside it name, with their places."""
        registration = self.registry.find(reference.kind, reference.name, reference.where)
        if hasattr(registration.cls, "foreign_code"):
            code = foreign_code(instantiate(registration.cls, reference.passed, reference.where))
            yield from [f"{reference.where}: {code}"] if code else []
        for inner in (reference.via, reference.on_stand_ins):
            yield from self._foreign_code(inner) if inner else ()

    def component(self, reference: FullReference) -> Component:
        """Return the component of a reference.

        Raise `SuiteError` for wrong parameters, `PluginError` for a plugin that cannot be used, `MissingDataError` if
        files are missing and no stand-in may take their place, and `DataError` if files are damaged.
        """
        if reference.key not in self._components:
            self._components[reference.key] = self._resolve(reference)
        return self._components[reference.key]

    def _resolve(self, reference: FullReference) -> Component:
        kind, where = reference.kind, reference.where
        via = self._first_attack(reference.via) if reference.via else None
        registration = self.registry.find(kind, reference.name, where)
        instance = instantiate(registration.cls, reference.passed, where)
        check_declarations(kind, reference.name, instance)
        if via and instance.outputs != "attributes":
            raise SuiteError(
                f"{where}.via: only an attack that outputs attributes can follow a reconstruction; {reference.name} "
                f"outputs {instance.outputs} (reconstructions are always recognised by the evaluated models)"
            )
        stand_in: str | None = getattr(instance, "stand_in", None)
        if stand_in and self.data == "stand-in":
            return self._stand_in(reference, stand_in, "the suite requests stand-ins")
        try:
            weights = fingerprint(kind, instance, where)
        except MissingDataError as error:
            reason = str(error).removeprefix(f"{where}: ")
            if self.data == "real":
                named = reason.startswith(reference.label)
                self._missing.setdefault(reason if named else f"{reference.label}: {reason}")
            if stand_in is None or self.data == "real":
                raise
            return self._stand_in(reference, stand_in, reason)
        component = Component(
            kind=kind,
            name=reference.name,
            label=reference.label,
            params=effective_parameters(instance),
            passed=reference.passed,
            origin=origin_of(registration, instance, where),
            weights=weights,
            via=via,
        )
        other = reference.on_stand_ins
        return component if other is None else replace(component, on_stand_ins=self.component(other))

    def _first_attack(self, reference: FullReference) -> Component:
        """Return the attack of ``via``; raise `SuiteError` unless it outputs images and has no ``via`` of its own."""
        first = self.component(reference)
        attack: Attack = self.registry.build(first)
        if attack.outputs != "images" or first.via:
            found = "a chain of its own" if first.via else f"{first.label}, which outputs {attack.outputs}"
            raise SuiteError(f"{reference.where}: expected one attack that outputs images, found {found}")
        return first

    def _stand_in(self, reference: FullReference, name: str, because: str) -> Component:
        """Return the stand-in called ``name``, with those of the suite's parameters that both components have.

        Its label says that it is a stand-in, so that no row or heading passes it off as what the suite names.
        """
        kind, where = reference.kind, reference.where
        registration = self.registry.find(kind, name, f"{where}: the stand-in of {reference.name}")
        known = parameter_names(registration.cls)
        shared: dict[str, Any] = {k: v for k, v in reference.passed.items() if k in known}
        instance = instantiate(registration.cls, shared, where)
        check_declarations(kind, name, instance)
        return Component(
            kind=kind,
            name=name,
            label=f"{reference.label} (stand-in {name})" if reference.labelled else name,
            params=effective_parameters(instance),
            passed=shared,
            origin=origin_of(registration, instance, where),
            weights=fingerprint(kind, instance, where),
            instead_of=reference.label,
            because=because,
        )
