"""Results of a run that is in progress or was killed: the rows that exist so far, and queued cells for the rest."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.core.domain import StageResult
from bench.engine import scheduler
from bench.planning.plan import Plan
from bench.registry.discovery import discover
from bench.runs import record, rescore
from bench.runs.replan import plan_again
from bench.runs.run import outcome
from bench.runs.status import Watch
from bench.store import journal
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.run_record import RunRecord
from bench.store.writing import write_run


@contextlib.contextmanager
def results_of(folder: Path) -> Iterator[RunResults]:
    """Context manager that gives the results of a run: its own rows once it has ended; before, the rows of the scores
    in its cache, in a temporary folder. Raises `ReplayError` if the code or data that they were computed from has
    changed since."""
    results = RunResults(folder)
    if results.run.status != "running":
        yield results
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        copy = Path(place, *folder.resolve().parts[-3:])  # Reports show the last three parts of the path.
        _write_snapshot(folder, results.run, copy)
        yield RunResults(copy)


def cache_of(folder: Path, run: RunRecord) -> Cache:
    """Return the cache of a run: that of its folder of results, or that of a replay."""
    name = f".replay/{(run.digest or '')[:8]}" if run.replay_of else ".cache"
    return Cache(folder.resolve().parent.parent / name)


def _write_snapshot(folder: Path, run: RunRecord, place: Path) -> None:
    """Write the results of a run that exist so far as a run folder."""
    registry, cache = discover(), cache_of(folder, run)
    again = rescore.plan_again if run.rescored else plan_again
    plan = again(folder, run, registry)
    now = Watch(folder).look()
    results = _results_so_far(plan, cache, folder)
    outcomes = [outcome(cell, plan, results) for cell in plan.cells]
    status = now.state if now.state == "running" else "interrupted"
    end = record.ended(run, plan, results, outcomes, status, now.seconds or 0.0)
    end = record.with_notes(end, plan, cache)
    stages = record.of_stages(plan, results, cache)
    write_run(place, outcomes, cache, registry, end, stages, alone=True)


def _results_so_far(plan: Plan, cache: Cache, folder: Path) -> dict[str, StageResult]:
    """Return the results so far: a stage with a valid artifact counts as done; any other keeps its last failure, if it
    failed by itself or if one of its inputs still fails."""
    results: dict[str, StageResult] = dict(plan.reused)
    missing = scheduler.missing_stages(plan, cache, results, lambda event: None)
    recorded = journal.last_results(folder)
    failed: set[str] = set()
    for key, stage in plan.stages.items():  # Inputs come before the stages that read them.
        last = recorded.get(key)
        if last is None or (last.status == "ok") == (key in missing):
            continue
        if last.status == "ok" or last.failed_stage == key or not failed.isdisjoint(stage.inputs.values()):
            results.setdefault(key, last)
            failed |= {key} if last.status != "ok" else set()
    return results
