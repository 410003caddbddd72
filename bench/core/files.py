"""Files that are written atomically, texts that are kept in the user's cache folder, and shared folders.

Several processes may work in one folder, so that what was listed may be gone when it is looked at. Folders may also
come from strangers, and hold links to places outside. The functions at the end of this module are the only ones that
list such folders, look at the times of files in them, and remove them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import StorageError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager that gives a temporary path beside ``path``; the file that is written there then replaces it.

    A reader sees either the old or the new content, never a part. Missing folders are made. Raises `StorageError` if
    the file cannot be written, or if something that is no file, such as a folder, a pipe or a device, has its name.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        require_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # An error of the clean-up must not hide the first one.
            temporary.unlink(missing_ok=True)


def require_replaceable(path: Path, *, option: str | None = None) -> None:
    """Raise `StorageError` if something that is no file, such as a folder, a pipe or a device, has the name of a file
    that is to be written. ``option`` is the command-line option that names it, for the message."""
    where = f"{option}: {path}" if option else f"{path}"
    try:
        if not path.exists() or path.is_file():
            return
        kind = "folder" if path.is_dir() else "pipe or device"
    except OSError as error:
        raise StorageError(f"{where}: cannot be written: {error.strerror or error}") from None
    raise StorageError(f"{where}: expected a file, found a {kind}; choose another file")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file as `replacing` does, and flush it to the disk before. Raises `StorageError` as it does."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def kept_text(path: Path, make: Callable[[], str]) -> str:
    """Return the text kept in a file of the user's cache folder, or make it and keep it for the next time.

    The first line of the file is the SHA-256 of the rest. A file that is damaged, or that belongs to another user, is
    not used but replaced. Where nothing can be kept, the text is made each time.
    """
    kept = _read_kept(path)
    if kept is not None:
        return kept
    text = make()
    if path.is_absolute():  # It is relative for a user without a home folder.
        with contextlib.suppress(StorageError):
            write_atomically(path, f"{_sha256(text)}\n{text}")
    return text


def _read_kept(path: Path) -> str | None:
    """Return the text that `kept_text` wrote; None if it did not, or if the file was changed."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
            return None
        digest, _, text = path.read_bytes().decode("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest == _sha256(text) else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


# ---- folders that others change, or that come from strangers ---------------------------------------------------------


def modified(path: Path) -> float | None:
    """Return when a file or folder was modified, in seconds since the epoch; None if it is gone or
    not accessible. Links are not followed."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return None


def latest_first(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that exist, the most recently modified first."""
    found = [(when, path) for path in paths if (when := modified(path)) is not None]
    return [path for _, path in sorted(found, reverse=True)]


def folders_in(place: Path, *, links: bool = False) -> list[Path]:
    """Return the folders in a folder, by name; an empty list if it is no folder (any more).

    Links are left out: neither is ``place`` one, nor is a folder that is returned, unless ``links`` allows both. A link
    to itself, or to a place that may not be looked at, leads to no folder. Raises `StorageError` if ``place`` may not
    be listed.
    """
    return _listed(place, links, lambda entry: entry.is_dir(follow_symlinks=links))


def files_in(place: Path) -> list[Path]:
    """Return the files in a folder, by name, without links; an empty list if it is no folder (any more)."""
    return _listed(place, False, lambda entry: entry.is_file(follow_symlinks=False))


def _listed(place: Path, links: bool, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    if place.is_symlink() and not links:
        return []
    try:
        with os.scandir(place) as entries:
            return sorted(Path(entry.path) for entry in entries if _holds(wanted, entry))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # No path holds a null character, for example.
        return []
    except OSError as error:
        raise StorageError(f"{place}: cannot be read: {error.strerror or error}") from None


def _holds(wanted: Callable[[os.DirEntry[str]], bool], entry: os.DirEntry[str]) -> bool:
    try:
        return wanted(entry)
    except OSError:  # A link to itself, for example; the other entries are none the worse for it.
        return False


def size_below(folder: Path) -> int:
    """Return the bytes of the files below a folder; a link counts as itself."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # It was removed in the meantime.
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def remove(path: Path) -> None:
    """Remove a file, a link (what it leads to stays), or a folder with everything in it.

    It is no error if another process has removed it, or a part of it. Raises `OSError` if it cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, onerror=_unless_gone)
        else:
            path.unlink()


def _unless_gone(function: Callable[..., Any], path: str, error: tuple[Any, BaseException, Any]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def require_no_link(path: Path, below: Path) -> Path:
    """Return a path if neither it nor a folder between it and ``below`` is a link; otherwise raise `StorageError`."""
    for part in (path, *path.parents):
        if part == below:
            break
        if part.is_symlink():
            raise StorageError(
                f"{part}: expected a file or folder that bench made, found a link to {os.readlink(part)}; remove the "
                "link, or choose another folder"
            )
    return path
