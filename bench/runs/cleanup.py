"""What lies in the output folder and how to be rid of it: the artifacts of the cache, and the run folders.

Everything in the cache can be computed again, so removing it costs time, never results. What a run at work needs stays.
Links are never followed out of the folders, and what bench has not made is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bench.core.errors import StorageError
from bench.store.active_runs import alive, needed
from bench.store.artifacts import Cache, DamagedError
from bench.store.reading import stage_rows
from bench.store.run_record import RECORD, RunRecord, SuiteRecord, salvage_record

DAMAGED = "damaged"  # the kind of an artifact whose manifest cannot be read

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SPANS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_KEY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(rf"({_KEY.pattern})-[0-9a-f]{{8}}")
_FRESH_S = 600.0  # an unfinished artifact may belong to somebody who holds no lock
_AT_ONCE = 64  # artifacts that are removed while runs that start have to wait
_RUN_FILES = ("cells.parquet", "stages.parquet", "samples", "journal.jsonl")  # besides run.json, which goes last
_RUN_LEFTOVERS = (".*.parquet.*", ".run.json.*", ".samples.*")


def size_of(text: str) -> int:
    """Bytes of ``500MB``, ``20 GB``, ``1.5tb``; `ValueError` for anything else."""
    return round(_quantity(text.upper(), _UNITS, "a size such as 500MB, 20GB or 1.5TB"))


def span_of(text: str) -> float:
    """Seconds of ``12h``, ``30d``, ``2 w``; `ValueError` for anything else."""
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
    """What `collect` removed (or would), and what is left.

    ``unfinished`` are folders that killed workers left, ``unfinished_size`` their bytes; ``locks`` are files of locks
    that nobody holds. ``needed`` are the bytes of artifacts that runs at work need. ``failed``: what could not be
    removed, with reasons.
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
    """Every artifact of a cache, by key."""
    for shelf in _folders(cache.root):
        for folder in _folders(shelf.path):
            if _KEY.fullmatch(folder.name) and shelf.name == folder.name[:2]:
                with contextlib.suppress(FileNotFoundError):  # somebody removed it just now
                    manifest = cache.manifest(folder.name)
                    yield Stored(
                        key=folder.name,
                        kind=str(manifest.get("kind", "other")) if manifest else DAMAGED,
                        size=_size(Path(folder.path)),
                        used=folder.stat(follow_symlinks=False).st_mtime,
                    )


def by_kind(found: Iterable[Stored]) -> list[KindUse]:
    """Artifacts counted by kind, the kind with most bytes first."""
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
    """The folders of artifacts that are being written, or whose writer was killed, with their bytes."""
    place = cache.root / "tmp"
    if place.is_symlink():
        return []
    found = [Path(folder.path) for folder in _folders(place) if _UNFINISHED.fullmatch(folder.name)]
    return [(folder, _size(folder)) for folder in found]


def damage(cache: Cache, key: str, *, discard: bool) -> str | None:
    """What is wrong with an artifact, none when it is sound; ``discard`` removes a damaged one.

    An artifact that a run is making at this moment is not damaged. Looking at it is no use of it.
    """
    with contextlib.suppress(DamagedError):  # or not complete yet, which only its lock tells
        cache.check(key)
        return None
    try:
        with cache.lock(key).acquire(timeout=0):
            return _damage(cache, key, discard=discard)
    except Timeout:
        return None
    except OSError as error:
        if discard:
            raise StorageError(f"{cache.root}: cannot be changed: {error.strerror or error}") from None
        return _damage(cache, key, discard=False)  # a cache that cannot be written has no locks


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
    """Remove artifacts, the least recently used first: those that nobody used for ``older_than`` seconds, and as many
    as are needed to come down to ``max_size`` bytes; and damaged ones, and what killed workers left.

    What a run at work needs stays. ``dry_run`` removes nothing and tells what would be. `StorageError` when the cache
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
    """What goes: ``free`` artifacts, the least recently used first."""
    chosen = []
    for one in free:
        too_old = older_than is not None and now - one.used > older_than
        too_much = max_size is not None and total > max_size
        if one.kind == DAMAGED or too_old or too_much:
            chosen.append(one)
            total -= one.size
    return chosen


def _remove(cache: Cache, chosen: Sequence[Stored]) -> tuple[list[Stored], list[str]]:
    """Remove artifacts unless somebody needs or uses them by now; those that are gone, and why others are not."""
    removed: list[Stored] = []
    failed: list[str] = []
    for start in range(0, len(chosen), _AT_ONCE):
        with cache.gate():
            protected = needed(cache)
            for one in chosen[start : start + _AT_ONCE]:
                folder = cache.folder(one.key)
                try:
                    if one.key in protected or folder.stat().st_mtime > one.used:
                        continue
                    with cache.lock(one.key).acquire(timeout=0):
                        cache.discard(one.key)
                except (Timeout, FileNotFoundError):
                    continue
                except OSError as error:
                    failed.append(f"{folder}: {error.strerror or error}")
                    continue
                if folder.exists():
                    failed.append(f"{folder}: its files cannot be removed")
                else:
                    removed.append(one)
    return removed, failed


def _sweep_unfinished(cache: Cache, *, dry_run: bool, now: float) -> list[int]:
    """Remove unfinished artifacts that nobody is writing; returns their bytes."""
    sizes = []
    for folder, size in unfinished(cache):
        key = folder.name.rpartition("-")[0]
        with contextlib.suppress(Timeout, OSError), cache.lock(key).acquire(timeout=0):
            if now - folder.stat().st_mtime > _FRESH_S:
                sizes.append(size)
                if not dry_run:
                    shutil.rmtree(folder)
    return sizes


def _sweep_locks(cache: Cache, protected: set[str], *, dry_run: bool) -> int:
    """Remove the files of locks that nobody holds, and the progress notes of stages that nobody computes.

    A lock file goes while it is held. Whoever has opened it at that moment finds that what he locks has no name any
    more, and takes a new one: filelock looks.
    """
    locks = cache.root / "locks"
    for note in _files(cache.root / "progress") if not dry_run else ():
        if note.name not in protected:
            with contextlib.suppress(Timeout, OSError), FileLock(locks / note.name).acquire(timeout=0):
                note.unlink()
    swept = 0
    for path in _files(locks):
        if path.name not in protected:
            with contextlib.suppress(Timeout, OSError), FileLock(path).acquire(timeout=0):
                if not dry_run:
                    path.unlink()
                swept += 1
    return swept


def _sweep_announcements(cache: Cache, *, dry_run: bool) -> int:
    """Remove what a run left that was killed while it announced itself; at the gate, so that none does so now."""
    places = [path for path in _files(cache.root / "running") if path.suffix == ".lock"]
    swept = 0
    with cache.gate() if places else contextlib.nullcontext():
        for path in places:
            if not path.with_suffix(".json").exists():
                with contextlib.suppress(Timeout, OSError), FileLock(path).acquire(timeout=0):
                    if not dry_run:
                        path.with_suffix(".keys").unlink(missing_ok=True)
                        path.unlink()
                    swept += 1
    return swept


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder: what its ``run.json`` says, and its size in bytes. ``status`` is ``running`` while a command is at
    work on it, ``interrupted`` when the command was killed, ``unreadable`` when the record is."""

    suite: str
    name: str
    folder: Path
    started: str
    status: str
    counts: dict[str, int]
    size: int


def runs(results: Path) -> list[Run]:
    """Every run below a results folder, by suite and time."""
    at_work = _at_work(results)
    found = []
    for suite in _folders(results):
        for entry in _folders(suite.path) if not suite.name.startswith(".") else ():
            folder = Path(entry.path)
            if (folder / RECORD).is_file():
                found.append(_run(folder, at_work))
    return sorted(found, key=lambda run: (run.suite, run.started, run.name))


def _at_work(results: Path) -> set[tuple[str, str]]:
    """Suite and folder name of the runs that commands are at work on."""
    return {(run.suite, Path(run.folder).name) for run in alive(Cache(results / ".cache"))}


def _run(folder: Path, at_work: set[tuple[str, str]]) -> Run:
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
        size=_size(folder),
    )


def run_of(folder: Path) -> Run:
    """The run of a run folder."""
    folder = folder.resolve()
    return _run(folder, _at_work(folder.parent.parent))


def failures(folder: Path) -> dict[str, int]:
    """Why stages of a run failed, and how many for each reason, the most frequent first. What depends on a failed
    stage has its reason. Nothing for a run without results, or with results of another version."""
    try:
        stages = stage_rows(folder, salvage_record(folder))
    except StorageError:
        return {}
    reasons = Counter(str(one.get("reason")) for one in stages if one.get("status") in ("failed", "timeout"))
    return dict(reasons.most_common())


def check_removable(folder: Path) -> Run:
    """The run of a folder that `remove_run` would remove; `StorageError` when it would refuse."""
    if folder.is_symlink() or folder.parent.is_symlink():
        raise StorageError(f"{folder}: expected a run folder, found a link to one; remove the link, or name the folder")
    run = run_of(folder)
    if run.status == "running":
        raise StorageError(f"{folder}: a command is at work on this run; stop it first, or wait until it has ended")
    if run.status == "unreadable":
        salvage_record(folder)
    return run


def remove_run(run: Run) -> list[str]:
    """Remove a run folder and nothing else; returns the names of what bench has not made, which stays in it.

    `StorageError` when a command is at work on the run, or the folder cannot be changed.
    """
    cache = Cache(run.folder.parent.parent / ".cache")
    with contextlib.ExitStack() as held:
        try:
            if cache.root.is_dir():
                held.enter_context(cache.gate())
            check_removable(run.folder)
            left_over = [path for pattern in _RUN_LEFTOVERS for path in run.folder.glob(pattern)]
            for path in (*(run.folder / name for name in _RUN_FILES), *left_over, run.folder / RECORD):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            foreign = sorted(path.name for path in run.folder.iterdir())
            if not foreign:
                run.folder.rmdir()
        except OSError as error:
            raise StorageError(f"{run.folder}: cannot be removed: {error.strerror or error}") from None
    return foreign


# ---- folders ---------------------------------------------------------------------------------------------------------


def _folders(place: Path | str) -> list[os.DirEntry[str]]:
    """The folders in a folder, by name; none where there is no folder. Links do not count."""
    try:
        with os.scandir(place) as entries:
            return sorted((e for e in entries if e.is_dir(follow_symlinks=False)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"{place}: cannot be read: {error.strerror or error}") from None


def _files(place: Path) -> list[Path]:
    """The files in a folder, by name; none where there is no folder, or a link to one."""
    if place.is_symlink() or not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return sorted(Path(e.path) for e in entries if e.is_file(follow_symlinks=False))


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links count as themselves."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it is gone
                total += os.lstat(os.path.join(place, name)).st_size
    return total
