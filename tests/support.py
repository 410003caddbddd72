"""Helpers of the tests of the host: installing plugins, running the command, computing stages in this process."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import sysconfig
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from bench.cli import main
from bench.core.domain import Outcome, Stage, StageResult
from bench.engine.interface import Attempt
from bench.planning.plan import Plan
from bench.store.artifacts import Artifact, Cache

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

ATTACKS = """\
[suite]
name = "attacks"
title = "A toy suite of attacks"
seed = 3

# Attacks of every kind on uploaded images.
[[experiment]]
name = "uploads"
figures = ["6"]
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", "toy-step"]
attacks = [
    "toy-upsample",
    "toy-denoise",
    "toy-descent",
    { plugin = "toy-learner", learns = "defense", label = "adaptive" },
    { plugin = "toy-learner", learns = "evaluated", label = "leaky" },
    "toy-attributes",
    { plugin = "toy-attributes", via = "toy-upsample", label = "peek" },
]
pairs = 40

# The client uploads features, some of them its own.
[[experiment]]
name = "features"
table = "VI"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", "toy-features"]
attacks = ["abuse", "toy-upsample", "toy-denoise", { plugin = "toy-attributes", via = "toy-upsample", label = "peek" }]
upload = "features"
split = "all"
auxiliary = { plugin = "toy-faces", seed = 9, label = "others" }
pairs = 40

# Equation 9.
[[experiment]]
name = "noisy"
figures = ["5"]
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", "toy-step"]
attacks = ["toy-attributes", { plugin = "toy-attributes", via = "toy-descent", label = "peek" }]
noise_levels = [0.0, 0.2]
pairs = 40
"""


@dataclass(frozen=True)
class Done:
    """How a command ended; ``left`` are the processes that it left behind."""

    code: int
    out: str
    err: str
    left: Sequence[int] = ()

    def save(self, path: Path) -> None:
        """Write this to a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Done:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


Command = Callable[..., Done]


def as_toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"


def document_of(value: dict[str, Any]) -> str:
    """Return a TOML document."""
    return "\n".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items())


def install(source: Path, site: Path) -> None:
    """Install a plugin as pip would, but without pip: copy its packages, and write metadata from its pyproject."""
    pyproject = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(source / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    project = pyproject["project"]
    write_metadata(site, project["name"], project["version"], project["entry-points"]["bench"])


def write_metadata(site: Path, distribution: str, version: str, entry_points: Mapping[str, str]) -> None:
    """Write the metadata of an installed distribution with some entry points in the group ``bench``."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = [f"{name} = {module}" for name, module in entry_points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[bench]", *lines, ""]))


def write_plugin(site: Path, module: str, code: str, *, entry: str = "", distribution: str = "") -> Path:
    """Write a plugin of one module, installed in a new folder; return the folder."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    write_metadata(site, distribution or module.replace("_", "-"), "1.0", {entry or module: module})
    return site


def environment(sites: Sequence[Path], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a command that sees the distributions in ``sites``, and the
    variables of this process but those of the toy plugin, of Python and ``COLUMNS``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOY_", "PYTHON", "COLUMNS"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, sites)), "COLUMNS": "200", **extra}


@dataclass(frozen=True)
class ToyRun:
    """The finished run of the toy suite, which many tests read and none may change."""

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
        """Return a copy of the output folder, for a test that changes it."""
        return Path(shutil.copytree(self.out, target))


def members(session: int) -> list[int]:
    """Return the living processes of a session (zombies do not count)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended in the meantime.
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def in_process(*args: object) -> Result:
    """Run the command in this process, and return how it ended; an exception that it does not handle is raised."""
    return CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)


def benchmark(name: str) -> ModuleType:
    """Import a script of the folder ``benchmarks``, which may import others that lie beside it."""
    folder = str(TESTS.parent / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


def survivors(session: int) -> list[int]:
    """Return the processes of a session that still exist after they had time to end."""
    for _ in range(500):
        if not members(session):
            return []
        time.sleep(0.02)
    return members(session)


def compute(plan: Plan, cache: Cache, wanted: Sequence[str] = ()) -> dict[str, StageResult]:
    """Compute all stages of a plan, or some with their inputs, in this process, one after the other."""
    from bench.engine.worker import attempt

    needed = dict.fromkeys(wanted or plan.stages)
    for key in reversed(plan.stages):
        if key in needed:
            needed |= dict.fromkeys(plan.stages[key].inputs.values())
    cache.root.mkdir(parents=True, exist_ok=True)
    results: dict[str, StageResult] = {}
    for key, stage in plan.stages.items():
        if key not in needed:
            continue
        inputs = [results[k] for k in stage.inputs.values()]
        bad = next((r for r in inputs if r.status != "ok"), None)
        results[key] = replace(bad, key=key) if bad else attempt(stage, cache.root, stage.options["batch"]).result
    return results


class Computed:
    """A plan whose stages were all computed in this process."""

    def __init__(self, plan: Plan, cache: Cache) -> None:
        self.plan = plan
        self.cache = cache
        self.results = compute(plan, cache)

    def key(self, name: str) -> str:
        """Return the key of the stage with this name."""
        return only(self.plan, name).key

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of the stage with this name."""
        return self.cache.read(self.key(name))

    def table(self, name: str, table: str) -> dict[str, Any]:
        """Return the columns of a table of the score with this name as arrays."""
        return columns(self.cache.read(only(self.plan, name, "score").key), table)

    def result(self, name: str) -> StageResult:
        """Return the result of the stage with this name."""
        return self.results[self.key(name)]

    def failures(self) -> list[str]:
        """Return the reasons of the stages that did not end well."""
        return [str(result.reason) for result in self.results.values() if result.status != "ok"]


def columns(artifact: Artifact, table: str) -> dict[str, Any]:
    """Return the columns of a table of an artifact as arrays."""
    found = artifact.tables[table]
    return {c: np.array(found[c].to_pylist()) for c in found.column_names}


def only(plan: Plan, name: str, *kinds: str) -> Stage:
    """Return the only stage with this name; ``kinds`` restricts the kinds."""
    found = [stage for stage in plan.stages.values() if stage.name == name and (not kinds or stage.kind in kinds)]
    assert len(found) == 1, (name, sorted(names(plan)))
    return found[0]


def kinds(plan: Plan) -> Counter[str]:
    """Return the number of stages of each kind."""
    return Counter(stage.kind for stage in plan.stages.values())


def names(plan: Plan) -> set[str]:
    """Return the names of all stages."""
    return {stage.name for stage in plan.stages.values()}


def changed(before: Plan, after: Plan) -> set[str]:
    """Return the names of the stages of ``after`` whose key is not in ``before``."""
    return {stage.name for key, stage in after.stages.items() if key not in before.stages}


def skips(plan: Plan) -> list[str]:
    """Return the reasons of the skipped cells."""
    return [str(cell.skip) for cell in plan.cells if cell.skip]


def ended_well(plan: Plan) -> list[Outcome]:
    """Return the outcome of every cell if no stage fails."""
    return [
        Outcome(
            cell=cell,
            status="skipped" if cell.skip else "ok",
            reason=cell.skip,
            seconds=1.0,
            peak_mb=2.0,
            cached=False,
            device="cpu",
        )
        for cell in plan.cells
    ]


class InlineEngine:
    """Runs stages in the process of the test, for tests that need rows but no worker processes."""

    name = "local"

    def __init__(self, workers: int = 1, threads: int = 1, gpus: Sequence[str] = ()) -> None:
        self.workers = workers

    def open(self, cache: Cache, logs: Path | None = None) -> InlineWorkers:
        """Return the workers: one, which is this process."""
        return InlineWorkers(cache)


class InlineWorkers:
    """An implementation of `bench.engine.interface.Workers` in this process; no limit is enforced."""

    slots = 1

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def __enter__(self) -> InlineWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Compute the stage before returning."""
        from bench.engine.worker import attempt

        future: Future[Attempt] = Future()
        future.set_result(attempt(stage, self.cache.root, batch))
        return future

    def watch(self) -> None:
        """Do nothing: no limit is enforced."""
