"""Content-addressed artifacts: written beside and renamed, checksummed, verified when read.

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
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench.api.types import LazyImages
from bench.core.errors import StorageError
from bench.core.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
_PIECE = 256  # images that are decoded and written at a time
_AT_ONCE = 1 << 20  # bytes of a file that is read once: checked, and used from memory
_FLUSHED_S = 1.0  # artifacts that took as long to make are flushed to the disk
_REQUIRED = {"key", "files", "facts", "seconds", "peak_mb", "device"}


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a stage makes: named arrays, images that are written piece by piece, named tables, and small facts.

    When it is read, ``tensors`` holds the images too, mapped from their files.
    """

    tensors: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    streams: Mapping[str, LazyImages] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a stage that is being computed tells: the share done, who computes it (``host:pid``), and since when
    (seconds since the epoch)."""

    share: float
    worker: str
    since: float


class DamagedError(Exception):
    """An artifact whose files do not match its manifest."""


class Cache:
    """The artifact store in one folder; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Where the artifact of a key lies."""
        return self.root / f"{key[:2]}/{key}"

    def _own(self, name: str) -> Path:
        """A folder in the cache. The cache itself is not made here: where it was lost, nobody begins another one."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def lock(self, key: str) -> FileLock:
        """A lock on a key; the system frees it when its holder dies."""
        return FileLock(self._own("locks") / key)

    def gate(self) -> FileLock:
        """A lock that is held while a run says what it needs, and while somebody removes what no run needs: never both
        at once."""
        return FileLock(self.root / "gate")

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest of a complete artifact, or none. Its files are not verified here."""
        try:
            manifest = json.loads((self.folder(key) / MANIFEST).read_bytes())
            known = isinstance(manifest, dict) and set(manifest) >= _REQUIRED and isinstance(manifest["files"], dict)
            sound = (
                known
                and manifest["files"]
                and manifest["key"] == key
                and manifest.get("sha256") == _signature(manifest)
            )
            return manifest if sound else None
        except (OSError, ValueError):
            return None  # missing or unreadable: the stage is made again, and `write` replaces the folder

    def check(self, key: str) -> dict[str, Any]:
        """The manifest after comparing every file with its checksum; `DamagedError` says what is wrong."""
        manifest, folder = self._complete(key), self.folder(key)
        for name, digest in manifest["files"].items():
            _checked(folder / name, digest)
        return manifest

    def verify(self, key: str) -> dict[str, Any]:
        """As `check`, for someone who is going to use the artifact."""
        manifest = self.check(key)
        self._note_use(key)
        return manifest

    def read(self, key: str) -> Artifact:
        """A verified artifact."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq
        from safetensors.numpy import load, load_file

        manifest, folder = self._complete(key), self.folder(key)
        tensors: dict[str, NDArray[np.generic]] = {}
        tables: dict[str, pa.Table] = {}
        for name, digest in manifest["files"].items():
            path = folder / name
            contents = _checked(path, digest)
            if path.suffix == ".npy":
                tensors[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
            elif path.suffix == ".parquet":
                source = path if contents is None else pa.BufferReader(contents)
                tables[path.stem] = pq.ParquetFile(source).read(use_threads=False)
            else:
                tensors |= load_file(path) if contents is None else load(contents)
        self._note_use(key)
        return Artifact(tensors=tensors, tables=tables, facts=manifest["facts"])

    def write(self, key: str, artifact: Artifact, about: Mapping[str, Any]) -> None:
        """Store an artifact; it appears complete or not at all. ``about`` goes into the manifest."""
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
            if artifact.tensors or not (artifact.tables or artifact.streams):  # nothing learnt is an artifact too
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
            if target.exists():
                self.discard(key)
            os.replace(beside, target)
            for path in (target, target.parent) if flush else ():
                with contextlib.suppress(OSError):  # not every file system can do this
                    _flush(path)
        except (OSError, SafetensorError) as error:  # safetensors has its own name for a full disk
            reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
            raise StorageError(f"{self.root}: cannot store an artifact: {reason}") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _complete(self, key: str) -> dict[str, Any]:
        manifest = self.manifest(key)
        if manifest is None:
            raise DamagedError(f"{self.folder(key)}: no readable manifest")
        return manifest

    def _note_use(self, key: str) -> None:
        """Remember when an artifact was used last; a cache that cannot be written is as good to read."""
        with contextlib.suppress(OSError):
            os.utime(self.folder(key))

    def note_progress(self, key: str, note: Note) -> None:
        """Say how much of a stage is done, for `progress`. Nobody depends on it, so failures are left alone."""
        with contextlib.suppress(OSError):
            path = self._own("progress") / key
            path.write_text(json.dumps(asdict(note)))

    def progress(self, key: str) -> Note | None:
        """What a stage that is being computed told last; none when it told nothing readable."""
        try:
            note = json.loads((self.root / "progress" / key).read_text())
            share = min(1.0, max(0.0, float(note["share"])))
            return Note(share=share, worker=str(note["worker"]), since=float(note["since"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def forget_progress(self, key: str) -> None:
        """A stage has ended."""
        with contextlib.suppress(OSError):
            os.unlink(self.root / "progress" / key)

    def discard(self, key: str) -> None:
        """Remove an artifact, the manifest first, so that nobody sees half of it."""
        folder = self.folder(key)
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, older_than_s: float = 86_400) -> None:
        """Remove what killed workers left half-written; a day old by default, so that nobody's work is touched."""
        for left in (self.root / "tmp").glob("*"):
            if time.time() - left.stat().st_mtime > older_than_s:
                shutil.rmtree(left, ignore_errors=True)

    def costs(self) -> dict[str, float]:
        """Measured seconds per sample by cost name, from earlier runs."""
        try:
            costs = json.loads((self.root / "costs.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        known = costs.items() if isinstance(costs, dict) else ()
        return {k: v for k, v in known if isinstance(v, float) and v >= 0}

    def record_costs(self, measured: Mapping[str, float]) -> None:
        """Remember measured costs for later estimates; not where the cache was lost."""
        if measured and self.root.is_dir():
            write_atomically(
                self.root / "costs.json", json.dumps({**self.costs(), **measured}, indent=1, sort_keys=True)
            )

    def pack(self, key: str) -> dict[str, NDArray[np.uint8]]:
        """The files of a verified artifact by name, as bytes ``(n,)``, for `unpack` on another machine."""
        import numpy as np

        manifest = self.verify(key)
        try:
            return {name: np.fromfile(self.folder(key) / name, np.uint8) for name in (*manifest["files"], MANIFEST)}
        except OSError as error:  # removed just now
            raise DamagedError(f"{self.folder(key)}: {error.strerror}") from None

    def unpack(self, key: str, files: Mapping[str, NDArray[np.uint8]]) -> None:
        """Store what `pack` gave; it appears verified and complete, or not at all (`DamagedError`)."""
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
            shutil.rmtree(beside.root, ignore_errors=True)


def _signature(manifest: Mapping[str, Any]) -> str:
    """The checksum of everything in a manifest but its checksum."""
    others = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, allow_nan=False).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, digest: str) -> bytes | None:
    """Compare a file with its checksum, or `DamagedError`; returned are the contents of a small one."""
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


def _flush(path: Path) -> None:
    """See to it that a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_table(path: Path, table: pa.Table) -> None:
    """By way of memory, which is quicker for the small tables of most artifacts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = pa.BufferOutputStream()
    pq.write_table(table, written)
    path.write_bytes(written.getvalue())


def _write_stream(path: Path, images: LazyImages) -> None:
    """Decode and write images a piece at a time. Written, not mapped: a full disk is then an error, not a crash."""
    import numpy as np

    header = {"descr": np.lib.format.dtype_to_descr(images.dtype), "fortran_order": False, "shape": tuple(images.shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), _PIECE):
            file.write(np.ascontiguousarray(images[start : start + _PIECE]).data)
