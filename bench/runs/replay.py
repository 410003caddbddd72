"""``bench run --replay``: computes a run again from its record alone and compares its rows byte by byte."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
from filelock import Timeout

from bench.core.errors import DataError, ReplayError, StorageError
from bench.core.files import folders_in, remove, require_no_link
from bench.core.locks import HeldLock
from bench.core.paths import below, child
from bench.core.provenance import device_name, file_sha256
from bench.core.table_sizes import read_table
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.runs.replan import plan_again
from bench.store.reading import RunResults
from bench.store.recorded_commands import offered
from bench.store.run_record import RunRecord
from bench.store.workspace import Folders


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A replay that is about to begin: the folder of the original run and its record, the plan, the folders with a
    cache of their own, and the run folder that the replay writes (``into``)."""

    original: Path
    record: RunRecord
    plan: Plan
    folders: Folders
    into: Path

    @property
    def note(self) -> str | None:
        """A warning if another processor may change the last bits of numbers, or None."""
        here = device_name("cpu")
        there = self.record.machine.processor or here
        return None if there == here else f"recorded on {there}, this is {here}: the last bits of figures may differ"


@contextlib.contextmanager
def prepared(
    run: Path, folders: Folders, registry: Registry, timeout_s: float | None = None, *, trust: bool = False
) -> Iterator[Replay]:
    """Context manager in which a run can be replayed. Raises `ReplayError` with everything that has changed if it
    cannot be replayed. ``trust``: code outside the installed plugins that its record names may run.

    An interrupted replay keeps its cache, so that the next one continues it; a finished replay removes it.
    """
    original, record = _original(run)
    if not record.ended:
        found = f"this one is {record.status}; end it: {offered(record.command, ('bench', 'run'))}"
        raise ReplayError(f"{original}: only a run that has ended is made again, {found}")
    costs = folders.cache.costs()
    plan = plan_again(original, record, registry, costs=costs, timeout_s=timeout_s, strict=True, trust=trust)
    digest = plan.digest[:8]
    own = Folders(out=folders.out, cache_name=f".replay/{digest}")
    with _alone(own, original):
        yield Replay(original=original, record=record, plan=plan, folders=own, into=_folder(own, plan))
        with contextlib.suppress(OSError):  # What is left is used by the next replay.
            remove(own.cache.root)


def _original(run: Path) -> tuple[Path, RunRecord]:
    """Return the folder of a run and its record; for a replay, those of the run that it replays."""
    record = RunResults(run).run
    if record.rescored:
        raise ReplayError(f"{run}: a rescoring is not replayed; make it again: {offered(record.command)}")
    of = record.replay_of
    if not of:
        return run, record
    original = child(run.parent, of)
    return original, RunResults(original).run


@contextlib.contextmanager
def _alone(folders: Folders, original: Path) -> Iterator[None]:
    """Context manager that allows one replay of a run at a time, because a finished replay removes their cache."""
    place = require_no_link(folders.cache.root, folders.results)
    lock = HeldLock(place.with_name(f"{place.name}.lock"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ReplayError(f"{original}: is being replayed just now; see: bench status") from None
    except OSError as error:
        raise StorageError(f"{place}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
            place.parent.rmdir()  # It fails if the folder holds the cache of another replay.
        lock.release()


def _folder(folders: Folders, plan: Plan) -> Path:
    """Return the folder of a replay: that of an interrupted replay, or a new one."""
    suite = require_no_link(child(folders.results, plan.suite.name), folders.results)
    end = f"{plan.digest[:8]}-replay"
    for found in reversed([folder for folder in folders_in(suite) if folder.name.endswith(f"-{end}")]):
        with contextlib.suppress(StorageError):
            if RunResults(found).run.status in ("running", "interrupted"):
                return found
    return child(suite, f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{end}")


def compare(original: Path, again: Path) -> dict[str, str]:
    """Return a description of each table of sample rows whose files differ from the checksums in the record of the
    original run; an empty dictionary if all bytes are equal."""
    before, now = (_samples(folder) for folder in (original, again))
    tables: dict[str, list[str]] = defaultdict(list)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            tables[name.split("/")[1]].append(name)
    return {table: _difference(table, names, before, original, again) for table, names in tables.items()}


def _samples(folder: Path) -> dict[str, str]:
    """Return the files of sample rows of a run and their recorded sha256."""
    return {name: digest for name, digest in RunResults(folder).run.files.items() if name.startswith("samples/")}


def _difference(table: str, names: Sequence[str], recorded: Mapping[str, str], original: Path, again: Path) -> str:
    """Describe how many rows of some files of a table differ, and which files were changed after the run."""
    total = differing = 0
    for name in names:
        left, right = (_rows(below(folder, name)) for folder in (original, again))
        total += max(len(left), len(right))
        differing += _count(left, right)
    words = f"{table}: {differing} of {total} rows differ"
    altered = [name for name in names if name in recorded and _sha256(below(original, name)) != recorded[name]]
    return words + (f" ({original} has been changed since it was written: {', '.join(altered)})" if altered else "")


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except DataError:
        return None


def _rows(path: Path) -> pd.DataFrame:
    """Return the rows of a file; an empty frame if it does not exist, or cannot or must not be read."""
    try:
        frame: pd.DataFrame = read_table(path).to_pandas()
    except (OSError, pa.ArrowException, StorageError):
        return pd.DataFrame()
    return frame


def _count(left: pd.DataFrame, right: pd.DataFrame) -> int:
    """Return the number of rows that differ, compared in order; all of them if the columns differ."""
    if list(left.columns) != list(right.columns):
        return max(len(left), len(right))
    n = min(len(left), len(right))
    one, other = left.iloc[:n].reset_index(drop=True), right.iloc[:n].reset_index(drop=True)
    differ = (one != other) & ~(one.isna() & other.isna())
    return int(differ.any(axis=1).sum()) + abs(len(left) - len(right))
