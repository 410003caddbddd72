"""Factories of torch modules, ``package.module:callable`` or ``path/to/file.py:callable``: parsing, digest and call.
No torch."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from bench import DataError, MissingDataError, did_you_mean, expand, imported_names

EXPECTED = "expected 'package.module:callable' or 'path/to/file.py:callable'"


def parse(factory: str) -> tuple[str, str]:
    """Return the module (or file) and the name of the callable. Raises ValueError."""
    module, _, name = factory.rpartition(":")
    is_file = module.endswith(".py")
    if not module or not name.isidentifier() or not (is_file or all(p.isidentifier() for p in module.split("."))):
        raise ValueError(f"factory = {factory!r}: {EXPECTED}")
    return module, name


def _file(module: str) -> Path | None:
    """Return the file of a factory, or None for a module. Raises MissingDataError if the file does not exist."""
    if not module.endswith(".py"):
        return None
    path = expand(module, "factory").absolute()
    if not path.is_file():
        raise MissingDataError(f"factory = {module!r}: expected a Python file, found none at {path}")
    return path


def source_files(factory: str) -> list[Path]:
    """Return the source files of a factory: its file, or all Python files of its top-level package. Nothing is
    imported. Raises DataError if the package is not installed."""
    module, _ = parse(factory)
    if path := _file(module):
        return [path]
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise DataError(f"factory = {factory!r}: no package {top!r} is installed or on PYTHONPATH; {EXPECTED}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def source_digest(factory: str) -> str:
    """Return the sha256 over the names and contents of a factory's source files."""
    files = source_files(factory)
    digest = hashlib.sha256()
    for file in files:
        digest.update("/".join(file.parts[len(files[0].parent.parts) :]).encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def imported(factory: str) -> list[str]:
    """Return the names of the packages that the source files of a factory import, without its own package."""
    module, _ = parse(factory)
    return sorted(imported_names(source_files(factory)) - {module.partition(".")[0]})


def call(factory: str, arguments: Mapping[str, Any]) -> Any:
    """Call a factory and return its result. Raises DataError for any error in its code."""
    module, name = parse(factory)
    try:
        found = _import(module)
    except Exception as error:
        hint = "; a file imports only what is installed: name a package instead" if module.endswith(".py") else ""
        raise DataError(f"factory = {factory!r}: cannot be imported: {type(error).__name__}: {error}{hint}") from None
    function: Callable[..., Any] | None = getattr(found, name, None)
    if function is None:
        hint = did_you_mean(name, (n for n, v in vars(found).items() if callable(v) and not n.startswith("_")))
        raise DataError(f"factory = {factory!r}: {module} has no {name!r}; {hint}")
    if not callable(function):
        raise DataError(f"factory = {factory!r}: expected a callable, found {type(function).__name__}")
    try:
        return function(**arguments)
    except Exception as error:
        given = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
        raise DataError(f"factory = {factory!r}: {name}({given}) failed: {type(error).__name__}: {error}") from None


class _SourceLoader(SourceFileLoader):
    """Loads a module from its source. Python's own loader takes a compiled copy by time and size, which a file with
    other contents may have as well."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled source."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _import(module: str) -> Any:
    path = _file(module)
    if path is None:
        return importlib.import_module(module)
    source = path.read_bytes()
    name = f"_bench_factory_{hashlib.sha256(str(path).encode() + source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # Dataclasses and pickles look their module up there.
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise
    return found
