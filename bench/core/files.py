"""Text files that are written atomically, and texts that are kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.core.errors import StorageError

_LONGEST = 200  # characters of the name of a file


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees either the old or the new content, never a part.

    The text goes to a temporary file in the same folder, which is flushed to disk and then renamed. Missing folders
    are made. Raises `StorageError` if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # An error of the clean-up must not hide the first one.
            temporary.unlink(missing_ok=True)


def kept_text(path: Path, make: Callable[[], str]) -> str:
    """Return the text kept in a file of the user's cache folder, or make it and keep it for the next time.

    The first line of the file is the SHA-256 of the rest. A file that is damaged, or that belongs to another user, is
    not used but replaced. Where nothing can be kept, the text is made each time.
    """
    kept = _read_kept(path)
    if kept is not None:
        return kept
    text = make()
    if path.is_absolute():  # It is relative for a user without a home folder.
        with contextlib.suppress(StorageError):
            write_atomically(path, f"{_sha256(text)}\n{text}")
    return text


def _read_kept(path: Path) -> str | None:
    """Return the text that `kept_text` wrote; None if it did not, or if the file was changed."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
            return None
        digest, _, text = path.read_bytes().decode("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest == _sha256(text) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_file_name(name: str) -> bool:
    """Return True if a text names a file or folder in whatever folder it is appended to, and nothing outside it."""
    return name not in ("", ".", "..") and not set(name) & set("/\\") and name.isprintable() and len(name) <= _LONGEST
