"""Which installation provides a Python package that is missing: this package, or one of its extras."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "face-privacy-bench"  # of bench itself, with its built-in plugins
_CALLED = {"PIL": "pillow", "skimage": "scikit-image", "vl_convert": "vl-convert-python"}
_FOR_DEVELOPERS = frozenset({"test", "check"})


def how_to_install(module: str) -> str | None:
    """Return the command that installs a module which bench or its built-in plugins use; None for any other module.

    The extra of an optional package is named.
    """
    top = module.partition(".")[0]
    wanted = _CALLED.get(top, top.replace("_", "-")).lower()
    try:
        known = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # It runs from sources that are not installed.
        return None
    for requirement in known:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        if name is None or name[0].lower() != wanted or (extra and extra[1] in _FOR_DEVELOPERS):
            continue
        return f"pip install '{DISTRIBUTION}{f'[{extra[1]}]' if extra else ''}'"
    return None
