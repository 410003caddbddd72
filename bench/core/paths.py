"""The one place where names become paths.

Names from suites, records, caches and rows of results may come from a stranger. Whoever appends one to a folder uses
`child`, which refuses a name that would lead out of the folder, and whoever reads a file of such a folder uses
`inside`, which refuses a link that does. `tests/security/test_paths.py` finds other places.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import StorageError
from bench.core.text import shortened_repr

LONGEST_NAME = (
    200  # Characters of a name in a path; file systems allow 255 bytes, and temporary files have longer names.
)
LONGEST_WRITTEN = 100  # Characters of a name in a suite: run folders, reports and rescorings add to it.


def is_file_name(name: str) -> bool:
    """Return True if a text names a file or folder in whatever folder it is appended to, and nothing outside it."""
    fits = len(name.encode(errors="replace")) <= LONGEST_NAME
    return name not in ("", ".", "..") and not set(name) & set("/\\") and name.isprintable() and fits


def child(folder: Path, *names: str) -> Path:
    """Return the path of a file or folder below a folder, by names. Raises `StorageError` unless each is a file
    name."""
    for name in names:
        if not is_file_name(name):
            expected = f"expected the name of a file or folder, of at most {LONGEST_NAME} bytes"
            raise StorageError(f"{folder}: {expected}, found {shortened_repr(name)}")
    return folder.joinpath(*names)


def below(folder: Path, name: str) -> Path:
    """Return the path of a file by the name that a record gives it, with ``/`` between folders. Raises `StorageError`
    unless each part is a file name."""
    return child(folder, *name.split("/"))


def inside(folder: Path, path: Path) -> Path:
    """Return the path of a file that belongs to a folder and is to be read or written; the file need not exist.

    Raises `StorageError` for a link that leads out of the folder, and for what is neither a file nor a folder, such as
    a pipe, which a reader would wait for.
    """
    try:
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()):
            raise StorageError(f"{path}: expected a file of its folder, found a link to {real}, which is not followed")
        if real.exists() and not (real.is_file() or real.is_dir()):
            raise StorageError(f"{path}: expected a file, found a pipe or device")
    except (OSError, RuntimeError) as error:  # For example a link to itself.
        raise StorageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return path
