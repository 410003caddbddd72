"""Reader of MXNet's RecordIO (``train.rec`` with ``train.idx``), without mxnet: training sets such as CASIA-WebFace.

A record is ``magic, flags and length, header, image``, padded to four bytes; the header is ``flag, label, id, id2``,
followed by ``flag`` float labels if there are several. If record 0 has labels and no image, it is a table of contents:
its first label is the number of the first record that is not an image. The file is mapped; only the positions of the
records are kept in memory.
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

import numpy as np

from bench import DataError, MissingDataError
from bench_facesets.collection import Collection
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.insightface_bin import map_file
from bench_facesets.readers.safe_paths import read_bytes

MAGIC = 0xCED7230A
MAX_BYTES = 2**40
MAX_INDEX_BYTES = 2**30
MAX_RECORDS = 20_000_000
_HEAD = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")


class RecordImages:
    """Encoded images in the records of a mapped file, and the label of each."""

    def __init__(self, path: Path, data: mmap.mmap, keys: list[int], offsets: list[int]) -> None:
        self.keys = keys
        self._path = path
        self._data = data
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def name(self, row: int) -> str:
        """Return the file and the key of the record."""
        return f"{self._path}: record {self.keys[row]}"

    def without_contents(self) -> RecordImages:
        """Return the images without the table of contents that record 0 may be."""
        if self.keys and self.keys[0] == 0:
            flag, labels, at = self._header(0)
            if flag and at == len(self._record(0)):
                end = labels[0]
                return self.at([k for k, key in enumerate(self.keys) if 0 < key < end])
        return self

    def at(self, rows: list[int]) -> RecordImages:
        """Return some of the images, in the order of ``rows``."""
        keys, offsets = [self.keys[k] for k in rows], [self._offsets[k] for k in rows]
        return RecordImages(self._path, self._data, keys, offsets)

    def label(self, row: int) -> int:
        """Return the number of the person. Raises DataError unless it is a whole number."""
        _, labels, _ = self._header(row)
        label = labels[0] if labels else -1.0
        if not (0 <= label < 2**24 and label == int(label)):
            raise DataError(f"{self.name(row)}: expected a label 0, 1, 2 ..., found {label}")
        return int(label)

    def read(self, row: int) -> bytes:
        """Return the encoded image. Raises DataError."""
        *_, at = self._header(row)
        record = self._record(row)
        return record[at:]

    def _header(self, row: int) -> tuple[int, tuple[float, ...], int]:
        """Return the flag, the labels, and the start of the image in the record."""
        record = self._record(row, _HEADER.size + 4 * 64)
        if len(record) < _HEADER.size:
            raise DataError(f"{self.name(row)}: expected a header of {_HEADER.size} bytes, found {len(record)}")
        flag, label, _, _ = _HEADER.unpack_from(record)
        if flag == 0:
            return 0, (label,), _HEADER.size
        if flag > 64 or len(record) < _HEADER.size + 4 * flag:
            raise DataError(f"{self.name(row)}: expected at most 64 labels, found {flag} in {len(record)} bytes")
        return flag, struct.unpack_from(f"<{flag}f", record, _HEADER.size), _HEADER.size + 4 * flag

    def _record(self, row: int, first: int | None = None) -> bytes:
        """Return the contents of a record, or its ``first`` bytes; parts of a split record are joined by the magic
        number, which was removed where the record was split."""
        parts: list[bytes] = []
        at, total = self._offsets[row], 0
        while True:
            if at + _HEAD.size > len(self._data):
                raise DataError(f"{self.name(row)}: the file ends before this record; is it a complete copy?")
            magic, flags = _HEAD.unpack_from(self._data, at)
            part, length = flags >> 29, flags & (2**29 - 1)
            if magic != MAGIC or (part in (2, 3)) != bool(parts):
                raise DataError(f"{self.name(row)}: no record begins at byte {at}; does the .idx belong to this .rec?")
            total += length + 4
            if total > MAX_ITEM_BYTES or at + _HEAD.size + length > len(self._data):
                raise DataError(f"{self.name(row)}: {length:,} bytes are announced, more than the file or a limit has")
            end = at + _HEAD.size + (length if first is None else min(length, first))
            parts.append(self._data[at + _HEAD.size : end])
            if part in (0, 3) or (first is not None and total - 4 >= first):
                return struct.pack("<I", MAGIC).join(parts)
            at += _HEAD.size + length + -length % 4


def read(path: Path) -> Collection:
    """Read the images and people of a ``.rec``, with the ``.idx`` of the same name beside it.

    Raises MissingDataError if the index is missing, DataError if a file is damaged.
    """
    index = path.with_suffix(".idx")
    if not index.is_file():
        raise MissingDataError(f"{path}: expected the index {index.name} beside it, found none; copy both files")
    keys, offsets = _index(index)
    encoded = RecordImages(path, map_file(path, MAX_BYTES, "a RecordIO file"), keys, offsets).without_contents()
    if not len(encoded):
        raise DataError(f"{path}: expected images, found none")
    labels = [encoded.label(k) for k in range(len(encoded))]
    order = np.argsort(labels, kind="stable").tolist()
    ordered = encoded.at(order)
    return Collection(
        layout="RecordIO (.rec, .idx)",
        root=path.parent,
        files=[path, index],
        encoded=ordered,
        ids=[str(key) for key in ordered.keys],
        people=[str(labels[k]) for k in order],
        notes=("people are numbers, not names",),
    )


def _index(path: Path) -> tuple[list[int], list[int]]:
    """Return the keys, ascending, and the offsets of the records."""
    text = read_bytes(path, MAX_INDEX_BYTES, "an index").decode("latin-1")
    found: dict[int, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d{1,18})\s+(\d{1,18})\s*", line)
        if match is None or len(found) >= MAX_RECORDS:
            raise DataError(
                f"{path}: line {number}: expected 'key offset' (up to {MAX_RECORDS:,}), found {line[:60]!r}"
            )
        if found.setdefault(int(match[1]), int(match[2])) != int(match[2]):
            raise DataError(f"{path}: line {number}: the key {match[1]} has two offsets")
    keys = sorted(found)
    return keys, [found[k] for k in keys]
