"""Bundles: what one may publish of a run, in one file.

A bundle is a zip file with the public copy of a run (`bench.store.public_runs`) and ``manifest.json``, which names each
file with its size and sha256. The same run makes the same bytes: names are sorted, files are stored as they are, and
their times are fixed. Nothing else is accepted when a bundle is read, because it comes from a stranger: `open_bundle`
looks at names, kinds, sizes and places of all entries before it unpacks one, and executes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from bench.core.content_keys import joined_digest
from bench.core.errors import StorageError
from bench.core.files import replacing
from bench.core.packages import DISTRIBUTION
from bench.core.parsing import parse_json
from bench.core.paths import below, child, inside, is_file_name
from bench.core.provenance import VERSION, file_sha256
from bench.core.text import printable, shortened_repr
from bench.core.whole_files import LARGEST_JSON, read_json
from bench.store.public_runs import PUBLIC_TABLES, as_published, write_public
from bench.store.reading import RunResults
from bench.store.run_record import RECORD, RunRecord, read_record
from bench.store.schema import SCHEMA_VERSION
from bench.store.table_files import RUN_AGAIN
from bench.store.typed_json import MistypedError, decode, why_unreadable

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_BUNDLE = 1 << 30  # bytes of a bundle, and of its files together, which are not compressed
MOST_FILES = 10_000
_END = struct.Struct("<4s4H2LH")  # the last bytes of a zip file without a comment
_LOCATOR = 20  # bytes before the last ones in the format zip64
_HEADER = 30  # bytes of the header of an entry, before its name
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold
_MODE = 0o100644  # a file
_CHUNK = 1 << 20
GET_AGAIN = "get the bundle again from who published it"


@dataclass(frozen=True, kw_only=True)
class BundledFile:
    """The sha256 of a file of a bundle, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class BundleManifest:
    """What ``manifest.json`` of a bundle says: its files, and what identifies the run, which ``run.json`` holds too.

    - ``format``: that of the bundle; ``bench``: the version of bench that ran the suite
    - ``suite``, ``version``, ``plan``: the name and version of the suite, and the digest of the plan
    - ``code``: a digest of the code of bench that decides results, and of each plugin, by its package
    - ``data``, ``weights``: the digests of data sets, and of networks and files of other plugins, by kind and label
    """

    format: int
    bench: str
    suite: str
    version: str | None = None
    plan: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, BundledFile] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_bundle(run: Path, file: Path) -> None:
    """Write the bundle of a run that has ended. Open it next, which shows that others can, too.

    Raises `StorageError` for a run that has not ended, of single cells, of a rescoring, of an earlier schema or
    without cells, if its files were changed since it ended, and if a name of a picture is a path of this machine.
    """
    results = RunResults(run)
    record = results.run
    if not record.ended or record.derived:
        kind = (
            "a rescoring" if record.rescored else "single cells" if record.derived else f"one that is {record.status}"
        )
        raise StorageError(f"{run}: expected a run of a whole suite that has ended, found {kind}")
    if record.schema != SCHEMA_VERSION:
        raise StorageError(
            f"{run}: expected a run of this version of bench, found schema {record.schema}; run it again"
        )
    for name, digest in record.files.items():
        if file_sha256(inside(run, below(run, name))) != digest:
            raise StorageError(f"{run}: expected {name} as the run wrote it, found that it was changed; run it again")
    if results.cells.empty:
        raise StorageError(f"{run}: expected a run with cells, found none")
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = child(Path(place), "run")
        folder.mkdir()
        write_public(run, record, folder, as_published())
        pack(folder, file)


def require_bundle_file(file: Path) -> None:
    """Raise `StorageError` unless a bundle may be written to a file: its name ends in ``.zip`` and can be printed, and
    it is new or a zip file."""
    if file.suffix != ".zip" or not file.name.isprintable():
        expected = "a name before .zip" if file.name == ".zip" else "a name that ends in .zip"
        raise StorageError(f"-o: {shortened_repr(file.name)}: expected {expected}; choose another")
    if file.exists():
        with file.open("rb") as held:
            if held.read(4) != b"PK\3\4":
                raise StorageError(
                    f"-o: {file}: expected a new file or an earlier bundle, found another file; move it away"
                )


def pack(folder: Path, file: Path) -> None:
    """Write a bundle of all files of a public copy of a run; the manifest is added to the folder.

    Raises `StorageError` if they are too large, or if the file cannot be written.
    """
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    names = sorted(name for name in names if name != MANIFEST)
    manifest = replace(_described(read_record(folder)), files={name: _about(below(folder, name)) for name in names})
    if len(names) >= MOST_FILES:
        raise StorageError(f"{file}: expected fewer than {MOST_FILES:,} files, found {len(names):,}")
    if manifest.size > LARGEST_BUNDLE:
        raise StorageError(f"{file}: expected rows of at most {LARGEST_BUNDLE:,} bytes, found {manifest.size:,}")
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    with replacing(file) as temporary:
        _zip(folder, sorted([*names, MANIFEST]), temporary)


def _about(path: Path) -> BundledFile:
    return BundledFile(sha256=file_sha256(path), size=path.stat().st_size)


def _described(record: RunRecord) -> BundleManifest:
    """Return the manifest that the record of a run gives, without files."""
    host = record.host or {}
    code = {"bench": joined_digest(*(f"{name}={digest}" for name, digest in sorted(host.items())))}
    code |= {str(c.origin.package): str(c.origin.digest) for c in record.components}
    found = {f"{c.kind} {c.label}": c.weights for c in record.components if c.weights}
    return BundleManifest(
        format=FORMAT,
        bench=record.versions.get(DISTRIBUTION, VERSION),
        suite=record.suite.name,
        version=record.suite.version,
        plan=record.digest,
        code=dict(sorted(code.items())),
        data={name: digest for name, digest in sorted(found.items()) if name.startswith("dataset ")},
        weights={name: digest for name, digest in sorted(found.items()) if not name.startswith("dataset ")},
    )


def _zip(folder: Path, names: Sequence[str], file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in names:
            about = zipfile.ZipInfo(name, _TIME)
            about.create_system, about.external_attr = 3, _MODE << 16
            with below(folder, name).open("rb") as source, archive.open(about, "w") as target:
                shutil.copyfileobj(source, target, _CHUNK)


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle that was checked and unpacked: the run folder that it holds, its manifest, and the sha256 of its
    file."""

    folder: Path
    manifest: BundleManifest
    sha256: str


@contextlib.contextmanager
def open_bundle(file: Path) -> Iterator[OpenBundle]:
    """Context manager that gives a bundle, unpacked into a temporary folder.

    Everything about the container is checked before; the rows are checked where they are read, like those of any run.
    Raises `StorageError` for what is no bundle, or one that was damaged or changed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        with _readable(file), _opened(file) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            archive = _entries(file, stream)
            manifest = _manifest(file, archive)
            folder = _unpacked(file, archive, manifest, Path(place))
        try:
            _check_record(file, folder, manifest)
            yield OpenBundle(folder=folder, manifest=manifest, sha256=sha256)
        except StorageError as error:
            if str(folder) not in str(error):  # It is about something else.
                raise
            # It names a file in the temporary folder, which nobody will find, and a suite that is a stranger's.
            text = str(error).replace(str(folder), str(file)).replace(RUN_AGAIN, GET_AGAIN)
            raise StorageError(text) from None


def _refused(file: Path, expected: str, found: str) -> StorageError:
    return StorageError(f"{file}: expected {expected}, found {found}; {GET_AGAIN}")


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Context manager that turns errors of reading a bundle into a `StorageError`."""
    try:
        yield
    except FileNotFoundError:
        raise StorageError(f"{file}: expected a bundle, found none; bench bundle RUN makes one") from None
    except OSError as error:
        raise StorageError(f"{file}: cannot be unpacked: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError) as error:
        raise _refused(file, "a bundle of bench", why_unreadable(error)) from None


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BufferedReader]:
    """Context manager that gives the open file of a bundle, which is a file and not too large."""
    if file.exists() and not file.is_file():
        raise StorageError(f"{file}: expected a bundle, found {'a folder' if file.is_dir() else 'a pipe or device'}")
    size = file.stat().st_size
    if size > LARGEST_BUNDLE + LARGEST_JSON:
        raise StorageError(f"{file}: expected a bundle of at most {LARGEST_BUNDLE:,} bytes, found {size:,}")
    with file.open("rb") as stream:
        yield stream


def _entries(file: Path, stream: BufferedReader) -> zipfile.ZipFile:
    """Return the archive in a file after a check of its list of entries.

    The last bytes say how long the list is, so that a long one is never read. Entries lie one behind the other, from
    the first byte to the list, so that none is hidden and none is part of another.
    """
    start = stream.seek(0, 2) - _END.size
    if start < 0:
        raise _refused(file, "a bundle of bench", "a file that is too short")
    stream.seek(start)
    mark, disk, first, here, count, size, offset, comment = _END.unpack(stream.read(_END.size))
    if mark != b"PK\5\6" or (disk, first, comment) != (0, 0, 0) or here != count or offset + size != start:
        raise _refused(file, "a zip file as bench bundle writes it", "something else, or only a part of one")
    if count > MOST_FILES or size > MOST_FILES * 512:
        raise _refused(file, f"at most {MOST_FILES:,} files", f"{count:,}, listed in {size:,} bytes")
    stream.seek(max(0, start - _LOCATOR))
    if stream.read(4) == b"PK\6\7":  # It leads to another list.
        raise _refused(file, "a zip file as bench bundle writes it", "one of the format zip64")
    stream.seek(0)
    archive = zipfile.ZipFile(stream)
    at, before = 0, ""
    for entry in archive.infolist():
        if entry.flag_bits not in (0, 0x800) or entry.compress_type != zipfile.ZIP_STORED or _more(entry):
            raise _refused(file, "files that are neither compressed nor encrypted", shortened_repr(entry.filename))
        if entry.external_attr != _MODE << 16 or entry.file_size != entry.compress_size:
            raise _refused(file, "files only, no folders and no links", shortened_repr(entry.filename))
        if entry.orig_filename != entry.filename or not _is_expected(entry.filename):
            raise _refused(file, "the names of files of a run", shortened_repr(entry.filename))
        if entry.filename <= before or entry.header_offset != at:
            raise _refused(file, "files in the order of their names, each once", shortened_repr(entry.filename))
        at += _HEADER + len(entry.filename.encode()) + entry.file_size
        before = entry.filename
    if at != offset:
        raise _refused(file, "nothing between its files", f"{offset - at:,} further bytes")
    return archive


def _more(entry: zipfile.ZipInfo) -> bool:
    return bool(entry.extra or entry.comment)


def _is_expected(name: str) -> bool:
    """Return True if a bundle may have a file of this name."""
    if name in (MANIFEST, RECORD, "cells.parquet", "stages.parquet"):
        return True
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "samples" or parts[1] not in PUBLIC_TABLES or not all(map(is_file_name, parts)):
        return False
    number = parts[3].removeprefix("part-").removesuffix(".parquet")
    digits = number.isascii() and number.isdigit() and len(number) == 5
    return parts[2].startswith("experiment=") and digits and parts[3] == f"part-{number}.parquet"


def _unpacked(file: Path, archive: zipfile.ZipFile, manifest: BundleManifest, place: Path) -> Path:
    """Unpack the files of a bundle below a folder, compare them with the manifest, and return their folder."""
    sizes = {entry.filename: entry.file_size for entry in archive.infolist() if entry.filename != MANIFEST}
    listed = {name: about.size for name, about in manifest.files.items()}
    for name in sorted(listed.keys() | sizes.keys()):
        if listed.get(name) != sizes.get(name):
            expected, found = (f"{of[name]:,} bytes" if name in of else "no file" for of in (listed, sizes))
            raise _refused(file, f"{expected} of {name}, as its manifest says", found)
    folder = child(place, manifest.suite, "bundle")
    folder.mkdir(parents=True)
    for name, about in manifest.files.items():
        target = below(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with archive.open(name) as source, target.open("xb") as into:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                into.write(chunk)
        if digest.hexdigest() != about.sha256:
            raise _refused(file, f"{name} as its manifest says", "one that was damaged or changed")
    return folder


def _manifest(file: Path, archive: zipfile.ZipFile) -> BundleManifest:
    """Return the manifest of a bundle."""
    size = next((entry.file_size for entry in archive.infolist() if entry.filename == MANIFEST), None)
    if size is None:
        raise _refused(file, f"a bundle of bench, with {MANIFEST}", "none")
    if size > LARGEST_JSON:
        raise _refused(file, f"a manifest of at most {LARGEST_JSON:,} bytes", f"{size:,}")
    raw = parse_json(archive.read(MANIFEST))
    found = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise StorageError(f"{file}: expected a bundle of format {FORMAT}, found {found}; install a newer bench")
    if found != FORMAT:
        raise _refused(file, f"a manifest of format {FORMAT}", shortened_repr(found))
    try:
        manifest = decode(BundleManifest, raw)
    except MistypedError as error:
        raise StorageError(f"{file}: {MANIFEST}: {error}") from None
    if not is_file_name(manifest.suite):
        raise _refused(file, "the name of a suite", shortened_repr(manifest.suite))
    return manifest


def _check_record(file: Path, folder: Path, manifest: BundleManifest) -> None:
    """Raise `StorageError` unless the record of the run in a bundle can be printed and says the same as its
    manifest."""
    record = read_record(folder)
    if hidden := next((text for text in _texts(read_json(folder / RECORD)) if printable(text) != text), None):
        expected = f"texts of {RECORD} without characters that control a terminal or that nobody sees"
        raise _refused(file, expected, shortened_repr(hidden))
    if record.schema != SCHEMA_VERSION or not record.ended or record.derived:
        raise _refused(file, f"a run of a whole suite of schema {SCHEMA_VERSION}", "another one")
    described = replace(_described(record), files=manifest.files)
    for name, value in vars(described).items():
        if value != getattr(manifest, name):
            raise _refused(file, f"{MANIFEST} and {RECORD} to agree", f"another {name}")
    listed = {name: about.sha256 for name, about in manifest.files.items() if name != RECORD}
    if listed != dict(record.files):
        raise _refused(file, f"{MANIFEST} and {RECORD} to agree", "other files")


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of JSON, those of its keys among them."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as table:
                waiting += [*table.keys(), *table.values()]
            case list() as items:
                waiting += items
