"""Reader and writer of Parquet: the format of ``bench data convert``, and data sets in the style of Hugging Face.

``bench data convert`` writes one row per image:

========  ==========================================================================================================
image     binary: the encoded image, byte for byte unchanged
id        string: its unique name
subject   string: the person; null for all images if people are not known
pairs     list of ``{number int32, right int64, same bool, fold int8 or null}``: the pairs of which this image is the
          left one; ``number`` is the pair's position in the protocol, ``right`` the row of the other image. The column
          is missing if the set has no protocol.
========  ==========================================================================================================

In other files, ``image`` may be a structure ``{bytes, path}``, and the person may be a ``label`` or a ``subject``: a
whole number, a text, or a category of pandas. Where the file names the classes of a label, as Hugging Face's ClassLabel
does, the people have these names; a negative number has none. A missing label (null, NaN) becomes an empty text. A
folder of Parquet files is read as one set, in the order of their names.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import os
import re
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import DataError, StorageError
from bench_facesets.collection import FOLDS, Collection, PairTable
from bench_facesets.readers.safe_paths import entries, shown

ROW_GROUP = 512  #: The images per row group that `write` creates; so many are in memory at a time.
MAX_GROUP_BYTES = 1 * 2**30  #: The limit for a row group, unpacked.
MAX_ROWS = 10_000_000
_KEPT = 4  # The number of row groups that are kept while images are read.
# ``fold`` is null if the protocol gives no fold.
_PAIR = pa.struct([("number", pa.int32()), ("right", pa.int64()), ("same", pa.bool_()), ("fold", pa.int8())])


class _Guard:
    """A context that converts pyarrow's errors about a file to a DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError | ValueError | KeyError | MemoryError | OverflowError):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{self.path}: this Parquet file cannot be read: {reason}") from None


class ParquetImages:
    """Encoded images in the row groups of Parquet files; a few row groups are kept in memory."""

    def __init__(self, files: Sequence[tuple[Path, pq.ParquetFile]], column: str) -> None:
        self._files = files
        self._column = column
        sizes = [
            (f, g, file.metadata.row_group(g).num_rows)
            for f, (_, file) in enumerate(files)
            for g in range(file.metadata.num_row_groups)
        ]
        self._groups = [(f, g) for f, g, _ in sizes]
        self._starts = [0, *itertools.accumulate(n for *_, n in sizes)]
        self._held: OrderedDict[int, pa.Array] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, row: int) -> bytes:
        """Return the encoded image. Raises DataError."""
        k = bisect.bisect_right(self._starts, row) - 1
        value = self._group(k)[row - self._starts[k]].as_py()
        if value is None:
            raise DataError(f"{self.name(row)}: expected the bytes of an image, found none; embed the files")
        return bytes(value)

    def name(self, row: int) -> str:
        """Return the file and the row."""
        k = bisect.bisect_right(self._starts, row) - 1
        first = self._starts[next(i for i, (f, _) in enumerate(self._groups) if f == self._groups[k][0])]
        return f"{self._files[self._groups[k][0]][0]}: row {row - first}"

    def _group(self, k: int) -> pa.Array:
        if k not in self._held:
            f, g = self._groups[k]
            path, file = self._files[f]
            with _Guard(path):
                found = file.read_row_group(g, columns=[self._column]).column(0).combine_chunks()
                found = found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
                self._held[k] = found.field("bytes") if pa.types.is_struct(found.type) else found
            if len(self._held[k]) != self._starts[k + 1] - self._starts[k]:
                raise DataError(f"{path}: row group {g} holds {len(self._held[k])} images, not as many as announced")
        self._held.move_to_end(k)
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)
        return self._held[k]


def read(path: Path) -> Collection:
    """Read the images, people and pairs of a Parquet file or of a folder of them. Raises DataError."""
    root = path.resolve()
    names = [Path(e.path) for e in entries(root, root) if e.name.endswith(".parquet")] if root.is_dir() else [root]
    if not names:
        raise DataError(f"{path}: expected Parquet files in this folder, found none")
    files = []
    for name in names:
        with _Guard(name):
            files.append(
                (name, pq.ParquetFile(name, thrift_string_size_limit=2**28, thrift_container_size_limit=2**24))
            )
        _check(name, files[-1][1])
    schema = files[0][1].schema_arrow
    for name, file in files[1:]:
        if file.schema_arrow.names != schema.names:
            raise DataError(f"{name}: expected the columns of {names[0].name} ({', '.join(schema.names)})")
    encoded = ParquetImages(files, _image_column(schema, names[0]))
    if not 0 < len(encoded) <= MAX_ROWS:
        raise DataError(f"{path}: expected 1 to {MAX_ROWS:,} images, found {len(encoded):,}")
    people = _people(files, schema, path)
    ids = _ids(files, schema, len(encoded), path)
    pairs = _pairs(files, len(encoded), path) if "pairs" in schema.names else None
    return Collection(
        layout="Parquet", root=root if root.is_dir() else root.parent, files=names, encoded=encoded, ids=ids,
        people=people, pairs=pairs, notes=_joined(files, people),
    )  # fmt: skip


def _joined(files: Sequence[tuple[Path, pq.ParquetFile]], people: Sequence[str] | None) -> tuple[str, ...]:
    """Return the note that parts of a set, such as ``train-...`` and ``test-...``, have labels in common, if so."""
    parts: dict[str, set[str]] = {}
    start = 0
    for name, file in files:
        rows = file.metadata.num_rows
        word = re.match(r"[A-Za-z]*", name.stem)  # Shards of one part differ in their numbers only.
        part = parts.setdefault(word[0] if word else "", set())
        part.update(label for label in (people or ())[start : start + rows] if label)
        start += rows
    common = [label for label, n in Counter(itertools.chain(*parts.values())).items() if n > 1]
    if not common:
        return ()
    listed = f"{', '.join(sorted(map(shown, common))[:3])}{' ...' if len(common) > 3 else ''}"
    return (
        f"{len(common)} labels ({listed}) occur in several parts of the set ({', '.join(map(shown, parts))}) and count "
        "as the same people; read the parts as sets of their own if each counts its people anew",
    )


def _check(path: Path, file: pq.ParquetFile) -> None:
    for g in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(g).total_byte_size) > MAX_GROUP_BYTES:
            raise DataError(
                f"{path}: expected row groups of at most {MAX_GROUP_BYTES:,} bytes, found {size:,}; "
                f"write it again with smaller row groups"
            )


def _image_column(schema: pa.Schema, path: Path) -> str:
    found = ", ".join(schema.names)[:200]
    if "image" not in schema.names:
        raise DataError(f"{path}: expected a column 'image' with encoded images, found the columns {found}")
    kind = schema.field("image").type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"{path}: expected encoded images (binary, or a structure with 'bytes') in 'image', found {kind}"
        )
    return "image"


def _column(files: Sequence[tuple[Path, pq.ParquetFile]], name: str) -> list[Any]:
    values: list[Any] = []
    for path, file in files:
        with _Guard(path):
            values += file.read(columns=[name]).column(0).to_pylist()
    return values


def _people(files: Sequence[tuple[Path, pq.ParquetFile]], schema: pa.Schema, path: Path) -> list[str] | None:
    """Return the person of every image, an empty text where the label is missing; None if there is no label at all.

    Every file is read with its own type and its own class names. Raises DataError if they do not agree on whether
    labels are names or numbers.
    """
    column = next((name for name in ("subject", "label") if name in schema.names), None)
    if column is None:
        return None
    people: list[str] = []
    kinds: dict[str, Path] = {}
    for name, file in files:
        kind, values = _labels(name, file, column)
        people += values
        if any(values):
            kinds.setdefault(kind, name)
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} in {name.name}" for kind, name in kinds.items())
        raise DataError(f"{path}: column {column!r}: expected labels of one kind in all files, found {shown}")
    return people if kinds else None


def _labels(path: Path, file: pq.ParquetFile, column: str) -> tuple[str, list[str]]:
    """Return the kind of the labels of one file and the labels as texts, empty where they are missing."""
    kind = file.schema_arrow.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    values = _column([(path, file)], column)
    if pa.types.is_null(kind):
        return "nothing", [""] * len(values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "texts", [value or "" for value in values]
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{path}: expected numbers or texts in the column {column!r}, found {kind}")
    numbers = [_number(value, f"{path}: row {row}: column {column!r}") for row, value in enumerate(values)]
    if pa.types.is_integer(kind) and kind.bit_width >= 32:  # -1 that was stored without a sign, or a largest number
        largest = 2 ** (kind.bit_width - pa.types.is_signed_integer(kind)) - 1
        numbers = [None if number == largest else number for number in numbers]
    if (names := _class_names(file.schema_arrow, column)) is None:
        return "numbers", ["" if number is None else str(number) for number in numbers]
    for row, number in enumerate(numbers):
        if number is not None and number >= len(names):
            raise DataError(f"{path}: row {row}: expected a label below {len(names)}, the number of class names of "
                            f"{column!r}, found {number}")  # fmt: skip
    return "class names", ["" if k is None else str(k) if k < 0 else names[k] for k in numbers]


def _number(value: int | float | None, where: str) -> int | None:
    """Return a label as a whole number; None if it is missing: null or NaN."""
    if value is None or value != value:
        return None
    if math.isinf(value) or value != int(value):
        raise DataError(f"{where}: expected a whole number as the label of a person, found {value}")
    return int(value)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the class names that Hugging Face's ``datasets`` stores for a column; None if there are none."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _ids(files: Sequence[tuple[Path, pq.ParquetFile]], schema: pa.Schema, n: int, path: Path) -> list[str]:
    if "id" not in schema.names:
        return [f"{k:07d}" for k in range(n)]
    ids = list(map(str, _column(files, "id")))
    if len(set(ids)) != n:
        raise DataError(f"{path}: column 'id': expected a name of its own for each of the {n} images")
    return ids


def _pairs(files: Sequence[tuple[Path, pq.ParquetFile]], n: int, path: Path) -> PairTable:
    """Return the pairs in the order of their numbers. Raises DataError."""
    tables = []
    for name, file in files:
        with _Guard(name):
            lists = file.read(columns=["pairs"]).column(0).combine_chunks().cast(pa.list_(_PAIR))
            lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
            tables.append((lists.value_lengths().fill_null(0).to_numpy(), lists.flatten()))
    counts = np.concatenate([c for c, _ in tables])
    flat = pa.concat_arrays([f for _, f in tables])
    with _Guard(path):
        if any(flat.field(k).null_count for k in ("number", "right", "same")):
            raise DataError(f"{path}: column 'pairs': expected a number, a right image and a label for every pair")
        number, right = (flat.field(k).to_numpy(zero_copy_only=False).astype(np.int64) for k in ("number", "right"))
        same = flat.field("same").to_numpy(zero_copy_only=False).astype(bool)
        fold = flat.field("fold").fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(number, kind="stable")
    if not len(order) or not np.array_equal(number[order], np.arange(len(order))):
        raise DataError(
            f"{path}: column 'pairs': expected pairs numbered 0, 1, 2 ..., found {len(order)} of other numbers"
        )
    if right.min() < 0 or right.max() >= n or fold.min() < -1 or fold.max() >= FOLDS:
        raise DataError(f"{path}: column 'pairs': expected rows below {n} and folds from 0 to {FOLDS - 1}")
    left = np.repeat(np.arange(n), counts)
    return PairTable(left=left[order], right=right[order], same=same[order], fold=fold[order])


# ---- writing ---------------------------------------------------------------------------------------------------------


def write(collection: Collection, path: Path) -> None:
    """Write a collection, one row group at a time and atomically; the encoded images are not changed.

    Raises StorageError if the file cannot be written.
    """
    fields = [("image", pa.binary()), ("id", pa.string()), ("subject", pa.string())]
    if collection.pairs is not None:
        fields.append(("pairs", pa.list_(_PAIR)))
    about = json.dumps({"format": 1, "layout": collection.layout})
    schema = pa.schema(fields, metadata={"face-privacy-bench": about})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with pq.ParquetWriter(temporary, schema, compression="none", use_dictionary=["subject"]) as writer:
            for table in _tables(collection, schema):
                writer.write_table(table, row_group_size=ROW_GROUP)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _tables(collection: Collection, schema: pa.Schema) -> Iterator[pa.Table]:
    n, pairs = len(collection.encoded), collection.pairs
    of_left: dict[int, list[dict[str, Any]]] = {}
    if pairs is not None:
        columns = zip(pairs.left.tolist(), pairs.right.tolist(), pairs.same.tolist(), pairs.fold.tolist(), strict=True)
        for number, (left, right, same, fold) in enumerate(columns):
            entry = {"number": number, "right": right, "same": same, "fold": None if fold < 0 else fold}
            of_left.setdefault(left, []).append(entry)
    for start in range(0, n, ROW_GROUP):
        rows = range(start, min(n, start + ROW_GROUP))
        columns_of = {
            "image": [collection.encoded.read(k) for k in rows],
            "id": [collection.ids[k] for k in rows],
            "subject": [collection.people[k] if collection.people is not None else None for k in rows],
        }
        if pairs is not None:
            columns_of["pairs"] = [of_left.get(k, []) for k in rows]
        yield pa.table(columns_of, schema=schema)
