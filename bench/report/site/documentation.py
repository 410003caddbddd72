"""What plugins say about themselves and the papers that they follow: the documentation in their source.

Runs do not record it, so it is shown only of a plugin that is installed where the site is made, with the same code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

from bench.registry.discovery import Registration
from bench.store.run_record import ComponentRecord

Installed = Mapping[tuple[str, str], Registration]
"""The components of installed plugins, by kind and name (`bench.registry.discovery.Registry`)."""


def documentation(installed: Installed, component: ComponentRecord | None) -> list[str]:
    """Return the paragraphs of the documentation of a component: those of its module, then those of its class; none if
    its plugin is not installed here with the code that the record names."""
    found = installed.get((component.kind, component.name)) if component else None
    if component is None or found is None or found.origin.digest != component.origin.digest:
        return []
    module = sys.modules.get(found.cls.__module__)
    texts = [inspect.getdoc(module) or "" if module else "", vars(found.cls).get("__doc__") or ""]
    return [part.replace("``", "").strip() for text in texts for part in inspect.cleandoc(text).split("\n\n") if part]
