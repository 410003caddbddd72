"""Unpacking of zip and tar archives of faces: only files and folders are created, and only inside the target folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench import DataError, MissingDataError, StorageError
from bench_facesets.readers.safe_paths import inside, is_debris

MAX_BYTES = 200 * 2**30  #: The limit for all members together, unpacked.
MAX_RATIO = 50  #: The limit of unpacked bytes per byte of an archive; images are already compressed.
ALWAYS_BYTES = 2**30  #: So many unpacked bytes are allowed whatever the ratio.
MAX_MEMBERS = 5_000_000  #: The limit for the number of members.
_CHUNK = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    folder: bool
    contents: IO[bytes] | None


@dataclass(kw_only=True)
class Unpacked:
    """The number of files that were unpacked, and of those left out because they are debris (see `is_debris`)."""

    files: int = 0
    debris: int = 0


def unpack(archive: Path, target: Path) -> Unpacked:
    """Unpack an archive, but for debris, into a new or empty folder.

    Raises MissingDataError if the archive does not exist, StorageError if the folder is not empty or cannot be written,
    and DataError, which names the member, for the first one that leads out of the folder, is a link or a device, or
    exceeds the limits on size and number. After an error, or if the archive is damaged, no files are left behind.
    """
    if not archive.is_file():
        raise MissingDataError(f"{archive}: expected an archive, found no such file")
    if target.is_dir() and any(target.iterdir()):
        raise StorageError(f"{target}: expected an empty folder, or none; unpack somewhere else")
    members = _zip if zipfile.is_zipfile(archive) else _tar if _is_tar(archive) else None
    if members is None:
        raise DataError(f"{archive}: expected a zip or tar archive (.zip, .tar, .tgz ...), found something else")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}") from None
    try:
        count = _extract(members(archive), work.resolve(), archive, target)
        if target.is_dir():
            target.rmdir()
        work.chmod(0o755)
        work.rename(target)
        return count
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{archive}: cannot be unpacked: {str(error) or type(error).__name__}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return False


def _extract(members: Iterator[_Member], root: Path, archive: Path, target: Path) -> Unpacked:
    limit = min(MAX_BYTES, max(ALWAYS_BYTES, MAX_RATIO * archive.stat().st_size))
    tally, left = Unpacked(), limit
    for number, member in enumerate(members):
        where = f"{archive}: {member.name[:200]!r}"
        if number >= MAX_MEMBERS:
            raise DataError(f"{archive}: expected at most {MAX_MEMBERS:,} members")
        path = inside(root, member.name.rstrip("/") or ".", where, target)
        if any(map(is_debris, path.relative_to(root).parts)):
            if member.contents is not None:
                member.contents.close()
            tally.debris += not member.folder
            continue
        if member.folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        if member.contents is None:
            raise DataError(f"{where}: expected files and folders only, found a link or a device; pack it without")
        if path.exists() or path == root:
            raise DataError(f"{where}: this name occurs twice")
        if any(p.is_file() for p in path.parents if p != root and p.is_relative_to(root)):
            raise DataError(f"{where}: lies below what is a file in this archive")
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.contents as source, path.open("xb") as file:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise DataError(f"{where}: expected at most {limit:,} bytes unpacked")
                file.write(chunk)
        tally.files += 1
    return tally


def _zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & 1
            if info.flag_bits & 1:
                raise DataError(f"{archive}: {info.filename[:200]!r} is encrypted; unpack it with its password first")
            yield _Member(
                name=info.filename,
                folder=info.is_dir(),
                contents=opened.open(info) if plain and not info.is_dir() else None,
            )


def _tar(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            contents = opened.extractfile(info) if info.isreg() else None
            yield _Member(name=info.name, folder=info.isdir(), contents=contents)
