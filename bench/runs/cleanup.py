"""Lists, checks and removes what is in the output folder: the artifacts of the cache, and run folders.

Everything in the cache can be computed again, so that removing it costs time but no results. Artifacts that a run in
progress needs stay. Links are never followed out of the folders, and files that bench did not write stay.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from bench.core.errors import StorageError
from bench.core.files import files_in, folders_in, modified, remove, size_below
from bench.core.locks import HeldLock
from bench.store.active_runs import alive_below, caches, needed
from bench.store.artifacts import UNFINISHED, Cache, DamagedError
from bench.store.reading import stage_rows
from bench.store.run_folders import LOGS, run_folders
from bench.store.run_record import RECORD, RunRecord, SuiteRecord, salvage_record

DAMAGED = "damaged"  # The kind of an artifact whose manifest cannot be read.

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SPANS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_KEY = re.compile(r"[0-9a-f]{64}")
_LOCK = re.compile(r"[0-9a-f]{64}|run-.*|(token|logs)-[0-9a-f]{8}")  # the names of locks in a cache
_FRESH_S = 600.0  # A younger unfinished artifact may belong to a process without a lock.
_AT_ONCE = 64  # Artifacts that are removed at a time, while starting runs have to wait.
_RUN_FILES = ("cells.parquet", "stages.parquet", "samples", "journal.jsonl", LOGS)  # run.json is removed after these.
_RUN_LEFTOVERS = (".*.parquet.*", ".run.json.*", ".samples.*")


def size_of(text: str) -> int:
    """Return the bytes of a size such as ``500MB``, ``20 GB`` or ``1.5tb``. Raises `ValueError` for anything else."""
    return round(_quantity(text.upper(), _UNITS, "a size such as 500MB, 20GB or 1.5TB"))


def span_of(text: str) -> float:
    """Return the seconds of a time such as ``12h``, ``30d`` or ``2 w``. Raises `ValueError` for anything else."""
    return _quantity(text.lower(), _SPANS, "a time such as 90min, 12h, 30d or 2w")


def _quantity(text: str, units: dict[str, int], expected: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip(), re.ASCII)
    if found is None or found[2] not in units:
        raise ValueError(f"expected {expected}")
    return float(found[1]) * units[found[2]]


# ---- the cache -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One artifact: the kind of its stage, its size in bytes, and when it was used last (seconds since the epoch)."""

    key: str
    kind: str
    size: int
    used: float


@dataclass(frozen=True, kw_only=True)
class KindUse:
    """The artifacts of one kind together; ``oldest`` and ``newest`` are times of last use."""

    kind: str
    artifacts: int
    size: int
    oldest: float
    newest: float


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What `collect` removed or would remove, and what is left.

    ``unfinished`` is the number of folders of killed workers, ``unfinished_size`` their bytes; ``locks`` is the number
    of unused lock files. ``needed`` are the bytes of artifacts that runs in progress need. ``failed``: what could not
    be removed, with reasons.
    """

    removed: Sequence[Stored]
    kept: int
    kept_size: int
    needed: int
    unfinished: int
    unfinished_size: int
    locks: int
    failed: Sequence[str]


def artifacts(cache: Cache) -> Iterator[Stored]:
    """Yield every artifact of a cache, sorted by key."""
    for shelf in folders_in(cache.root, links=True):
        for folder in folders_in(shelf):
            if _KEY.fullmatch(folder.name) and shelf.name == folder.name[:2]:
                manifest, used = cache.manifest(folder.name), modified(folder)
                if used is not None:
                    kind = str(manifest.get("kind", "other")) if manifest else DAMAGED
                    yield Stored(key=folder.name, kind=kind, size=size_below(folder), used=used)


def by_kind(found: Iterable[Stored]) -> list[KindUse]:
    """Return the totals of artifacts by kind, the kind with most bytes first."""
    kinds: dict[str, list[Stored]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    rows = [
        KindUse(
            kind=kind,
            artifacts=len(mine),
            size=sum(one.size for one in mine),
            oldest=min(one.used for one in mine),
            newest=max(one.used for one in mine),
        )
        for kind, mine in kinds.items()
    ]
    return sorted(rows, key=lambda row: (-row.size, row.kind))


def unfinished(cache: Cache) -> list[tuple[Path, int]]:
    """Return the folders of artifacts that are being written, or whose writer was killed, with their bytes."""
    found = [folder for folder in folders_in(cache.root / "tmp") if UNFINISHED.fullmatch(folder.name)]
    return [(folder, size_below(folder)) for folder in found]


def damage(cache: Cache, key: str, *, discard: bool) -> str | None:
    """Return what is wrong with an artifact, or None if it is undamaged; ``discard`` removes a damaged one.

    An artifact that is being written is not damaged. The check does not count as a use of the artifact.
    """
    with contextlib.suppress(DamagedError):  # It is damaged, or being written, which only its lock shows.
        cache.check(key)
        return None
    try:
        with cache.lock(key).acquire(timeout=0):
            return _damage(cache, key, discard=discard)
    except Timeout:
        return None
    except (OSError, StorageError) as error:
        if discard:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"{cache.root}: cannot be changed: {reason}") from None
        return _damage(cache, key, discard=False)  # A read-only cache has no locks.


def _damage(cache: Cache, key: str, *, discard: bool) -> str | None:
    try:
        cache.check(key)
        return None
    except DamagedError as error:
        if not cache.folder(key).exists():
            return None
        if discard:
            cache.discard(key)
        return str(error)


def collect(
    cache: Cache,
    *,
    max_size: int | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
    now: Callable[[], float] = time.time,
) -> Collected:
    """Remove artifacts, the least recently used first: those that were not used for ``older_than`` seconds, and as many
    as necessary to reach ``max_size`` bytes; also damaged artifacts and unfinished ones of killed workers.

    Artifacts that a run in progress needs stay. ``dry_run`` removes nothing. Raises `StorageError` if the cache
    cannot be changed.
    """
    try:
        return _collect(cache, max_size, older_than, dry_run, now())
    except OSError as error:
        raise StorageError(f"{cache.root}: cannot be changed: {error.strerror or error}") from None


def _collect(cache: Cache, max_size: int | None, older_than: float | None, dry_run: bool, now: float) -> Collected:
    found = sorted(artifacts(cache), key=lambda one: (one.used, one.key))
    protected = needed(cache)
    free = [one for one in found if one.key not in protected]
    chosen = _chosen(free, sum(one.size for one in found), max_size, older_than, now)
    removed, failed = (chosen, []) if dry_run else _remove(cache, chosen)
    gone = {one.key for one in removed}
    leftovers = _sweep_unfinished(cache, dry_run=dry_run, now=now)
    return Collected(
        removed=removed,
        kept=len(found) - len(removed),
        kept_size=sum(one.size for one in found if one.key not in gone),
        needed=sum(one.size for one in found if one.key in protected),
        unfinished=len(leftovers),
        unfinished_size=sum(leftovers),
        locks=_sweep_locks(cache, protected, dry_run=dry_run) + _sweep_announcements(cache, dry_run=dry_run),
        failed=failed,
    )


def _chosen(
    free: Sequence[Stored], total: int, max_size: int | None, older_than: float | None, now: float
) -> list[Stored]:
    """Return which of the ``free`` artifacts to remove, the least recently used first."""
    chosen = []
    for one in free:
        too_old = older_than is not None and now - one.used > older_than
        too_much = max_size is not None and total > max_size
        if one.kind == DAMAGED or too_old or too_much:
            chosen.append(one)
            total -= one.size
    return chosen


def _remove(cache: Cache, chosen: Sequence[Stored]) -> tuple[list[Stored], list[str]]:
    """Remove artifacts that are still neither needed nor used. Return those that were removed, and why others were
    not."""
    removed: list[Stored] = []
    failed: list[str] = []
    for start in range(0, len(chosen), _AT_ONCE):
        with cache.gate():
            protected = needed(cache)
            for one in chosen[start : start + _AT_ONCE]:
                folder = cache.folder(one.key)
                used = modified(folder)
                if one.key in protected or used is None or used > one.used:
                    continue
                try:
                    with cache.lock(one.key).acquire(timeout=0):
                        cache.discard(one.key)
                except Timeout:
                    continue
                except (OSError, StorageError) as error:
                    failed.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
                    continue
                if folder.exists():
                    failed.append(f"{folder}: its files cannot be removed")
                else:
                    removed.append(one)
    return removed, failed


def _sweep_unfinished(cache: Cache, *, dry_run: bool, now: float) -> list[int]:
    """Remove unfinished artifacts that no process is writing, and return their sizes in bytes."""
    sizes = []
    for folder, size in unfinished(cache):
        key = folder.name.rpartition("-")[0]
        with contextlib.suppress(Timeout, OSError, StorageError), cache.lock(key).acquire(timeout=0):
            since = modified(folder)
            if since is not None and now - since > _FRESH_S:
                sizes.append(size)
                if not dry_run:
                    remove(folder)
    return sizes


def _sweep_locks(cache: Cache, protected: set[str], *, dry_run: bool) -> int:
    """Remove lock files that no process holds, and progress notes of stages that no process computes.

    A lock file is removed while this process holds the lock. A process that has opened the file before notices that it
    no longer exists and opens a new one; filelock checks this.
    """
    locks = cache.root / "locks"
    for note in files_in(cache.root / "progress") if not dry_run else ():
        if _KEY.fullmatch(note.name) and note.name not in protected:
            with contextlib.suppress(Timeout, OSError, StorageError), cache.lock(note.name).acquire(timeout=0):
                note.unlink()
    swept = 0
    for path in files_in(locks):
        if _LOCK.fullmatch(path.name) and path.name not in protected:
            with contextlib.suppress(Timeout, OSError, StorageError), HeldLock(path).acquire(timeout=0):
                if not dry_run:
                    path.unlink()
                swept += 1
    return swept


def _sweep_announcements(cache: Cache, *, dry_run: bool) -> int:
    """Remove the files of runs that were killed while they announced themselves. The gate is held, so that no run does
    so at the same time."""
    places = [path for path in files_in(cache.root / "running") if path.suffix == ".lock"]
    swept = 0
    with cache.gate() if places else contextlib.nullcontext():
        for path in places:
            if not path.with_suffix(".json").exists():
                with contextlib.suppress(Timeout, OSError), HeldLock(path).acquire(timeout=0):
                    if not dry_run:
                        path.with_suffix(".keys").unlink(missing_ok=True)
                        path.unlink()
                    swept += 1
    return swept


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder: parts of its record, and its size in bytes. ``status`` is ``running`` while a command computes it,
    ``interrupted`` if the command was killed, ``unreadable`` if its record cannot be read."""

    suite: str
    name: str
    folder: Path
    started: str
    status: str
    counts: dict[str, int]
    size: int


def runs(results: Path, note: Callable[[str], object]) -> list[Run]:
    """Return every run below a folder of results that can be removed, by suite and time: none that a link leads to.

    ``note`` gets a sentence about each folder of a suite that cannot be listed.
    """
    at_work = alive_below(results)
    found = [_run(folder, at_work) for folder in run_folders(results, note, links=False)]
    return sorted(found, key=lambda run: (run.suite, run.started, run.name))


def _run(folder: Path, at_work: Container[tuple[str, str]]) -> Run:
    try:
        record = salvage_record(folder)
    except StorageError:
        record = RunRecord(suite=SuiteRecord(name=folder.parent.name), status="unreadable")
    busy = (folder.parent.name, folder.name) in at_work
    status = record.status
    return Run(
        suite=folder.parent.name,
        name=folder.name,
        folder=folder,
        started=record.started or "",
        status="running" if busy else "interrupted" if status == "running" else status,
        counts=record.counts.known if record.counts else {},
        size=size_below(folder),
    )


def run_of(folder: Path) -> Run:
    """Return the run of a run folder."""
    folder = folder.resolve()
    return _run(folder, alive_below(folder.parent.parent))


def failures(folder: Path) -> dict[str, int]:
    """Return the reasons why stages of a run failed with the number of stages, the most frequent first. A stage that
    needs a failed stage has the same reason. Empty for a run without results or with results of another version."""
    try:
        stages = stage_rows(folder, salvage_record(folder))
    except StorageError:
        return {}
    reasons = Counter(str(one.get("reason")) for one in stages if one.get("status") in ("failed", "timeout"))
    return dict(reasons.most_common())


def check_removable(folder: Path) -> Run:
    """Return the run of a folder if `remove_run` would remove it; otherwise raise `StorageError`."""
    if folder.is_symlink() or folder.parent.is_symlink():
        raise StorageError(f"{folder}: expected a run folder, found a link to one; remove the link, or name the folder")
    run = run_of(folder)
    if run.status == "running":
        raise StorageError(f"{folder}: a command is at work on this run; stop it first, or wait until it has ended")
    if run.status == "unreadable":
        salvage_record(folder)
    for suite, name in alive_below(folder.resolve().parent.parent):
        if suite == run.suite and _replays(folder.resolve().parent / name, run.name):
            raise StorageError(f"{folder}: a command replays this run; stop it first, or wait until it has ended")
    return run


def _replays(folder: Path, original: str) -> bool:
    """Return True if a run is a replay of the run of this name."""
    try:
        return salvage_record(folder).replay_of == original
    except StorageError:  # Its record is not written yet.
        return False


def remove_run(run: Run) -> list[str]:
    """Remove a run folder. Return the names of files in it that bench did not write; these stay.

    Raises `StorageError` if the run is in progress or the folder cannot be changed.
    """
    with contextlib.ExitStack() as held:
        try:
            for cache in caches(run.folder.parent.parent):  # A replay has a cache of its own.
                if cache.root.is_dir():
                    held.enter_context(cache.gate())
            check_removable(run.folder)
            left_over = [path for pattern in _RUN_LEFTOVERS for path in run.folder.glob(pattern)]
            for path in (*(run.folder / name for name in _RUN_FILES), *left_over, run.folder / RECORD):
                remove(path)
            foreign = sorted(path.name for path in run.folder.iterdir())
            if not foreign:
                run.folder.rmdir()
        except OSError as error:
            raise StorageError(f"{run.folder}: cannot be removed: {error.strerror or error}") from None
    return foreign
