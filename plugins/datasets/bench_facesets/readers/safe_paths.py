"""Listing and reading of files, with the guarantee that no path leads out of its folder.

The only links that may leave a folder are those to the files of the same cache or checkout (see `entries`).
"""

from __future__ import annotations

import codecs
import functools
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from bench import DataError, MissingDataError

MAX_TEXT_BYTES = 64 * 2**20  #: The limit for a protocol file.
MAX_FILES = 10_000_000  #: The limit for the files of a folder.
MAX_DEPTH = 64  #: The limit for folders inside folders.
# What systems and programs leave beside the files of their users, in lower case. Hidden files are debris as well.
_DEBRIS = {
    "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir", "#recycle",
    "@recycle", "@recently-snapshot", "lost+found", "$recycle.bin", "recycler", "system volume information",
    "__pycache__",
}  # fmt: skip


def is_debris(name: str) -> bool:
    """Return whether a file or folder is hidden, or what a system leaves behind: ``__MACOSX``, ``Thumbs.db``, ``._x``,
    ``.git``."""
    # Windows keeps where a file was downloaded from in a stream, which copies by other systems turn into a file.
    return (
        name.lower() in _DEBRIS
        or name.endswith(":Zone.Identifier")
        or (name.startswith(".") and name not in (".", ".."))
    )


@functools.lru_cache(maxsize=64)
def _stores(root: Path) -> tuple[Path, ...]:
    """Return the folders outside ``root`` in which its tool keeps the files that links below ``root`` stand for.

    These are ``blobs`` of a Hugging Face cache for a folder in its ``snapshots``, and the objects of git-annex and the
    cache of DVC in a checkout. Each belongs to the same cache or checkout as the folder that the user has named.
    """
    found = []
    for folder in (root, *root.parents):
        if folder.name == "snapshots":
            found.append(folder.parent / "blobs")
        found += [folder / ".git" / "annex" / "objects", folder / ".dvc" / "cache"]
    return tuple(path for path in found if os.path.isdir(path) and not path.is_symlink())


def _stays(path: Path, root: Path) -> bool:
    """Return whether a resolved path lies below ``root``, or is a file in one of its stores."""
    return path.is_relative_to(root) or (os.path.isfile(path) and any(map(path.is_relative_to, _stores(root))))


def inside(root: Path, relative: str, where: str, shown: Path | None = None) -> Path:
    """Return the path ``relative`` below ``root``, resolved.

    Raises DataError, which starts with ``where``, if the path is absolute or leads out of ``root``, also through a
    symbolic link (but see `entries`). ``root`` must be resolved; messages show ``shown`` instead, unless it is None.
    """
    named = shown or root
    if "\0" in relative or relative.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", relative):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}")
    try:
        path = (root / relative.replace("\\", "/")).resolve()
    except (OSError, RuntimeError) as error:  # The reason is a loop of links, or a name that is too long.
        raise DataError(f"{where}: {relative!r} cannot be followed: {error}") from None
    if not _stays(path, root):
        raise DataError(f"{where}: expected a path inside {named}, found {relative!r}, which leads out of it")
    return path


def entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name, without debris. Raises DataError if the folder cannot be read, or if a
    link leads out of ``root`` (resolved), except to a file in the store of the same cache or checkout."""
    try:
        with os.scandir(folder) as found:
            listed = sorted((e for e in found if not is_debris(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder}: expected a readable folder: {error.strerror}") from None
    for entry in listed:
        if _is_link(entry) and not _stays(Path(os.path.realpath(entry.path)), root):
            raise DataError(f"{entry.path}: this link leads out of {root}; copy what it points to, or start there")
    return listed


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a symbolic link. Raises DataError for one whose target cannot be looked
    at, as in a folder that another user closed."""
    try:
        entry.is_dir()
        return entry.is_symlink()
    except OSError as error:
        raise DataError(f"{entry.path}: expected a file or a folder that can be read: {error.strerror}") from None


def files_below(folder: Path, root: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Yield everything below a folder that is no folder, in order of names, without debris.

    ``above`` identifies the folders above this one. Raises DataError as `entries` does, and for a link to a folder
    above itself.
    """
    try:
        about = os.stat(folder)
    except OSError as error:
        raise DataError(f"{folder}: expected a readable folder: {error.strerror}") from None
    here = (about.st_dev, about.st_ino)
    if here in above or len(above) > MAX_DEPTH:
        what = "this link leads to a folder above it" if here in above else f"more than {MAX_DEPTH} folders deep"
        raise DataError(f"{folder}: {what}; remove it, or start elsewhere")
    for entry in entries(folder, root):
        if entry.is_dir():
            yield from files_below(Path(entry.path), root, (*above, here))
        else:
            yield entry


def shown(text: str) -> str:
    """Return a name from a file system in one printable line."""
    return text if text.isprintable() else repr(text)[1:-1]


def read_text(path: Path) -> str:
    """Return a protocol file as text: UTF-8, UTF-16 as PowerShell writes it, or else Latin-1.

    Files that bench asks its user to write, such as suites, must be UTF-8 or have a byte order mark; a protocol file
    was published by somebody else and is taken as it is. Raises DataError if it is too large, unreadable or no text.
    """
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
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # Reading a pipe or a device may not end.
            raise DataError(f"{path}: expected a readable file, found a folder, a pipe or a device")
        size = about.st_size
        if size > limit:
            raise DataError(f"{path}: expected {what} of at most {limit:,} bytes, found {size:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path}: this file does not exist; put it there, or correct what names it") from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None
