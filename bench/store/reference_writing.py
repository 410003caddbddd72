"""Writes the reference run of a finished run: its public copy (`bench.store.public_runs`), named after its version."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import StorageError
from bench.core.files import remove
from bench.core.paths import child
from bench.store.public_runs import require_no_path, write_public
from bench.store.reading import RunResults


def write_reference(run: Path, into: Path) -> Path:
    """Write the reference run of a finished run into a folder for reference runs, and return its own folder.

    It has no pictures and no logs, and of the machine no paths. Raises `StorageError` for a run that did not end well,
    for one of a suite without a version, and if a text that looks like a path would remain.
    """
    record = RunResults(run).run
    version = record.suite.version
    if record.status != "complete" or record.derived:
        raise StorageError(f"{run}: expected a complete run of a whole suite, found one that is {record.status}")
    if version is None or "+" in version:
        raise StorageError(f"{run}: expected a run of an unchanged suite with a version, found {version or 'none'}")
    folder = child(into, version)
    remove(folder)
    write_public(run, record, folder, require_no_path)
    return folder
