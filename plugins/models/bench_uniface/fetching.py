"""Fetching of weights: uniface downloads into a folder of its own, and only a verified file is moved to its place.

A fetch that is interrupted or killed leaves nothing that could be taken for weights: what a killed one left is removed
by the next one. Two fetches into one folder wait for each other.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench import DataError, StorageError
from bench_uniface import files, library
from bench_uniface.catalogue import Fetchable

STAGING = ".bench-fetch-"  # The beginning of the names of the folders into which uniface downloads.
ATTEMPTS = 2  # The attempts for each address.
TIMEOUT_S = 30  # The seconds without an answer after which an attempt has failed.


def fetch(wanted: Fetchable, folder: Path, say: Callable[[str], None]) -> Path:
    """Download a file into a folder, unless it is there and sound, and return its path.

    Raises DataError if the file cannot be downloaded, is not the one that uniface lists, or uniface is missing or does
    not work, and StorageError if the folder cannot be written.
    """
    target = folder / wanted.file
    with _kept_in(folder, wanted), _exclusive(folder, say):
        if target.is_file() and files.is_sound(target, wanted):
            return target
        _require_room(folder, wanted)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as staging:
            os.replace(_download(wanted, Path(staging), folder), target)
    return target


def _download(wanted: Fetchable, staging: Path, folder: Path) -> Path:
    """Download a file into ``staging`` with uniface, which compares its sha256, and return its path."""
    entry, store = library.entry(wanted.stem), _model_store()
    with _warnings_of_uniface() as warned, _quiet_if_not_watched():
        try:
            return Path(
                store.verify_model_weights(entry.identifier, str(staging), timeout=TIMEOUT_S, max_retries=ATTEMPTS)
            )
        except ConnectionError as error:
            last = str(error.__cause__ or error)
        except ValueError as error:  # uniface does not know the identifier.
            last = str(error)
    reasons = [*(line for line in warned if "failed for" in line), last]
    said = "\n".join(f"  {url}: {_reason(text)}" for url, text in zip(entry.urls, reasons, strict=False))
    raise DataError(
        f"{wanted.file}: could not be fetched into {folder}:\n{said or f'  {_reason(last)}'}\n"
        f"{_remedy(reasons, wanted, folder, entry.sha256)}"
    )


def _model_store() -> Any:
    """Import uniface's downloader. Raises DataError if uniface is missing, or if one of its libraries is."""
    if library.installed() is None:
        raise DataError(f"uniface: the package is missing; install it with: {library.INSTALL}")
    try:
        return importlib.import_module("uniface.model_store")
    except ImportError as error:
        raise DataError(broken(error)) from None


def broken(error: ImportError) -> str:
    """Return the message about a uniface that cannot be imported."""
    return (
        f"uniface {library.installed()}: expected that it can be imported, found: {error}; install what it needs with: "
        f"{library.INSTALL} (for libGL on Debian: apt-get install libgl1 libglib2.0-0, or put opencv-python-headless "
        "in the place of opencv-python)"
    )


# ---- folders ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _kept_in(folder: Path, wanted: Fetchable) -> Iterator[None]:
    """Make the folder; convert an error of the disk to a StorageError that names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise StorageError(
            f"{folder}: expected a folder in which {wanted.file} can be kept, found: {error.strerror or error}; choose "
            "another one with --out"
        ) from None


@contextlib.contextmanager
def _exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait for another fetch into the folder, then remove what a killed one left."""
    lock = FileLock(folder / f"{STAGING}lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another fetch into {folder}")
        lock.acquire()
    try:
        for left in folder.glob(f"{STAGING}*/"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _require_room(folder: Path, wanted: Fetchable) -> None:
    free = shutil.disk_usage(folder).free >> 20
    if free < wanted.megabytes:
        raise StorageError(
            f"{folder}: expected {wanted.megabytes} MB of free space for {wanted.file}, found {free} MB; make room, or "
            "choose another folder with --out"
        )


# ---- what uniface says -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _warnings_of_uniface() -> Iterator[list[str]]:
    """Collect the warnings of uniface: it reports the failure of its first address only there."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, collector = logging.getLogger("uniface"), Collector(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate


@contextlib.contextmanager
def _quiet_if_not_watched() -> Iterator[None]:
    """Show uniface's progress bar only on a terminal."""
    if sys.stderr.isatty():
        yield
    else:
        with contextlib.redirect_stderr(io.StringIO()):
            yield


def _reason(text: str) -> str:
    """Return the innermost part of uniface's message on one line."""
    if "hash mismatch" in text:
        return "what came has another sha256 than uniface lists; it was thrown away"
    inner = re.sub(r".*?Error: ", "", text, count=1, flags=re.DOTALL)
    inner = re.sub(r"\); trying [\w ]+\.$", "", inner)
    if cause := re.search(r"Caused by \w+\([\"']?(?:\w+\(.*?\): )?(.*?)[\"')]*$", inner, re.DOTALL):
        inner = cause[1] + ")" * (cause[1].count("(") - cause[1].count(")"))
    return " ".join(inner.split())[:300]


def _remedy(reasons: list[str], wanted: Fetchable, folder: Path, sha256: str) -> str:
    """Return what to do about a failed download."""
    if any(os.strerror(errno.ENOSPC) in reason for reason in reasons):
        return f"Make room in {folder}, or choose another folder with --out"
    return (
        "Try again, with a proxy in HTTPS_PROXY where one is needed; or download it elsewhere and put it into "
        f"{folder} as {wanted.file}, where its sha256 must be {sha256}"
    )
