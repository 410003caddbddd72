"""Stamps of files, under which something that was derived from a file may be remembered until the file changes."""

from __future__ import annotations

import time
from pathlib import Path

_SETTLED_NS = 2_000_000_000  # Clocks of file systems advance in steps; those of the coarsest are two seconds long.


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file or folder changes: device, inode, size, and the times of the last
    modification and of the last change of the inode in nanoseconds.

    The modification time alone does not do: copies and archives set it. No program can set the time of the inode.
    Raises OSError.
    """
    about = path.stat()
    return (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def is_settled(stamp: tuple[int, ...]) -> bool:
    """Return whether every later change of a file must alter its stamp.

    It need not if the file changed just now, because a second change in the same step of the clock gets the same time.
    What is derived from such a file must not be remembered under its stamp.
    """
    return time.time_ns() - stamp[-1] >= _SETTLED_NS
