"""Digests of data sets: the sha256 of a single file, or a sha256 over the names and contents of several files.

Hashing a large set takes long, so digests of files are kept, by path and stamp (see `bench.file_stamp`), in
``fingerprints`` of `bench.cache_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import DataError, cache_folder, file_sha256, file_stamp, is_settled

MAX_REMEMBERED_BYTES = 2**30


def _memory(root: Path) -> Path:
    """Return the file that keeps the digests of the files below a folder."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "fingerprints" / f"{name}.json"


def fingerprint(root: Path, files: Sequence[Path]) -> str:
    """Return the digest of files; for a single file its sha256, whatever its name. Raises DataError."""
    place = _memory(root)
    known = _recall(place)
    found: dict[str, str] = {}
    kept: dict[str, list[int | str]] = {}
    for path in files:
        try:
            stamp = file_stamp(path)
        except OSError as error:
            raise DataError(f"{path}: expected a readable file: {error.strerror}") from None
        name, before = str(path), known.get(str(path))
        digest = before[-1] if isinstance(before, list) and before[:-1] == [*stamp] else None
        found[name] = digest if isinstance(digest, str) else file_sha256(path)
        if is_settled(stamp):
            kept[name] = [*stamp, found[name]]
    if any(known.get(name) != entry for name, entry in kept.items()):
        _remember(place, {**known, **kept})
    if len(files) == 1:
        return found[str(files[0])]
    total = hashlib.sha256()
    for path in sorted(files):
        relative = os.path.relpath(path, root)
        total.update(f"{relative}\0{found[str(path)]}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _recall(place: Path) -> dict[str, object]:
    try:
        if place.stat().st_size > MAX_REMEMBERED_BYTES:
            return {}
        known = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # Without a readable file of digests, all files are hashed again.
    return known if isinstance(known, dict) else {}


def _remember(place: Path, entries: dict[str, object]) -> None:
    """Keep digests for later. If the folder cannot be written (a read-only home, a full disk), no error is raised: the
    files are only hashed again."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(entries, file)
        os.replace(temporary, place)
