"""Reads whole files that may come from strangers: what is no file, or is larger than anything that bench writes or that
people write for it, is refused before it is read. All these limits are here.

Files that are read piece by piece have limits of their own: tables in `bench.core.table_sizes`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from bench.core.parsing import parse_json

LARGEST_SUITE = 8 << 20  # bytes of a suite file; 100,000 cells need some kB, and 1,000 claims half a MB
LARGEST_NUMBERS = 4 << 20  # bytes of a CSV file of published numbers; the tables of the paper have 20 kB
# Bytes of a JSON file, which may take 50 times as much memory; the record of a run of 100,000 cells has some MB.
LARGEST_JSON = 32 << 20
LARGEST_JOURNAL = 1 << 30  # bytes of a journal, of which the last result of each stage is kept in memory
# Bytes of a line of a journal, which may take 50 times as much memory; the plan of 100,000 stages has some 20 MB.
LARGEST_LINE = 32 << 20


def read_whole(path: Path, largest: int = LARGEST_JSON) -> bytes:
    """Return the content of a file.

    Raises `OSError` if it cannot be read, and `ValueError`, with a message in words, if it has more bytes or is no
    file: reading a pipe or a device may not end.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("expected a file, found a pipe or device")
        content = opened.read(largest + 1)  # It may grow meanwhile.
        if about.st_size > largest or len(content) > largest:
            found = max(about.st_size, len(content))
            raise ValueError(f"expected a file of at most {largest:,} bytes, found one of {found:,}")
        return content


def read_json(path: Path, *, replace: bool = False) -> Any:
    """Return the value in a JSON file. Raises `OSError` and `ValueError` as `read_whole` and `parse_json` do.

    ``replace`` is an argument of the latter.
    """
    return parse_json(read_whole(path), replace=replace)
