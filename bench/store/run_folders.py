"""Where results are, and whether there is room for more."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from bench.core.errors import DataError, StorageError, did_you_mean
from bench.core.provenance import file_sha256
from bench.store.run_record import RECORD, read_record, salvage_record
from bench.store.schema import SCHEMA_VERSION


def find_run(run: str, results: Path) -> Path:
    """The run folder that ``RUN`` means: a folder, or the latest run of the suite of that name.

    Runs of single cells and rescorings are meant by that name only where there is no other.
    """
    given = Path(run)
    if (given / RECORD).is_file():
        return given
    found = sorted((results / run).glob(f"*/{RECORD}"), key=lambda p: p.stat().st_mtime, reverse=True)
    folders = [path.parent for path in found]
    if folders:
        return next((folder for folder in folders if _is_whole(folder)), folders[0])
    known = [p.name for p in results.iterdir() if p.is_dir() and not p.name.startswith(".")] if results.is_dir() else []
    hint = did_you_mean(run, known) if known else "no suite has been run here yet: bench run quick"
    expected = f"expected a run folder or the name of a suite with a run in {results}"
    raise StorageError(f"{run}: {expected}, found {_what_is_at(given)}; {hint}")


def _is_whole(folder: Path) -> bool:
    """True if a run is one of its whole suite, and if its record cannot be read: whoever reads it next says why."""
    try:
        return not salvage_record(folder).derived
    except StorageError:
        return True


def _what_is_at(path: Path) -> str:
    if not path.exists():
        return "none"
    return "a folder without run.json" if path.is_dir() else "a file"


def is_complete(folder: Path) -> bool:
    """Whether a run folder holds all rows of a run that ended well, as they were written."""
    try:
        run = read_record(folder)
        files = run.files if run.status == "complete" and run.schema == SCHEMA_VERSION else {}
        return bool(files) and all(file_sha256(folder / name) == digest for name, digest in files.items())
    except (StorageError, DataError):
        return False


def run_folder(suite_name: str, digest: str, results: Path, started: str) -> Path:
    """The folder of a run: the latest one of a plan with this digest, or a new one named by time and digest."""
    suite = results / suite_name
    found = sorted(suite.glob(f"*-{digest[:8]}"))
    return found[-1] if found else suite / f"{started}-{digest[:8]}"


def require_writable(*folders: Path, option: str = "--out") -> None:
    """`StorageError` unless files can be made in every folder (or in the nearest one above it that exists);
    ``option`` is what names another place."""
    for folder in folders:
        existing = folder
        try:
            while not existing.exists():
                existing = existing.parent
            if not existing.is_dir():
                raise StorageError(f"{existing}: expected a folder, found a file; choose another {option}")
            probe = existing / f".bench-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"{existing}: cannot be written ({error.strerror}); choose another folder with {option}"
            raise StorageError(message) from None


def free_bytes(folder: Path) -> int:
    """Free disk space where a folder is or will be, in bytes."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
