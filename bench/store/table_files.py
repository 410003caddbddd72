"""The Parquet files of the tables of a run folder, and the errors about them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.core.errors import StorageError
from bench.core.text import shortened

Key = tuple[Any, ...]
RUN_AGAIN = "run the suite again to write it anew"


@dataclass(frozen=True)
class TableFile:
    """A Parquet file with rows of the table of samples ``table``.

    - ``constant``: the columns whose value is part of its path
    - ``renamed``: today's names of columns to those in the file, where these differ
    - ``run``: the number of its run, if several runs are read as one
    - ``named``: if several runs are read as one, converts a key of the file to the key under which its rows are shown,
      or to None if they are not shown
    """

    path: Path
    table: str
    constant: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    run: int = 0
    named: Callable[[Mapping[str, Any]], Key | None] | None = None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Context manager that turns errors of reading a path into a `StorageError`."""
    try:
        yield
    except FileNotFoundError:
        raise StorageError(f"{path}: expected a file, found none; {RUN_AGAIN}") from None
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, UnicodeEncodeError):
            raise StorageError(f"{path}: expected a path in UTF-8; rename its folder") from None
        found = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise StorageError(f"{path}: cannot be read ({found}); allow more open files: ulimit -n 4096") from None
        raise StorageError(f"{path}: cannot be read ({found}); {RUN_AGAIN}") from None


def as_frame(path: Path, table: pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """Return a table of a run folder as pandas. Raises `StorageError` for values that it cannot hold, such as a date in
    the year 1,000,000."""
    with readable(path):
        frame: pd.DataFrame = table.to_pandas()
    return frame


def mistake(path: Path, column: str, expected: str, found: str) -> StorageError:
    """Return the error about a column of a table of a run folder."""
    return StorageError(f"{path}: {column}: expected {expected}, found {shortened(found)}; {RUN_AGAIN}")
