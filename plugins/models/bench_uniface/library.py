"""The installed library uniface: its table of addresses and digests, read without importing the library.

Importing uniface imports OpenCV, onnxruntime and torch, which takes seconds. Its table is one module that imports
nothing else; this module loads only that one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import DataError

INSTALL = "pip install 'face-privacy-bench[real]'"
_ALONE = "bench_uniface._constants"  # The name under which the library's table is loaded without the library.


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What uniface knows about a file: its ``identifier`` (an enum member), its addresses ``urls`` in the order in
    which they are tried, and its ``sha256``."""

    identifier: Any
    urls: tuple[str, ...]
    sha256: str


def installed() -> str | None:
    """Return the version of uniface, or None if it is not installed."""
    try:
        return version("uniface")
    except PackageNotFoundError:
        return None


def cache_folder() -> Path:
    """Return the folder in which uniface keeps weights: ``$UNIFACE_CACHE_DIR``, by default ``~/.uniface/models``."""
    return Path(os.path.expanduser(os.environ.get("UNIFACE_CACHE_DIR") or "~/.uniface/models"))


def entry(stem: str) -> Entry:
    """Return what uniface knows about a file. Raises DataError if uniface is missing, or does not list the file."""
    table = _constants()
    with contextlib.suppress(AttributeError):  # The table of another version has another form.
        for identifier, info in table.MODEL_REGISTRY.items():
            if identifier.value == stem and info.url.endswith(".onnx") and len(info.sha256) == 64:
                mirror = f"{table.HF_MIRROR_URL}/{stem}.onnx"
                return Entry(identifier=identifier, urls=(info.url, mirror), sha256=info.sha256)
    raise DataError(
        f"{stem}.onnx: expected an entry with a sha256 in uniface's table of weights, found none in uniface "
        f"{installed()}; install a version of the extra: {INSTALL}"
    )


def _constants() -> ModuleType:
    """Return the module of uniface that holds its table: that of the library if it has been imported."""
    return sys.modules.get("uniface.constants") or _alone()


@functools.cache
def _alone() -> ModuleType:
    found = importlib.util.find_spec("uniface")
    if found is None or found.origin is None:
        raise DataError(f"uniface: the package is missing; install it with: {INSTALL}")
    spec = importlib.util.spec_from_file_location(_ALONE, Path(found.origin).with_name("constants.py"))
    if spec is None or spec.loader is None:
        raise DataError(f"{found.origin}: expected uniface's table of weights beside it, found none; {INSTALL}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_ALONE] = module  # A dataclass looks up its own module.
    try:
        spec.loader.exec_module(module)
    except OSError as error:
        del sys.modules[_ALONE]
        raise DataError(f"{spec.origin}: expected uniface's table of weights: {error.strerror}; {INSTALL}") from None
    return module
