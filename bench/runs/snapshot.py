"""Results of a run that is in progress or was killed: the rows that exist so far, and queued cells for the rest.

All of it comes from what the run has written: the rows of its planned cells and stages, its journal, and the scores in
its cache. Nothing that its record names is imported, built or run, because a run folder may come from a stranger.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.core.domain import StageResult
from bench.core.paths import child
from bench.engine.scheduler import cached_result
from bench.runs import record
from bench.runs.recorded_stages import RecordedStages, rows_of_cells
from bench.runs.run import ending
from bench.runs.status import Watch
from bench.store import journal
from bench.store.artifacts import Cache, DamagedError
from bench.store.cell_rows import ending_columns, labels_of_row
from bench.store.reading import RunResults
from bench.store.run_record import RunRecord
from bench.store.writing import write_copy

Row = dict[str, Any]


@contextlib.contextmanager
def results_of(folder: Path) -> Iterator[RunResults]:
    """Context manager that gives the results of a run: its own rows once it has ended; before, the rows of the scores
    in its cache, in a temporary folder."""
    results = RunResults(folder)
    if results.run.status != "running":
        yield results
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        absolute = folder.resolve()
        # Reports show the last three parts of the path; the root of the file system is none of them.
        copy = Path(place, *absolute.relative_to(absolute.anchor).parts[-3:])
        _Snapshot(folder, results).write(copy)
        yield RunResults(copy)


def cache_of(folder: Path, run: RunRecord) -> Cache:
    """Return the cache of a run, for reading: that of its folder of results, or that of a replay."""
    results = folder.resolve().parent.parent
    names = (".replay", (run.digest or "unknown")[:8]) if run.replay_of else (".cache",)
    return Cache(child(results, *names), only_read=True)


class _Snapshot:
    """The results so far of a run that has not ended, from its recorded cells and stages."""

    def __init__(self, folder: Path, results: RunResults) -> None:
        self.folder, self.run = folder, results.run
        self.cache = cache_of(folder, self.run)
        self.cells = rows_of_cells(results)
        self.stages = RecordedStages(results, self.cache)
        self._inputs_of: dict[str, Sequence[str]] = {}
        self.results = self._results_so_far()

    def write(self, place: Path) -> None:
        """Write them as a run folder."""
        now = Watch(self.folder).look()
        cells = [self._cell(row) for row in self.cells]
        status = now.state if now.state == "running" else "interrupted"
        statuses = [row["status"] for row in cells]
        count = len(self.stages.rows)
        end = record.ended(self.run, count, self.results, statuses, status, now.seconds or 0.0)
        scored = (labels_of_row(row) for row in cells if row["status"] == "ok")
        write_copy(place, cells, scored, self.cache, end, list(self._stage_rows()))

    def _results_so_far(self) -> dict[str, StageResult]:
        """Return the results so far: a stage with a valid artifact counts as done; any other keeps its last failure, if
        it failed by itself or if one of its inputs still fails."""
        reused = (
            [key for key, row in self.stages.rows.items() if row["status"] != "queued"] if self.run.rescored else []
        )
        results = {key: self.stages.result(key) for key in reused}
        missing = self._find_artifacts(results)
        recorded = journal.last_results(self.folder)
        failed: set[str] = set()
        for key in self.stages.rows:  # Inputs come before the stages that read them.
            last = recorded.get(key)
            if last is None or (last.status == "ok") == (key in missing):
                continue
            if last.status == "ok" or last.failed_stage == key or not failed.isdisjoint(self._inputs(key)):
                results.setdefault(key, last)
                failed |= {key} if last.status != "ok" else set()
        return results

    def _find_artifacts(self, results: dict[str, StageResult]) -> set[str]:
        """Add the stages with a valid artifact to the results; return the keys of those that are needed and have
        none."""
        missing: set[str] = set()
        stack = [key for row in self.cells for key in json.loads(row["stages"])]
        while stack:
            key = stack.pop()
            if key in results or key in missing:
                continue
            try:
                results[key] = cached_result(key, self.cache.check(key))
            except DamagedError:
                missing.add(key)
                stack += self._inputs(key)
        return missing

    def _inputs(self, key: str) -> Sequence[str]:
        """Return the keys of the inputs of a stage; none if they are not recorded."""
        if key not in self._inputs_of:
            self._inputs_of[key] = tuple((self.stages.inputs(key) or {}).values())
        return self._inputs_of[key]

    def _cell(self, row: Row) -> Row:
        """Return the row of a cell as it is now."""
        path: dict[str, None] = {}
        scores = json.loads(row["stages"])
        stack = list(scores)
        while stack:
            key = stack.pop()
            if key not in path:
                path[key] = None
                stack += self._inputs(key)
        skip = (row["reason"] or "") if row["status"] == "skipped" else None
        now = ending(skip, scores, list(path), self.results)
        protect = [key for key in path if self.stages.about(key).get("kind") == "protect"]
        return row | ending_columns({**now, "protect": protect})

    def _stage_rows(self) -> Iterator[Row]:
        """Yield the rows of all stages that have a result, and of those that protect, for the client cost in them."""
        for key, row in self.stages.rows.items():
            result = self.results.get(key)
            if result is None and row["kind"] == "protect" and (manifest := self.cache.manifest(key)) is not None:
                result = cached_result(key, manifest)
            if result is not None:
                yield {**row, **asdict(result)}
