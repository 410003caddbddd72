"""The artifact cache: the results of stages under their content keys, with checksums that are verified on reading.

An artifact is a folder ``<root>/<key[:2]>/<key>/`` with ``tensors.safetensors`` (arrays), ``<name>.npy`` (images that
were written piece by piece and are mapped, not loaded, when they are read), ``<name>.parquet`` (tables) and, last,
``manifest.json`` (checksums of the files and of itself, who made it, seconds, memory). A folder without a valid
manifest does not exist; a damaged one is removed and made again. The time of the folder is that of its last use.

A process may be killed at any moment. A power cut may take an artifact that was not on the disk yet, but what it leaves
of one does not match its checksums; what took a second or more to make is on the disk once it is stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from bench.api.types import LazyImages
from bench.core.errors import DataError, StorageError
from bench.core.files import folders_in, modified, remove, require_no_link, write_atomically
from bench.core.locks import HeldLock
from bench.core.paths import child, inside, is_file_name
from bench.core.provenance import file_sha256
from bench.core.whole_files import read_json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
COSTS = "cost-factors.json"  # Earlier versions kept seconds per sample in costs.json.
TENSORS = "tensors.safetensors"
REPRESENTATION = "representation/"  # The names of the arrays that a defense sends as its representation begin so.
_PIECE = 256  # images that are decoded and written at a time
_AT_ONCE = 1 << 20  # bytes of a file that is read once: checked, and used from memory
_LARGEST_FACTOR = 1e9  # of the time that a stage took, compared with what was declared
_FLUSHED_S = 1.0  # artifacts that took as long to make are flushed to the disk
_REQUIRED = {"key", "files", "facts", "seconds", "peak_mb", "device"}
# The facts that become columns of `stages.parquet`, by their types.
_FACTS: Mapping[str, tuple[type, ...]] = {
    "client_flops": (int,),
    "client_seconds": (int, float),
    "client_reason": (str,),
}
_LARGEST_FACT = 2**63  # A column of whole numbers holds smaller ones.
_OWN = ("tmp", "locks", "progress", "running", "logs")  # the folders of a cache besides those of artifacts
_NO_DISK = ("/proc", "/sys", "/dev")  # These hold no files of a disk.
UNFINISHED = re.compile(r"([0-9a-f]{64})-[0-9a-f]{8}")  # the name of a folder in ``tmp``, which begins with a key
_TOKEN = re.compile(r"(token-[0-9a-f]{8})")  # the same for the driver of a cluster (see `bench.engine.ray_driver`)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a stage makes: named arrays, images that are written piece by piece, named tables, and small facts.

    When it is read, ``tensors`` holds the images too, mapped from their files, and ``kind`` is that of its stage.
    """

    tensors: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    streams: Mapping[str, LazyImages] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """The progress of a stage that is being computed: the fraction that is done (``share``), the process that computes
    it (``host:pid``), and when that began (``since``, in seconds since the epoch)."""

    share: float
    worker: str
    since: float


class DamagedError(Exception):
    """An artifact whose files do not match its manifest."""


class Cache:
    """The artifacts in one folder. Several processes may use it at once. ``only_read``: it is the cache of a run that a
    command only reads, so that not even the time of use of an artifact is recorded."""

    def __init__(self, root: Path, *, only_read: bool = False) -> None:
        self.root = root
        self._only_read = only_read

    def folder(self, key: str) -> Path:
        """Return the folder of the artifact of a key."""
        return child(self.root, key[:2], key)

    def _own(self, name: str) -> Path:
        """Return a folder in the cache, created if needed. The cache itself is not created: a process whose cache was
        removed must fail and not begin a new one. Raises `StorageError` if the folder is a link to another place."""
        path = require_no_link(self.root / name, self.root)
        path.mkdir(exist_ok=True)
        return path

    def temporary(self) -> Path:
        """Return the folder for files that exist only while a stage runs."""
        return self._own("tmp")

    def require_no_links(self) -> None:
        """Raise `StorageError` if a folder of the cache is a link, through which a run would write elsewhere."""
        for name in _OWN:
            require_no_link(self.root / name, self.root)

    def lock(self, key: str) -> HeldLock:
        """Return a lock on a key. The operating system releases it when its holder dies."""
        return HeldLock(child(self._own("locks"), key))

    def gate(self) -> HeldLock:
        """Return the lock that a run holds while it announces which artifacts it needs, and that a clean-up holds while
        it removes artifacts that no run needs, so that the two never happen at once."""
        return HeldLock(self.root / "gate")

    def manifest(self, key: str) -> dict[str, Any] | None:
        """Return the manifest of a complete artifact, or None. Its files are not verified."""
        try:
            folder = self.folder(key)
            manifest = read_json(inside(folder, folder / MANIFEST))
            return manifest if _is_manifest(manifest) and manifest["key"] == key else None
        except (OSError, ValueError, StorageError):
            return None  # The stage is computed again, and `write` replaces the folder.

    def check(self, key: str) -> dict[str, Any]:
        """Return the manifest of an artifact after comparing every file with its checksum. Raises `DamagedError`."""
        manifest, folder = self._complete(key), self.folder(key)
        for name, digest in manifest["files"].items():
            _checked(_file(folder, name), digest)
        return manifest

    def verify(self, key: str) -> dict[str, Any]:
        """Do the same as `check`, and record that the artifact was used now.

        Raises `DamagedError` also if a file has changed that a plugin read for the artifact without declaring it.
        """
        manifest = self.check(key)
        for path, digest in manifest.get("reads", {}).items():
            if _has_changed(Path(path), digest):
                raise DamagedError(f"{self.folder(key)}: made with another content of {path}")
        self._note_use(key)
        return manifest

    def read(self, key: str) -> Artifact:
        """Read an artifact after verifying it. Raises `DamagedError`."""
        manifest, folder = self._complete(key), self.folder(key)
        tensors: dict[str, NDArray[np.generic]] = {}
        tables: dict[str, pa.Table] = {}
        for name, digest in manifest["files"].items():
            _read_file(_file(folder, name), digest, tensors, tables)
        self._note_use(key)
        kind = str(manifest.get("kind", ""))
        return Artifact(tensors=tensors, tables=tables, facts=manifest["facts"], kind=kind)

    def columns(self, key: str) -> dict[str, pa.Schema]:
        """Return the columns of each table of an artifact, by the name of the table. Nothing is verified: `read`
        reports what cannot be read here."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found, folder = {}, self.folder(key)
        for name in sorted((self.manifest(key) or {"files": ()})["files"]):
            if name.endswith(".parquet"):
                with contextlib.suppress(DamagedError, OSError, pa.ArrowException):
                    path = _file(folder, name)
                    found[path.stem] = pq.read_schema(path).remove_metadata()
        return found

    def write(self, key: str, artifact: Artifact, about: Mapping[str, Any]) -> None:
        """Store an artifact, complete or not at all. ``about`` holds further entries of its manifest."""
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        target = self.folder(key)
        beside = self.root / "tmp" / f"{key}-{uuid.uuid4().hex[:8]}"
        try:
            self._own("tmp")
            beside.mkdir()
            for name, images in artifact.streams.items():
                _write_stream(beside / f"{name}.npy", images)
            if artifact.tensors or not (artifact.tables or artifact.streams):  # A stage may have an empty artifact.
                save_file({k: np.asarray(v, order="C") for k, v in artifact.tensors.items()}, beside / TENSORS)
            for name, table in artifact.tables.items():
                _write_table(beside / f"{name}.parquet", table)
            files = {path.name: _sha256(path) for path in sorted(beside.iterdir())}
            manifest: dict[str, Any] = {**about, "key": key, "facts": dict(artifact.facts), "files": files}
            manifest["sha256"] = _signature(manifest)
            (beside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            flush = about["seconds"] >= _FLUSHED_S
            for path in beside.iterdir() if flush else ():
                _flush(path)
            self._own(target.parent.name)
            if os.path.lexists(target):
                self.discard(key)
            os.replace(beside, target)
            for path in (target, target.parent) if flush else ():
                with contextlib.suppress(OSError):  # Some file systems do not support it.
                    _flush(path)
        except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk.
            reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
            raise StorageError(f"{self.root}: cannot store an artifact: {reason}") from None
        finally:
            with contextlib.suppress(OSError):  # `sweep` removes what is left.
                remove(beside)

    def _complete(self, key: str) -> dict[str, Any]:
        manifest = self.manifest(key)
        if manifest is None:
            raise DamagedError(f"{self.folder(key)}: no readable manifest")
        return manifest

    def _note_use(self, key: str) -> None:
        """Record that an artifact was used now. A cache that is read-only can still be read."""
        if not self._only_read:
            with contextlib.suppress(OSError):
                os.utime(self.folder(key), follow_symlinks=False)

    def note_progress(self, key: str, note: Note) -> None:
        """Record the progress of a stage for `progress`. It is only shown to users, so that failures are ignored."""
        with contextlib.suppress(OSError, StorageError):
            path = require_no_link(child(self._own("progress"), key), self.root)
            path.write_text(json.dumps(asdict(note)), encoding="utf-8")

    def progress(self, key: str) -> Note | None:
        """Return the last recorded progress of a stage, or None."""
        try:
            note = read_json(inside(self.root, child(self.root, "progress", key)))
            if not _is_finite(note["since"]):
                return None
            share = min(1.0, max(0.0, float(note["share"])))
            return Note(share=share, worker=str(note["worker"]), since=float(note["since"]))
        except (OSError, ValueError, LookupError, TypeError, OverflowError, StorageError):
            return None

    def forget_progress(self, key: str) -> None:
        """Remove the progress of a stage that has ended."""
        with contextlib.suppress(OSError, StorageError):
            require_no_link(child(self.root, "progress", key), self.root).unlink()

    def discard(self, key: str) -> None:
        """Remove an artifact: its manifest first, so that a reader never takes the rest for complete.

        Of a link to a folder elsewhere only the link is removed. Raises `StorageError` if the folder that should hold
        the artifact is a link.
        """
        folder = self.folder(key)
        require_no_link(folder.parent, self.root)
        if folder.is_dir() and not folder.is_symlink():
            (folder / MANIFEST).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            remove(folder)

    def sweep(self, older_than_s: float = 86_400) -> None:
        """Remove unfinished artifacts of killed workers: those older than this whose lock is free. The age alone does
        not decide, because the system's clock may have been changed."""
        for left in folders_in(self.root / "tmp"):
            name = UNFINISHED.fullmatch(left.name) or _TOKEN.fullmatch(left.name)
            since = modified(left)
            if name is None or since is None or time.time() - since <= older_than_s:
                continue
            with contextlib.suppress(Timeout, OSError), self.lock(name[1]).acquire(timeout=0):
                remove(left)

    def costs(self) -> dict[str, float]:
        """Return how much longer than declared earlier runs took, as factors by cost name."""
        try:
            costs = read_json(inside(self.root, self.root / COSTS))
        except (OSError, ValueError, StorageError):
            return {}
        known = costs.items() if isinstance(costs, dict) else ()
        return {k: v for k, v in known if isinstance(v, float) and 0 <= v <= _LARGEST_FACTOR}

    def record_costs(self, measured: Mapping[str, float]) -> None:
        """Store measured factors by cost name for later estimates, if the cache exists."""
        if measured and self.root.is_dir():
            write_atomically(self.root / COSTS, json.dumps({**self.costs(), **measured}, indent=1, sort_keys=True))

    def pack(self, key: str) -> dict[str, NDArray[np.uint8]]:
        """Return the files of a verified artifact by name, as bytes ``(n,)``, for `unpack` on another machine."""
        import numpy as np

        names, folder = (*self.verify(key)["files"], MANIFEST), self.folder(key)
        try:
            return {name: np.fromfile(_file(folder, name), np.uint8) for name in names}
        except OSError as error:  # It was removed in the meantime.
            raise DamagedError(f"{self.folder(key)}: {error.strerror}") from None

    def unpack(self, key: str, files: Mapping[str, NDArray[np.uint8]]) -> None:
        """Store the files that `pack` returned, verified and complete or not at all. Raises `DamagedError`."""
        beside = Cache(self.root / "tmp" / f"{key}-{uuid.uuid4().hex[:8]}")
        made, target = beside.folder(key), self.folder(key)
        try:
            self._own("tmp")
            made.mkdir(parents=True)
            for name, contents in files.items():
                contents.tofile(made / Path(name).name)
            if beside.check(key)["seconds"] >= _FLUSHED_S:
                for path in (*made.iterdir(), made):
                    _flush(path)
            self._own(target.parent.name)
            self.discard(key)
            os.replace(made, target)
        except OSError as error:
            raise StorageError(f"{self.root}: cannot store an artifact: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):  # `sweep` removes what is left.
                remove(beside.root)


def _is_manifest(value: Any) -> bool:
    """Return True if a value is the manifest of an artifact; a cache may be shared with strangers."""
    if not isinstance(value, dict) or not set(value) >= _REQUIRED:
        return False
    files, inputs = value["files"], value.get("inputs") or {}
    return (
        isinstance(files, dict)
        and bool(files)
        and all(is_file_name(name) for name in files)
        and isinstance(inputs, dict)
        and all(isinstance(source, str) and is_file_name(source) for source in inputs.values())
        and _is_finite(value["seconds"])
        and _is_finite(value["peak_mb"])
        and _are_facts(value["facts"])
        and _holds_texts(value.get("notes", []))
        and _holds_texts(value.get("reads", {}))
        and value.get("sha256") == _signature(value)
    )


def _is_finite(value: Any) -> bool:
    """Return True for a number that a float can hold and that is neither NaN nor infinite."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # A whole number of some hundred digits.
        return False


def _are_facts(value: Any) -> bool:
    """Return True for facts as stages make them: texts, numbers and nothing else, each of the type that rows have."""
    if not isinstance(value, dict):
        return False
    known = [value.get(name) for name in _FACTS]
    return all(fact is None or isinstance(fact, str) or _is_finite(fact) for fact in value.values()) and all(
        fact is None or (type(fact) in kinds and (isinstance(fact, str) or 0 <= fact < _LARGEST_FACT))
        for fact, kinds in zip(known, _FACTS.values(), strict=True)
    )


def _holds_texts(value: Any) -> bool:
    """Return True if a value is a list of texts, or a table of texts."""
    texts = [*value, *value.values()] if isinstance(value, dict) else value
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _has_changed(path: Path, digest: str) -> bool:
    """Return True if a file has another sha256, or cannot be read. One that does not exist on this machine, which need
    not be the one that made the artifact, has not changed.

    What the operating system shows as files is not read, because reading it may not end: bench records none of it.
    """
    try:
        if any(path.resolve().is_relative_to(place) for place in _NO_DISK):
            return True
        return path.is_file() and file_sha256(path) != digest
    except (OSError, RuntimeError, ValueError, DataError):  # For example a link to itself, or no path at all.
        return True


def _signature(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of a manifest without its own checksum."""
    others = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, allow_nan=False).encode()).hexdigest()


def _file(folder: Path, name: str) -> Path:
    """Return a file of an artifact. Raises `DamagedError` if it is not in its folder."""
    try:
        return inside(folder, child(folder, name))
    except StorageError as error:
        raise DamagedError(str(error)) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, digest: str) -> bytes | None:
    """Compare a file with its checksum and return its content if it is small, else None. Raises `DamagedError`."""
    contents = None
    try:
        if path.stat().st_size <= _AT_ONCE:
            contents = path.read_bytes()
            found = hashlib.sha256(contents).hexdigest()
        else:
            found = _sha256(path)
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    if found != digest:
        raise DamagedError(f"{path}: its contents do not match the manifest")
    return contents


def _read_file(path: Path, digest: str, tensors: dict[str, NDArray[np.generic]], tables: dict[str, pa.Table]) -> None:
    """Read a file of an artifact into the arrays or tables. A small file is used as it was checked, from memory.

    Raises `DamagedError`, also when the file changes between the check and the reading.
    """
    import numpy as np
    import pyarrow as pa
    from safetensors import SafetensorError
    from safetensors.numpy import load, load_file

    from bench.core.table_sizes import LARGEST, memory_of, read_within

    contents = _checked(path, digest)
    try:
        if path.suffix == ".npy":
            tensors[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".parquet":
            source = path if contents is None else pa.py_buffer(contents)
            table = read_within(source, LARGEST) if memory_of(source, LARGEST) <= LARGEST else None
            if table is None:
                raise DamagedError(f"{path}: it takes more than {LARGEST / 1e9:.1f} GB of memory")
            tables[path.stem] = table
        else:
            tensors.update(load_file(path) if contents is None else load(contents))
    except (OSError, EOFError, ValueError, pa.ArrowException, SafetensorError) as error:
        raise DamagedError(f"{path}: it changed while it was read: {error}") from None


def _flush(path: Path) -> None:
    """Make the operating system write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet by way of memory, which is faster for the small tables of most artifacts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = pa.BufferOutputStream()
    pq.write_table(table, written)
    path.write_bytes(written.getvalue())


def _write_stream(path: Path, images: LazyImages) -> None:
    """Write images piece by piece as ``.npy``. They are written and not mapped, because a full disk would crash a
    process that maps a file."""
    import numpy as np

    header = {"descr": np.lib.format.dtype_to_descr(images.dtype), "fortran_order": False, "shape": tuple(images.shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), _PIECE):
            file.write(np.ascontiguousarray(images[start : start + _PIECE]).data)
