"""The folders that a command works in: results, reports and the artifact cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.paths import child, inside
from bench.store.artifacts import Cache
from bench.store.run_record import RunRecord


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of results, reports and the cache, below one folder (``--out``, by default the current one)."""

    out: Path
    cache_name: str = ".cache"

    @property
    def results(self) -> Path:
        """``results/<suite>/<run>/``"""
        return self.out / "results"

    @property
    def reports(self) -> Path:
        """``reports/<suite>/index.html``"""
        return self.out / "reports"

    def page(self, run: RunRecord, folder: Path) -> Path:
        """Return the path of the report of a run (its record and folder): ``reports/<suite>/index.html``, or, for a
        run of single cells and for a rescoring, ``reports/<suite>/<run>/index.html``. Raises `StorageError` if a link
        there leads out of ``reports/``."""
        names = (run.suite.name, folder.name) if run.derived else (run.suite.name,)
        return inside(self.reports, child(self.reports, *names, "index.html"))

    @property
    def cache(self) -> Cache:
        """The artifact cache; removing it costs time, never results."""
        return Cache(self.results / self.cache_name)
