"""The house keeps its order: imports go one way, plugins use the public modules only, nothing grows too large.

Everything is read from the syntax trees; nothing is imported. Imports for type checking and inside functions count too.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TESTS

ROOT = TESTS.parent

# A package imports only from itself and from packages above it in this list: the way of the data.
ORDER = (
    "core", "api", "metrics", "registry", "store", "suite", "planning", "stages", "engine", "runs", "kit", "judging",
    "analysis", "report", "cli",
)  # fmt: skip
# `runs` brings together what the others offer, so it may use every package but the command line.
ALSO = {"runs": {"analysis", "report"}, "analysis": set[str](), "report": set[str]()}
OLD_NAMES = {"contracts", "types", "errors", "hookspecs", "training", "places"}  # re-exports for one release
PUBLIC = {"bench", "bench.testing", "bench.metrics"}
MAX_MODULE, MAX_FUNCTION = 500, 60


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the host and of the plugins, by its dotted name."""
    found: dict[str, Path] = {}
    roots = [ROOT, *(ROOT / "plugins").iterdir()]
    for root in roots:
        for package in root.iterdir():
            if package.name == "bench" or package.name.startswith("bench_"):
                for path in package.rglob("*.py"):
                    parts = path.relative_to(root).with_suffix("").parts
                    found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(name: str) -> Iterator[tuple[str, int]]:
    """The modules that a module imports, with line numbers."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in modules() else base), node.lineno


def package_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.slow
def test_imports_go_one_way() -> None:
    upward = []
    for name in modules():
        here = package_of(name)
        if here is None:
            continue
        allowed = {*ORDER[: ORDER.index(here) + 1], *ALSO.get(here, ())}
        for target, line in imported(name):
            there = package_of(target)
            if target == "bench" or (there and there not in allowed):
                upward.append(f"{modules()[name].relative_to(ROOT)}:{line} imports {target}")
    assert not upward, "\n".join(upward)


@pytest.mark.slow
def test_no_module_imports_itself_in_a_circle() -> None:
    edges = {name: {t for t, _ in imported(name) if t in modules() and t != name} for name in modules()}
    waiting = dict(edges)
    while free := [name for name, targets in waiting.items() if not targets & waiting.keys()]:
        for name in free:
            del waiting[name]
    # What is left imports a circle or lies on one; only the circles themselves are shown.
    while tips := [name for name in waiting if not any(name in targets for targets in waiting.values())]:
        for name in tips:
            del waiting[name]
    assert not waiting, {name: sorted(edges[name] & waiting.keys()) for name in waiting}


@pytest.mark.slow
def test_plugins_import_only_public_modules_of_the_host() -> None:
    inside = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in modules().items()
        if name.startswith("bench_")
        for target, line in imported(name)
        if target.startswith("bench.") and target not in PUBLIC
    ]
    assert not inside, "\n".join(inside)


def test_class_names_are_unique_in_the_host() -> None:
    where = defaultdict(list)
    for name, path in modules().items():
        if name.startswith("bench.") or name == "bench":
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ClassDef):
                    where[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: places for name, places in where.items() if len(places) > 1}
    assert not twice, "\n".join(f"{name}: {', '.join(places)}" for name, places in sorted(twice.items()))


def test_class_names_are_unique_in_each_plugin() -> None:
    where = defaultdict(list)
    for name, path in modules().items():
        if name.startswith("bench_"):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ClassDef):
                    where[name.partition(".")[0], node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {key: places for key, places in where.items() if len(places) > 1}
    assert not twice, twice


@pytest.mark.parametrize("kind", ["modules", "functions"])
def test_nothing_grows_too_large(kind: str) -> None:
    large = []
    for path in modules().values():
        if kind == "modules":
            lines = len(path.read_text(encoding="utf-8").splitlines())
            large += [f"{path.relative_to(ROOT)}: {lines} lines"] if lines > MAX_MODULE else []
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                large += [f"{where}: {lines} lines"] if lines > MAX_FUNCTION else []
    assert not large, "\n".join(large)


def test_the_host_has_only_its_packages_and_public_modules() -> None:
    flat = {name.split(".")[1] for name in modules() if name.startswith("bench.")}
    assert flat == {*ORDER, *OLD_NAMES, "testing", "__main__"}
