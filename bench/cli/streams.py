"""How stdout and stderr behave when they are closed, when their reader ends, or when they cannot print a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

import click

_UNREAD = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ENXIO, errno.EBADF}


def replace_closed_streams() -> None:
    """Point stdin, stdout and stderr to the null device where the caller closed them (``bench ... >&-``).

    Their numbers are then taken, so that no file that a run writes gets the output of a library.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free.
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def replace_unknown_characters() -> None:
    """Let stdout and stderr print ``?`` for a character that their encoding lacks, such as ``→`` in ISO 8859-15.

    The output of every command passes these two streams. With their usual settings, a command would do its work and
    then end with a `UnicodeEncodeError`. Files that bench writes are UTF-8 everywhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="replace")


def discard(stream: TextIO) -> None:
    """Point a stream to the null device: the interpreter flushes it once more at its exit, which must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _UnreadStream:
    """A text stream that is written to as long as somebody reads it, and nowhere after that.

    ``optional``: no other failure raises an error either, such as a disk without room for a log.
    """

    def __init__(self, stream: TextIO, *, optional: bool) -> None:
        self._stream = stream
        self._optional = optional or stream.isatty()  # A terminal that was closed gives other errors than a pipe.

    def write(self, text: str) -> int:
        """Write a text. Return its length, whatever has become of it."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what was not written yet."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if not self._optional and error.errno not in _UNREAD:
            raise error
        discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def go_on_unread() -> None:
    """Let the current command go on without output when the program that reads stdout or stderr has ended (``head``, a
    reader of logs, a terminal), because what it computes matters more than what it prints."""
    before = sys.stdout, sys.stderr

    def restore() -> None:
        sys.stdout, sys.stderr = before

    click.get_current_context().call_on_close(restore)
    sys.stdout = _UnreadStream(sys.stdout, optional=False)
    sys.stderr = _UnreadStream(sys.stderr, optional=True)
