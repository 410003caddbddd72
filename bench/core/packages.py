"""Which installation provides a Python package that is missing: this package, or one of its extras."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "face-privacy-bench"  # of bench itself, with its built-in plugins
_CALLED = {"PIL": "pillow", "skimage": "scikit-image", "vl_convert": "vl-convert-python"}
_FOR_DEVELOPERS = frozenset({"test", "check"})


def how_to_install(module: str) -> str | None:
    """Return the command that installs a module which bench or its built-in plugins use; None for any other module.

    The extra of an optional package is named; if several extras bring it, there is a command for each, except for
    extras that bring everything that another one brings, and more.
    """
    top = module.partition(".")[0]
    wanted = _CALLED.get(top, top.replace("_", "-")).lower()
    brought = _brought()
    if wanted in brought.get("", ()):
        return f"pip install '{DISTRIBUTION}'"
    extras = {extra: packages for extra, packages in brought.items() if wanted in packages}
    smallest = [extra for extra, packages in extras.items() if not any(other < packages for other in extras.values())]
    return " or ".join(f"pip install '{DISTRIBUTION}[{extra}]'" for extra in smallest) or None


def _brought() -> dict[str, set[str]]:
    """Return the packages of each extra, in lower case; "" for those that are always installed."""
    try:
        known = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # It runs from sources that are not installed.
        return {}
    found: dict[str, set[str]] = {}
    for requirement in known:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        match = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        extra = match[1] if match else ""
        if name is not None and extra not in _FOR_DEVELOPERS:
            found.setdefault(extra, set()).add(name[0].lower())
    return found
