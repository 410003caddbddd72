"""Files about people's own photos, which only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.files import replacing


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read and write. Raise `StorageError` if it cannot be written."""
    with replacing(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
