"""Numbers of the images of a set that take long to find, kept under the digest of its files in `bench.cache_folder`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import cache_folder
from bench_facesets.collection import Collection, Ints


def remembered(
    kind: str, version: int, collection: Collection, fingerprint: str, below: int, find: Callable[[], Ints]
) -> Ints:
    """Return what ``find`` returns, a number from 0 to ``below`` - 1 for every image, from a file if it is known.

    ``kind`` is the folder of these files; ``version`` changes with the definition of the numbers; ``fingerprint`` is
    the digest of the files of the collection.
    """
    about = "\0".join([str(version), fingerprint, *collection.ids]).encode("utf-8", "surrogateescape")
    place = cache_folder() / kind / f"{hashlib.sha256(about).hexdigest()[:32]}.npy"
    found = _recall(place, len(collection.encoded), below)
    if found is None:
        found = find()
        _remember(place, found)
    return found


def _recall(place: Path, n: int, below: int) -> Ints | None:
    try:
        found = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # Without a readable file, all images are looked at again.
    valid = found.dtype == np.int64 and found.shape == (n,) and found.min(initial=0) >= 0
    return found if valid and found.max(initial=0) < below else None


def _remember(place: Path, numbers: Ints) -> None:
    """Keep the numbers for later. If the folder cannot be written, no error is raised: they are found again."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            np.save(file, numbers, allow_pickle=False)
        os.replace(temporary, place)
