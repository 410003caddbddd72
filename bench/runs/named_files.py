"""Files and folders that the suite of a stranger names, found in its text before any of them is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import UntrustedError
from bench.core.text import shortened_repr
from bench.registry.components import parameters
from bench.registry.discovery import Registry
from bench.store.run_record import SuiteRecord
from bench.suite.expand import FullReference, expand
from bench.suite.suite import reread

# A text that may be a path: with a separator, a home folder, a variable, or the ending of a file.
_PATH = re.compile(r"[/\\~$]|\.[A-Za-z][A-Za-z0-9]{0,11}$")
_NAMES = re.compile(r"(^|_)(path|paths|file|files|folder|folders|dir|directory)$")


def require_no_files(suite: SuiteRecord, registry: Registry) -> None:
    """Raise `UntrustedError`, which lists them, if a suite names files or folders in the parameters of a component.

    Files that a plugin finds by itself, in its own package or in the folders of the user, are not named by the suite.
    """
    found: dict[str, None] = {}
    for experiment in expand(reread(suite).tables.experiment):
        for reference in experiment.references():
            found |= dict.fromkeys(_named(reference, registry))
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise UntrustedError(
            f"the suite: expected only components of installed plugins; these parameters seem to name files:\n{lines}\n"
            "If these may be read, repeat the command with --allow-files"
        )


def _named(reference: FullReference, registry: Registry) -> Iterator[str]:
    """Yield the parameters of a reference, and of those in it, that may name files."""
    registration = registry.components.get((reference.kind, reference.name))
    kinds = {name: kind for name, kind, _ in parameters(registration.cls)} if registration else {}
    for name, value in reference.passed.items():
        for text in _texts(value):
            if text and ("Path" in kinds.get(name, "") or _NAMES.search(name) or _PATH.search(text)):
                yield f"{reference.where}.{name} = {shortened_repr(text)}"
    for inner in (reference.via, reference.on_stand_ins):
        yield from _named(inner, registry) if inner else ()


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of a suite."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    yield from [str(value)] if isinstance(value, str | Path) else []
    for one in inner:
        yield from _texts(one)
