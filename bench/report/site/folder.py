"""The folder of a site, which one command at a time writes, and which shows a whole site or none.

All pages are written into a hidden folder within it. When the last one is there, they take the places of the earlier
site: its first page, without which it is none, goes first and comes last. A killed command leaves the earlier site, the
whole new one, or a folder without first page; the next command removes what it had begun. A page that bench has not
made is never replaced.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import Timeout

from bench.core.errors import StorageError
from bench.core.files import remove, require_no_link
from bench.core.locks import HeldLock
from bench.core.paths import below, child, inside
from bench.core.text import shortened_repr

INDEX = "index.html"
MARK = '<meta name="generator" content="bench site">'
_UNFINISHED = ".bench-site"  # The folder of pages that have not yet taken their places.
_LOCK = ".bench-site.lock"


def require_site_folder(folder: Path) -> None:
    """Raise `StorageError` unless a site may be written to a folder: it is new, has a site, or has nothing but a part
    of one, which a killed command has left. Hidden files do not count.

    That command may have been replacing an earlier site, beside whose pages there are other files: they are excused in
    the folders of its unfinished pages.
    """
    first = below(folder, INDEX)
    _require_no_other_page(first)
    if first.exists() or not folder.is_dir():
        return
    begun = child(folder, _UNFINISHED)
    known = {path.name for path in begun.iterdir() if path.is_dir()} if begun.is_dir() else set()
    if others := [path.name for path in _visible(folder) if not (_of_site(path) or path.name in known)]:
        raise StorageError(
            f"-o: {folder}: expected a new folder, an empty one or an earlier site; found "
            f"{shortened_repr(min(others))} there; choose another"
        )


@contextlib.contextmanager
def replacing_site(folder: Path) -> Iterator[Path]:
    """Context manager that gives an empty folder for the pages of a site; they then replace those of the earlier site.

    Raises `StorageError` if the folder holds something else than a site, if another command writes to it, or if it
    cannot be written.
    """
    require_site_folder(folder)
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        require_site_folder(folder)
        unfinished = child(folder, _UNFINISHED)
        with _writable(folder):
            remove(unfinished)  # That of a command that was killed.
            unfinished.mkdir()
        try:
            yield unfinished
            with _writable(folder):
                _put_in_place(folder, unfinished)
        finally:
            with contextlib.suppress(OSError):  # An error of the clean-up must not hide the first one.
                remove(unfinished)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = child(folder, _LOCK)
    held = HeldLock(lock)
    try:
        with _writable(folder):
            held.acquire(blocking=False)
    except Timeout:
        raise StorageError(
            f"-o: {folder}: expected that no other bench site writes there, found one that does; wait for its end, or "
            "choose another folder"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # It is still held; a new one is made for whoever opened this one.
        held.release()


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Context manager that turns errors of writing to a folder into a `StorageError`."""
    try:
        yield
    except Timeout:  # It is an `OSError`, but says that another process holds a lock.
        raise
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _put_in_place(folder: Path, unfinished: Path) -> None:
    """Move all pages to their places, and remove those of the earlier site that are not among them."""
    names = sorted(path.relative_to(unfinished).as_posix() for path in unfinished.rglob("*.html"))
    targets = {name: inside(folder, below(folder, name)) for name in names}
    for target in targets.values():
        require_no_link(target.parent, folder)
        _require_no_other_page(target)
    below(folder, INDEX).unlink(missing_ok=True)
    _remove_others(folder, list(targets.values()))
    for name in sorted(names, key=lambda name: name == INDEX):
        targets[name].parent.mkdir(exist_ok=True)
        os.replace(below(unfinished, name), targets[name])


def _remove_others(folder: Path, kept: Sequence[Path]) -> None:
    """Remove pages of an earlier site that are not among those that are kept."""
    for path in folder.glob("[!.]*/*.html"):
        if path not in kept and not path.is_symlink() and not path.parent.is_symlink() and _is_site_page(path):
            path.unlink()


def _require_no_other_page(path: Path) -> None:
    """Raise `StorageError` if something else than a page of a site lies where one is written."""
    if path.is_symlink() or (path.exists() and not _is_site_page(path)):
        raise StorageError(
            f"{path}: expected no page, or one that bench site has made; found another; choose another -o"
        )


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder without hidden files, such as those of git."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _of_site(path: Path) -> bool:
    """Whether something in a folder is a folder of pages of a site and nothing else."""
    return path.is_dir() and not path.is_symlink() and all(_is_site_page(page) for page in _visible(path))


def _is_site_page(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return MARK in file.read(2_000)
    except OSError:
        return False
