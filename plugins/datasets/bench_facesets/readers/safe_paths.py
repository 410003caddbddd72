"""Paths: variables expanded, files listed, and nothing that leads out of the folder it was found in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bench import DataError, MissingDataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")  #: images, by name
MAX_TEXT_BYTES = 64 * 2**20  #: of a protocol file
MAX_FILES = 10_000_000  #: in one image folder


def inside(root: Path, relative: str, where: str, shown: Path | None = None) -> Path:
    """The path ``relative`` of ``root``; `DataError` naming ``where`` when it is absolute or leads out of it.

    ``root`` must be resolved; messages call it ``shown``. Symbolic links are followed: a link cannot lead out either.
    """
    named = shown or root
    if "\0" in relative or relative.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", relative):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}")
    try:
        path = (root / relative.replace("\\", "/")).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, or a name that is too long
        raise DataError(f"{where}: {relative!r} cannot be followed: {error}") from None
    if not path.is_relative_to(root):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}, which leads out of it")
    return path


def entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name, without hidden files; links must stay inside ``root`` (resolved)."""
    try:
        with os.scandir(folder) as found:
            listed = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder}: expected a readable folder: {error.strerror}") from None
    for entry in listed:
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
            raise DataError(f"{entry.path}: this link leads out of {root}; copy what it points to, or start there")
    return listed


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name."""
    return name.lower().endswith(SUFFIXES)


def images_below(folder: Path, root: Path, depth: int = 4) -> Iterator[Path]:
    """Image files below a folder, in order of their names; at most ``depth`` folders deep."""
    for entry in entries(folder, root):
        if entry.is_dir():
            if depth:
                yield from images_below(Path(entry.path), root, depth - 1)
        elif is_image(entry.name):
            yield Path(entry.path)


def read_text(path: Path) -> str:
    """A protocol file as text; UTF-8, or Latin-1 where it is not. `DataError` when it is too large or unreadable."""
    data = read_bytes(path, MAX_TEXT_BYTES, "a protocol file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_bytes(path: Path, limit: int, what: str) -> bytes:
    """The contents of a file of at most ``limit`` bytes; `MissingDataError` when it has gone."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: expected {what} of at most {limit:,} bytes, found {size:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path}: there is no such file; put it there, or correct what names it") from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None
