"""Imports plugins one after the other, so that one that hangs or ends the process is known by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from bench.registry.discovery import GROUP, KINDS


@dataclass(frozen=True, kw_only=True)
class PluginEntry:
    """An entry point of a plugin: its name, and the package that it is in."""

    name: str
    package: str


class RefusedPackages(MetaPathFinder):
    """Refuses to import packages, by the reason why each is left out; it stands first in `sys.meta_path`."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = reasons

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise `ImportError` for what lies in one of the packages; of anything else this finder knows nothing."""
        package = fullname.partition(".")[0]
        if package in self.reasons:
            raise ImportError(f"{package}: {self.reasons[package]}; bench check left it out")


def import_each(tell: Callable[[PluginEntry], None]) -> None:
    """Import every plugin and ask for its components, as `bench.registry.discovery.discover` does afterwards, which
    keeps the errors. ``tell`` is told each plugin before."""
    from importlib.metadata import entry_points  # See `bench.core.packages`.

    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        tell(PluginEntry(name=entry.name, package=entry.module.partition(".")[0]))
        try:
            module = entry.load()
            for hook, _ in KINDS.values():
                function: Any = getattr(module, hook, None)
                if callable(function):
                    function()
        except (Exception, SystemExit):  # Discovery meets it again, and says why the plugin cannot be used.
            continue
