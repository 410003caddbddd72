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

from bench.core.errors import StorageError
from bench.core.files import require_no_link
from bench.core.paths import child, is_file_name
from bench.store.run_folders import find_run
from bench.store.run_record import RECORD, RunRecord

if TYPE_CHECKING:
    from bench.store.reading import RunResults

FOLDERS = "BENCH_REFERENCE"  # lists folders of reference runs
MARK = " (reference)"  # Behind the name of a defense whose rows are those of the reference run.
_PACKAGE = Path(__file__).parent.parent / "reference"


def find_reference(version: str | None) -> RunResults | None:
    """Return the reference run of a version of a suite; None if there is none, and for a suite without a version.

    Raises `StorageError` if what lies in its place is no run of that version.
    """
    if not version:
        return None
    for folder in _folders():
        found = child(folder, version)
        if os.path.lexists(found):
            _require_run(found, version)
            from bench.store.reading import RunResults  # It imports pandas, which planning does not need.

            results = RunResults(found)
            _require_reference(results.run, version, found)
            return results
    return None


def reference_versions() -> list[str]:
    """Return the versions of suites that have a reference run, in the order of their names. Nothing is read."""
    return sorted({record.parent.name for folder in _folders() for record in folder.glob(f"*/{RECORD}")})


def is_reference(results: RunResults) -> bool:
    """Return True if a run is the reference run of the version of its suite."""
    found = find_reference(results.run.suite.version)
    return found is not None and found.folder.resolve() == results.folder.resolve()


def find_run_to_read(run: str, results: Path) -> Path:
    """Return the run folder that the argument ``RUN`` means in a command that changes nothing there: what `find_run`
    returns, or else the reference run of the version of a suite. Raises `StorageError` if neither exists."""
    try:
        return find_run(run, results)
    except StorageError:
        reference = find_reference(run) if is_file_name(run) else None
        if reference is None:
            raise
        return reference.folder


def _folders() -> list[Path]:
    """Return the folders in which reference runs may lie, in the order in which they are searched."""
    try:
        own = [Path(text).expanduser() for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]
    except RuntimeError:  # It has no home folder of somebody, ``~somebody``.
        raise StorageError(f"${FOLDERS}: expected folders, found one in the home folder of an unknown user") from None
    return [*own, _PACKAGE]


def _require_run(folder: Path, version: str) -> None:
    """Raise `StorageError` unless a path is that of a folder with a record, neither of which is a link."""
    record = require_no_link(folder / RECORD, folder.parent)
    if record.is_file():
        return
    at, expected = (record, "a file") if folder.is_dir() else (folder, "a folder")
    kind = "a folder" if at.is_dir() else "a file" if at.is_file() else "a pipe or device" if at.exists() else "nothing"
    raise StorageError(
        f"{at}: expected {expected} of the reference run of {version}, found {kind}; remove {folder}, or its parent "
        f"from ${FOLDERS}"
    )


def _require_reference(record: RunRecord, version: str, folder: Path) -> None:
    """Raise `StorageError` unless the record is that of a run of this version, whose suite is written as suites are."""
    experiments = record.suite.raw.get("experiment", [])
    if record.suite.version != version:
        found = "one of " + record.suite.version if record.suite.version else "a run of a suite without a version"
    elif not (isinstance(experiments, list) and all(map(_is_experiment, experiments))):
        found = "a record whose suite has experiments of another form"
    else:
        return
    raise StorageError(
        f"{folder}: expected the reference run of {version}, found {found}; remove this folder, or its parent from "
        f"${FOLDERS}"
    )


def _is_experiment(table: object) -> bool:
    """Return True if a part of a suite has the form of an experiment: a table with a name and a list of defenses."""
    return (
        isinstance(table, dict)
        and isinstance(table.get("name"), str)
        and isinstance(table.get("defenses", []), list)
        and all(isinstance(defense, str | dict) for defense in table.get("defenses", []))
    )


def defense_tables(record: RunRecord) -> Mapping[str, list[Any]]:
    """Return the defenses of each experiment of a run as its suite wrote them."""
    return {table["name"]: list(table.get("defenses", ())) for table in record.suite.raw.get("experiment", ())}
