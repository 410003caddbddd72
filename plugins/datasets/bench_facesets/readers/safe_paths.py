"""Listing and reading of files, with the guarantee that no path leads out of its folder."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path

from bench import DataError, MissingDataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")  #: The suffixes of image files.
MAX_TEXT_BYTES = 64 * 2**20  #: The limit for a protocol file.
MAX_FILES = 10_000_000  #: The limit for an image folder.


def inside(root: Path, relative: str, where: str, shown: Path | None = None) -> Path:
    """Return the path ``relative`` below ``root``, resolved.

    Raises DataError, which starts with ``where``, if the path is absolute or leads out of ``root``, also through a
    symbolic link. ``root`` must be resolved; messages show ``shown`` instead, unless it is None.
    """
    named = shown or root
    if "\0" in relative or relative.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", relative):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}")
    try:
        path = (root / relative.replace("\\", "/")).resolve()
    except (OSError, RuntimeError) as error:  # The reason is a loop of links, or a name that is too long.
        raise DataError(f"{where}: {relative!r} cannot be followed: {error}") from None
    if not path.is_relative_to(root):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}, which leads out of it")
    return path


def entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name, without hidden files. Raises DataError if the folder cannot be read, or
    if a link leads out of ``root`` (resolved)."""
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
    """Return whether a file is an image, by its name."""
    return name.lower().endswith(SUFFIXES)


def images_below(folder: Path, root: Path, depth: int = 4) -> Iterator[Path]:
    """Yield the image files below a folder, in order of their names; at most ``depth`` folders deep."""
    for entry in entries(folder, root):
        if entry.is_dir():
            if depth:
                yield from images_below(Path(entry.path), root, depth - 1)
        elif is_image(entry.name):
            yield Path(entry.path)


def read_text(path: Path) -> str:
    """Return a protocol file as text: UTF-8, UTF-16 as PowerShell writes it, or else Latin-1. Raises DataError if the
    file is too large, unreadable or no text."""
    data = read_bytes(path, MAX_TEXT_BYTES, "a protocol file")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        if b"\0" in data[:1000]:  # UTF-16 without a mark: every other byte of a text in Latin letters is zero.
            return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a text file in UTF-8 or UTF-16, found bytes that are neither") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_bytes(path: Path, limit: int, what: str) -> bytes:
    """Return the contents of a file of at most ``limit`` bytes. Raises MissingDataError if it does not exist, DataError
    if it is too large or unreadable."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: expected {what} of at most {limit:,} bytes, found {size:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path}: this file does not exist; put it there, or correct what names it") from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None
