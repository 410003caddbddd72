"""Discovery of plugins: loads the entry points of the group ``bench`` and registers the components of each.

Entry points are loaded once per process, when `discover` is first called, one at a time. A plugin that fails to load is
listed with the reason, and stops a command only if the suite names it. The host imports no plugin by name: built-in
plugins are entry points like all others.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pluggy

from bench.api import hookspecs
from bench.api.datasets import Dataset, TrainingSet
from bench.api.defense import Defense
from bench.api.hookspecs import PROJECT, Attack, Model
from bench.api.metric import Metric
from bench.core.domain import Component, Origin
from bench.core.errors import PluginError, did_you_mean, error_text, with_article
from bench.core.packages import DISTRIBUTION
from bench.registry.sources import built_in_code, imported_code, source_digest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "bench"
KINDS: Mapping[str, tuple[str, type]] = {
    "dataset": ("bench_datasets", Dataset),
    "training_set": ("bench_training_sets", TrainingSet),
    "model": ("bench_models", Model),
    "defense": ("bench_defenses", Defense),
    "attack": ("bench_attacks", Attack),
    "metric": ("bench_metrics", Metric),
}


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point: its origin and its components (kind and name), or why it cannot be used.

    ``reason`` is None for a usable plugin; ``traceback`` is that of the error, if there was one.
    """

    name: str
    module: str
    distribution: str
    version: str
    components: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A component class with the plugin that registered it."""

    cls: type
    origin: Origin


@dataclass
class Registry:
    """The plugins and components that were found.

    ``components`` and ``conflicts`` are by kind and name. ``conflicts`` lists the plugins that register the same name;
    such a component cannot be used.
    """

    manager: pluggy.PluginManager
    plugins: list[Plugin] = field(default_factory=list)
    components: dict[tuple[str, str], Registration] = field(default_factory=dict)
    conflicts: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """Return the names of the usable components of a kind, sorted."""
        return sorted(name for k, name in self.components if k == kind)

    def build(self, component: Component) -> Any:
        """Build the dataclass that a plugin registered for a resolved component, with its effective parameters.

        Nothing is checked again; parameters as a suite writes them are checked by
        `bench.registry.components.build_component`. Raise `PluginError` if the plugin cannot be used.
        """
        return self.find(component.kind, component.name, component.label).cls(**component.params)

    def find(self, kind: str, name: str, where: str) -> Registration:
        """Return the component called ``name``; raise `PluginError` that names ``where`` (a TOML path) if it cannot be
        used."""
        key = (kind, name)
        if key in self.conflicts:
            rivals = " and ".join(self.conflicts[key])
            raise PluginError(f"{where}: two plugins provide the {kind} {name!r}: {rivals}. Uninstall one of them.")
        if key in self.components:
            return self.components[key]
        broken = [p for p in self.plugins if p.reason]
        hint = did_you_mean(name, self.names(kind))
        lines = [f"{where}: expected the name of {with_article(kind)}, found {name!r}; {hint}"]
        lines += [f"  note: plugin {p.name!r} ({p.distribution}) could not be loaded: {p.reason}" for p in broken]
        raise PluginError("\n".join(lines))


def _origin(module: ModuleType, distribution: str, version: str, kinds: Collection[str]) -> Origin:
    """Return where a plugin comes from. Of a plugin that protects, attacks or measures, the data in its package counts
    as code: it need not declare what it reads there. Built-in plugins declare what they read; their further code is
    other built-in packages, and the numeric packages, whose versions are in every content key."""
    package = module.__name__.partition(".")[0]
    if distribution == DISTRIBUTION:
        return Origin(
            distribution=distribution,
            version=version,
            package=package,
            digest=source_digest(package),
            libraries=built_in_code(package),
        )
    data = bool({"defense", "attack", "metric"}.intersection(kinds))
    return Origin(
        distribution=distribution,
        version=version,
        package=package,
        digest=source_digest(package, data=data),
        libraries=imported_code(package, distribution),
    )


def _misspelt(module: ModuleType, manager: pluggy.PluginManager) -> str | None:
    """Return why a module cannot be used if it implements an unknown hook; None if all its hooks are known."""
    known = {name for name in vars(manager.hook) if name.startswith("bench_")}
    for name, value in inspect.getmembers(module, inspect.isroutine):
        if hasattr(value, f"{PROJECT}_impl") and name not in known:
            return f"unknown hook {name!r}: {did_you_mean(name, known)}"
    return None


def _components(module: ModuleType) -> dict[tuple[str, str], type]:
    """Call the registration hooks of a module and return its component classes by kind and name.

    Raise `PluginError` if a hook returns anything but a mapping of names to concrete subclasses of the base class.
    """
    found: dict[tuple[str, str], type] = {}
    for kind, (hook, base) in KINDS.items():
        function = getattr(module, hook, None)
        if function is None or not hasattr(function, f"{PROJECT}_impl"):
            continue
        mapping = function()
        if not isinstance(mapping, Mapping):
            raise PluginError(f"{hook}() must return a mapping of names to classes, got {type(mapping).__name__}")
        for name, cls in mapping.items():
            if not (isinstance(name, str) and isinstance(cls, type) and issubclass(cls, base)):
                raise PluginError(
                    f"{hook}() must map names to subclasses of bench.{base.__name__}, got {name!r}: {cls!r}"
                )
            if missing := sorted(getattr(cls, "__abstractmethods__", ())):
                methods = ", ".join(f"{m}()" for m in missing)
                raise PluginError(f"{hook}() registers {name!r}, whose class {cls.__name__} does not define {methods}")
            found[kind, name] = cls
    return found


def _load(entry: EntryPoint, registry: Registry) -> Plugin:
    """Import and register one entry point; an error becomes the ``reason`` of the plugin."""
    dist = entry.dist
    base: dict[str, Any] = {
        "name": entry.name,
        "module": entry.value,
        "distribution": dist.metadata["Name"] if dist else "unknown",
        "version": dist.version if dist else "unknown",
    }
    try:
        module = entry.load()
        if reason := _misspelt(module, registry.manager):
            return Plugin(**base, reason=reason)
        found = _components(module)
        origin = _origin(module, base["distribution"], base["version"], {kind for kind, _ in found})
        registry.manager.register(module, name=f"{base['distribution']}:{entry.name}")
    except (Exception, SystemExit) as error:  # Foreign code may raise anything.
        reason = " ".join(error_text(error).split())
        return Plugin(**base, reason=reason, traceback=traceback.format_exc())
    for key, cls in found.items():
        _claim(registry, key, Registration(cls=cls, origin=origin))
    return Plugin(**base, components=tuple(sorted(found)))


def _claim(registry: Registry, key: tuple[str, str], registration: Registration) -> None:
    """Register a component; a name that two plugins register becomes a conflict."""
    name = f"{registration.origin.package} ({registration.origin.distribution})"
    if key in registry.conflicts:
        registry.conflicts[key].append(name)
    elif key in registry.components:
        first = registry.components.pop(key).origin
        registry.conflicts[key] = [f"{first.package} ({first.distribution})", name]
    else:
        registry.components[key] = registration


@functools.cache
def discover() -> Registry:
    """Load all entry points of the group ``bench``; later calls return the same registry."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager=manager)
    from importlib.metadata import entry_points  # See `bench.core.packages`.

    entries = sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value))
    for entry in entries:
        rivals = sorted({e.value for e in entries if e.name == entry.name})
        if len(rivals) > 1:
            dist = entry.dist
            reason = f"two plugins are called {entry.name!r}: {' and '.join(rivals)}; uninstall one of them"
            plugin = Plugin(
                name=entry.name,
                module=entry.value,
                distribution=dist.metadata["Name"] if dist else "unknown",
                version=dist.version if dist else "unknown",
                reason=reason,
            )
        else:
            plugin = _load(entry, registry)
        registry.plugins.append(plugin)
    return registry


def registered(kind: str) -> dict[str, type]:
    """Return the usable component classes of a kind (``"dataset"``, ``"model"`` ...) by name, in order of names."""
    registry = discover()
    return {name: registry.components[kind, name].cls for name in registry.names(kind)}


def commands(group: str) -> dict[str, click.Command]:
    """Return the commands that plugins add to a group of the command line (``data`` or ``models``), by name.

    Raise `PluginError` if a plugin fails, or returns anything but click commands with names such as ``data convert``.
    """
    found: dict[str, click.Command] = {}
    for implementation in discover().manager.hook.bench_commands.get_hookimpls():
        who = implementation.plugin_name
        try:
            made: Mapping[str, Any] = implementation.function()  # type: ignore[assignment]
        except Exception as error:
            raise PluginError(f"{who}: bench_commands failed with {error_text(error)}") from error
        for path, command in made.items():
            head, _, name = str(path).partition(" ")
            if not isinstance(command, click.Command) or head not in ("data", "models") or not name:
                raise PluginError(
                    f"{who}: bench_commands: expected click commands by names such as 'data convert', got {path!r}: "
                    f"{command!r}"
                )
            if head == group:
                found[name] = command
    return found
