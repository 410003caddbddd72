"""What the tests of the host share: the toy plugin, the installed command, and one finished run of a toy suite."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch: two cores, and several processes

import importlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.cache import Cache
from bench.engine import Event
from bench.plan import Plan
from bench.plugins import Registry, discover
from bench.types import StageResult

TESTS = Path(__file__).parent
BENCH = Path(sysconfig.get_path("scripts")) / "bench"

SUITE = """\
[suite]
name = "toy"
title = "A toy suite"
seed = 3

[[experiment]]
name = "one"
table = "VII"
datasets = ["toy-faces"]
authorised = ["toy-a", "toy-b", ["toy-a", "toy-b"]]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", "toy-mean", "toy-step", "toy-gate", "toy-single", "toy-targets"]
pairs = 40

[[experiment]]
name = "two"
datasets = ["toy-faces", { plugin = "toy-faces", label = "other", seed = 1 }]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = [{ plugin = "noise", sigma = 0.1, label = "little noise" }]
pairs = 20
repeats = 2
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


def install(source: Path, site: Path) -> None:
    """Install a plugin as pip would, without pip: copy its packages and write what its pyproject says as metadata."""
    pyproject = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(source / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    project = pyproject["project"]
    write_metadata(site, project["name"], project["version"], project["entry-points"]["bench"])


def write_metadata(site: Path, distribution: str, version: str, entry_points: Mapping[str, str]) -> None:
    """The metadata of an installed distribution with some entry points in the group of bench."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = [f"{name} = {module}" for name, module in entry_points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[bench]", *lines, ""]))


def write_plugin(site: Path, module: str, code: str, *, entry: str = "", distribution: str = "") -> Path:
    """A plugin of one module in a folder of its own kind; returns the folder."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    write_metadata(site, distribution or module.replace("_", "-"), "1.0", {entry or module: module})
    return site


def environment(sites: Sequence[Path], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that sees the distributions in ``sites``, and of this one only what it needs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOY_", "PYTHON", "COLUMNS"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, sites)), "COLUMNS": "200", **extra}


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy plugin is installed."""
    site = tmp_path_factory.mktemp("site")
    install(TESTS / "toy_plugin", site)
    return site


@pytest.fixture(scope="session")
def bench(toy_site: Path) -> Command:
    """Runs the installed command in a process of its own, which sees the toy plugin."""

    def run(
        *args: object, cwd: Path | None = None, sites: Sequence[Path] = (), env: Mapping[str, str] | None = None
    ) -> Done:
        done = subprocess.run(
            [str(BENCH), *map(str, args)],
            cwd=cwd,
            env=environment([*sites, toy_site], env or {}),
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def registry(toy_site: Path) -> Iterator[Registry]:
    """What discovery finds with the toy plugin installed, made once; the process is left as it was."""
    sys.path.insert(0, str(toy_site))
    discover.cache_clear()
    try:
        found = discover()
        importlib.import_module("bench_toy.networks")
    finally:
        sys.path.remove(str(toy_site))
        discover.cache_clear()
    yield found
    for name in [n for n in sys.modules if n.partition(".")[0] == "bench_toy"]:
        del sys.modules[name]


@pytest.fixture
def toy_installed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The toy plugin is installed in this process, for code that calls `discover` itself."""
    for module in ("bench.stages", "bench.session", "bench.doctor", "bench.training", "bench.plugins"):
        monkeypatch.setattr(importlib.import_module(module), "discover", lambda: registry)
    return registry


@pytest.fixture
def sites_of_their_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Registry]]:
    """A function that discovers plugins in this process with one more folder of distributions."""

    def discover_in(site: Path) -> Registry:
        monkeypatch.syspath_prepend(str(site))
        discover.cache_clear()
        return discover()

    before = set(sys.modules)
    yield discover_in
    discover.cache_clear()
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """The toy suite as a file, alone in a folder."""
    path = tmp_path / "suites" / "toy.toml"
    path.parent.mkdir()
    path.write_text(SUITE, encoding="utf-8")
    return path


@dataclass(frozen=True)
class ToyRun:
    """The finished run of the toy suite that many tests look at and none may change."""

    suite: Path
    out: Path
    done: Done

    @property
    def folder(self) -> Path:
        """The run folder."""
        (path,) = (self.out / "results" / "toy").iterdir()
        return path

    @property
    def cache(self) -> Path:
        """The artifact cache."""
        return self.out / "results" / ".cache"

    def copy(self, target: Path) -> Path:
        """A copy of the output folder, for a test that changes it."""
        return Path(shutil.copytree(self.out, target))


@pytest.fixture(scope="session")
def toy_run(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """``bench run`` of the toy suite, once per session."""
    home = tmp_path_factory.mktemp("toy-run")
    suite = home / "toy.toml"
    suite.write_text(SUITE, encoding="utf-8")
    done = bench("run", suite, "--out", home / "out", "--device", "cpu", cwd=home, env={"TOY_CELLS": f"{home}/heard"})
    assert done.code == 0, done.err
    return ToyRun(suite=suite, out=home / "out", done=done)


def compute(plan: Plan, cache: Cache) -> dict[str, StageResult]:
    """Compute all stages of a plan in this process, one after the other, as a worker would."""
    from bench.engine.local import execute

    results: dict[str, StageResult] = {}
    for key, stage in plan.stages.items():
        inputs = [results[k] for k in stage.inputs.values()]
        bad = next((r for r in inputs if r.status != "ok"), None)
        results[key] = replace(bad, key=key) if bad else execute(stage, cache.root)
    return results


class InlineEngine:
    """Runs stages in the test's own process: for tests that need rows, not workers."""

    def __init__(self, workers: int = 1, threads: int = 1) -> None:
        self.workers = workers

    def run(self, plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: Callable[[Event], None]) -> None:
        """As every engine, without killing anything."""
        results.update(compute(plan, cache))


@pytest.fixture
def inline(toy_installed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench.session` runs stages in this process."""
    monkeypatch.setattr("bench.session.LocalEngine", InlineEngine)
