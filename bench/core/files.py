"""Atomic writing of text files."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from bench.core.errors import StorageError


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
