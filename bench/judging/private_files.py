"""Files about people's own photos, which only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.core.errors import StorageError
from bench.core.files import replacing, require_replaceable


def check_outputs(outputs: Mapping[str, Path | None], pictures: Sequence[Path]) -> None:
    """Raise `StorageError`, which names the option, for a file that cannot be written, that lies in a folder of
    ``pictures``, which it might replace, or that is also the file of another option."""
    known: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        require_replaceable(path, option=option)
        place = path.resolve()
        if place in known:
            raise StorageError(
                f"{option} {path}: expected another file than that of {known[place]}; choose another name"
            )
        known[place] = option
        for folder in pictures:
            if folder.is_dir() and place.is_relative_to(folder.resolve()):
                raise StorageError(
                    f"{option} {path}: expected a file outside of the folders of pictures, found one in {folder}; "
                    "choose another place"
                )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read and write. Raise `StorageError` if it cannot be written."""
    with replacing(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
