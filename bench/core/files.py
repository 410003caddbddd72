"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from bench.core.errors import StorageError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file beside and rename it: readers see the old or the new one, whole."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what matters
            beside.unlink(missing_ok=True)
