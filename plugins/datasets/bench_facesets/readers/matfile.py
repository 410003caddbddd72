"""A safe reader of cells, structures, text and numbers in MATLAB 5 files: enough for the splits of AgeDB.

scipy's reader recurses on the C stack, so a small file with deep nesting crashes the process. This reader stops at the
depth `MAX_DEPTH`, allocates no more memory than the file's size justifies, and supports no other types.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench import DataError
from bench_facesets.readers.safe_paths import MAX_TEXT_BYTES, read_bytes

MAX_DEPTH = 8
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _FIRST_NUMBER, _LAST_NUMBER = 1, 2, 4, 6, 15


class _MatError(Exception):
    """The contents are not valid; `load` adds the file's name."""


def load(path: Path) -> dict[str, Any]:
    """Return the variables of a ``.mat`` file: numbers as arrays ``(k,)``, text as str, cells as lists in column order,
    structures as lists of dicts, anything else as None.

    Raises DataError if the file is damaged or of another kind.
    """
    data = read_bytes(path, MAX_TEXT_BYTES, "a .mat file")
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:10] == b"MATLAB 7.3":
        raise DataError(f"{path}: this .mat is of version 7.3 (HDF5); save it again in MATLAB with: save -v7")
    if len(data) < 136 or data[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: expected a MATLAB 5 file (.mat), found something else")
    reader = _MatReader("<" if data[126:128] == b"IM" else ">")
    try:
        return reader.variables(data[128:])
    except (_MatError, zlib.error, ValueError, KeyError, IndexError, struct.error, OverflowError) as error:
        raise DataError(f"{path}: this .mat is damaged: {error}") from None


class _MatReader:
    """A recursive reader of elements in one byte order. Its methods raise `_MatError`."""

    def __init__(self, order: Literal["<", ">"]) -> None:
        self.order: Literal["<", ">"] = order
        self.left = MAX_TEXT_BYTES  # The number of bytes that may still be unpacked.
        self.values = 2_000_000  # The number of elements of cells and structures that may still be read.

    def variables(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        at = 0
        while at + 8 <= len(data):
            kind, body, at = self.element(data, at)
            if kind == _COMPRESSED:
                kind, body, _ = self.element(self.unpacked(body), 0)
            if kind == _MATRIX:
                name, value = self.matrix(body, 0)
                found[name] = value
        return found

    def unpacked(self, body: memoryview | bytes) -> bytes:
        unpacker = zlib.decompressobj()
        out = unpacker.decompress(body, self.left)
        if unpacker.unconsumed_tail:
            raise _MatError(f"it unpacks to more than {MAX_TEXT_BYTES:,} bytes")
        self.left -= len(out)
        return out

    def element(self, data: memoryview | bytes, at: int) -> tuple[int, memoryview, int]:
        """Return the type, the contents and the end of the element at a position."""
        (tag,) = struct.unpack_from(self.order + "I", data, at)
        if tag >> 16:  # A small element has type and length in one word and its contents in the next.
            kind, length, start, end = tag & 0xFFFF, tag >> 16, at + 4, at + 8
            if length > 4:
                raise _MatError("a small element of more than four bytes")
        else:
            (length,) = struct.unpack_from(self.order + "I", data, at + 4)
            kind, start = tag, at + 8
            end = start + length + (0 if kind == _COMPRESSED else -length % 8)
        if start + length > len(data):
            raise _MatError(f"an element of {length:,} bytes where {max(0, len(data) - start):,} are left")
        return kind, memoryview(data)[start : start + length], end

    def numbers(self, kind: int, body: memoryview) -> np.ndarray[Any, Any]:
        return np.frombuffer(body, dtype=np.dtype(_NUMBERS[kind]).newbyteorder(self.order))

    def matrix(self, body: memoryview, depth: int) -> tuple[str, Any]:
        """Return the name and the value of a variable, a cell's element or a structure's field."""
        if depth > MAX_DEPTH:
            raise _MatError(f"nested more than {MAX_DEPTH} deep")
        if not len(body):  # MATLAB writes an empty element without contents.
            return "", []
        kind, flags, at = self.element(body, 0)
        matrix_class = int(self.numbers(kind, flags)[0]) & 0xFF
        kind, dims, at = self.element(body, at)
        count = math.prod(int(n) for n in self.numbers(kind, dims))
        _, name, at = self.element(body, at)
        text = bytes(name).decode("latin-1")
        if matrix_class == _CELL:
            return text, self.members(body, at, count, depth)
        if matrix_class == _STRUCT:
            kind, width, at = self.element(body, at)
            size = int(self.numbers(kind, width)[0])
            _, joined, at = self.element(body, at)
            if not 0 < size <= 64:
                raise _MatError(f"field names of {size} bytes")
            fields = [
                bytes(joined[k : k + size]).split(b"\0")[0].decode("latin-1") for k in range(0, len(joined), size)
            ]
            values = self.members(body, at, count * len(fields), depth)
            return text, [
                dict(zip(fields, values[k : k + len(fields)], strict=True))
                for k in range(0, len(values), max(1, len(fields)))
            ]
        kind, contents, _ = self.element(body, at)
        if matrix_class == _CHAR:
            encoding = _TEXT[kind] + (
                {"<": "-le", ">": "-be"}[self.order] if _TEXT[kind] in ("utf-16", "utf-32") else ""
            )
            return text, bytes(contents).decode(encoding)
        if not _FIRST_NUMBER <= matrix_class <= _LAST_NUMBER:
            return text, None  # Sparse arrays, objects and functions are not needed for protocols.
        return text, self.numbers(kind, contents)

    def members(self, body: memoryview, at: int, count: int, depth: int) -> list[Any]:
        self.values -= count
        if not 0 <= count <= len(body) // 8 or self.values < 0:
            raise _MatError(f"{count:,} elements are announced where {max(0, len(body) - at):,} bytes are left")
        found = []
        for _ in range(count):
            kind, inner, at = self.element(body, at)
            if kind != _MATRIX:
                raise _MatError(f"an element of the type {kind} in a cell or structure")
            found.append(self.matrix(inner, depth + 1)[1])
        return found
