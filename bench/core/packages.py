"""The installed distributions: which one provides a Python package, or would provide one that is missing.

`importlib.metadata` takes a sixth of the time of ``bench --help`` to import, so that it is imported when it is used.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

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
    from importlib.metadata import PackageNotFoundError, requires

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


def distributions_of(module: str) -> list[Distribution]:
    """Return the installed distributions that provide a top-level package or module; a namespace package may have
    several. Of several with the same name, it is the one that is imported."""
    named: dict[str, Distribution] = {}
    for found in _distributions().get(module, ()):
        named.setdefault(found.name, found)
    return list(named.values())


@functools.cache
def _distributions() -> Mapping[str, list[Distribution]]:
    """Return the installed distributions by the top-level packages and modules that they provide.

    Like `importlib.metadata.packages_distributions`, but it makes no path of each installed file and parses no metadata
    of a distribution, which takes ten times as long.
    """
    from importlib.metadata import distributions

    found: dict[str, list[Distribution]] = defaultdict(list)
    for one in distributions():
        for name in provided_modules(one):
            found[name].append(one)
    return found


def provided_modules(of: Distribution) -> set[str]:
    """Return the names of the top-level packages and modules of a distribution, from its metadata."""
    declared = of.read_text("top_level.txt")
    if declared and declared.split():
        return set(declared.split())
    record = of.read_text("RECORD")
    # The first field of a line is a path, in quotes if it contains a comma.
    lines = record.splitlines() if record else map(str, of.files or ())
    tops = {(first, bool(rest)) for first, _, rest in (line.lstrip('"').partition("/") for line in lines)}
    names = {first if inside else inspect.getmodulename(first.partition(",")[0]) for first, inside in tops}
    return {name for name in names if name and "." not in name}
