"""Locks between processes. All are made here.

A process counts as running while it holds its lock. Its process id does not decide, because it means nothing on another
machine or in another container. The operating system releases a lock when its holder ends, in whatever way.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from filelock import FileLock

from bench.core.errors import StorageError

_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class HeldLock(FileLock):
    """A lock on a file, which is made if it does not exist, with the access rights that new files have.

    Raises `StorageError` if the file is a link, or if the file system of the folder has no locks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, fallback_to_soft=False)

    def _acquire(self) -> None:
        try:
            super()._acquire()
        except OSError as error:
            problem = _problem(Path(self.lock_file), error)
            if problem is None:
                raise
            raise problem from None


def is_held(path: Path) -> bool:
    """Return True if a process holds the lock on a file. Nothing is written, so that read access is enough.

    This takes a shared lock for a moment. Raises `OSError` if the file is gone or cannot be read, and `StorageError` if
    it is a link, or if its file system has no locks.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    except OSError as error:
        raise _problem(path, error) or error from None
    return False


def _problem(path: Path, error: OSError) -> StorageError | None:
    """Return what an error of a lock means in words, or None if it has nothing to do with locks."""
    if error.errno == errno.ELOOP:
        return StorageError(f"{path}: expected a lock file, found a link; remove it")
    if error.errno in _UNSUPPORTED:
        return StorageError(
            f"{path}: the file system of this folder has no locks (flock: {error.strerror}), by which runs share a "
            "cache; choose a folder on another file system with --out, or mount this one with locks"
        )
    return None
