"""An index of the rows of a table: it finds the rows of one cell, for example, without reading those of others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.store.sample_check import check_once, check_values, repeated
from bench.store.table_files import Key, TableFile, readable

T = TypeVar("T")


class Recent(Generic[T]):
    """A cache of the most recently used values, limited by their size in bytes."""

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self._limit = limit
        self._size = size
        self._held: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; ``make`` computes it if it is not in the cache."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = make()
        self._held[key] = value
        self._bytes += self._size(value)
        while self._bytes > self._limit and len(self._held) > 1:
            self._bytes -= self._size(self._held.popitem(last=False)[1])
        return value


@dataclass
class IndexEntry:
    """The rows of a key.

    - ``first``: the requested columns of its first row
    - ``run``: the number of the run that the rows are from
    - ``levels``: the distinct values of the level column, in order of appearance
    - ``places``: where the rows are: file, row group, first row, row after the last
    """

    first: Mapping[str, Any]
    run: int = 0
    levels: dict[Any, None] = field(default_factory=dict)
    places: list[tuple[int, int, int, int]] = field(default_factory=list)


class RowIndex:
    """The keys of a table and the places of their rows. If several runs have a key, its rows are those of the first.

    ``keys`` are the columns of a key, ``level`` a column that divides the rows of a key, and ``first`` columns whose
    first value is stored. Only these columns are read to build the index, one row group at a time. Row groups that were
    read for rows stay in a cache of limited size, and so do open files. Raises `StorageError` if a file cannot be read,
    or if a row has an impossible value.
    """

    HELD = 32 << 20  # bytes of row groups
    OPEN = 32  # files; a run of 2,000 experiments has as many files, and a process may have 1,024 open

    def __init__(
        self, parts: Sequence[TableFile], keys: Sequence[str], *, level: str | None = None, first: Sequence[str] = ()
    ) -> None:
        self._parts = parts
        self._keys = keys
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()  # The one that was used last comes last.
        self._metadata: dict[int, pq.FileMetaData] = {}
        self._columns = dict.fromkeys([*keys, *([level] if level else []), *first])
        self._held: Recent[pa.Table] = Recent(self.HELD, lambda table: table.nbytes)
        self._entries: dict[Key, IndexEntry] = {}
        self._last: Key | None = None  # The key of the rows that were entered last.
        for file in range(len(parts)):
            for group in range(self._groups(file)):
                self._enter(file, group, keys, level, first)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> IndexEntry | None:
        """Return the entry of a key without reading its rows, or None."""
        return self._entries.get(key)

    def rows(self, key: Key) -> pa.Table | None:
        """Return the rows of a key without the columns that are part of paths, or None if it has no rows."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        found = [self._group(file, group).slice(start, stop - start) for file, group, start, stop in entry.places]
        rows = found[0] if len(found) == 1 else pa.concat_tables(found, promote_options="permissive")
        part = self._parts[entry.places[0][0]]
        check_once(part.path, part.table, rows, dict(zip(self._keys, key, strict=True)))
        return rows

    def _file(self, file: int) -> pq.ParquetFile:
        if file in self._files:
            self._files.move_to_end(file)
            return self._files[file]
        while len(self._files) >= self.OPEN:
            self._files.popitem(last=False)[1].close()
        # A path that is opened here is closed by ``close``, unlike an open file.
        opened = self._files[file] = pq.ParquetFile(self._parts[file].path, metadata=self._metadata.get(file))
        self._metadata[file] = opened.metadata
        return opened

    def _groups(self, file: int) -> int:
        with readable(self._parts[file].path):
            return int(self._file(file).num_row_groups)

    def _group(self, file: int, group: int) -> pa.Table:
        return self._held.get((file, group), lambda: self._read(file, group))

    def _read(self, file: int, group: int, columns: list[str] | None = None) -> pa.Table:
        part = self._parts[file]
        if columns is not None:
            columns = [part.renamed.get(column, column) for column in columns]
        with readable(part.path):
            found = self._file(file).read_row_group(group, columns=columns, use_threads=False)
        today = {old: name for name, old in part.renamed.items()}
        if today:
            found = found.rename_columns([today.get(name, name) for name in found.column_names])
        check_values(part.path, part.table, found)
        return found

    def _enter(self, file: int, group: int, keys: Sequence[str], level: str | None, first: Sequence[str]) -> None:
        """Add the rows of a row group to the index."""
        part = self._parts[file]
        constant = part.constant
        table = self._read(file, group, [c for c in self._columns if c not in constant])
        if not table.num_rows:
            return
        codes = {name: _codes(table[name]) for name in keys if name not in constant}
        starts = _starts(list(codes.values()), table.num_rows)
        stops = np.append(starts[1:], table.num_rows)
        held = [name for name in (*codes, *first) if name in table.column_names]
        absent = dict.fromkeys(first, [None] * len(starts))  # An older version did not write the column.
        values = absent | {name: table[name].take(pa.array(starts)).to_pylist() for name in held}
        inner = table[level] if level else None
        for i, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            own = tuple(constant[k] if k in constant else values[k][i] for k in keys)
            key = part.named(dict(zip(keys, own, strict=True))) if part.named else own
            if key is None:
                continue
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = IndexEntry({name: values[name][i] for name in first}, part.run)
            if entry.run != part.run:
                continue
            if entry.places and key != self._last:
                raise repeated(part.path, part.table, dict(zip(keys, own, strict=True)))
            self._last = key
            entry.places.append((file, group, start, stop))
            if inner is not None:
                entry.levels.update(dict.fromkeys(inner.slice(start, stop - start).unique().to_pylist()))


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return integers ``(n,)`` that are equal where the values are equal."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    codes: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _starts(codes: Sequence[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """Return the rows at which any column differs from the row before, and row 0."""
    changed = np.zeros(n, dtype=bool)
    changed[0] = True
    for column in codes:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)
