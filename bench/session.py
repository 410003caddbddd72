"""One command from suite to results: plan, run, store. Knows nothing of the terminal and does not import torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pluggy import HookImpl

from bench import store
from bench.cache import Cache
from bench.engine import Event
from bench.engine.local import LocalEngine
from bench.errors import BenchError, StorageError
from bench.hookspecs import Section
from bench.keys import digest_of
from bench.perceptual import find_vgg
from bench.plan import Plan, make_plan
from bench.plugins import Registry, discover
from bench.provenance import git_commit, machine, package_versions
from bench.suite import Suite, load
from bench.types import Cell, Component, Outcome, StageResult, Status


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where everything goes, below one folder (``--out``, by default the current one)."""

    out: Path

    @property
    def results(self) -> Path:
        """``results/<suite>/<run>/``"""
        return self.out / "results"

    @property
    def reports(self) -> Path:
        """``reports/<suite>/index.html``"""
        return self.out / "reports"

    @property
    def cache(self) -> Cache:
        """The artifact cache; removing it costs time, never results."""
        return Cache(self.results / ".cache")


def resolve_device(asked: str) -> str:
    """``auto`` -> ``cuda`` where the driver lists a GPU, else ``cpu``. Asked without importing torch."""
    if asked != "auto":
        return asked
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "cpu"
    try:
        answer = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    return "cuda" if answer.returncode == 0 and "GPU" in answer.stdout else "cpu"


def plan_suite(path: Path, folders: Folders, device: str, overrides: Sequence[str], pairs: int | None) -> Plan:
    """Read, resolve and plan a suite; costs come from earlier runs where there are any."""
    registry = discover()
    suite = load(path, registry, overrides, pairs)
    if not suite.experiments:
        raise BenchError(f"{path}: holds no [[experiment]]; train its networks with: bench train {path}")
    return make_plan(suite, registry, resolve_device(device), folders.cache.costs())


def check_device(device: str) -> None:
    """`BenchError` when the device cannot be used by torch."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BenchError("--device cuda: torch sees no usable GPU here; install a CUDA build of torch or use cpu")


def run_plan(
    plan: Plan, folders: Folders, on_event: Callable[[Event], None], *, fresh: bool = False, workers: int | None = None
) -> tuple[Path, list[Outcome]]:
    """Run a plan and write its run folder; after Ctrl-C with what was finished, unless a complete run is there."""
    registry, cache = discover(), folders.cache
    name = plan.suite.name
    store.require_writable(folders.results / name, folders.results / ".cache", folders.reports / name)
    _require_space(plan, folders)
    check_device(plan.device)
    cache.sweep()
    if fresh:
        for key in plan.stages:
            cache.discard(key)
    engine = _engine(plan.device, workers)
    started, clock = datetime.now(UTC), time.perf_counter()
    results: dict[str, StageResult] = {}

    folder = store.run_folder(plan, folders.results, started.strftime("%Y%m%d-%H%M%S"))

    def write() -> list[Outcome]:
        outcomes = [_outcome(cell, plan, results) for cell in plan.cells]
        record = _record(plan, registry, results, outcomes, started, time.perf_counter() - clock)
        store.write_run(folder, outcomes, cache, registry, record)
        return outcomes

    try:
        engine.run(plan, cache, results, on_event)
    except KeyboardInterrupt:
        if not store.is_complete(folder):  # fewer rows never replace all of them
            write()
        raise
    if all(r.cached for r in results.values()) and store.is_complete(folder):
        return folder, [_outcome(cell, plan, results) for cell in plan.cells]  # the record tells when it was computed
    outcomes = write()
    cache.record_costs(_measured_costs(plan, results))
    _announce(outcomes, registry)
    return folder, outcomes


def _engine(device: str, workers: int | None) -> LocalEngine:
    """One worker per core on the CPU; one for a GPU, with the cores to feed it. ``workers`` overrides the number."""
    if device == "cuda":
        return LocalEngine(workers=workers or 1, threads=4)
    return LocalEngine() if workers is None else LocalEngine(workers=workers)


def _call(implementation: HookImpl, **arguments: object) -> Any:
    """One implementation of a hook by itself, so that its failure is its own; pluggy lets it take fewer arguments."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def report_sections(results: store.Results) -> list[Section]:
    """What plugins add to the report; one that fails becomes a section that says so."""
    sections: list[Section] = []
    for implementation in discover().manager.hook.bench_report_sections.get_hookimpls():
        try:
            sections += _call(implementation, results=results)
        except Exception as error:
            problem = f"the plugin failed with {type(error).__name__}: {error}"
            title = f"From {implementation.plugin_name}"
            sections.append(Section(title=title, columns=("problem",), rows=((problem,),)))
    return sections


def _announce(outcomes: Sequence[Outcome], registry: Registry) -> None:
    """Tell plugins of every cell; one that fails is told no more, for the rows are written already."""
    for implementation in registry.manager.hook.bench_cell_done.get_hookimpls():
        try:
            for outcome in outcomes:
                _call(implementation, outcome=outcome)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            warnings.warn(f"{implementation.plugin_name}: bench_cell_done failed: {problem}", stacklevel=2)


def _require_space(plan: Plan, folders: Folders) -> None:
    needed = sum(s.size for s in plan.stages.values() if not folders.cache.folder(s.key).exists())
    free = store.free_bytes(folders.results)
    if needed > free:
        raise StorageError(
            f"{folders.results}: the run needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
            "make room, lower --pairs, or choose another disk with --out"
        )


def _measured_costs(plan: Plan, results: Mapping[str, StageResult]) -> dict[str, float]:
    """Seconds per sample of what was computed in this run, by cost name."""
    total: dict[str, list[float]] = {}
    for key, result in results.items():
        stage = plan.stages[key]
        if result.status == "ok" and not result.cached:
            entry = total.setdefault(stage.cost_name, [0.0, 0.0])
            entry[0] += result.seconds
            entry[1] += stage.units
    return {name: seconds / units for name, (seconds, units) in total.items()}


def _outcome(cell: Cell, plan: Plan, results: Mapping[str, StageResult]) -> Outcome:
    """How a cell ended, from how its stages ended."""
    reason = cell.skip
    found = [results[k] for k in plan.path_of(cell) if k in results]
    status: Status = "skipped" if cell.skip else "ok"
    bad = [results[k] for k in cell.stages if k in results and results[k].status != "ok"]
    if bad:
        status, reason = bad[0].status, bad[0].reason
    elif not cell.skip and any(k not in results for k in cell.stages):
        status, reason = "failed", "the run ended before this cell was computed; the same command goes on"
    return Outcome(
        cell=cell,
        status=status,
        reason=reason,
        seconds=sum(r.seconds for r in found) if found else None,
        peak_mb=max((r.peak_mb for r in found), default=None),
        cached=bool(found) and all(r.cached for r in found),
        device=plan.device,
    )


def _suite_record(suite: Suite) -> dict[str, Any]:
    """The suite as it was run."""
    return {
        "name": suite.name,
        "title": suite.title,
        "description": suite.description,
        "path": str(suite.path),
        "sha256": suite.sha256,
        "raw": suite.raw,
        "experiments": [
            {
                "name": e.name,
                "table": e.table,
                "figures": e.figures,
                "upload": e.upload,
                "noise_levels": e.noise_levels,
                "pairs": e.pairs,
                "kappa": e.kappa,
                "fmr": e.fmr,
                "claims": e.claims,
            }
            for e in suite.experiments
        ],
    }


def _declared(component: Component, registry: Registry) -> dict[str, Any]:
    """What data and weights declare: their license, whether they are synthetic (or learnt from what is), and where
    they were read from."""
    declared = registry.find(component.kind, component.name, component.label).cls(**component.params)
    about = {"license": getattr(declared, "license", None), "synthetic": getattr(declared, "synthetic", False)}
    return about | ({"source": asdict(declared.status())} if component.kind in ("dataset", "model") else {})


def _record(
    plan: Plan,
    registry: Registry,
    results: Mapping[str, StageResult],
    outcomes: Sequence[Outcome],
    started: datetime,
    seconds: float,
) -> dict[str, Any]:
    """What goes into ``run.json``."""
    count = {status: sum(o.status == status for o in outcomes) for status in ("ok", "skipped", "failed", "timeout")}
    computed = sum(r.status == "ok" and not r.cached for r in results.values())
    failed = sum(r.status != "ok" for r in results.values())
    lpips = find_vgg()
    components: dict[str, Component] = {}
    for cell in plan.cells:
        for c in cell.components:
            components[digest_of([c.kind, c.label, c])] = c
    return {
        "suite": _suite_record(plan.suite),
        "command": ["bench", *sys.argv[1:]],
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "status": "complete" if count["failed"] == count["timeout"] == 0 else "incomplete",
        "digest": plan.digest,
        "device": plan.device,
        "machine": machine(),
        "versions": package_versions(),
        "lpips": {"sha256": lpips.sha256, "reason": lpips.reason},
        "commit": git_commit(),
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version, "reason": p.reason}
            for p in registry.plugins
        ],
        "components": [{**asdict(c), **_declared(c, registry)} for c in components.values()],
        "stages": [
            {**asdict(r), "kind": plan.stages[k].kind, "name": plan.stages[k].name, "seed": plan.stages[k].seed}
            for k, r in results.items()
        ],
        "counts": {
            "cells": len(outcomes),
            **count,
            "stages": len(plan.stages),
            "computed": computed,
            "failed_stages": failed,
            "cached": len(plan.stages) - computed - failed,
        },
    }
