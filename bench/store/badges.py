"""Badges: small files in the user's cache folder that say which code has passed ``bench check``, of which kit.

A badge belongs to the digest of the code of a component, as content keys use it: with another line of code, or another
version of a package that the plugin imports, there is none. A file that cannot be read is no badge.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from bench.core.cache_folder import cache_folder
from bench.core.content_keys import digest_of
from bench.core.domain import Component
from bench.core.errors import StorageError
from bench.core.files import files_in, write_atomically
from bench.core.packages import DISTRIBUTION
from bench.core.paths import child
from bench.core.whole_files import read_json
from bench.store.run_record import ComponentRecord, RunRecord

KIT = "2"
"""The version of the kit: it is raised when the checks become stricter."""


def code_digest(component: Component) -> str:
    """Return the digest of the code behind a component, without its parameters and files."""
    origin = component.origin
    about = (origin.distribution, origin.version, origin.digest, dict(origin.libraries))
    return digest_of([component.kind, component.name, *about])


def _file(component: Component) -> Path:
    return child(cache_folder() / "badges", f"{code_digest(component)}.json")


def write_badge(component: Component) -> bool:
    """Store that the code of a component has passed the checks of this kit with its default parameters; return False
    if it cannot be stored."""
    about = {"kit": KIT, "kind": component.kind, "name": component.name, "package": component.origin.package}
    path = _file(component)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(about))
    except (OSError, StorageError):
        return False
    return True


def remove_badge(component: Component) -> None:
    """Forget that the code of a component has passed: it fails now."""
    with contextlib.suppress(OSError):
        _file(component).unlink(missing_ok=True)


def remove_badges_of(package: str) -> None:
    """Forget that any code of a package has passed: it cannot even be imported now. Raise `StorageError` if the folder
    of badges cannot be listed."""
    for path in files_in(cache_folder() / "badges"):
        with contextlib.suppress(OSError, ValueError, OverflowError):
            found = read_json(path)
            if isinstance(found, dict) and found.get("package") == package:
                path.unlink(missing_ok=True)


def badge_of(component: Component) -> str | None:
    """Return the version of the kit whose checks the code of a component has passed on this machine; None if it has
    not been checked."""
    try:
        found = read_json(_file(component))
    except (OSError, ValueError, OverflowError):
        return None
    kit = found.get("kit") if isinstance(found, dict) else None
    return kit if isinstance(kit, str) and len(kit) < 20 else None


def badge_key(component: Component | ComponentRecord) -> str:
    """Return how the record of a run names a component in its ``checked``."""
    return f"{component.kind} {component.name}"


def badges_of(components: Iterable[Component]) -> str:
    """Return as JSON, for each component that does not come with bench, its badge: the version of the kit and the
    digest of the code that passed its checks; null for one without a badge."""
    kits = {c: badge_of(c) for c in components if c.origin.distribution != DISTRIBUTION}
    found = {badge_key(c): f"kit {kit}, code {code_digest(c)}" if kit else None for c, kit in kits.items()}
    return json.dumps(found, sort_keys=True)


def unchecked(records: Iterable[RunRecord]) -> str | None:
    """Return in one sentence which plugins of runs had no badge; None if all had one, or if a run did not record it.

    Built-in plugins are left out: the tests of bench check them.
    """
    names = [
        c.label
        for record in records
        for c in record.components
        if record.checked is not None and c.origin.distribution != DISTRIBUTION and not record.checked.get(badge_key(c))
    ]
    return f"not checked with bench check before this run: {', '.join(dict.fromkeys(names))}" if names else None
