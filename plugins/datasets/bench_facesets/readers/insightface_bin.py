"""Reader of InsightFace ``.bin`` files: a pickled ``(encoded images, same)``; images 2i and 2i + 1 are pair i.

The file is mapped, not loaded: only the position of each image in the file is kept (see `safe_pickle`).
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from bench import DataError, MissingDataError
from bench_facesets.collection import Collection, pair_table
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.safe_pickle import Array, Buffer, Span, load

MAX_BYTES = 4 * 2**30
MAX_ITEMS = 1_000_000


class MappedImages:
    """Encoded images at known positions of a mapped file."""

    def __init__(self, data: Buffer, spans: list[Span], path: Path) -> None:
        self._data = data
        self._spans = spans
        self._path = path

    def __len__(self) -> int:
        return len(self._spans)

    def read(self, row: int) -> bytes:
        """Return the encoded image. Raises DataError."""
        try:
            return self._spans[row].read(self._data)
        except ValueError as error:
            raise DataError(f"{self.name(row)}: its bytes are not written as bytes: {error}") from None

    def name(self, row: int) -> str:
        """Return the file and the image's number."""
        return f"{self._path}: image {row}"


def map_file(path: Path, limit: int, what: str) -> mmap.mmap:
    """Map a file for reading. Raises DataError if it is empty, too large or unreadable."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not 0 < size <= limit:
                raise DataError(f"{path}: expected {what} of 1 to {limit:,} bytes, found {size:,}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise MissingDataError(f"{path}: expected a file, found none") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a readable file: {error}") from None


def read(path: Path) -> Collection:
    """Read the images and pairs of a ``.bin``; the format has no folds. Raises DataError for any other contents."""
    data = map_file(path, MAX_BYTES, "an InsightFace .bin")
    value = load(data, str(path))
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"{path}: expected (images, same), found {_what(value)}; this is not an InsightFace .bin")
    images, same = value
    if not isinstance(images, tuple | list):
        raise DataError(f"{path}: expected a list of encoded images, found {_what(images)}")
    if not 2 <= len(images) <= MAX_ITEMS:
        raise DataError(f"{path}: expected 2 to {MAX_ITEMS:,} images, found {len(images):,}")
    labels = _labels(same, data, path)
    if len(images) != 2 * len(labels):
        raise DataError(f"{path}: expected two images per pair, found {len(images)} images and {len(labels)} labels")
    spans = [_image(item, f"{path}: image {k}") for k, item in enumerate(images)]
    return Collection(
        layout="InsightFace .bin",
        root=path.parent,
        files=[path],
        encoded=MappedImages(data, spans, path),
        ids=[f"{k:06d}" for k in range(len(spans))],
        pairs=pair_table([(2 * k, 2 * k + 1, label, -1) for k, label in enumerate(labels)]),
        notes=("folds: the k-th of the genuine and of the impostor pairs, tenth by tenth",),
    )


def _image(item: Any, name: str) -> Span:
    if isinstance(item, Array):
        count = int(np.prod(item.shape, dtype=object)) if item.shape is not None else -1
        if item.dtype != "u1" or item.data is None or not item.shape:
            raise DataError(f"{name}: expected encoded bytes, found an array of {item.dtype or 'unknown'} elements")
        if sum(n > 1 for n in item.shape) > 1:
            raise DataError(
                f"{name}: expected an encoded image (JPEG, PNG), found decoded pixels {item.shape}, whose channel "
                f"order (RGB or BGR) is not recorded; encode them, or save them as files"
            )
        if item.data.kind == "raw" and count != item.data.stop - item.data.start:
            raise DataError(f"{name}: expected an array of {count} bytes, found {item.data.stop - item.data.start}")
        item = item.data
    if not isinstance(item, Span) or item.kind == "utf8":
        raise DataError(f"{name}: expected the bytes of an encoded image, found {_what(item)}")
    if item.stop - item.start > 2 * MAX_ITEM_BYTES:
        raise DataError(f"{name}: expected at most {MAX_ITEM_BYTES:,} bytes, found {item.stop - item.start:,}")
    return item


def _labels(same: Any, data: Buffer, path: Path) -> list[bool]:
    """Return whether each pair is genuine, from a list of bool or 0/1, or from a numpy array of them."""
    if isinstance(same, Array) and same.data is not None and same.shape:
        raw = same.data.read(data)
        width = int(same.dtype[1:])
        if len(raw) > 8 * MAX_ITEMS or len(raw) % width:
            raise DataError(f"{path}: expected at most {MAX_ITEMS:,} labels, found {len(raw)} bytes of {same.dtype}")
        same = np.frombuffer(raw, dtype=f"<{same.dtype}" if width > 1 else same.dtype.replace("b1", "u1")).tolist()
    if not isinstance(same, tuple | list):
        raise DataError(f"{path}: expected a list of labels (same or not), found {_what(same)}")
    return [_label(item, data, f"{path}: label {k}") for k, item in enumerate(same)]


def _label(item: Any, data: Buffer, name: str) -> bool:
    if isinstance(item, Array) and item.data is not None and item.shape == ():
        item = int.from_bytes(item.data.read(data)[:8], "little")
    if isinstance(item, int) and item in (0, 1):
        return bool(item)
    raise DataError(f"{name}: expected True or False, found {_what(item)}")


def _what(value: Any) -> str:
    """Describe a value of a pickle as text, without its elements: a list may contain itself."""
    if isinstance(value, list | tuple) and not isinstance(value, Span | Array):
        return f"a {'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    if isinstance(value, Span):
        return "text" if value.kind == "utf8" else f"{value.stop - value.start} bytes"
    return repr(value)[:60]
