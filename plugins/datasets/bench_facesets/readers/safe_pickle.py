"""A safe reader of the pickles in ``.bin`` files: lists, tuples, bytes, numbers and numpy arrays of bytes.

It is not Python's unpickler with a filter, but a small interpreter that never imports, calls or builds anything. Byte
strings are not copied from the file (a `Span` records their position and encoding). Numpy arrays and the
``_codecs.encode`` of Python 3's protocol 2 are recognised by their names and represented as plain descriptions. A
pickle that refers to ``os.system`` raises an error, and one that declares a gigabyte of data allocates nothing.

Memory is bounded by limits on operations and on live values. Protocols 0 to 5 of Python 2 and 3 are supported.
"""

from __future__ import annotations

import codecs
import mmap
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from bench import DataError

MAX_OPERATIONS = 12_000_000
MAX_VALUES = 3_000_000  #: The limit for the stack, the memo and lists; a .bin of a million images needs that many.
MAX_LINE = 64 * 2**20  #: The limit for a line of protocol 0, in bytes.
Buffer = bytes | mmap.mmap


class Span(NamedTuple):
    """Bytes of the file: start, stop, and encoding.

    ``kind``: ``raw``; ``utf8`` (text); ``latin1`` (text that represents bytes); ``escaped`` or ``unicode``
    (protocol 0).
    """

    start: int
    stop: int
    kind: str = "raw"

    def read(self, data: Buffer) -> bytes:
        """Return the decoded bytes; text as UTF-8."""
        raw = data[self.start : self.stop]
        if self.kind == "latin1":
            return raw.decode("utf-8").encode("latin-1")
        if self.kind == "escaped":
            return codecs.escape_decode(raw)[0]
        if self.kind == "unicode":
            return raw.decode("raw_unicode_escape").encode("latin-1")
        return bytes(raw)


class Name(NamedTuple):
    """A function or class that the pickle refers to; it is never imported."""

    path: str


class Array(NamedTuple):
    """A numpy array, scalar or dtype as the pickle describes it: ``dtype`` such as ``u1``, ``shape``, and bytes."""

    dtype: str
    shape: tuple[int, ...] | None
    data: Span | None


_ENCODE = "_codecs.encode"
_KNOWN = {
    _ENCODE: _ENCODE,
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    **{f"numpy.{core}.multiarray._reconstruct": "reconstruct" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "frombuffer" for core in ("core", "_core")},
}
_DTYPES = ("u1", "i1", "b1", "i2", "i4", "i8", "u2", "u4", "u8")


class _Mark:
    pass


class _PickleError(Exception):
    """The pickle is not valid; `load` adds the file and the position."""


def load(data: Buffer, name: str) -> Any:
    """Return the value of the pickle in ``data``: lists, tuples, `Span`, `Array`, int, bool or None. Raises DataError
    for any other pickle."""
    reader = _PickleReader(data)
    try:
        return reader.run()
    except _PickleError as fault:
        raise DataError(f"{name}: byte {reader.at}: {fault}") from None
    except (struct.error, IndexError):
        raise DataError(
            f"{name}: the pickle ends too early, at byte {len(data):,}; copy or download it again"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{name}: byte {reader.at}: not a pickle that bench understands: {error}") from None


class _PickleReader:
    """The interpreter: a position ``at`` in the data, a stack and a memo. Its methods raise `_PickleError`."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.held = 0  # The number of values in lists and tuples.

    def run(self) -> Any:
        data, operations = self.data, _OPERATIONS
        for _ in range(MAX_OPERATIONS):
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                if len(self.stack) != 1:
                    raise _PickleError(f"expected one value at the end of the pickle, found {len(self.stack)}")
                return self.stack[0]
            operation = operations.get(code)
            if operation is None:
                raise _PickleError(
                    f"the pickle operation {bytes([code])!r} has no place in a list of images; this file is not an "
                    f"InsightFace .bin, or it was made to do harm; nothing of it was executed"
                )
            operation(self)
            if len(self.stack) + len(self.memo) + self.held > MAX_VALUES:
                raise _PickleError(f"expected at most {MAX_VALUES:,} values; split the file")
        raise _PickleError(f"expected at most {MAX_OPERATIONS:,} pickle operations")

    # ---- reading arguments -------------------------------------------------------------------------------------------

    def number(self, form: str, size: int) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return int(value)

    def span(self, length: int, kind: str) -> Span:
        if length < 0 or length > self.size - self.at:
            raise _PickleError(f"{length:,} bytes are announced, but the file has {self.size - self.at:,} more")
        found = Span(self.at, self.at + length, kind)
        self.at += length
        return found

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at, self.at + MAX_LINE)
        if end < 0:
            raise _PickleError("a line without an end")
        found = bytes(self.data[self.at : end])
        self.at = end + 1
        return found

    def short_text(self, value: Any) -> str:
        if not isinstance(value, Span) or value.stop - value.start > 200:
            raise _PickleError("expected a short text")
        return bytes(self.data[value.start : value.stop]).decode("utf-8", "replace")

    # ---- the stack ---------------------------------------------------------------------------------------------------

    def since_mark(self) -> list[Any]:
        for k in range(len(self.stack) - 1, -1, -1):
            if self.stack[k] is _Mark:
                found = self.stack[k + 1 :]
                del self.stack[k:]
                self.held += len(found)
                return found
        raise _PickleError("a list or tuple ends that did not begin")

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count or _Mark in (found := self.stack[len(self.stack) - count :]):
            raise _PickleError("a value is missing on the stack")
        del self.stack[len(self.stack) - count :]
        self.held += count
        return found

    def extend(self, items: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], list):
            raise _PickleError("something is appended to what is not a list")
        self.stack[-1].extend(items)

    def remember(self, index: int) -> None:
        if not self.stack or self.stack[-1] is _Mark:
            raise _PickleError("the stack has no value for the memo")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise _PickleError(f"value {index} is not in the memo")
        self.stack.append(self.memo[index])

    # ---- names: recognised, never imported ---------------------------------------------------------------------------

    def refer(self, path: str) -> None:
        if path not in _KNOWN:
            raise _PickleError(
                f"the file would import {path!r}, which no list of images needs: it was made to do harm, or is "
                f"something else; nothing of it was executed. If you trust its source, make it again with plain bytes"
            )
        self.stack.append(Name(_KNOWN[path]))

    def call(self) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise _PickleError("a call of something that is not a function")
        try:
            self.stack.append(self._call(function.path, arguments))
        except (ValueError, IndexError):
            raise _PickleError(f"{function.path} does not take {len(arguments)} such arguments") from None

    def _call(self, function: str, arguments: tuple[Any, ...]) -> Any:
        if function == _ENCODE:
            text, encoding = arguments
            if not isinstance(text, Span) or self.short_text(encoding) not in ("latin1", "latin-1"):
                raise _PickleError("expected text encoded as latin1")
            return text._replace(kind="unicode" if text.kind == "unicode" else "latin1")
        if function == "dtype":
            code = self.short_text(arguments[0])
            if code not in _DTYPES:
                raise _PickleError(f"expected an array of encoded bytes (u1), found elements of {code!r}")
            return Array(code, None, None)
        if function == "reconstruct":
            return Array("", (), None)
        if function == "scalar":
            dtype, data = arguments
            return Array(_dtype(dtype), (), _bytes(data))
        if function == "frombuffer":
            data, dtype, shape, order = arguments
            if self.short_text(order) not in ("C", "F"):
                raise _PickleError("expected the order C or F")
            return Array(_dtype(dtype), _shape(shape), _bytes(data))
        raise _PickleError(f"{function} cannot be called")

    def build(self) -> None:
        target, state = self.pop(2)
        if not isinstance(target, Array) or not isinstance(state, tuple):
            raise _PickleError("expected the state of a numpy array")
        if target.shape is None:  # The state of a dtype, such as the byte order, does not matter for one-byte elements.
            self.stack.append(target)
        elif len(state) == 5:
            filled = Array(_dtype(state[2]), _shape(state[1]), _bytes(state[4]))
            self.stack.append(filled)
            for key in range(max(0, len(self.memo) - 40), len(self.memo)):
                if self.memo.get(key) is target:  # The array was put into the memo before its state was set.
                    self.memo[key] = filled
        else:
            raise _PickleError("expected the state of a numpy array")


def _dtype(value: Any) -> str:
    if not isinstance(value, Array) or value.shape is not None:
        raise _PickleError("expected an element type")
    return value.dtype


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > 4 or not all(isinstance(n, int) and 0 <= n < 2**31 for n in value):
        raise _PickleError("expected the shape of an array of at most four axes")
    return value


def _bytes(value: Any) -> Span:
    if not isinstance(value, Span):
        raise _PickleError("expected the bytes of an array")
    return value


def _push(value: Any) -> Callable[[_PickleReader], None]:
    return lambda r: r.stack.append(value)


def _span(form: str, size: int, kind: str = "raw") -> Callable[[_PickleReader], None]:
    return lambda r: r.stack.append(r.span(r.number(form, size), kind))


def _number(form: str, size: int) -> Callable[[_PickleReader], None]:
    return lambda r: r.stack.append(r.number(form, size))


def _tuple(count: int) -> Callable[[_PickleReader], None]:
    return lambda r: r.stack.append(tuple(r.pop(count)))


def _skip(size: int) -> Callable[[_PickleReader], None]:
    def operation(r: _PickleReader) -> None:
        r.at += size

    return operation


def _decimal(r: _PickleReader) -> None:
    line = r.line().rstrip(b"L")
    if len(line) > 20:
        raise _PickleError("expected a short number")
    r.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))


def _quoted(r: _PickleReader) -> None:
    start = r.at
    line = r.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
        raise _PickleError("expected a quoted string")
    r.stack.append(Span(start + 1, start + len(line) - 1, "escaped"))


def _unicode_line(r: _PickleReader) -> None:
    start = r.at
    r.stack.append(Span(start, start + len(r.line()), "unicode"))


def _short_long(r: _PickleReader) -> None:
    length = r.number("<B", 1)
    if length > 8:
        raise _PickleError("expected a short number")
    found = r.span(length, "raw")
    r.stack.append(int.from_bytes(r.data[found.start : found.stop], "little", signed=True))


def _global(r: _PickleReader) -> None:
    module, name = r.line(), r.line()
    r.refer(f"{module[:100].decode('utf-8', 'replace')}.{name[:100].decode('utf-8', 'replace')}")


def _stack_global(r: _PickleReader) -> None:
    module, name = r.pop(2)
    r.refer(f"{r.short_text(module)}.{r.short_text(name)}")


_OPERATIONS: dict[int, Callable[[_PickleReader], None]] = {
    ord(code): operation
    for code, operation in {
        "\x80": _skip(1),  # PROTO
        "\x95": _skip(8),  # FRAME
        "(": _push(_Mark),
        "0": lambda r: r.pop(1) and None,
        "]": lambda r: r.stack.append([]),
        "l": lambda r: r.stack.append(r.since_mark()),
        "a": lambda r: r.extend(r.pop(1)),
        "e": lambda r: r.extend(r.since_mark()),
        ")": _push(()),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "t": lambda r: r.stack.append(tuple(r.since_mark())),
        "N": _push(None),
        "\x88": _push(True),
        "\x89": _push(False),
        "K": _number("<B", 1),
        "M": _number("<H", 2),
        "J": _number("<i", 4),
        "I": _decimal,
        "L": _decimal,
        "\x8a": _short_long,
        "C": _span("<B", 1),
        "B": _span("<I", 4),
        "\x8e": _span("<Q", 8),
        "\x96": _span("<Q", 8),  # BYTEARRAY8
        "U": _span("<B", 1),  # A str of Python 2.
        "T": _span("<i", 4),
        "S": _quoted,
        "V": _unicode_line,
        "\x8c": _span("<B", 1, "utf8"),
        "X": _span("<I", 4, "utf8"),
        "\x8d": _span("<Q", 8, "utf8"),
        "q": lambda r: r.remember(r.number("<B", 1)),
        "r": lambda r: r.remember(r.number("<I", 4)),
        "p": lambda r: r.remember(int(r.line())),
        "\x94": lambda r: r.remember(len(r.memo)),
        "h": lambda r: r.recall(r.number("<B", 1)),
        "j": lambda r: r.recall(r.number("<I", 4)),
        "g": lambda r: r.recall(int(r.line())),
        "c": _global,
        "\x93": _stack_global,
        "R": lambda r: r.call(),
        "b": lambda r: r.build(),
    }.items()
}
