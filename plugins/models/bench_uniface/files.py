"""Search for fetched files, and their verification. No torch, no uniface."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench import DataError, MissingDataError, file_sha256, weights_folders
from bench_uniface import library
from bench_uniface.catalogue import Fetchable

UNVERIFIED = f"its sha256 was not compared, because uniface is not installed ({library.INSTALL})"


def search_folders() -> list[Path]:
    """Return the folders in which fetched files are searched: the weights folders, then the cache of uniface."""
    return list(dict.fromkeys([*weights_folders(), library.cache_folder()]))


def located(wanted: Fetchable, folders: Sequence[Path] | None = None) -> Path | None:
    """Return the first file of this name in folders, by default the `search_folders`; it is not verified. Return None
    if there is none."""
    files = (folder / wanted.file for folder in (search_folders() if folders is None else folders))
    return next((file for file in files if os.path.isfile(file)), None)  # False if not accessible


def find(wanted: Fetchable) -> Path:
    """Return a fetched file. If uniface is installed, the file has the sha256 that uniface lists.

    Raises MissingDataError, which says where the file was searched and how to fetch it, and DataError for a file with
    another content.
    """
    path = located(wanted)
    if path is None:
        places = ", ".join(f"{folder}{'' if os.path.isdir(folder) else ' (not there)'}" for folder in search_folders())
        first = "" if library.installed() else f"{library.INSTALL}, then "
        raise MissingDataError(
            f"{wanted.name}: no weights; looked for {wanted.file} in {places}. Get it with: {first}bench models fetch "
            f"{wanted.name}"
        )
    if library.installed() and not is_sound(path, wanted):
        raise DataError(
            f"{path}: expected the sha256 {library.entry(wanted.stem).sha256} that uniface {library.installed()} lists,"
            f" found {file_sha256(path)}; the file is damaged or another one. Get it again with: bench models fetch "
            f"{wanted.name} (your own file belongs into weights_file)"
        )
    return path


def is_sound(path: Path, wanted: Fetchable) -> bool:
    """Return whether a file has the sha256 that uniface lists. Raises DataError if uniface does not list it."""
    return file_sha256(path) == library.entry(wanted.stem).sha256
