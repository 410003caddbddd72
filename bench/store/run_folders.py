"""Finds run folders, and checks that results can be written."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.core.errors import DataError, StorageError, did_you_mean
from bench.core.files import folders_in, latest_first, require_no_link, require_replaceable
from bench.core.paths import below, child, is_file_name
from bench.core.provenance import file_sha256
from bench.store.run_record import RECORD, read_record, salvage_record
from bench.store.schema import SCHEMA_VERSION

LOGS = "logs"  # the folder in a run folder in which running stages log


def run_folders(results: Path, note: Callable[[str], object], *, links: bool = True) -> list[Path]:
    """Return the folders of all runs below a folder of results, by suite and name.

    ``note`` gets a sentence about each folder of a suite that cannot be listed; its runs are left out. ``links``: also
    return runs that a link leads to. They can be read, but bench writes and removes nothing there.
    """
    found = []
    for suite in _suites(results):
        try:
            found += _runs_of(suite, links=links)
        except StorageError as error:
            note(f"{error}; its runs are left out")
    return found


def _suites(results: Path) -> list[Path]:
    return [suite for suite in folders_in(results, links=True) if not suite.name.startswith(".")]


def _runs_of(suite: Path, *, links: bool = True) -> list[Path]:
    return [folder for folder in folders_in(suite, links=links) if _has_record(folder)]


def _has_record(folder: Path) -> bool:
    """Return True if a folder is a run folder, even if its record is a broken link or not accessible."""
    try:
        os.lstat(folder / RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def find_run(run: str, results: Path) -> Path:
    """Return the run folder that the argument ``RUN`` of a command means: a folder, or the latest run of the suite of
    that name. Raises `StorageError` if no such run exists.

    A run of single cells or a rescoring is only meant if the suite has no other run.
    """
    if not run:
        raise StorageError("RUN: expected a run folder or the name of a suite with a run, found an empty text")
    given = Path(run)
    if _is_file(given / RECORD):
        return given
    records = [folder / RECORD for folder in _runs_of(child(results, run))] if is_file_name(run) else []
    folders = [path.parent for path in latest_first(records)]
    if folders:
        return next((folder for folder in folders if _is_whole(folder)), folders[0])
    known = [suite.name for suite in _suites(results)]
    hint = did_you_mean(run, known) if known else "no suite has been run here yet: bench run quick"
    expected = f"expected a run folder or the name of a suite with a run in {results}"
    raise StorageError(f"{run}: {expected}, found {_what_is_at(given)}; {hint}")


def _is_whole(folder: Path) -> bool:
    """Return True if a run is one of its whole suite. A run whose record cannot be read counts as one, so that reading
    it raises the error."""
    try:
        return not salvage_record(folder).derived
    except StorageError:
        return True


def _is_file(path: Path) -> bool:
    """Return True for a file or a link, also one to nothing, so that reading it says what is wrong.

    Unlike `_has_record`, it returns False for a path that may not be looked at: the argument of a command that reads
    like such a path may be the name of a suite.
    """
    try:
        return path.is_file() or path.is_symlink()
    except OSError:  # The name is too long, or the folder is not accessible.
        return False


def _what_is_at(path: Path) -> str:
    try:
        if not path.exists():
            return "none"
    except OSError as error:
        return f"a path that cannot be looked at ({error.strerror})"
    return "a folder without run.json" if path.is_dir() else "a file"


def is_complete(folder: Path) -> bool:
    """Return True if a run folder holds a complete run whose files are as they were written."""
    try:
        run = read_record(folder)
        files = run.files if run.status == "complete" and run.schema == SCHEMA_VERSION else {}
        return bool(files) and all(file_sha256(below(folder, n)) == digest for n, digest in files.items())
    except (StorageError, DataError):
        return False


def run_folder(suite_name: str, digest: str, results: Path, started: str) -> Path:
    """Return the folder of a run: the latest folder of a plan with this digest, or a new one named by time and
    digest. Raises `StorageError` if the folder of the suite is a link, since a run is written into no other place."""
    suite = require_no_link(child(results, suite_name), results)
    found = [folder for folder in folders_in(suite) if folder.name.endswith(f"-{digest[:8]}")]
    return found[-1] if found else child(suite, f"{started}-{digest[:8]}")


def require_writable(*folders: Path, option: str = "--out") -> None:
    """Raise `StorageError` unless files can be created in every folder, or in the nearest folder above it that exists.
    ``option`` is the command-line option that selects another folder, for the message."""
    for folder in folders:
        existing = folder
        try:
            while not existing.exists():
                if existing.is_symlink():
                    raise StorageError(
                        f"{existing}: expected a folder, found a link to {os.readlink(existing)}, where nothing is; "
                        f"remove the link, or choose another {option}"
                    )
                existing = existing.parent
            if not existing.is_dir():
                raise StorageError(f"{existing}: expected a folder, found a file; choose another {option}")
            probe = existing / f".bench-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"{existing}: cannot be written ({error.strerror}); choose another folder with {option}"
            raise StorageError(message) from None


def require_output_file(file: Path, *, option: str) -> Path:
    """Return the file that a command-line option names for output, with links resolved.

    Raise `StorageError` if files cannot be created in its folder, or as `require_replaceable` does.
    """
    require_replaceable(file, option=option)
    file = file.resolve() if file.is_symlink() else file
    require_writable(file.parent, option=option)
    return file


def free_bytes(folder: Path) -> int:
    """Return the free disk space in bytes where a folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
