"""Reference runs: the rows of defenses that were measured once under a version of a suite, and travel with bench.

A reference run is a run folder without pictures, named after the version of its suite. It lies in the package, or in a
folder of ``$BENCH_REFERENCE``, which lists folders as ``PATH`` does and is searched first.
`bench.store.reference_writing` makes one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import require_no_link
from bench.core.paths import child
from bench.store.run_record import RECORD, RunRecord

if TYPE_CHECKING:
    from bench.store.reading import RunResults

FOLDERS = "BENCH_REFERENCE"  # lists folders of reference runs
_PACKAGE = Path(__file__).parent.parent / "reference"


def find_reference(version: str | None) -> RunResults | None:
    """Return the reference run of a version of a suite; None if there is none, and for a suite without a version."""
    if not version:
        return None
    own = [Path(text).expanduser() for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]
    for folder in (*own, _PACKAGE):
        found = child(folder, version)
        if (found / RECORD).is_file():
            from bench.store.reading import RunResults  # It imports pandas, which planning does not need.

            return RunResults(require_no_link(found, folder))
    return None


def defense_tables(record: RunRecord) -> Mapping[str, list[Any]]:
    """Return the defenses of each experiment of a run as its suite wrote them."""
    found = record.suite.raw.get("experiment")
    tables = found if isinstance(found, list) else []
    return {t["name"]: list(t.get("defenses", ())) for t in tables if isinstance(t, dict) and "name" in t}
