"""Small runs for sites: two runs of one version of a suite, whose defenses leak what a test says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from channels_run import ALL_OF_CLEAN, BREAK, CLEAN, OBLIVION, A, B, Leaks, channels_run
from fake_run import HOSTILE

from bench.core.provenance import file_sha256
from bench.report.site.sources import Source, SourceKind
from bench.store.reading import RunResults

VERSION = "small-1"
A_LEAKS: Leaks = {("A", "abuse"): 0.5, ("A", "recface"): 0.3, ("A", "linkage"): 0.2, ("A", "attributes"): 0.4}
B_LEAKS: Leaks = {("B", "abuse"): 0.2, ("B", "recface"): 0.8}


def site_run(
    folder: Path,
    leaks: Leaks,
    defenses: Sequence[tuple[str, str, bool]],
    *,
    version: str | None = VERSION,
    finished: str = "2026-01-02T03:16:45+00:00",
    **changes: Any,
) -> RunResults:
    """Write a run of a version of a suite; ``changes`` are those of `channels_run`."""
    rows = channels_run(folder, {**ALL_OF_CLEAN, **leaks}, defenses=(CLEAN, *defenses), version=version, **changes)
    record = json.loads((folder / "run.json").read_text())
    record["suite"]["raw"]["suite"]["version"] = version
    record |= {"finished": finished, "status": "complete"}
    for component in record["components"]:
        component["synthetic"] = component["kind"] in ("dataset", "model")
    found = [path for path in folder.rglob("*.parquet") if path.is_file()]
    record["files"] = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(found)}
    (folder / "run.json").write_text(json.dumps(record))
    assert rows.cells
    return RunResults(folder)


def first_run(folder: Path, **changes: Any) -> RunResults:
    """A run of the defense A, with all controls."""
    return site_run(folder, A_LEAKS, (A, OBLIVION, BREAK), **changes)


def second_run(folder: Path, **changes: Any) -> RunResults:
    """A run of the defense B."""
    return site_run(folder, B_LEAKS, (B,), **changes)


def source(results: RunResults, kind: SourceKind = "run", **about: Any) -> Source:
    """Return a run as a site gets it."""
    return Source(name=results.folder.name, results=results, kind=kind, **about)


def hostile_defense() -> tuple[str, str, bool]:
    """A defense whose label is markup."""
    return (f"Mine {HOSTILE}", "pmt", True)
