"""The code and files behind a plugin: digests of its package and of those that it imports, what it declares. No torch.

A result depends on more code than the package of its plugin. What an index publishes under a version does not change,
so that the version of such a package says which code it is. A package whose code can change under one version is
identified by its source: other packages of the distribution of the plugin, and whatever was installed from a folder or
a repository or lies on the path without being installed.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.api.files import named_files
from bench.core.errors import MissingDataError, PluginError
from bench.core.packages import distributions_of
from bench.core.provenance import NUMERIC_PACKAGES

_BUILT_IN = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(bench_\w+)", re.MULTILINE)  # an import of a built-in package
_METRICS = "bench.metrics"
_CODE = frozenset({".py", ".so", ".pyd", ".dll", ".dylib"})
_BYTECODE = frozenset({".pyc", ".pyo"})
# Versions of these are in every content key already, or their code is.
_COVERED = frozenset({"bench", "skimage", *NUMERIC_PACKAGES}) | sys.stdlib_module_names


def source_digest(package: str, *, data: bool = False) -> str:
    """Return the sha256 over all Python files of a top-level package or module.

    ``data``: all other files in its folder count too, except hidden ones and compiled Python files. Raises
    `PluginError` if it has no source files.
    """
    return _digest(_files(package, every=data, code=frozenset({".py"})))


def library_digest(name: str, where: str) -> str:
    """Return the sha256 over the code of a package that a plugin declares, native libraries included.

    Raises `PluginError`, which names ``where``, if the package is not installed.
    """
    return _digest(_files(name.partition(".")[0], where=where, code=_CODE))


def imported_code(package: str, own: str) -> dict[str, str]:
    """Return by name what identifies the packages that the source of a plugin imports: the version of a published
    package, the sha256 of the source of any other.

    ``own`` is the distribution of the plugin. What is imported under a name that is made at run time is not found; a
    plugin declares it as one of its ``libraries``. `bench.metrics` counts, too, because the content keys of most stages
    leave it out (`bench.core.provenance.SCORE_CODE`).
    """
    found = code_of(_imports(package), own)
    if any(map(_imports_metrics, (file for file, _ in _files(package, code=frozenset({".py"}))))):
        found[_METRICS] = _digest(_files(_METRICS))
    return found


def code_of(names: Iterable[str], own: str) -> dict[str, str]:
    """Return by name what identifies packages: the version of a published package, the sha256 of the source of any
    other.

    What a package imports that is not published counts, too; the imports of a published package do not. ``own`` is a
    distribution that counts as not published. Packages that are not installed are left out, because they may be
    optional, as are those whose versions are in every content key.
    """
    found: dict[str, str] = {}
    waiting = sorted({name.partition(".")[0] for name in names})
    seen = set(_COVERED)
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        version = _published_version(name, own)
        if version is not None:
            found[name] = version
        elif _places(name):
            found[name] = library_digest(name, name)
            waiting += sorted(_imports(name))
    return found


def imported_names(files: Iterable[Path]) -> set[str]:
    """Return the top-level names that Python files import, wherever in the source they do."""
    return {name for file in files for name in _imports_in(file)}


def built_in_code(package: str) -> dict[str, str]:
    """Return by name the sha256 of the source of the built-in packages that a built-in plugin imports, directly or
    through one of them.

    They are found by their names, which begin with ``bench_``, in the text of the source: every command does this for
    all built-in plugins, and to parse them takes half a second.
    """
    found: dict[str, str] = {}
    waiting = [package]
    while waiting:
        files = _files(waiting.pop(), code=frozenset({".py"}))
        names = {match.decode() for file, _ in files for match in _BUILT_IN.findall(file.read_bytes())}
        for name in sorted(names - found.keys() - {package}):
            if _places(name):
                found[name] = source_digest(name)
                waiting.append(name)
    return found


def declared_files(plugin: Any) -> list[tuple[Path, str]]:
    """Return the files that a defense or an attack declares, those of a folder in the order of their names. Each has
    its path in the folder that is declared, or an empty text if it is declared itself.

    If a parameter is called ``weights``, the files that parameters name are declared. Raise `MissingDataError` if a
    file does not exist.
    """
    found: list[tuple[Path, str]] = []
    declared = named_files(plugin) if "weights" in _parameters(plugin) else declared_names(plugin.weights())
    for path in map(Path, declared):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            found += [(file, file.relative_to(path).as_posix()) for file in inside]
        elif path.exists():
            found.append((path, ""))
        else:
            raise MissingDataError(f"{path}: this file does not exist; put it there, or correct what names it")
    return found


def declared_programs(plugin: Any) -> list[Path]:
    """Return the files of the programs that a defense or an attack declares by name.

    A parameter that is called ``programs`` is no declaration. Raise `MissingDataError` if a program is not found.
    """
    found = []
    for name in () if "programs" in _parameters(plugin) else declared_names(plugin.programs):
        path = shutil.which(name)
        if path is None:
            raise MissingDataError(
                f"the program {str(name)!r} was not found; install it, or put its folder on the PATH"
            )
        found.append(Path(path))
    return found


def declared_names(declared: Any) -> Iterable[Any]:
    """Return what a plugin declares as a sequence; a single text or path is a sequence of one."""
    return (declared,) if isinstance(declared, str | Path) else declared


def _parameters(plugin: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(plugin)}


def _places(name: str) -> list[Path]:
    """Return the folders of a package, of which a namespace package may have several, or the file of a module; empty if
    it has no source."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def _files(
    package: str, *, where: str = "", every: bool = False, code: frozenset[str] = _CODE
) -> list[tuple[Path, str]]:
    """Return the files of a package that count, in the order of their names, each with its path in its folder."""
    places = _places(package)
    if not places and where:
        raise PluginError(f"{where}: libraries: expected an installed package, found no {package!r}; install it")
    if not places:
        raise PluginError(f"plugin module {package} has no source file to hash")
    found: list[tuple[Path, str]] = []
    for place in places:
        if place.is_file():
            found.append((place, place.name))
            continue
        files = sorted(path for path in place.rglob("*") if _counts(path, place, every=every, code=code))
        found += [(file, str(file.relative_to(place))) for file in files]
    return found


def _counts(path: Path, folder: Path, *, every: bool, code: frozenset[str]) -> bool:
    if path.suffix in code:
        return path.is_file()
    hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    return every and not hidden and path.suffix not in _BYTECODE and path.is_file()


def _digest(files: Iterable[tuple[Path, str]]) -> str:
    digest = hashlib.sha256()
    for file, name in files:
        digest.update(name.encode(errors="surrogateescape"))
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _imports(package: str) -> set[str]:
    """Return the top-level names that the source of a package imports, without its own."""
    return imported_names(file for file, _ in _files(package, code=frozenset({".py"}))) - {package}


def _imports_in(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # It cannot be imported either.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _imports_metrics(file: Path) -> bool:
    """Whether a Python file imports `bench.metrics` or a part of it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # It cannot be imported either.
        return False
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return any(f"{name}.".startswith(f"{_METRICS}.") for name in names)


def _published_version(name: str, own: str) -> str | None:
    """Return the versions of the distributions that installed a package; None if its code can change under one version:
    one of them is the distribution ``own`` or was installed from a folder or repository, or there is none."""
    found = distributions_of(name)
    if not found or any(one.name == own or one.read_text("direct_url.json") is not None for one in found):
        return None
    return ", ".join(sorted(f"{one.name} {one.version}" for one in found))
