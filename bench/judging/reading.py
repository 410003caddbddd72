"""Folders of pictures are read in a process of their own: decoders and face detectors bring libraries that cannot be
loaded beside torch, and read what strangers made.

``python -m bench.judging.reading`` reads requests as JSON from stdin and writes the samples to stdout, as an Arrow
stream. The pictures themselves are read by the data set ``photos`` of an installed plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from bench.api.context import Context
from bench.core import errors
from bench.core.errors import BenchError, ContractError, PluginError, error_text
from bench.core.processes import filtered, python
from bench.metrics.arrays import Images
from bench.registry.discovery import discover

if TYPE_CHECKING:
    import torch

    from bench.api.datasets import Dataset

PHOTOS = "photos"  # the name of the data set
_SHAPE = (3, 112, 112)
_SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        *((name, pa.string()) for name in ("name", "problem", "detail", "note")),
        ("image", pa.binary()),
    ]
)
_LONGEST_S = 7 * 24 * 3600.0
_FAILED = 3  # The exit code of the process if it has written an error to stdout.


@dataclass(frozen=True, kw_only=True)
class Request:
    """A folder to read, with the parameters of the data set ``photos``."""

    path: Path
    like: Path | None = None
    aligned: bool = False
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class FolderFaces:
    """The samples of one folder: ``names``, ``images`` uint8 ``(n, 3, 112, 112)``, and per sample the problem that
    leaves it without a face (empty for none), a detail of it, and a note."""

    names: tuple[str, ...]
    images: Images
    problems: tuple[str, ...]
    details: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def usable(self) -> dict[str, int]:
        """The row of each sample with a face, by name."""
        return {name: row for row, name in enumerate(self.names) if not self.problems[row]}

    def with_problem(self, *problems: str) -> list[int]:
        """Return the rows of samples with one of some problems."""
        return [row for row, problem in enumerate(self.problems) if problem in problems]


def read_folders(requests: Sequence[Request]) -> list[FolderFaces]:
    """Return the samples of each folder. Raise `BenchError` if they cannot be read, for example because no face
    detector is installed."""
    asked = [
        {
            "path": os.fspath(request.path.resolve()),
            "like": None if request.like is None else os.fspath(request.like.resolve()),
            "aligned": request.aligned,
            "suffix": request.suffix,
        }
        for request in requests
    ]
    try:
        done = filtered(python("-m", "bench.judging.reading"), json.dumps(asked).encode(), _LONGEST_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise PluginError(f"judge: the process that reads pictures could not do so: {error}") from None
    if done.returncode == _FAILED:
        kind, _, message = done.stdout.decode(errors="replace").partition("\n")
        raise getattr(errors, kind)(message)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise PluginError(f"judge: the process that reads pictures ended with {done.returncode}: {lines[-1]}")
    table = pa.ipc.open_stream(done.stdout).read_all()
    return [_folder(table.filter(pa.compute.equal(table["request"], number))) for number in range(len(requests))]


def _folder(table: pa.Table) -> FolderFaces:
    parts = [np.frombuffer(held, np.uint8).reshape(_SHAPE) for held in table["image"].to_pylist()]
    texts = {name: tuple(table[name].to_pylist()) for name in ("name", "problem", "detail", "note")}
    return FolderFaces(
        names=texts["name"],
        images=np.stack(parts) if parts else np.zeros((0, *_SHAPE), np.uint8),
        problems=texts["problem"],
        details=texts["detail"],
        notes=texts["note"],
    )


# ---- in the process of its own ---------------------------------------------------------------------------------------


def _samples(number: int, request: dict[str, Any]) -> pa.Table:
    """Return the samples of one folder as the data set ``photos`` reads them."""
    cls = discover().find("dataset", PHOTOS, "judge").cls
    like = Path() if request["like"] is None else Path(request["like"])
    photos: Dataset = cls(path=Path(request["path"]), like=like, aligned=request["aligned"], suffix=request["suffix"])
    context = Context(device=cast("torch.device", "cpu"), seed=0, plugin=f"data set {PHOTOS}")  # torch stays out.
    faces, _ = photos.evaluation(0, context)
    images = np.ascontiguousarray(faces.images)
    texts = {name: faces.attributes.get(name) for name in ("problem", "detail", "note")}
    complete = all(column is not None and len(column) == len(images) for column in texts.values())
    if images.dtype != np.uint8 or images.shape[1:] != _SHAPE or not complete:
        raise ContractError(
            f"data set {PHOTOS}: expected images uint8 (n, 3, 112, 112) with the attributes problem, detail and note, "
            f"found {images.dtype} {images.shape} with {', '.join(faces.attributes) or 'none'}"
        )
    columns = {
        "request": [number] * len(images),
        "name": list(map(str, faces.sample_ids)),
        **{name: list(map(str, column)) for name, column in texts.items() if column is not None},
        "image": [image.tobytes() for image in images],
    }
    return pa.table(columns, schema=_SCHEMA)


def _read(requests: list[dict[str, Any]]) -> bytes:
    try:
        tables = [_samples(number, request) for number, request in enumerate(requests)]
    except PluginError as error:
        if any(request["aligned"] for request in requests):
            raise
        raise PluginError(f"{error}. If your pictures are aligned crops of 112x112 already, use --aligned") from None
    held = pa.BufferOutputStream()
    with pa.ipc.new_stream(held, _SCHEMA) as stream:
        for table in tables:
            stream.write_table(table)
    return bytes(held.getvalue())


def _main() -> int:
    """Answer the requests on stdin; what libraries print on stdout goes to stderr."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with out:
        try:
            out.write(_read(json.loads(sys.stdin.buffer.read())))
        except BenchError as error:
            out.write(f"{type(error).__name__}\n{error}".encode())
            return _FAILED
        except Exception as error:  # A plugin may raise anything.
            out.write(f"PluginError\ndata set {PHOTOS}: failed with {error_text(error)}".encode())
            return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
