"""``bench doctor``: checks what is installed and usable, and does not stop at the first problem."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from bench.api.types import Check
from bench.core.errors import BenchError, error_text
from bench.core.packages import DISTRIBUTION
from bench.core.provenance import package_versions
from bench.engine.factory import resolve_device
from bench.metrics.lpips import find_vgg
from bench.registry import inventory
from bench.registry.components import build_component
from bench.registry.declarations import examined
from bench.registry.discovery import Registry, discover
from bench.store.run_folders import free_bytes, require_writable
from bench.store.workspace import Folders


def examine(folders: Folders) -> list[Check]:
    """Return the result of every check, the most basic ones first."""
    registry = discover()
    return [
        *_packages(),
        *[
            Check(f"plugin {p.name}", p.reason is None, p.reason or f"{p.distribution} {p.version}")
            for p in examined(registry)
        ],
        *[
            Check(f"{kind} {name}", False, f"provided by several plugins: {', '.join(rivals)}; uninstall one")
            for (kind, name), rivals in registry.conflicts.items()
        ],
        *_weights(registry),
        _lpips(),
        _folder(folders),
        Check("device", True, f"{resolve_device('auto')}, {os.cpu_count()} cores"),
    ]


def _packages() -> list[Check]:
    versions = package_versions()
    checks = [Check(f"package {n}", v != "missing", v) for n, v in versions.items()]
    if versions[DISTRIBUTION] == "missing":
        return checks
    for requirement in requires(DISTRIBUTION) or []:
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            version(name)
        except PackageNotFoundError:
            checks.append(Check(f"package {name}", False, f"missing; pip install '{requirement}'"))
    return checks


def _weights(registry: Registry) -> list[Check]:
    """Check the weights of models and attacks, and report which stand-ins replace missing ones."""
    checks = []
    for entry in inventory.entries(registry, ["model"]):
        if entry.problem is not None:
            checks.append(Check(f"weights of {entry.name}", False, entry.problem))
        elif entry.fingerprint:
            checks.append(Check(f"weights of {entry.name}", True, f"{_file(entry)}sha256 {entry.fingerprint[:12]}"))
        elif entry.stand_in:
            checks.append(Check(f"weights of {entry.name}", True, f"not there; {entry.stand_in} stands in"))
    for name in registry.names("attack"):
        try:
            digest = build_component("attack", name, {}, "bench doctor", registry).fingerprint()
            if digest:
                checks.append(Check(f"weights of {name}", True, f"sha256 {digest[:12]}"))
        except BenchError as error:
            checks.append(Check(f"weights of {name}", False, str(error)))
        except Exception as error:  # Any plugin may be broken, and this command has to show that.
            checks.append(Check(f"weights of {name}", False, error_text(error)))
    return checks


def _file(entry: inventory.InventoryEntry) -> str:
    return f"{Path(entry.status.where).name}, " if entry.status.where else ""


def _lpips() -> Check:
    """Check LPIPS. It is optional: without its weights the column is empty."""
    try:
        found = find_vgg()
    except BenchError as error:
        return Check("LPIPS", False, str(error))
    return Check(
        "LPIPS", True, f"VGG weights, sha256 {found.sha256[:12]}" if found.sha256 else f"not used: {found.reason}"
    )


def _folder(folders: Folders) -> Check:
    try:
        require_writable(folders.results, folders.reports)
    except BenchError as error:
        return Check("output folder", False, str(error))
    return Check("output folder", True, f"{folders.out.resolve()}, {free_bytes(folders.results) / 1e9:.0f} GB free")
