"""What is checked: a component of an installed plugin by its name, or a class or object of an author."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.core.domain import Component, Origin
from bench.core.errors import PluginError, SuiteError, did_you_mean
from bench.registry.components import effective_parameters
from bench.registry.discovery import KINDS, Registry, discover
from bench.suite.added_defenses import parse_reference


@dataclass(frozen=True, kw_only=True)
class Target:
    """A component class with the parameters that are passed, and the kind and name by which it is registered.

    ``origin`` is where a registered class comes from; None for any other class, whose name is that of the class.
    """

    kind: str
    name: str
    cls: type
    params: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"bench check {self.name}"


def targets_named(text: str, registry: Registry) -> list[Target]:
    """Return the components that a text names as ``bench plugins`` lists them: those of a component, which may have
    parameters as ``--defense`` takes them, or all of a plugin. Raise `PluginError` or `SuiteError` for others."""
    table = parse_reference(text, "bench check")
    name = table.pop("plugin")
    kinds = [kind for kind in KINDS if (kind, name) in registry.components or (kind, name) in registry.conflicts]
    if kinds:
        return [_registered(kind, name, table, registry) for kind in kinds]
    plugin = next((one for one in registry.plugins if one.name == name), None)
    if plugin is None:
        known = {own for _, own in registry.components} | {one.name for one in registry.plugins}
        raise PluginError(
            f"bench check {name}: expected the name of a component or a plugin; {did_you_mean(name, known)}"
        )
    if plugin.reason:
        raise PluginError(
            f"bench check {name}: the plugin {name!r} ({plugin.module}) cannot be used: {plugin.reason}; correct it, "
            "bench doctor shows all plugins"
        )
    if table:
        names = ", ".join(own for _, own in plugin.components) or "no component"
        raise SuiteError(f"bench check {text}: expected parameters of one component; this plugin provides {names}")
    if not plugin.components:
        raise PluginError(f"bench check {name}: expected a plugin with components, found one with hooks only")
    return [_registered(kind, own, {}, registry) for kind, own in plugin.components]


def all_targets(registry: Registry) -> list[Target]:
    """Return every usable component with its default parameters, by kind."""
    return [_registered(kind, name, {}, registry) for kind in KINDS for name in registry.names(kind)]


def _registered(kind: str, name: str, params: Mapping[str, Any], registry: Registry) -> Target:
    found = registry.find(kind, name, f"bench check {name}")
    return Target(kind=kind, name=name, cls=found.cls, params=params, origin=found.origin)


def target_of(plugin: str | type | object, params: Mapping[str, Any], kind: str | None = None) -> Target:
    """Return the only component that a name, a class or an object means. ``params`` are its parameters, ``kind`` is
    needed where components of several kinds have that name. Raise `PluginError` or `SuiteError` if there is none."""
    registry = discover()
    if isinstance(plugin, str):
        found = [one for one in targets_named(plugin, registry) if kind in (None, one.kind)]
        if len(found) != 1:
            names = ", ".join(f"{one.name} ({one.kind})" for one in found) or f"none of the kind {kind!r}"
            raise PluginError(
                f"check_plugin({plugin!r}): expected one component, found {names}; pass of_kind, or its name"
            )
        return dataclasses.replace(found[0], params={**found[0].params, **params})
    cls = plugin if isinstance(plugin, type) else type(plugin)
    own = next((kind for kind, (_, base) in KINDS.items() if issubclass(cls, base)), None)
    if own is None:
        bases = ", ".join(base.__name__ for _, base in KINDS.values())
        raise PluginError(f"check_plugin({cls.__name__}): expected a subclass of {bases} of bench, or the name of one")
    known: Mapping[str, Any] = {} if isinstance(plugin, type) else effective_parameters(plugin)
    registered = next((key for key, one in registry.components.items() if one.cls is cls), None)
    if registered is not None:
        return dataclasses.replace(_registered(*registered, {}, registry), params={**known, **params})
    return Target(kind=own, name=cls.__name__, cls=cls, params={**known, **params})


def component_for(target: Target, instance: Any = None, weights: str | None = None) -> Component:
    """Return the component of a target, with the parameters of its ``instance`` if there is one; that of a class which
    is not registered comes from nowhere."""
    package = target.cls.__module__.partition(".")[0]
    origin = target.origin or Origin(distribution="not registered", version="", package=package, digest="")
    return Component(
        kind=target.kind,  # type: ignore[arg-type]  # Training sets are no part of stages; their kind is their own.
        name=target.name,
        label=target.name,
        params={} if instance is None else effective_parameters(instance),
        passed={} if instance is None else dict(target.params),
        origin=origin,
        weights=weights,
    )
