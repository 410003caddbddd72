"""The stages of an earlier run, from its rows and from its cache, whatever version of the code computed them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from bench.core.domain import StageResult
from bench.engine.scheduler import cached_result
from bench.planning.plan import Plan
from bench.store.artifacts import Cache, DamagedError
from bench.store.old_schemas import today
from bench.store.reading import RunResults

_RESULT = [f.name for f in fields(StageResult)]
Row = Mapping[str, Any]


class RecordedStages:
    """What the rows of a run and the manifests in its cache record about stages, by content key."""

    def __init__(self, results: RunResults, cache: Cache) -> None:
        self.rows: Mapping[str, Row] = {row["key"]: row for row in results.stages}
        self.cache = cache
        self._manifests: dict[str, Mapping[str, Any]] = {}

    def about(self, key: str) -> Mapping[str, Any]:
        """Return a mapping with kind, name and seed of a stage; an empty one if neither rows nor cache have it."""
        return self.rows.get(key) or self._manifest(key)

    def inputs(self, key: str) -> Mapping[str, str] | None:
        """Return the keys of the inputs of a stage by role, or None if they are not recorded."""
        written = self.rows.get(key, {}).get("inputs")
        found: Mapping[str, str] | None = json.loads(written) if written else self._manifest(key).get("inputs")
        return found

    def tables(self, key: str) -> set[str]:
        """Return the names of the tables in the artifact of a stage."""
        return {today(name.removesuffix(".parquet")) for name in self._manifest(key).get("files", ())}

    def result(self, key: str) -> StageResult:
        """Return the result of a stage from the rows of the run, else from its artifact, else a successful result."""
        row = self.rows.get(key)
        if row is None and (manifest := self._manifest(key)):
            return cached_result(key, dict(manifest))
        if row is None:
            return StageResult(key=key, status="ok", cached=True, seconds=0.0, peak_mb=0.0, device="")
        return replace(recorded_result(row), cached=row["status"] == "ok")

    def failed(self, key: str) -> bool:
        """Return True if the stage failed in the run."""
        return self.rows.get(key, {}).get("status") in ("failed", "timeout")

    def _manifest(self, key: str) -> Mapping[str, Any]:
        if key not in self._manifests:
            self._manifests[key] = self.cache.manifest(key) or {}
        return self._manifests[key]


def recorded_result(row: Row) -> StageResult:
    """Return how a stage ended from its row; what the row lacks is as if nothing had been measured."""
    known = {name: row[name] for name in _RESULT if row.get(name) is not None}
    return StageResult(**{"cached": False, "seconds": 0.0, "peak_mb": 0.0, "device": "", **known})


def rows_of_cells(results: RunResults) -> list[dict[str, Any]]:
    """Return the rows of the cells of a run, with None for what is not recorded."""
    frame = results.cells.astype(object)
    return [{str(k): v for k, v in row.items()} for row in frame.where(frame.notna(), None).to_dict("records")]


def lost_artifacts(cache: Cache, plan: Plan) -> dict[str, str]:
    """Return the reused stages whose artifacts a plan needs and the cache lacks: name and problem (``missing`` or
    ``damaged``) by key.

    Needed are reused scores, and the inputs of scores that have to be computed; a score that is already in the cache
    needs none of its inputs. A score with an input that failed in the earlier run is passed over.
    """
    problems: dict[str, str | None] = {}

    def problem(key: str) -> str | None:
        if key not in problems:
            try:
                cache.verify(key)
                problems[key] = None
            except DamagedError:
                problems[key] = "damaged" if cache.folder(key).exists() else "missing"
        return problems[key]

    lost: dict[str, str] = {}
    for key in dict.fromkeys(key for cell in plan.cells for key in cell.stages):
        reused = key in plan.reused
        if reused or problem(key):
            wanted = [key] if reused else list(plan.stages[key].inputs.values())
            if all(
                plan.reused[one].status == "ok" for one in wanted
            ):  # Otherwise the score fails because of its input.
                found = {one: words for one in wanted if (words := problem(one))}
                lost |= {k: f"{plan.stages[k].kind}: {plan.stages[k].name}: {words}" for k, words in found.items()}
    return lost
