"""The runs in progress on a cache. A clean-up keeps the artifacts that they need, and ``bench status`` lists them.

A run holds a lock on ``<cache>/running/<session>.lock``; the operating system releases it when the process ends, in
whatever way. Beside it ``<session>.json`` describes the run, and ``<session>.keys`` lists the stages that it needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout

from bench.core.errors import StorageError
from bench.core.files import files_in, folders_in, remove, require_no_link, write_atomically
from bench.core.locks import HeldLock, is_held
from bench.core.paths import child, is_file_name
from bench.core.whole_files import read_json, read_whole
from bench.store.artifacts import Cache
from bench.store.typed_json import decode

LOGS = re.compile(r"logs-[0-9a-f]{8}")  # the name of a folder of logs, and of its lock


@dataclass(frozen=True, kw_only=True)
class RunningRun:
    """A run in progress: its session, suite and folder, and the process that leads it."""

    session: str
    suite: str
    folder: str
    pid: int
    host: str


@contextlib.contextmanager
def announce(cache: Cache, session: str, suite: str, folder: Path, keys: Iterable[str]) -> Iterator[None]:
    """Context manager that announces a run in progress."""
    place = cache.root / "running"
    lock, about, needs = (place / f"{session}.{end}" for end in ("lock", "json", "keys"))
    me = RunningRun(session=session, suite=suite, folder=str(folder), pid=os.getpid(), host=platform.node())
    held = HeldLock(lock)
    try:
        cache.require_no_links()
        place.mkdir(parents=True, exist_ok=True)
        with cache.gate():
            held.acquire()
            write_atomically(needs, "\n".join(keys))
            write_atomically(about, json.dumps(asdict(me)))
    except OSError as error:
        raise StorageError(f"{place}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # `running` removes what is left.
            for path in (about, needs, lock):
                path.unlink(missing_ok=True)
        held.release()


def alive(cache: Cache) -> list[RunningRun]:
    """Return the runs that are in progress. Nothing is written, so that read access is enough."""
    found = []
    for about in _announced(cache):
        with contextlib.suppress(OSError, ValueError):  # The run ended in the meantime.
            if is_held(about.with_suffix(".lock")):
                found.append(decode(RunningRun, read_json(about)))
    return found


def caches(results: Path) -> list[Cache]:
    """Return every cache below a folder of results: that of all runs, and those of replays."""
    return [Cache(results / ".cache"), *map(Cache, folders_in(results / ".replay"))]


def alive_below(results: Path) -> dict[tuple[str, str], list[RunningRun]]:
    """Return the runs in progress below a folder of results, replays included, by suite and name of the run folder."""
    found: dict[tuple[str, str], list[RunningRun]] = {}
    for cache in caches(results):
        for run in alive(cache):
            name = Path(run.folder).name
            if is_file_name(run.suite) and is_file_name(name):
                found.setdefault((run.suite, name), []).append(run)
    return found


def _announced(cache: Cache) -> list[Path]:
    """Return the files that describe runs in progress, or runs that were killed."""
    return [path for path in files_in(cache.root / "running") if path.suffix == ".json"]


def running(cache: Cache) -> list[RunningRun]:
    """Return the runs that are in progress, and remove the files of those that have ended."""
    found = []
    for about in _announced(cache):
        if not about.with_suffix(".lock").exists():
            continue  # The run ended in the meantime, or bench did not make this file.
        try:
            with HeldLock(about.with_suffix(".lock")).acquire(timeout=0):
                for end in (".json", ".keys", ".lock"):
                    about.with_suffix(end).unlink(missing_ok=True)
        except Timeout:
            with contextlib.suppress(OSError, ValueError):  # The run ended in the meantime.
                found.append(decode(RunningRun, read_json(about)))
        except OSError as error:
            raise StorageError(f"{about.parent}: cannot be read: {error.strerror or error}") from None
    return found


def needed(cache: Cache) -> set[str]:
    """Return the keys of all stages that runs in progress need."""
    keys: set[str] = set()
    for run in running(cache):
        path = child(cache.root, "running", f"{run.session}.keys")
        try:
            keys.update(read_whole(path).decode().split())
        except FileNotFoundError:
            continue  # The run ended in the meantime.
        except ValueError as error:
            raise StorageError(f"{path}: expected the stages of a run in progress: {error}") from None
    return keys


@contextlib.contextmanager
def log_folder(cache: Cache, place: Path | None = None) -> Iterator[Path]:
    """Context manager that gives a new folder for the logs of running stages, and removes it at the end.

    It is below ``place``, by default below the folder ``logs`` of the cache. Its owner holds a lock on it, so that the
    folders of processes that were killed are known, and removed here.
    """
    place, name = place or cache.root / "logs", f"logs-{uuid.uuid4().hex[:8]}"
    require_no_link(place, place.parent)
    try:
        for left in folders_in(place):
            if LOGS.fullmatch(left.name):
                with contextlib.suppress(Timeout, OSError), cache.lock(left.name).acquire(timeout=0):
                    remove(left)
        held = cache.lock(name)
        held.acquire()
        (place / name).mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{place}: cannot be written: {error.strerror or error}") from None
    try:
        yield place / name
    finally:
        with contextlib.suppress(OSError):  # The next run removes what is left.
            remove(place / name)
            Path(held.lock_file).unlink()
            place.rmdir()  # unless another process logs in it
        held.release()
