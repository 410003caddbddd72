"""Checks how much memory Parquet files take before they are read: a file of some MB may hold columns of many GB.

Numbers take what the metadata say: a run-length encoding makes them small on the disk only. A text or picture that a
dictionary holds once may be repeated in every row, so that the metadata give an upper bound. Where this bound is too
large, the indices into the dictionary are read, which are as small as numbers, and the lengths are added up.

The metadata may be wrong, and a page of a file may hold more than they say. What is read at once is therefore counted
while it is read, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.core.errors import StorageError

MOST_ROWS = 1_000_000_000  # of a table of samples
MOST_CELLS = 10_000_000  # rows of cells or stages, which are read at once
LARGEST = 1 << 30  # bytes in memory
_DENSEST = 100  # A larger table may take as many times the bytes of its files; those of bench take about ten times.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_OFFSET = 8  # bytes beside each text
_ROWS_AT_ONCE = 65_536


def require_readable_size(paths: Sequence[Path], most_rows: int = MOST_ROWS) -> None:
    """Raise `StorageError` if the files of a table have too many rows, or take too much memory for their size.

    The metadata of the files decide, and the texts in them where the metadata allow too much. Errors of files that
    cannot be read are those of pyarrow.
    """
    rows, sizes, on_disk = 0, [], 0
    for path in paths:
        on_disk += path.stat().st_size
        rows += pq.read_metadata(path).num_rows
        if rows > most_rows:
            raise StorageError(f"{path}: expected at most {most_rows:,} rows, found {rows:,}; it is not read")
        sizes.append(_bound(path))
    limit = left = max(LARGEST, _DENSEST * on_disk)
    if sum(sizes) <= limit:
        return
    for path in paths:  # The bounds of many small files add up to far more than the files take.
        left -= _counted(path, left)
        if left < 0:
            raise _too_large(path, limit, on_disk)


def read_table(path: Path, most_rows: int = MOST_ROWS) -> pa.Table:
    """Return the table in a file. Raises `StorageError` if it has too many rows, or takes too much memory for its size.

    Errors of a file that cannot be read are those of pyarrow.
    """
    require_readable_size([path], most_rows)
    on_disk = path.stat().st_size
    limit = max(LARGEST, _DENSEST * on_disk)
    table = read_within(path, limit)
    if table is None:
        raise _too_large(path, limit, on_disk)
    return table


def read_within(source: Path | pa.Buffer, limit: int) -> pa.Table | None:
    """Return the table in a Parquet file, or None as soon as its rows have taken more bytes than the limit."""
    batches, size = [], 0
    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            batches.append(batch)
            size += batch.nbytes
            if size > limit:
                return None
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _too_large(path: Path, limit: int, on_disk: int) -> StorageError:
    return StorageError(
        f"{path}: expected a table that takes at most {limit / 1e9:.1f} GB of memory, found one of "
        f"{on_disk / 1e6:.1f} MB that takes more; it is not read"
    )


def memory_of(source: Path | pa.Buffer, limit: int) -> int:
    """Return an upper bound of the bytes that a Parquet file takes in memory, exact enough to be compared with a limit.

    If the file takes more than the limit, any larger number may be returned.
    """
    bound = _bound(source)
    return bound if bound <= limit else _counted(source, limit)


def _bound(source: Path | pa.Buffer) -> int:
    """Return an upper bound of the bytes that a Parquet file takes in memory, from its metadata alone."""
    numbers, texts = _columns(source)
    repeated: int = sum(chunk.total_uncompressed_size * _repeats(chunk) for chunk in texts)
    return numbers + repeated


def _counted(source: Path | pa.Buffer, limit: int) -> int:
    """Return the bytes that a Parquet file takes in memory: the texts in it are counted, up to the limit."""
    numbers, texts = _columns(source)
    stored: int = sum(chunk.total_uncompressed_size for chunk in texts)
    if numbers + stored > limit:
        return numbers + stored
    return numbers + _texts(source, list(dict.fromkeys(chunk.path_in_schema for chunk in texts)), limit - numbers)


def _columns(source: Path | pa.Buffer) -> tuple[int, list[pq.ColumnChunkMetaData]]:
    """Return the bytes that the numbers in a file take, each text being a number too, and the columns of texts."""
    with pq.ParquetFile(source) as file:
        chunks = list(_chunks(file.metadata))
    numbers: int = sum(_WIDTHS.get(chunk.physical_type, _OFFSET) * chunk.num_values for chunk in chunks)
    return numbers, [chunk for chunk in chunks if chunk.physical_type not in _WIDTHS]


def _chunks(metadata: pq.FileMetaData) -> Iterator[pq.ColumnChunkMetaData]:
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        yield from (found.column(i) for i in range(found.num_columns))


def _repeats(chunk: pq.ColumnChunkMetaData) -> int:
    """Return how often a text of a column chunk may be repeated in memory."""
    return int(chunk.num_values) if any("DICTIONARY" in encoding for encoding in chunk.encodings) else 1


def _texts(source: Path | pa.Buffer, names: list[str], limit: int) -> int:
    """Return the bytes of the texts or pictures in some columns, as far as they do not exceed the limit."""
    total = 0
    with pq.ParquetFile(source, read_dictionary=names) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
            total += sum(map(_decoded, batch.columns))
            if total > limit:
                break
    return total


def _decoded(values: pa.Array) -> int:
    """Return the bytes of the values of an array whose texts are read as indices into a dictionary."""
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    if not isinstance(values, pa.DictionaryArray):
        return int(values.nbytes)
    lengths = pc.binary_length(values.dictionary)
    return int(pc.sum(lengths.take(values.indices)).as_py() or 0)
